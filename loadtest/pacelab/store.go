package pacelab

import (
	"container/heap"
	"math"
	"math/rand/v2"
)

// Step changes a store at a time.
type Step struct {
	At      float64 // s
	Speed   float64 // factor on μ; 0: stalled
	Workers float64 // factor on c, and on USL's knee
	Latency float64 // factor on the time of one call alone, with as many more workers: slow, but healthy
}

// Model describes a store.
type Model struct {
	Name     string
	Service  float64 // s of one call alone
	Knee     float64 // concurrency where throughput stops growing
	Sigma    float64 // USL: contention; with USL false unused
	USL      bool
	Heavy    bool    // heavy-tailed work
	Noise    float64 // share of calls that fail for no reason of load
	Crash    float64 // dies when more than Crash·Knee calls are inside; 0: never
	Restart  float64 // s until it is back after a crash
	Fixed    float64 // share of a one-item call that is not the item: a = Fixed, b = 1 − Fixed
	MaxBatch int     // items a call may carry; 0: 1
	Steps    []Step
	Creep    float64 // relative change of speed per second
	Length   float64 // s of the run
	WarmUp   float64 // s that do not count
}

// store is one model at work.
type store struct {
	m    Model
	rand *rand.Rand

	now, virtual  float64 // virtual: work done per call inside so far
	inside        jobs
	speed, scale  float64 // factors of the present step
	latency       float64
	downUntil     float64
	coldUntil     float64
	crashes       []float64
	peak          float64 // inside ÷ knee
	area, areaAt  float64 // ∫ inside ÷ knee dt
	kappa, lambda float64
}

// job is one call inside.
type job struct {
	finish float64 // in virtual work
	seq    uint64
	call   *call
}

type jobs []job

func (j jobs) Len() int { return len(j) }
func (j jobs) Less(a, b int) bool {
	return j[a].finish < j[b].finish || j[a].finish == j[b].finish && j[a].seq < j[b].seq
}
func (j jobs) Swap(a, b int) { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)   { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	old := *j
	last := old[len(old)-1]
	*j = old[:len(old)-1]
	return last
}

func newStore(m Model, r *rand.Rand) *store {
	s := &store{m: m, rand: r, speed: 1, scale: 1, latency: 1}
	s.lambda = 1 / m.Service
	if m.USL {
		s.kappa = (1 - m.Sigma) / (m.Knee * m.Knee)
	}
	return s
}

// knee is where throughput stops growing now.
func (s *store) knee() float64 { return s.m.Knee * s.scale * s.latency }

// rate is μ(n): calls of one item a second.
func (s *store) rate(n float64) float64 {
	if n <= 0 {
		return 0
	}
	f := s.speed * math.Exp(s.m.Creep*s.now) / s.latency
	if s.now < s.coldUntil {
		f /= 2
	}
	if s.now < s.downUntil {
		return 0
	}
	if s.m.USL {
		// A scale moves the knee: the same curve, stretched.
		x := n / (s.scale * s.latency)
		return f * s.scale * s.latency * s.lambda * x / (1 + s.m.Sigma*max(0, x-1) + s.kappa*x*max(0, x-1))
	}
	return f * s.lambda * min(n, s.knee())
}

// best is the most items a second that it can complete now.
func (s *store) best() float64 {
	n := float64(max(1, s.m.MaxBatch))
	return s.rate(max(1, s.knee())) * n / (s.m.Fixed + (1-s.m.Fixed)*n)
}

// advance moves to t, which is not past the next finish.
func (s *store) advance(t float64) {
	n := float64(len(s.inside))
	if n > 0 {
		s.virtual += (t - s.now) * s.rate(n) / n
	}
	s.area += (t - s.now) * n / s.knee()
	s.now = t
}

// next is when the next call inside is done.
func (s *store) next() float64 {
	if len(s.inside) == 0 {
		return math.Inf(1)
	}
	n := float64(len(s.inside))
	r := s.rate(n)
	if r <= 0 {
		return math.Inf(1)
	}
	return s.now + max(0, s.inside[0].finish-s.virtual)*n/r
}

// enter takes a call in; false: refused, the store is down.
func (s *store) enter(c *call, seq uint64) (taken bool, crashed []*call) {
	if s.now < s.downUntil {
		return false, nil
	}
	work := s.m.Fixed + (1-s.m.Fixed)*float64(c.items)
	if s.m.Heavy {
		const sigma2 = 1.6094379 // cv 2: ln(1 + 2²)
		work *= math.Exp(math.Sqrt(sigma2)*s.rand.NormFloat64() - sigma2/2)
	} else {
		work *= s.rand.ExpFloat64()
	}
	heap.Push(&s.inside, job{s.virtual + work, seq, c})
	inside := float64(len(s.inside)) / s.knee()
	s.peak = max(s.peak, inside)
	if s.m.Crash > 0 && inside > s.m.Crash {
		for _, j := range s.inside {
			crashed = append(crashed, j.call)
		}
		s.inside = s.inside[:0]
		s.crashes = append(s.crashes, s.now)
		s.downUntil = s.now + s.m.Restart
	}
	return true, crashed
}

// leave is the call that is done at s.next().
func (s *store) leave() *call { return heap.Pop(&s.inside).(job).call }

func (s *store) step(p Step) {
	s.speed, s.scale, s.latency = p.Speed, p.Workers, p.Latency
}
