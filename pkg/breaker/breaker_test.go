package breaker_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/surgegate/surgegate/pkg/breaker"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ExampleNew() {
	b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 2, OpenWait: time.Second}, breaker.Deps{
		OnChange: func(from, to breaker.State) { fmt.Println(from, "->", to) },
		Random:   func() float64 { return .5 },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(0, 0).UTC()
	for range 2 {
		done, _ := b.Allow(now)
		done(now, breaker.Failure)
	}
	_, err = b.Allow(now)
	fmt.Println(err)
	// Output:
	// closed -> open
	// breaker: store is not taking calls until 1970-01-01T00:00:01Z
}

// rig is a breaker under test; its steps fail the test where the answer is another.
type rig struct {
	*testing.T
	*breaker.Breaker
	changes []string
}

// pass lets the time of a synctest bubble pass.
func pass(d time.Duration) { <-time.After(d) }

func newRig(t *testing.T, config breaker.Config) *rig {
	t.Helper()
	r := &rig{T: t}
	config.Name = "store"
	b, err := breaker.New(config, breaker.Deps{
		Random:   func() float64 { return .5 },
		OnChange: func(from, to breaker.State) { r.changes = append(r.changes, from.String()+">"+to.String()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Breaker = b
	return r
}

func (r *rig) allow() func(time.Time, breaker.Result) {
	r.Helper()
	done, err := r.Allow(time.Now())
	if err != nil {
		r.Fatalf("refused: %v", err)
	}
	return done
}

func (r *rig) refused(retry time.Duration) {
	r.Helper()
	_, err := r.Allow(time.Now())
	var open *breaker.OpenError
	if !errors.As(err, &open) {
		r.Fatalf("Allow returned %v", err)
	}
	if got := time.Until(open.RetryAt); got != retry {
		r.Fatalf("told to come back in %v, want %v", got, retry)
	}
}

func (r *rig) calls(n int, result breaker.Result) {
	r.Helper()
	for range n {
		r.allow()(time.Now(), result)
	}
}

func (r *rig) is(want breaker.State) {
	r.Helper()
	if got := r.State(); got != want {
		r.Fatalf("state %v, want %v (changes %v)", got, want, r.changes)
	}
}

func TestTripsOnConsecutiveFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 5, MinVolume: 100})
		r.calls(4, breaker.Failure)
		r.calls(1, breaker.Success)
		r.calls(4, breaker.Failure)
		r.calls(50, breaker.Ignored)
		r.is(breaker.Closed)
		r.calls(1, breaker.Failure)
		r.is(breaker.Open)
		r.refused(time.Second)
	})
}

func TestTripsOnShareOfEnoughResults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		successes, failures, ignored int // in turns
		turns                        int
		want                         breaker.State
	}{
		"half failed":                  {1, 1, 0, 10, breaker.Open},
		"half failed, too few":         {1, 1, 0, 9, breaker.Closed},
		"a third failed":               {2, 1, 0, 100, breaker.Closed},
		"ignored ones are no volume":   {1, 1, 20, 9, breaker.Closed},
		"ignored ones are no success":  {1, 1, 20, 10, breaker.Open},
		"nothing but ignored":          {0, 0, 100, 1, breaker.Closed},
		"all well":                     {100, 0, 0, 1, breaker.Closed},
		"one in twenty fails, a storm": {19, 1, 0, 100, breaker.Closed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, breaker.Config{FailureShare: .5, MinVolume: 20})
				for range tc.turns {
					r.calls(tc.successes, breaker.Success)
					r.calls(tc.ignored, breaker.Ignored)
					r.calls(tc.failures, breaker.Failure)
				}
				r.is(tc.want)
			})
		})
	}
}

func TestOldResultsDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Window: 10 * time.Second})
		for range 30 { // a success between them, so that only the share could trip it
			r.calls(1, breaker.Failure)
			r.calls(1, breaker.Success)
			pass(2 * time.Second)
		}
		r.is(breaker.Closed)
	})
}

// Calls that hang for longer than the window: failures in a row have none.
func TestTripsOnCallsThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 3, Window: 10 * time.Second})
		for range 3 {
			r.is(breaker.Closed)
			done := r.allow()
			pass(30 * time.Second)
			done(time.Now(), breaker.Failure)
		}
		r.is(breaker.Open)
	})
}

// What began before the breaker opened and closed again is no failure in a row.
func TestFailuresInARowBeginAnewWithEachState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 2, Probes: 1})
		late := r.allow()
		r.calls(2, breaker.Failure)
		pass(2 * time.Second)
		r.calls(1, breaker.Success)
		r.is(breaker.Closed)
		late(time.Now(), breaker.Failure)
		r.calls(1, breaker.Failure)
		r.is(breaker.Closed)
		r.calls(1, breaker.Failure)
		r.is(breaker.Open)
	})
}

func TestUnendedCallsDoNotDiluteTheShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{})
		for range 1000 { // a stall: many calls are out and will not end for long
			r.allow()
		}
		for range 10 {
			r.calls(1, breaker.Success)
			r.calls(1, breaker.Failure)
		}
		r.is(breaker.Open)
	})
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 1, Probes: 3, ProbeTimeout: 4 * time.Second})
		late := r.allow()
		r.calls(1, breaker.Failure)
		r.refused(time.Second)
		pass(time.Second)
		for i := range 3 {
			probe := r.allow()
			r.is(breaker.HalfOpen)
			r.refused(4 * time.Second) // one at a time
			pass(time.Second)
			if i == 1 { // it says nothing: the next call is the probe
				probe(time.Now(), breaker.Ignored)
				probe = r.allow()
			}
			late(time.Now(), breaker.Failure) // began before the change: counts for nothing
			probe(time.Now(), breaker.Success)
		}
		r.is(breaker.Closed)
		want := []string{"closed>open", "open>half_open", "half_open>closed"}
		if fmt.Sprint(r.changes) != fmt.Sprint(want) {
			t.Fatalf("changes %v, want %v", r.changes, want)
		}
	})
}

// A call that began before the opening says nothing of what came after it; above all it must not end the wait.
func TestLateReportsDoNotEndTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 1, OpenWait: time.Second})
		late, later := r.allow(), r.allow()
		r.allow()(time.Now(), breaker.Failure)
		pass(100 * time.Millisecond)
		late(time.Now(), breaker.Success)
		later(time.Now(), breaker.Failure)
		if r.State() != breaker.Open {
			t.Errorf("a late report made it %v", r.State())
		}
		r.refused(900 * time.Millisecond)
		pass(900 * time.Millisecond)
		r.allow()
	})
}

func TestHungProbeFailsAtItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 1, Probes: 1, ProbeTimeout: 4 * time.Second})
		r.calls(1, breaker.Failure)
		pass(time.Second)
		hung := r.allow()
		pass(4*time.Second - 1)
		r.refused(1)
		pass(1)
		r.refused(2 * time.Second) // it opened, and waits twice as long
		r.is(breaker.Open)
		hung(time.Now(), breaker.Success) // too late to count
		r.is(breaker.Open)
		pass(2 * time.Second)
		probe := r.allow()
		hung(time.Now(), breaker.Failure) // twice, and for a probe that is over
		r.is(breaker.HalfOpen)
		pass(4 * time.Second)
		// Nobody asked meanwhile: its own late report is what notices the deadline, and does not count.
		probe(time.Now(), breaker.Success)
		r.is(breaker.Open)
	})
}

func TestWaitsGrowAndStartOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, breaker.Config{Consecutive: 1, Probes: 1, OpenWait: time.Second, MaxOpenWait: 5 * time.Second, Calm: 10 * time.Second})
		r.calls(1, breaker.Failure)
		for _, wait := range []time.Duration{1, 2, 4, 5, 5} {
			r.refused(wait * time.Second)
			pass(wait * time.Second)
			r.calls(1, breaker.Failure)
		}
		pass(5 * time.Second)
		r.calls(1, breaker.Success)
		r.is(breaker.Closed)
		pass(9 * time.Second)
		r.calls(1, breaker.Failure) // within the calm: it never was well
		r.refused(5 * time.Second)
		pass(5 * time.Second)
		r.calls(1, breaker.Success)
		pass(10 * time.Second)
		r.calls(1, breaker.Failure)
		r.refused(time.Second)
	})
}

func TestJitterSpreadsTheWaits(t *testing.T) {
	t.Parallel()
	seen := make(map[time.Duration]bool)
	for range 200 {
		b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 1, OpenWait: time.Minute, MaxOpenWait: time.Minute}, breaker.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		done, _ := b.Allow(epoch)
		done(epoch, breaker.Failure)
		_, err = b.Allow(epoch)
		var open *breaker.OpenError
		if !errors.As(err, &open) {
			t.Fatalf("Allow returned %v", err)
		}
		wait := open.RetryAt.Sub(epoch)
		if wait < 48*time.Second || wait > 72*time.Second {
			t.Fatalf("waits %v, not within 20 %% of a minute", wait)
		}
		seen[wait.Round(time.Second)] = true
	}
	if len(seen) < 10 {
		t.Fatalf("only %d different waits of 200", len(seen))
	}
}

// A manual clock, or a caller whose clock reading is a little old, must not confuse it.
func TestTimesMayGoBack(t *testing.T) {
	t.Parallel()
	b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 1, Probes: 1}, breaker.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	done, _ := b.Allow(epoch)
	done(epoch, breaker.Failure)
	probe, err := b.Allow(epoch.Add(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Allow(epoch); err == nil {
		t.Fatal("an old time let a second probe out")
	}
	probe(epoch, breaker.Success)
	if b.State() != breaker.Closed {
		t.Fatalf("state %v", b.State())
	}
}

func TestOneProbeUnderRace(t *testing.T) {
	t.Parallel()
	b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 1}, breaker.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	now := epoch
	for round := range 200 {
		done, err := b.Allow(now)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		done(now, breaker.Failure)
		now = now.Add(time.Minute)
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex
			probes []func(time.Time, breaker.Result)
		)
		for range 8 {
			wg.Go(func() {
				if done, err := b.Allow(now); err == nil {
					mu.Lock()
					probes = append(probes, done)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(probes) != 1 {
			t.Fatalf("round %d: %d probes at once", round, len(probes))
		}
		probes[0](now, breaker.Ignored)
	}
}

// force holds it at random.
func force(t *rapid.T, b *breaker.Breaker, now time.Time) breaker.Force {
	f := breaker.Force(rapid.IntRange(0, 2).Draw(t, "force"))
	before := b.State()
	closed := b.Force(now, f)
	if b.Forced() != f {
		t.Fatalf("forced %v, want %v", b.Forced(), f)
	}
	if want := before != breaker.Closed && b.State() == breaker.Closed; closed != want {
		t.Fatalf("Force says that it closed: %v, from %v to %v", closed, before, b.State())
	}
	want := map[breaker.Force]breaker.State{
		breaker.ForceNone: b.State(), breaker.ForceOpen: breaker.Open, breaker.ForceClosed: breaker.Closed,
	}
	if b.State() != want[f] {
		t.Fatalf("forced %v, is %v", f, b.State())
	}
	return f
}

// Whatever happens, it takes calls again: there is no history after which it stays shut.
func TestNeverStuck(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, err := breaker.New(breaker.Config{
			Name: "store", Consecutive: rapid.IntRange(1, 3).Draw(t, "consecutive"),
			Probes: rapid.IntRange(1, 3).Draw(t, "probes"),
		}, breaker.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		var out []func(time.Time, breaker.Result)
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pass")))
			if rapid.IntRange(0, 9).Draw(t, "operator") == 0 {
				force(t, b, now)
			}
			if n := len(out); n > 0 && rapid.Bool().Draw(t, "end") {
				i := rapid.IntRange(0, n-1).Draw(t, "which")
				out[i](now, breaker.Result(rapid.IntRange(0, 2).Draw(t, "result")))
				continue // not removed: reporting twice must do no harm
			}
			if done, err := b.Allow(now); err == nil {
				out = append(out, done)
			}
		}
		if f := force(t, b, now); f == breaker.ForceOpen {
			if _, err := b.Allow(now); err == nil {
				t.Fatal("held open, and a call went through")
			}
		} else if f == breaker.ForceClosed {
			done, err := b.Allow(now)
			if err != nil {
				t.Fatalf("held closed: %v", err)
			}
			done(now, breaker.Ignored)
		}
		b.Force(now, breaker.ForceNone)
		for range 20 { // at most: the probe's deadline, a wait, three probes
			done, err := b.Allow(now)
			if err != nil {
				var open *breaker.OpenError
				if !errors.As(err, &open) || !open.RetryAt.After(now) {
					t.Fatalf("%v at %v", err, now)
				}
				now = open.RetryAt
				continue
			}
			done(now, breaker.Success)
		}
		if b.State() != breaker.Closed {
			t.Fatalf("still %v after 20 good calls", b.State())
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	deps := breaker.Deps{Registerer: registry}
	b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 1}, deps)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := breaker.New(breaker.Config{Name: "mail"}, deps); err != nil {
		t.Fatalf("a second breaker beside the first: %v", err)
	}
	if _, err := breaker.New(breaker.Config{Name: "mail"}, deps); err == nil {
		t.Fatal("two breakers of one name")
	}
	done, _ := b.Allow(epoch)
	done(epoch, breaker.Failure)
	want := `
# HELP surgegate_breaker_state 1 for the state that the breaker is in, 0 for the others.
# TYPE surgegate_breaker_state gauge
surgegate_breaker_state{downstream="mail",state="closed"} 1
surgegate_breaker_state{downstream="mail",state="half_open"} 0
surgegate_breaker_state{downstream="mail",state="open"} 0
surgegate_breaker_state{downstream="store",state="closed"} 0
surgegate_breaker_state{downstream="store",state="half_open"} 0
surgegate_breaker_state{downstream="store",state="open"} 1
# HELP surgegate_breaker_transitions_total Times that the breaker entered the state.
# TYPE surgegate_breaker_transitions_total counter
surgegate_breaker_transitions_total{downstream="mail",state="closed"} 0
surgegate_breaker_transitions_total{downstream="mail",state="half_open"} 0
surgegate_breaker_transitions_total{downstream="mail",state="open"} 0
surgegate_breaker_transitions_total{downstream="store",state="closed"} 0
surgegate_breaker_transitions_total{downstream="store",state="half_open"} 0
surgegate_breaker_transitions_total{downstream="store",state="open"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]breaker.Config{
		"name":          {},
		"consecutive":   {Name: "x", Consecutive: -1},
		"failure_share": {Name: "x", FailureShare: 1.5},
		"min_volume":    {Name: "x", MinVolume: -1},
		"window":        {Name: "x", Window: time.Microsecond},
		"open_wait":     {Name: "x", OpenWait: -1},
		"max_open_wait": {Name: "x", OpenWait: time.Minute, MaxOpenWait: time.Second},
		"probes":        {Name: "x", Probes: 1 << 30},
		"probe_timeout": {Name: "x", ProbeTimeout: -1},
		"calm":          {Name: "x", Calm: -1},
	} {
		if _, err := breaker.New(config, breaker.Deps{}); err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("error %v does not name %q", err, field)
		}
	}
	for _, config := range []breaker.Config{{Name: "x"}, {Name: "x", OpenWait: time.Hour}} {
		if _, err := breaker.New(config, breaker.Deps{}); err != nil {
			t.Errorf("%+v: %v", config, err)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	br, err := breaker.New(breaker.Config{Name: "store"}, breaker.Deps{})
	if err != nil {
		b.Fatal(err)
	}
	now := epoch
	for b.Loop() {
		now = now.Add(time.Microsecond)
		done, err := br.Allow(now)
		if err != nil {
			b.Fatal(err)
		}
		done(now, breaker.Success)
	}
}

// The first opening is a warning with its cause; that probes fail is one a minute.
func TestOpeningsAreLoggedWithTheirCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b, err := breaker.New(breaker.Config{Name: "store", Consecutive: 2, OpenWait: time.Second, Probes: 1}, breaker.Deps{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Random: func() float64 { return .5 },
			Cause: func() []any { return []any{"code", "ECONNREFUSED", "failures", 2} },
		})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{T: t, Breaker: b}
		r.calls(2, breaker.Failure)
		for range 50 { // a probe each 2 s
			pass(2 * time.Second)
			r.calls(1, breaker.Failure)
		}
		if n := strings.Count(log.String(), "code=ECONNREFUSED failures=2"); n != 2 || strings.Count(log.String(), "\n") != 2 {
			t.Errorf("%d openings told in 100 s:\n%s", n, &log)
		}
		pass(2 * time.Second)
		r.calls(1, breaker.Success)
		if !strings.Contains(log.String(), "to=closed") {
			t.Errorf("the closing is not told:\n%s", &log)
		}
		b.Force(time.Now(), breaker.ForceOpen)
		if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); strings.Contains(lines[len(lines)-1], "code=") || !strings.Contains(log.String(), "breaker forced") {
			t.Errorf("a breaker that is forced open has the cause of failures:\n%s", &log)
		}
	})
}
