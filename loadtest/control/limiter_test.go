package control

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// ends are calls inside, by their end.
type ends []pace.Call

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].Start.Before(e[j].Start) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(pace.Call)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// store answers n calls at once in service time each; the rest stands in line. A call that takes 5 s times out.
type steadyStore struct {
	workers int
	service time.Duration
	jitter  float64
	free    []time.Time
	rand    *rand.Rand
}

// drive runs a pacer against the store for a while with a standing backlog; it returns answers/s and the mean in flight of the last half.
func (s *steadyStore) drive(p pace.Pacer, length time.Duration) (rate, inFlight float64) {
	s.free = make([]time.Time, s.workers)
	s.rand = rand.New(rand.NewPCG(1, 2))
	now := epoch
	type open struct{ start time.Time }
	starts := map[time.Time][]open{}
	var inside ends
	done, samples := 0, 0
	for now.Sub(epoch) < length {
		for p.Ask(now, 0, 1).Go {
			first := 0
			for i := range s.free {
				if s.free[i].Before(s.free[first]) {
					first = i
				}
			}
			begin := now
			if s.free[first].After(begin) {
				begin = s.free[first]
			}
			took := time.Duration(float64(s.service) * (1 - s.jitter + 2*s.jitter*s.rand.Float64()))
			end := begin.Add(took)
			s.free[first] = end
			heap.Push(&inside, pace.Call{Start: end, Items: 1})
			starts[end] = append(starts[end], open{now})
		}
		c := heap.Pop(&inside).(pace.Call)
		now = c.Start
		list := starts[now]
		start := list[0].start
		if starts[now] = list[1:]; len(list) == 1 {
			delete(starts, now)
		}
		c.Start, c.Outcome = start, pace.OutcomeOK
		if now.Sub(start) > 5*time.Second {
			c.Outcome = pace.OutcomeTimeout
		}
		p.Done(now, c)
		if now.Sub(epoch) > length/2 {
			samples++
			inFlight += float64(p.Limits().InFlight)
			if c.Outcome == pace.OutcomeOK {
				done++
			}
		}
	}
	return float64(done) / (length / 2).Seconds(), inFlight / float64(samples)
}

// On a store whose latency is steady and shows every queue, all that learn reach its rate; how much they put inside
// for it is what tells them apart.
func TestEachReachesASteadyStoresRate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ rate, least, most float64 }{
		"nothing":   {.99, 1990, 2000},
		"fixed":     {.94, 15, 30},     // told 950/s
		"aimd":      {.99, 1900, 2000}, // nothing is ever dropped, so it goes to its bound
		"gradient2": {.9, 20, 100},
		"vegas":     {.9, 20, 100}, // a queue of 3 to 6, until it forgets the fastest and takes a queue's latency for it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &steadyStore{workers: 20, service: 20 * time.Millisecond, jitter: .02}
			p, err := NewLimiter(name, LimiterConfig{Rate: 950, Batch: 1})
			if err != nil {
				t.Fatal(err)
			}
			rate, in := s.drive(p, 40*time.Second)
			t.Logf("%.0f/s with %.0f inside", rate, in)
			if rate < want.rate*1000 {
				t.Errorf("%.0f answers/s of 1000, want %.2f of it", rate, want.rate)
			}
			if in < want.least || in > want.most {
				t.Errorf("%.1f inside, want %v to %v", in, want.least, want.most)
			}
		})
	}
}

func TestAIMDFormula(t *testing.T) {
	t.Parallel()
	a := &aimd{now: 20}
	for _, step := range []struct {
		s    sample
		want int
	}{
		{sample{inFlight: 10, latency: time.Millisecond}, 21},
		{sample{inFlight: 10, latency: time.Millisecond}, 21},                // less than half is used
		{sample{inFlight: 21, latency: time.Millisecond, dropped: true}, 18}, // 18.9
		{sample{inFlight: 18, latency: 5*time.Second + 1}, 16},               // 16.2
		{sample{inFlight: 18, latency: 5 * time.Second}, 17},
	} {
		if a.add(step.s); a.limit() != step.want {
			t.Fatalf("after %+v: %d, want %d", step.s, a.limit(), step.want)
		}
	}
	for range 100 {
		a.add(sample{dropped: true})
	}
	if a.limit() != Least {
		t.Errorf("after a hundred drops: %d", a.limit())
	}
}

func TestGradient2Formula(t *testing.T) {
	t.Parallel()
	g := &gradient2{now: 100, long: average{share: 2. / 601}}
	g.window.next = epoch
	second := func(latency time.Duration, inFlight, calls int) {
		at := g.window.next
		for range calls - 1 {
			g.add(sample{end: at, latency: latency, inFlight: inFlight})
		}
		g.add(sample{end: at.Add(1), latency: latency, inFlight: inFlight})
	}
	near := func(want float64) {
		t.Helper()
		if g.now < want-1e-6 || g.now > want+1e-6 {
			t.Fatalf("limit %v, want %v", g.now, want)
		}
	}
	second(10*time.Millisecond, 100, 20)
	near(100.8) // + 4 · .2
	second(10*time.Millisecond, 100, 9)
	near(100.8)
	second(10*time.Millisecond, 20, 20) // not the store that limits it
	near(100.8)
	for range 7 {
		second(10*time.Millisecond, 20, 20)
	}
	second(40*time.Millisecond, 101, 20) // long (9 · 10 + 40) ÷ 10 = 13 ms; gradient max(.5, 1.5 · 13 ÷ 40)
	near(100.8*.8 + (100.8*.5+4)*.2)
	if g.long.value < .0129 || g.long.value > .0131 {
		t.Errorf("long-term latency %v", g.long.value)
	}
	second(5*time.Millisecond, 20, 20) // less than half of the long term, which gives way
	if want := (.013 + (.005-.013)*2/601) * .95; g.long.value < want-1e-6 || g.long.value > want+1e-6 {
		t.Errorf("long-term latency %v, want %v", g.long.value, want)
	}
}

func TestVegasFormula(t *testing.T) {
	t.Parallel()
	v := &vegas{now: 100, jitter: 1, rand: rand.New(rand.NewPCG(1, 1))}
	for i, step := range []struct {
		latency  time.Duration
		inFlight int
		dropped  bool
		want     float64
	}{
		{100 * time.Millisecond, 100, false, 100}, // the fastest so far
		{101 * time.Millisecond, 100, false, 112}, // a queue of 1, step 2: + 6 · 2
		{105 * time.Millisecond, 112, false, 112}, // 5.33 → 6: within 6 and 12
		{103 * time.Millisecond, 112, false, 114}, // 3.3 → 4
		{200 * time.Millisecond, 112, false, 112},
		{101 * time.Millisecond, 40, false, 112}, // less than half is used
		{101 * time.Millisecond, 112, true, 110},
		{90 * time.Millisecond, 110, false, 110}, // a new fastest
	} {
		v.add(sample{latency: step.latency, inFlight: step.inFlight, dropped: step.dropped})
		if v.now != step.want {
			t.Fatalf("step %d: %v, want %v", i, v.now, step.want)
		}
	}
	for range 3400 {
		v.add(sample{latency: 900 * time.Millisecond, inFlight: 110})
	}
	if v.fastest != 900*time.Millisecond {
		t.Errorf("after 30 times the limit the fastest is still %v", v.fastest)
	}
	for limit, want := range map[float64]float64{1: 1, 99: 1, 100: 2, 999: 2, 1600: 40} {
		if got := logarithm(limit); got != want {
			t.Errorf("step at %v: %v, want %v", limit, got, want)
		}
	}
}

// What pace.Pacer promises holds for all: no more in flight than told, every slot given back, batches bounded.
func TestPacerContract(t *testing.T) {
	t.Parallel()
	for _, name := range LimiterNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := NewLimiter(name, LimiterConfig{Rate: 1e6, Batch: 7})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(3, 4))
			now, open := epoch, 0
			for range 20_000 {
				now = now.Add(time.Duration(r.Int64N(int64(10 * time.Millisecond))))
				if open > 0 && r.IntN(2) == 0 {
					open--
					items := r.IntN(8)
					p.Done(now, pace.Call{
						Start: now.Add(-time.Duration(r.Int64N(int64(time.Second)))), Items: items, Unused: 7 - items,
						Outcome: pace.Outcome(r.IntN(5)),
					})
					continue
				}
				before := p.Limits()
				v := p.Ask(now, 0, 1+r.IntN(20))
				if v.Go {
					open++
					if v.Items < 1 || v.Items > 7 {
						t.Fatalf("a batch of %d", v.Items)
					}
					if before.InFlight >= before.Concurrency {
						t.Fatalf("let in with %d of %d", before.InFlight, before.Concurrency)
					}
				}
				if l := p.Limits(); l.InFlight != open || l.Concurrency < Least || l.Concurrency > Most || l.Batch != 7 {
					t.Fatalf("%d open, limits %+v", open, l)
				}
			}
			for ; open > 0; open-- {
				p.Done(now, pace.Call{Outcome: pace.OutcomeCanceled})
			}
			for what, fault := range map[string]func(){
				"Done without Ask": func() { p.Done(now, pace.Call{}) }, "Ask for nothing": func() { p.Ask(now, 0, 0) },
			} {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%s does not panic", what)
						}
					}()
					fault()
				}()
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]LimiterConfig{"fixed": {}, "nobody": {}, "aimd": {Batch: -1}} {
		if _, err := NewLimiter(name, c); err == nil {
			t.Errorf("%s with %+v was made", name, c)
		}
	}
}
