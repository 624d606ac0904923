package embedded

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// leaping is a clock that once moves on between being read and a timer's being set to a certain wait, as it does when
// the machine holds up the goroutine there.
type leaping struct {
	*clock.Manual
	wait, leap time.Duration
	leapt      chan struct{}
}

func (c *leaping) NewTimer(d time.Duration) clock.Timer {
	return leapingTimer{c.Manual.NewTimer(d), c}
}

type leapingTimer struct {
	clock.Timer
	c *leaping
}

func (t leapingTimer) Reset(d time.Duration) bool {
	if d == t.c.wait {
		select {
		case <-t.c.leapt:
		default:
			close(t.c.leapt)
			t.c.Advance(t.c.leap)
		}
	}
	return t.Timer.Reset(d)
}

func TestAlarmWhoseTimeComesWhileItIsSet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, leap := range []time.Duration{time.Second, time.Minute} {
		clk := &leaping{Manual: clock.NewManual(time.Unix(1_700_000_000, 0)), wait: 3 * time.Second, leap: leap, leapt: make(chan struct{})}
		e := openMem(t, vfs.NewMem(), clk)
		if v := e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneApply}}})[0]; v.Err != nil {
			t.Fatal(v.Err)
		}
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneApply, Max: 1, Visibility: time.Hour})
		if err != nil || len(l) != 1 {
			t.Fatalf("%d leases, %v", len(l), err)
		}
		waited := make(chan error, 1)
		go func() { waited <- e.Wait(ctx, reset.LaneApply, 0) }()
		if err := e.Retry(ctx, []queue.Retry{{Lease: l[0], NotBefore: clk.Now().Add(clk.wait)}})[0]; err != nil {
			t.Fatal(err)
		}
		<-clk.leapt
		clk.BlockUntil(3) // disk, sweep and the alarm, set
		clk.Advance(max(0, clk.wait-leap))
		if err := <-waited; err != nil {
			t.Fatalf("the clock leapt by %v: %v", leap, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
