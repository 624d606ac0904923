package control

import (
	"math"
	"math/rand/v2"
)

// Shape is a family of stores that a seed draws one of.
type Shape struct {
	Name  string
	About string // what it does, for a reader
	make  func(m *Model)
}

const (
	// A run: knees and service times are drawn, then it warms up, and a step comes after calm and is taken back.
	fastWarmUp, slowWarmUp = 30, 60 // s
	judged                 = 120    // s after the warm-up
	stepAfter, backAfter   = 30, 70 // s after the warm-up
	stallFor               = 30     // s
	restartAfter           = 20     // s from a crash
	// slow is the service time, in s, over which a store is a slow one.
	slow = .1
)

// usl is contention: along its curve a call at the knee takes 2.8 times as long as alone.
func usl(m *Model) { m.USL, m.Sigma = true, .8/(m.Knee-1) }

// Shapes are the store models of the controller's goals.
func Shapes() []Shape {
	// What a slow store's call takes longer by later it takes less of before: 500 ms is the most that one takes alone,
	// and much more would be all time-outs.
	faster := func(m *Model, by float64) {
		if m.Service > slow {
			m.Service /= by
		}
	}
	there := func(m *Model, s Step, after float64) {
		s.At = m.WarmUp + stepAfter
		m.Steps = []Step{s, {At: m.WarmUp + after, Speed: 1, Workers: 1, Latency: 1}}
	}
	crash := func(m *Model, at float64) { m.Crash, m.Restart = at, restartAfter }
	return []Shape{
		{"workers", "c workers, exponential work", func(*Model) {}},
		{"heavy-tail", "c workers, lognormal work of cv 2", func(m *Model) { m.Heavy = true }},
		{"usl", "contention: throughput falls past the knee", usl},
		{"half-workers", "half of the workers are gone for 40 s", func(m *Model) {
			there(m, Step{Speed: 1, Workers: .5, Latency: 1}, backAfter)
		}},
		{"half-knee", "usl at half the knee for 40 s", func(m *Model) {
			usl(m)
			there(m, Step{Speed: 1, Workers: .5, Latency: 1}, backAfter)
		}},
		{"half-speed", "usl at half the speed for 40 s", func(m *Model) {
			usl(m)
			faster(m, 2)
			there(m, Step{Speed: .5, Workers: 1, Latency: 1}, backAfter)
		}},
		{"creep", "usl that gets slower by half in 2 minutes", func(m *Model) {
			usl(m)
			faster(m, 2)
			m.Creep = -math.Ln2 / judged
		}},
		{"stall", "usl that stands still for 30 s and comes back at half speed for 60 s", func(m *Model) {
			usl(m)
			faster(m, 2)
			there(m, Step{Speed: 0, Workers: 1, Latency: 1}, stepAfter+stallFor)
		}},
		{"crash-1.5", "usl that dies over 1.5 times its knee and is back after 20 s", func(m *Model) { usl(m); crash(m, 1.5) }},
		{"crash-2", "c workers that die over 2 times the knee", func(m *Model) { crash(m, 2) }},
		{"crash-3", "usl that dies over 3 times its knee", func(m *Model) { usl(m); crash(m, 3) }},
		{"batch", "c workers; of a call with one item 0.8 is not the item; up to 64 items", func(m *Model) {
			m.Fixed, m.MaxBatch = .8, 64
			faster(m, m.Fixed+(1-m.Fixed)*float64(m.MaxBatch)) // a full call takes as long
		}},
		{"latency-x5", "c workers; each call takes 5 times as long for 40 s, with as much delivered", func(m *Model) {
			faster(m, 5)
			there(m, Step{Speed: 1, Workers: 1, Latency: 5}, backAfter)
		}},
		{"noise", "usl; 1 % of the calls fail for no reason of load", func(m *Model) { usl(m); m.Noise = .01 }},
	}
}

// Draw is one store of a shape.
type Draw struct {
	Seed uint64
	Slow bool // 250 to 500 ms a call; else 2 to 20 ms
	// MostCalls bounds the calls of the run by the knee, so that a fast store with a high one does not take minutes.
	// Default 400 000.
	MostCalls float64
}

const (
	leastKnee, mostKnee = 4, 400
	mostCalls           = 4e5
)

// Make draws a store: service times and knees are spread evenly over their logarithms.
func (s Shape) Make(d Draw) Model {
	if d.MostCalls == 0 {
		d.MostCalls = mostCalls
	}
	r := rand.New(rand.NewPCG(d.Seed, 7))
	between := func(a, b float64) float64 { return a * math.Pow(b/a, r.Float64()) }
	m := Model{Name: s.Name}
	if d.Slow {
		m.WarmUp, m.Service = slowWarmUp, between(.25, .5)
	} else {
		m.WarmUp, m.Service = fastWarmUp, between(.002, .02)
	}
	m.Length = m.WarmUp + judged
	m.Knee = math.Round(between(leastKnee, mostKnee))
	m.Knee = max(leastKnee, min(m.Knee, math.Round(d.MostCalls*m.Service/m.Length)))
	m.rand, m.most = r, d.MostCalls
	s.make(&m)
	return m
}
