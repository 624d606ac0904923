package breaker_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
)

func (r *rig) force(f breaker.Force, closes bool) {
	r.Helper()
	if got := r.Force(time.Now(), f); got != closes {
		r.Fatalf("Force(%v) says that it closed: %v (changes %v)", f, got, r.changes)
	}
}

func TestHeldOpenRefusesAndComesBackByProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Probes: 2})
		late := r.allow()
		r.force(breaker.ForceOpen, false)
		r.is(breaker.Open)
		for range 100 { // for as long as it is held, and whatever calls from before come to
			r.refused(2 * time.Second)
			pass(10 * time.Second)
		}
		late(time.Now(), breaker.Success)
		r.refused(2 * time.Second)
		r.force(breaker.ForceNone, false)
		r.is(breaker.Open)
		probe := r.allow() // at once
		r.is(breaker.HalfOpen)
		r.refused(10 * time.Second) // one at a time
		probe(time.Now(), breaker.Success)
		r.is(breaker.HalfOpen)
		r.calls(1, breaker.Success)
		r.is(breaker.Closed)
		if want := []string{"closed>open", "open>half_open", "half_open>closed"}; !slices.Equal(r.changes, want) {
			t.Errorf("changes %v, want %v", r.changes, want)
		}
	})
}

// An operator's opening is no fault of the downstream: the wait after a failed probe is the first one.
func TestHeldOpenIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 1, MaxOpenWait: time.Minute})
		for range 5 {
			r.force(breaker.ForceOpen, false)
			pass(time.Second)
			r.force(breaker.ForceNone, false)
		}
		r.calls(1, breaker.Failure)
		r.is(breaker.Open)
		r.refused(time.Second)
	})
}

// Held open while a probe is out: the probe's end, and its deadline, say nothing any more.
func TestHeldOpenForgetsTheProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 1, Probes: 1})
		r.calls(1, breaker.Failure)
		pass(time.Second)
		probe := r.allow()
		r.force(breaker.ForceOpen, false)
		probe(time.Now(), breaker.Success)
		r.is(breaker.Open)
		pass(time.Second)
		r.force(breaker.ForceNone, false)
		r.calls(1, breaker.Success)
		r.is(breaker.Closed)
	})
}

func TestHeldClosedNeverTripsAndForgetsAfterwards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := &rig{T: t}
		b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 3, Window: 10 * time.Second},
			breaker.Deps{Random: func() float64 { return .5 }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		r.Breaker = b
		r.force(breaker.ForceClosed, false)
		for range 25 {
			r.calls(40, breaker.Failure)
			r.is(breaker.Closed)
			pass(time.Second)
		}
		if n := strings.Count(log.String(), "would have opened"); n != 3 {
			t.Errorf("said %d times in 25 s that it would have opened, want once in 10 s: %s", n, log.String())
		}
		before := r.allow()
		r.force(breaker.ForceNone, false)
		before(time.Now(), breaker.Failure) // let through while it was held
		r.calls(2, breaker.Failure)
		r.is(breaker.Closed)
		r.calls(1, breaker.Failure)
		r.is(breaker.Open)
	})
}

// Held closed in the middle of an outage: it says that it closed, so that the pacer ramps, and the probe that was out is
// one call among others.
func TestHeldClosedFromOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, probing := range []bool{false, true} {
			r := newRig(t, breaker.Config{Consecutive: 1, Probes: 1})
			r.calls(1, breaker.Failure)
			probe := func(time.Time, breaker.Result) {}
			if probing {
				pass(time.Second)
				probe = r.allow()
			}
			r.force(breaker.ForceClosed, true)
			r.force(breaker.ForceClosed, false) // twice is once
			r.is(breaker.Closed)
			probe(time.Now(), breaker.Failure)
			pass(time.Minute)
			r.calls(5, breaker.Failure)
			r.is(breaker.Closed)
			r.force(breaker.ForceOpen, false)
			r.refused(2 * time.Second)
			r.force(breaker.ForceClosed, true)
			r.calls(5, breaker.Failure)
		}
	})
}
