package starvation

import (
	"math"
	"runtime/metrics"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// repeat makes n equal quarters.
func repeat(delay time.Duration, n int) []time.Duration {
	return slices.Repeat([]time.Duration{delay}, n)
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		quarters []time.Duration
		changes  []int // the quarters, from 0, with which starvation began and ended in turn
	}{
		"nothing":                               {repeat(0, 100), nil},
		"a busy day":                            {repeat(4*ms, 100), nil},
		"two in a row":                          {repeat(5*ms, 2), []int{1}},
		"one pause of a minute":                 {append(repeat(time.Minute, 1), repeat(0, 50)...), nil},
		"every other quarter":                   {slices.Repeat([]time.Duration{0, 50 * ms}, 20), nil},
		"it ends after 3 s without a late one":  {append(repeat(20*ms, 4), repeat(4*ms, 20)...), []int{1, 15}},
		"a late one on the way starts the time": {slices.Concat(repeat(20*ms, 2), repeat(0, 11), repeat(5*ms, 1), repeat(0, 20)), []int{1, 25}},
		"a load at the threshold does not flap": {append(repeat(6*ms, 2), slices.Repeat([]time.Duration{4 * ms, 4 * ms, 6 * ms}, 50)...), []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var j judge
			now := time.Unix(1_700_000_000, 0)
			var changes []int
			for i, delay := range c.quarters {
				was := j.starved
				now = now.Add(quarter)
				j.step(now, delay)
				if j.starved != was {
					changes = append(changes, i)
				}
				if j.starved && !was && !j.since.Equal(now) || !j.starved && !j.since.IsZero() {
					t.Errorf("quarter %d: starved %v since %v, it is %v", i, j.starved, j.since, now)
				}
			}
			if !slices.Equal(changes, c.changes) {
				t.Errorf("starvation changed with the quarters %v, want %v", changes, c.changes)
			}
		})
	}
}

func TestJudge_SmoothsTheDelay(t *testing.T) {
	t.Parallel()
	var j judge
	now := time.Unix(1_700_000_000, 0)
	run := func(delay time.Duration, n int) time.Duration {
		for range n {
			now = now.Add(quarter)
			j.step(now, delay)
		}
		return j.smoothed
	}
	if got := run(20*ms, 200); got < 19*ms || got > 20*ms {
		t.Errorf("after 50 s of 20 ms it is %v", got)
	}
	// e^-1 of it is left after 5 s.
	if got := run(0, 20); got < 6*ms || got > 9*ms {
		t.Errorf("5 s after that it is %v", got)
	}
	run(0, 200)
	// A pause counts as a second at most, with a weight of a quarter of a second: under 50 ms.
	if got := run(time.Hour, 1); got < 40*ms || got > 50*ms {
		t.Errorf("one pause of an hour makes it %v", got)
	}
}

func TestLatenesses(t *testing.T) {
	t.Parallel()
	const interval = 20 * ms
	for name, c := range map[string]struct {
		late []time.Duration
		want time.Duration
	}{
		"none":                      {nil, 0},
		"the timer was early":       {[]time.Duration{-ms}, 0},
		"punctual but once":         {append(repeat(ms, 11), 9*ms), ms},
		"often late":                {append(repeat(ms, 8), 9*ms, 9*ms), 9 * ms},
		"one stands for its moment": {append(repeat(ms, 10), 95*ms), 75 * ms}, // with 75, 55, 35 and 15 ms
		"a machine that slept":      {[]time.Duration{24 * time.Hour}, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l latenesses
			for _, late := range c.late {
				l.add(late, interval)
			}
			if got := l.quantile(.9); got != c.want {
				t.Errorf("%v, want %v of %v", got, c.want, l)
			}
		})
	}
}

func TestHistogramQuantile(t *testing.T) {
	t.Parallel()
	h := func(counts ...uint64) *metrics.Float64Histogram {
		return &metrics.Float64Histogram{Counts: counts, Buckets: []float64{math.Inf(-1), 1, 2, 4, math.Inf(1)}}
	}
	for name, c := range map[string]struct {
		before []uint64
		now    *metrics.Float64Histogram
		want   float64
	}{
		"the first reading":         {nil, h(1, 1, 1, 1), 0},
		"nothing came":              {[]uint64{5, 5, 5, 5}, h(5, 5, 5, 5), 0},
		"all in one":                {[]uint64{5, 5, 5, 5}, h(5, 15, 5, 5), 2},
		"what was before is out":    {[]uint64{0, 0, 0, 100}, h(10, 0, 0, 100), 1},
		"just 90 %":                 {[]uint64{0, 0, 0, 0}, h(0, 90, 10, 0), 2},
		"just over":                 {[]uint64{0, 0, 0, 0}, h(0, 89, 11, 0), 4},
		"a bucket without an upper": {[]uint64{0, 0, 0, 0}, h(0, 0, 0, 3), 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := histogramQuantile(c.before, c.now, .9); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var u usage
	now := time.Unix(1_700_000_000, 0)
	if came := u.look(now, time.Hour); came != 0 || u.used != 0 || u.share != 0 {
		t.Errorf("the first look says %v, %+v", came, u)
	}
	now = now.Add(time.Second)
	if came := u.look(now, time.Hour+300*ms); came != 300*ms || u.share != .3 {
		t.Errorf("300 ms of a second: %v, share %v", came, u.share)
	}
	now = now.Add(time.Second)
	if came := u.look(now, time.Hour+4300*ms); came != 4*time.Second || u.share != 1 {
		t.Errorf("four processors for a second: %v, share %v", came, u.share)
	}
	now = now.Add(time.Second)
	if came := u.look(now, 0); came != 0 || u.share != 0 {
		t.Errorf("moved to another cgroup: %v, share %v", came, u.share)
	}
}

// BenchmarkDecide is the work of a quarter of a second beside its dozen timers, and that of a second.
func BenchmarkDecide(b *testing.B) {
	for name, step := range map[string]time.Duration{"quarter": 0, "second": usageEvery} {
		b.Run(name, func(b *testing.B) {
			m, err := New(Deps{})
			if err != nil {
				b.Fatal(err)
			}
			now := time.Unix(1_700_000_000, 0)
			m.usage.look(now, 0)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(step)
				for range 12 {
					m.late.add(ms, 20*ms)
				}
				m.decide(now)
			}
		})
	}
}
