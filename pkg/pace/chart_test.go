package pace_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
	"pgregory.net/rapid"
)

// workers is a store of c workers that takes its time for every call, and a backlog that never ends.
type workers struct {
	t     *testing.T
	pacer pace.Pacer
	c     int
	each  time.Duration // of a call, and of each item in it
	item  time.Duration
	items int // asked for in a call
	now   time.Time
	free  []time.Time // when each worker is free
	calls []ending    // in the order of their ends
	done  int
	most  int
}

type ending struct {
	at time.Time
	c  pace.Call
}

func newWorkers(t *testing.T, config pace.ChartConfig, c int, each time.Duration) *workers {
	p, err := pace.NewChart(config)
	if err != nil {
		t.Fatal(err)
	}
	return &workers{t: t, pacer: p, c: c, each: each, items: 1, now: epoch}
}

// run lets a time pass.
func (w *workers) run(d time.Duration) {
	until := w.now.Add(d)
	for {
		for {
			v := w.pacer.Ask(w.now, 0, w.items)
			if !v.Go {
				break
			}
			start := w.now
			if len(w.free) < w.c {
				w.free = append(w.free, start)
			}
			worker := 0
			for i, at := range w.free {
				if at.Before(w.free[worker]) {
					worker = i
				}
			}
			if w.free[worker].After(start) {
				start = w.free[worker]
			}
			end := start.Add(w.each + time.Duration(v.Items)*w.item)
			w.free[worker] = end
			w.calls = append(w.calls, ending{end, pace.Call{Start: w.now, Items: v.Items, Grant: v.Grant}})
			w.most = max(w.most, w.pacer.Limits().InFlight)
		}
		if len(w.calls) == 0 || w.calls[0].at.After(until) {
			w.now = until
			return
		}
		e := w.calls[0]
		w.calls = w.calls[1:]
		w.now = e.at
		w.done += e.c.Items
		w.pacer.Done(w.now, e.c)
	}
}

func ExampleNewChart() {
	pacer, err := pace.NewChart(pace.ChartConfig{Max: 200, Headroom: .2})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := epoch
	for pacer.Ask(now, 0, 10).Go { // it begins with 4 calls of 1 item, and grows while that pays
	}
	fmt.Println(pacer.Limits().InFlight)
	// Output: 4
}

func TestChartFindsTheKnee(t *testing.T) {
	t.Parallel()
	for _, knee := range []int{2, 10, 60} {
		w := newWorkers(t, pace.ChartConfig{}, knee, 10*time.Millisecond)
		w.run(10 * time.Second)
		w.done = 0
		w.run(10 * time.Second)
		best := 10 * float64(knee) / .010
		if share := float64(w.done) / best; share < .97 {
			t.Errorf("knee %d: %.3f of the best with a limit of %d", knee, share, w.pacer.Limits().Concurrency)
		}
		if limit := w.pacer.Limits().Concurrency; limit > 3*knee/2+2 {
			t.Errorf("knee %d: a limit of %d", knee, limit)
		}
	}
}

func TestChartLeavesHeadroom(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{Headroom: .5}, 40, 10*time.Millisecond)
	w.run(20 * time.Second)
	w.done = 0
	w.run(30 * time.Second)
	if share := float64(w.done) / (30 * 40 / .010); share < .45 || share > .75 {
		t.Errorf("%.2f of the store's best with half of it left to others", share)
	}
}

func TestChartGrowsTheBatchWhileItPays(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		each, item  time.Duration
		least, most int
	}{
		{9 * time.Millisecond, time.Millisecond, 64, 512}, // at 64 a call is 12 % of what its items take
		{0, 5 * time.Millisecond, 1, 4},                   // nothing to gain
	} {
		w := newWorkers(t, pace.ChartConfig{Batch: 512}, 8, tc.each)
		w.item, w.items = tc.item, 512
		w.run(60 * time.Second)
		if b := w.pacer.Limits().Batch; b < tc.least || b > tc.most {
			t.Errorf("a batch of %d where a call takes %v and an item %v, want %d to %d", b, tc.each, tc.item, tc.least, tc.most)
		}
	}
}

// A caller that needs a millisecond for each call cannot fill four of a third of one; what waits goes into larger calls.
func TestChartGrowsTheBatchOfASlowCaller(t *testing.T) {
	t.Parallel()
	p, err := pace.NewChart(pace.ChartConfig{Batch: 256})
	if err != nil {
		t.Fatal(err)
	}
	now := epoch
	for range 5000 {
		v := p.Ask(now, 0, 256)
		if !v.Go {
			t.Fatal("refused with nothing in flight")
		}
		start := now
		now = now.Add(300*time.Microsecond + time.Duration(v.Items)*2*time.Microsecond)
		p.Done(now, pace.Call{Start: start, Items: v.Items})
		now = now.Add(time.Millisecond)
	}
	if b := p.Limits().Batch; b < 128 {
		t.Errorf("a batch of %d after some seconds of backlog", b)
	}
}

// A night of single calls must not teach it that one call at a time is enough, nor that a thousand are.
func TestChartAfterAQuietNight(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{}, 20, 5*time.Millisecond)
	w.run(10 * time.Second)
	before := w.pacer.Limits().Concurrency
	for _, e := range w.calls { // the backlog is over
		w.pacer.Done(e.at, e.c)
		w.now = e.at
	}
	w.calls = nil
	for range 8 * 3600 {
		w.now = w.now.Add(time.Second)
		if v := w.pacer.Ask(w.now, 0, 1); !v.Go {
			t.Fatal("refused on a quiet night")
		}
		w.pacer.Done(w.now.Add(5*time.Millisecond), pace.Call{Start: w.now, Items: 1})
	}
	w.run(3 * time.Second)
	after := w.pacer.Limits().Concurrency
	if ratio := float64(after) / float64(before); ratio < .7 || ratio > 1.5 {
		t.Errorf("a limit of %d before the night and of %d in the morning", before, after)
	}
}

func TestChartCutsForFailuresOfLoadOnly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		every   int
		outcome pace.Outcome
		cut     bool
	}{
		{100, pace.OutcomeOverload, false}, {3, pace.OutcomeOverload, true}, {3, pace.OutcomeTimeout, true},
		{2, pace.OutcomeError, false}, {2, pace.OutcomeCanceled, false},
	} {
		p, err := pace.NewChart(pace.ChartConfig{Min: 1, Max: 4})
		if err != nil {
			t.Fatal(err)
		}
		now, low := epoch, 4
		for i := range 400 {
			if v := p.Ask(now, 0, 1); !v.Go {
				t.Fatal("refused with nothing in flight")
			}
			c := pace.Call{Start: now, Items: 1}
			if i%tc.every == tc.every-1 {
				c.Outcome = tc.outcome
			}
			now = now.Add(20 * time.Millisecond)
			p.Done(now, c)
			low = min(low, p.Limits().Concurrency)
		}
		if (low < 4) != tc.cut {
			t.Errorf("one of %d ends as %v: lowest limit %d", tc.every, tc.outcome, low)
		}
	}
}

// What fails without a single success between is an outage: the breaker stops it, and Resume needs the speed before it.
func TestChartLeavesAnOutageToTheBreaker(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{Min: 1, Max: 16}, 16, 10*time.Millisecond)
	w.run(5 * time.Second)
	for _, e := range w.calls {
		w.pacer.Done(e.at, e.c)
		w.now = e.at
	}
	fail := func(n int) {
		for range n {
			start := w.now
			if !w.pacer.Ask(start, 0, 1).Go {
				t.Fatal("refused with nothing in flight")
			}
			w.now = w.now.Add(time.Millisecond)
			w.pacer.Done(w.now, pace.Call{Start: start, Items: 1, Outcome: pace.OutcomeOverload})
		}
	}
	fail(10) // may be too much load: there were successes in the window
	limit := w.pacer.Limits().Concurrency
	fail(100)
	if got := w.pacer.Limits().Concurrency; got < limit {
		t.Errorf("a limit of %d, then of %d after a hundred failures more in a row", limit, got)
	}
}

// A store whose first calls hang has shown no latency: until one ends there is nothing to ask for.
func TestChartWaitsForTheFirstAnswer(t *testing.T) {
	t.Parallel()
	p, err := pace.NewChart(pace.ChartConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for p.Ask(epoch, 0, 1).Go {
	}
	if v := p.Ask(epoch.Add(time.Second), 0, 1); v.Go || !v.RetryAt.IsZero() {
		t.Errorf("with every call out and none answered: %+v", v)
	}
}

func TestChartComesBackFromAQuarter(t *testing.T) {
	t.Parallel()
	w := newWorkers(t, pace.ChartConfig{}, 40, 10*time.Millisecond)
	w.run(10 * time.Second)
	before := w.pacer.Limits()
	for _, e := range w.calls {
		w.pacer.Done(w.now, pace.Call{Start: e.c.Start, Items: 1, Outcome: pace.OutcomeOverload})
	}
	w.calls, w.free = nil, nil
	w.now = w.now.Add(5 * time.Second)
	w.pacer.Resume(w.now)
	l := w.pacer.Limits()
	if l.Concurrency > before.Concurrency/3 || l.Ramp > .5 {
		t.Errorf("%d of %d at once after an outage, ramp %.2f", l.Concurrency, before.Concurrency, l.Ramp)
	}
	w.run(3 * time.Second)
	if l := w.pacer.Limits(); l.Concurrency < 30 || l.Ramp != 1 {
		t.Errorf("%d after 3 s, ramp %.2f", l.Concurrency, l.Ramp)
	}
}

func TestChartNeverExceedsItsLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		config := pace.ChartConfig{
			Min: rapid.IntRange(1, 8).Draw(t, "min"), Batch: rapid.IntRange(1, 50).Draw(t, "batch"),
			Headroom: rapid.SampledFrom([]float64{0, .2, .9}).Draw(t, "headroom"),
		}
		config.Max = config.Min + rapid.IntRange(0, 100).Draw(t, "over min")
		p, err := pace.NewChart(config)
		if err != nil {
			t.Fatal(err)
		}
		now, latest := epoch, time.Time{} // latest: of the times that it was told
		var open []pace.Call
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			now = now.Add(time.Duration(math.Exp(rapid.Float64Range(0, 21).Draw(t, "log pass"))))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				p.Resume(now)
				latest = now
			case 1, 2, 3, 4:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
					open[i].Outcome = pace.Outcome(rapid.IntRange(0, 4).Draw(t, "outcome"))
					p.Done(now, open[i])
					latest = now
					open = append(open[:i], open[i+1:]...)
				}
			default:
				late := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "late"))
				items := rapid.IntRange(1, 80).Draw(t, "items")
				kind := pace.Kind(rapid.IntRange(0, pace.MaxKinds-1).Draw(t, "kind"))
				v := p.Ask(now.Add(-late), kind, items)
				if at := now.Add(-late); at.After(latest) {
					latest = at
				}
				limit := p.Limits().Concurrency
				if limit < config.Min || limit > config.Max {
					t.Fatalf("a limit of %d, not within %d and %d", limit, config.Min, config.Max)
				}
				switch {
				case !v.Go && len(open) == 0:
					t.Fatal("nothing is in flight and nothing may go: it would stall for good")
				case !v.Go && !v.RetryAt.IsZero() && !v.RetryAt.After(latest):
					t.Fatalf("ask again at %v, and it is %v", v.RetryAt, latest)
				case v.Go && len(open) >= limit:
					t.Fatalf("a call above the limit of %d", limit)
				case v.Go && (v.Items < 1 || v.Items > min(items, config.Batch)):
					t.Fatalf("%d items of %d", v.Items, items)
				case v.Go:
					open = append(open, pace.Call{Kind: kind, Start: now, Items: v.Items})
				}
			}
			if got := p.Limits().InFlight; got != len(open) {
				t.Fatalf("Limits say %d in flight, there are %d", got, len(open))
			}
		}
	})
}

// An operator's bound holds from the first moment on, whatever the largest batch is.
func TestChartHoldsARateWithoutABurst(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{.5, 20, 3000} {
		p, err := pace.NewChart(pace.ChartConfig{Rate: rate, Batch: 1000})
		if err != nil {
			t.Fatal(err)
		}
		passed, end := 0, epoch.Add(10*time.Second)
		for now := epoch; now.Before(end); {
			v := p.Ask(now, 0, 1000)
			if !v.Go {
				now = v.RetryAt
				continue
			}
			passed += v.Items
			p.Done(now.Add(time.Microsecond), pace.Call{Start: now, Items: v.Items})
		}
		if most := 10*rate + max(1, rate/10) + 1; float64(passed) > most {
			t.Errorf("%d items in 10 s at %v a second", passed, rate)
		}
		if float64(passed) < 9*rate {
			t.Errorf("only %d items in 10 s at %v a second", passed, rate)
		}
	}
}

func TestChartConfigValidate(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]pace.ChartConfig{
		"min": {Min: -1}, "max": {Min: 5, Max: 4}, "headroom": {Headroom: .95}, "rate": {Rate: math.Inf(1)}, "batch": {Batch: -1},
	} {
		if _, err := pace.NewChart(c); err == nil {
			t.Errorf("a wrong %s passed", field)
		}
	}
	if _, err := pace.NewChart(pace.ChartConfig{}); err != nil {
		t.Error(err)
	}
}

func BenchmarkChart(b *testing.B) {
	p, err := pace.NewChart(pace.ChartConfig{})
	if err != nil {
		b.Fatal(err)
	}
	now := epoch
	for b.Loop() {
		now = now.Add(time.Microsecond)
		p.Ask(now, 0, 1)
		p.Done(now, pace.Call{Start: now, Items: 1})
	}
}
