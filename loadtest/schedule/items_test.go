package schedule

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

func every(n int, gap time.Duration) []Item[int] {
	var items []Item[int]
	for i := range n {
		items = append(items, Item[int]{At: time.Duration(i) * gap, Value: i})
	}
	return items
}

// A server that takes an hour for everything delays nobody's arrival.
func TestOpenLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		report, err := RunItems(t.Context(), ItemsConfig{Start: start}, ItemsDeps{}, every(100, time.Second),
			func(ctx context.Context, i int, intended time.Time) {
				if want := start.Add(time.Duration(i) * time.Second); !intended.Equal(want) || !time.Now().Equal(want) {
					t.Errorf("item %d started at %v for %v, want %v", i, time.Now(), intended, want)
				}
				_ = clock.System{}.Sleep(ctx, time.Hour) // ends early only when the test does
			})
		if err != nil || report.Valid() != nil {
			t.Errorf("%v, %v", err, report.Valid())
		}
		if report.Sent != 100 || report.Dropped != 0 {
			t.Errorf("%+v", report)
		}
	})
}

func TestTheEndDropsTheRestAndCountsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		var did atomic.Int64
		report, err := RunItems(ctx, ItemsConfig{Start: time.Now()}, ItemsDeps{}, every(10, time.Second),
			func(context.Context, int, time.Time) { did.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		if report.Sent != 5 || report.Dropped != 5 || did.Load() != 5 || report.Intended != 10 {
			t.Errorf("%+v after %d", report, did.Load())
		}
	})
}

func TestALateGeneratorIsInvalid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		report, err := RunItems(t.Context(), ItemsConfig{Start: time.Now().Add(-time.Second)}, ItemsDeps{}, every(10, time.Millisecond),
			func(context.Context, int, time.Time) {})
		if err != nil {
			t.Fatal(err)
		}
		if report.Valid() == nil {
			t.Errorf("a lag of %v passed", report.LagP99)
		}
	})
}
