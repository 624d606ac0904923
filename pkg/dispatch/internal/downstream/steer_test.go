package downstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// bare is a pacer that can be steered.
func bare(t testing.TB, c pace.Config) pace.Pacer { return fixed(t, c).Pacer }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWeightCountsForWhoWaitsAlready(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{
			Name: "store", Pacer: bare(t, pace.Config{Concurrency: 1}), Cost: func(pace.Kind, int) float64 { return 1 },
			Weights: map[reset.Lane]float64{reset.LaneApply: 8, reset.LaneStart: 1},
		})
		first := mustAcquire(t, d, Ask{Items: 1})
		q := &queue{t: t, d: d}
		for range 9 {
			q.join(t.Context(), Ask{Lane: reset.LaneApply, Items: 1})
			q.join(t.Context(), Ask{Lane: reset.LaneStart, Items: 1})
		}
		must(t, d.SetWeight(reset.LaneStart, 64))
		first.Release()
		for range 18 {
			q.pop()
		}
		q.done.Wait()
		starts := 0
		for _, l := range q.order[:9] {
			if l == reset.LaneStart {
				starts++
			}
		}
		if starts < 8 {
			t.Errorf("of the first 9, %d were of the lane that is now 8 times as heavy: %v", starts, q.order)
		}
		if err := d.SetWeight(reset.LaneStart, 0); err == nil {
			t.Error("a weight of 0 was taken")
		}
	})
}

// Who waits for an hour by the old rate is served at once by the new one.
func TestPaceCountsForWhoWaitsAlready(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{Name: "mail", Pacer: bare(t, pace.Config{Rate: 1. / 3600, Batch: 1, Burst: 1})})
		mustAcquire(t, d, Ask{Items: 1}).Do(t.Context(), 1, answers(nil))
		q := &queue{t: t, d: d}
		q.join(t.Context(), Ask{Items: 1})
		begun := clock.System{}.Now()
		must(t, d.SetPace(pace.Override{Fixed: true, Concurrency: 1}))
		q.done.Wait()
		if waited := (clock.System{}).Now().Sub(begun); waited > 0 {
			t.Errorf("it waited %v", waited)
		}
		q.pop()
		must(t, d.SetPace(pace.Override{}))
		if s := d.Status(); s.Mode != pace.ModeFixed || s.Limits.Concurrency != 0 || s.Override != (pace.Override{}) {
			t.Errorf("%+v", s)
		}
	})
}

// Held open, nobody gets a permit however long; let go of, the first is a probe, at once, and the pacer ramps once it closes.
func TestHeldBreakerHandsOutNothingAndThenAProbe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{Name: "store", Pacer: bare(t, pace.Config{Concurrency: 100, Batch: 100}), Breaker: once("store")})
		must(t, d.ForceBreaker(breaker.ForceOpen))
		q := &queue{t: t, d: d}
		for range 3 {
			q.join(t.Context(), Ask{Items: 100})
		}
		pass(time.Hour)
		if n := len(q.holds()); n != 0 {
			t.Fatalf("%d permits of a breaker that is held open", n)
		}
		if d.Out().IsZero() {
			t.Error("it does not say that it is out")
		}
		must(t, d.ForceBreaker(breaker.ForceNone))
		synctest.Wait() // no time passes
		if got := q.holds(); len(got) != 1 || got[0].Items() != 1 {
			t.Fatalf("%d permits where one probe of one item is due", len(got))
		}
		q.pop()
		q.done.Wait()
		if s := d.Status(); s.Breaker != "closed" || s.Limits.Ramp >= 1 || !s.OutageSince.IsZero() {
			t.Errorf("%+v", s)
		}
		q.pop()
		q.pop()
	})
}

// Closed by force in an outage, all are let through again, by the ramp.
func TestClosingByForceRamps(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{Name: "store", Pacer: bare(t, pace.Config{Concurrency: 100}), Breaker: once("store")})
		for range 2 {
			mustAcquire(t, d, Ask{Items: 1}).Do(t.Context(), 1, answers(errBusy))
		}
		q := &queue{t: t, d: d}
		for range 50 {
			q.join(t.Context(), Ask{Items: 1})
		}
		must(t, d.ForceBreaker(breaker.ForceClosed))
		if n := len(q.holds()); n != 10 {
			t.Errorf("%d permits at once, a tenth of 100 is due", n)
		}
		for range 50 {
			q.pop()
		}
		q.done.Wait()
	})
}

func TestWhatADownstreamHasNotGot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRegistry(t)
		pool := r.make(t, Spec{Name: "hash_pool", Pacer: fixed(t, pace.Config{})})
		revoker := r.make(t, Spec{Name: "revoker", Host: pool, Breaker: once("revoker")})
		for what, tc := range map[string]struct{ got, want error }{
			"breaker":   {pool.ForceBreaker(breaker.ForceOpen), ErrNoBreaker},
			"pace":      {revoker.SetPace(pace.Override{Max: 1}), ErrNoPace},
			"repace":    {revoker.Repace(bare(t, pace.Config{})), ErrNoPace},
			"steerable": {pool.SetPace(pace.Override{Max: 1}), pace.ErrNotSteerable}, // it counts, and is neither Chart nor Fixed
		} {
			if !errors.Is(tc.got, tc.want) {
				t.Errorf("%s: %v", what, tc.got)
			}
		}
	})
}

// A hold is no outage once it is over: nothing has failed. What was out before it still is.
func TestAHoldThatIsOverIsNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{Name: "store", Pacer: bare(t, pace.Config{Concurrency: 100}), Breaker: once("store")})
		must(t, d.ForceBreaker(breaker.ForceOpen))
		must(t, clock.System{}.Sleep(t.Context(), 13*time.Hour))
		if d.Out().IsZero() {
			t.Error("while it is held nothing says that it is out")
		}
		must(t, d.ForceBreaker(breaker.ForceNone))
		if out := d.Out(); !out.IsZero() {
			t.Errorf("out since %v, %v ago, though no call has failed", out, time.Since(out))
		}
		lifted := time.Now()
		for range 2 {
			mustAcquire(t, d, Ask{Items: 1}).Do(t.Context(), 1, answers(errBusy))
		}
		since := d.Out()
		if since.Before(lifted) {
			t.Errorf("out since %v, and failed after %v", since, lifted)
		}
		must(t, d.ForceBreaker(breaker.ForceOpen))
		must(t, clock.System{}.Sleep(t.Context(), time.Hour))
		must(t, d.ForceBreaker(breaker.ForceNone))
		if out := d.Out(); !out.Equal(since) {
			t.Errorf("out since %v after the hold, since %v before", out, since)
		}
	})
}
