package control

import (
	"math"
	"math/rand/v2"
)

// Step changes a store at a time. Factors are on what the Model says, not on the step before.
type Step struct {
	At      float64 // s
	Speed   float64 // factor on μ; 0: stalled
	Workers float64 // factor on c, and on USL's knee
	Latency float64 // factor on the time of one call alone, with as many more workers: slow, but healthy
}

// Model describes a store and a run with it.
type Model struct {
	Name     string
	Service  float64 // s of one call of one item alone
	Knee     float64 // calls inside at which throughput stops growing
	USL      bool    // throughput falls past the knee; else it stays
	Sigma    float64 // USL's contention
	Heavy    bool    // heavy-tailed work
	Noise    float64 // share of calls that fail for no reason of load
	Crash    float64 // dies when more than Crash·Knee calls are inside; 0: never
	Restart  float64 // s until it is back after a crash
	Fixed    float64 // share of a one-item call that is not the item: a = Fixed, b = 1 − Fixed
	MaxBatch int     // items a call may carry; 0: 1
	// Contention is what Knee and Crash count. In ByItems and ByCost a full call of kind 0 counts as one.
	Contention Unit
	Mix        Mix
	Slots      int     // calls that the caller can have out; 0: as many as it may
	Stops      bool    // the caller stops for 50 to 500 ms again and again
	Steps      []Step  // by time
	Creep      float64 // relative change of speed a second
	Length     float64 // s of the run, whole
	WarmUp     float64 // s that do not count, whole

	rand *rand.Rand // of what the seed draws
	most float64    // calls of the run, about
}

// coldFor is how long, in s, a store that was stalled runs at half speed: its caches are empty.
const coldFor = 60

// Best is the most items a second that the store can complete at its start.
func (m Model) Best() float64 { return newStore(m, nil).best() }

// store is one model at work.
type store struct {
	m             Model
	rand          *rand.Rand
	lambda, kappa float64

	now     float64
	virtual float64  // work done so far for each call inside
	inside  schedule // due: when virtual is there
	load    float64  // of what is inside, in full calls of kind 0
	step    Step

	downUntil float64
	coldUntil float64
	crashes   []float64 // when
	peak      float64   // inside ÷ knee, at its highest
}

func newStore(m Model, r *rand.Rand) *store {
	s := &store{m: m, rand: r, lambda: 1 / m.Service, step: Step{Speed: 1, Workers: 1, Latency: 1}}
	if m.USL {
		s.kappa = (1 - m.Sigma) / (m.Knee * m.Knee)
	}
	return s
}

// knee is where throughput stops growing now.
func (s *store) knee() float64 { return s.m.Knee * s.step.Workers * s.step.Latency }

// down tells whether it has crashed and is not back.
func (s *store) down() bool { return s.now < s.downUntil }

// speed is the factor of the moment on μ.
func (s *store) speed() float64 {
	f := s.step.Speed / s.step.Latency
	if s.m.Creep != 0 {
		f *= math.Exp(s.m.Creep * s.now)
	}
	if s.now < s.coldUntil {
		f /= 2
	}
	return f
}

// progress is how much work a second each call inside does with a load inside, were it up.
func (s *store) progress(load float64) float64 {
	f := s.speed() * s.lambda
	if !s.m.USL {
		return f * min(1, s.knee()/max(1, load))
	}
	// A factor on the knee stretches the curve.
	x := load / (s.step.Workers * s.step.Latency)
	return f / (1 + s.m.Sigma*max(0, x-1) + s.kappa*x*max(0, x-1))
}

// best is the most items a second that it could complete now, in items of kind 0. A crash is the caller's doing, so a store
// that is down counts as what it would deliver if it were not. Where less arrives than it could do that is all.
func (s *store) best() float64 {
	p := s.m.Mix.phase(s.now)
	if p.Rates == nil {
		return s.bestOf(p.Shares)
	}
	arrives := 0.
	for kind, rate := range p.Rates {
		arrives += rate * s.m.Mix.Costs[kind]
	}
	return arrives
}

// bestOf is the same for shares of the calls.
func (s *store) bestOf(shares []float64) float64 {
	batch := s.m.bestBatch()
	knee := max(1, s.knee())
	return knee / s.m.meanLoad(shares) * s.progress(knee) * float64(batch) / s.m.callWork(batch)
}

// each is how much work a second every call inside gets.
func (s *store) each() float64 {
	if len(s.inside) == 0 || s.down() {
		return 0
	}
	return s.progress(s.load)
}

// advance moves to t, which is not past next.
func (s *store) advance(t float64) {
	s.virtual += (t - s.now) * s.each()
	s.now = t
}

// next is when the next call inside is done, or the next change that the store makes by itself.
func (s *store) next() (t float64, done bool) {
	t = math.Inf(1)
	for _, change := range [...]float64{s.downUntil, s.coldUntil} {
		if change > s.now && change < t {
			t = change
		}
	}
	if each := s.each(); each > 0 {
		if end := s.now + max(0, s.inside[0].due-s.virtual)/each; end <= t {
			return end, true
		}
	}
	return t, false
}

// enter takes a call in; false: refused, the store is down. Too many inside kill it: crashed are all that were.
func (s *store) enter(c *call, seq uint64) (taken bool, crashed []entry) {
	if s.down() {
		return false, nil
	}
	work := s.m.callWork(c.items) * s.m.costOf(c.kind)
	if s.m.Heavy {
		sigma2 := math.Log(1 + 2*2) // of a lognormal with a cv of 2
		work *= math.Exp(math.Sqrt(sigma2)*s.rand.NormFloat64() - sigma2/2)
	} else {
		work *= s.rand.ExpFloat64()
	}
	s.inside.push(entry{s.virtual + work, seq, c})
	s.load += s.m.load(c.kind, c.items)
	inside := s.load / s.knee()
	s.peak = max(s.peak, inside)
	if s.m.Crash > 0 && inside > s.m.Crash+1e-9 {
		crashed, s.inside, s.load = s.inside, nil, 0
		s.crashes = append(s.crashes, s.now)
		s.downUntil = s.now + s.m.Restart
	}
	return true, crashed
}

// leave is the call that is done at next.
func (s *store) leave() *call {
	c := s.inside.pop().call
	if s.load -= s.m.load(c.kind, c.items); len(s.inside) == 0 {
		s.load = 0 // no rounding error is carried on
	}
	return c
}

// change makes a step.
func (s *store) change(to Step) {
	if s.step.Speed == 0 && to.Speed > 0 {
		s.coldUntil = s.now + coldFor
	}
	s.step = to
}
