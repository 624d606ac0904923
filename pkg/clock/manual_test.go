package clock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleNewManual() {
	clk := clock.NewManual(time.Unix(0, 0).UTC())
	done := make(chan error)
	go func() { done <- clk.Sleep(context.Background(), time.Hour) }()
	clk.BlockUntil(1)
	clk.Advance(time.Hour)
	fmt.Println(<-done, clk.Now())
	// Output: <nil> 1970-01-01 01:00:00 +0000 UTC
}

func TestManualFiresInOrderAtTheDeadline(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clk := clock.NewManual(epoch)
		waits := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 20).Draw(t, "waits")
		timers := make([]clock.Timer, len(waits))
		for i, w := range waits {
			timers[i] = clk.NewTimer(time.Duration(w) * time.Second)
		}
		span := time.Duration(rapid.IntRange(0, 25).Draw(t, "span")) * time.Second
		clk.Advance(span)
		if got := clk.Now(); !got.Equal(epoch.Add(span)) {
			t.Fatalf("clock shows %v", got.Sub(epoch))
		}
		waiting := 0
		for i, w := range waits {
			due := time.Duration(w) * time.Second
			select {
			case at := <-timers[i].C():
				if due > span || !at.Equal(epoch.Add(due)) {
					t.Fatalf("timer of %v fired at %v after Advance(%v)", due, at.Sub(epoch), span)
				}
			default:
				waiting++
				if due <= span {
					t.Fatalf("timer of %v did not fire after Advance(%v)", due, span)
				}
			}
		}
		if got := clk.Waiters(); got != waiting {
			t.Fatalf("%d waiters, %d timers have not fired", got, waiting)
		}
	})
}

func TestManualStopAndReset(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	timer := clk.NewTimer(time.Second)
	if !timer.Stop() {
		t.Fatal("Stop of a waiting timer says that it was not waiting")
	}
	clk.Advance(time.Minute)
	if timer.Stop() {
		t.Fatal("Stop of a stopped timer says that it was waiting")
	}
	if timer.Reset(time.Second) {
		t.Fatal("Reset of a stopped timer says that it was waiting")
	}
	clk.Advance(time.Second)
	// Fired, not received: Reset must drop the stale value, as time.Timer does.
	if !timer.Reset(time.Second) {
		t.Fatal("Reset of a timer whose value was not received says that it was not waiting")
	}
	select {
	case <-timer.C():
		t.Fatal("a stale value survived Reset")
	default:
	}
	clk.Advance(time.Second)
	if at := <-timer.C(); !at.Equal(epoch.Add(time.Minute + 2*time.Second)) {
		t.Fatalf("fired at %v", at.Sub(epoch))
	}
}

func TestManualWakesSleepers(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	ctx, cancel := context.WithCancel(context.Background())
	const sleepers = 8
	errs := make(chan error, sleepers)
	var wg sync.WaitGroup
	for i := range sleepers {
		ctx := ctx
		if i >= sleepers/2 {
			ctx = context.Background()
		}
		wg.Go(func() { errs <- clk.Sleep(ctx, time.Duration(i+1)*time.Second) })
	}
	clk.BlockUntil(sleepers)
	cancel()
	for range sleepers / 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled sleeper returned %v", err)
		}
	}
	clk.Advance(sleepers * time.Second)
	wg.Wait()
	for range sleepers / 2 {
		if err := <-errs; err != nil {
			t.Fatalf("a sleeper returned %v", err)
		}
	}
	if n := clk.Waiters(); n != 0 {
		t.Fatalf("%d timers left behind", n)
	}
}

func TestSystemClock(t *testing.T) {
	t.Parallel()
	var clk clock.Clock = clock.System{}
	before := clk.Now()
	if err := clk.Sleep(context.Background(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if passed := clk.Now().Sub(before); passed < time.Millisecond {
		t.Fatalf("slept %v", passed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := clk.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Fatalf("Sleep returned %v", err)
	}
	if err := clk.Sleep(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("Sleep of nothing hides the end of its context: %v", err)
	}
}
