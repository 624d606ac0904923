package pacelab

import (
	"math"
	"math/rand/v2"
)

// Shape is a family of stores that a seed makes one of.
type Shape struct {
	Name string
	make func(m *Model)
}

// Shapes are the store models of the controller's goals.
func Shapes() []Shape {
	// At the knee a call takes 2.8 times as long as alone.
	usl := func(m *Model) { m.USL, m.Sigma = true, .8/(m.Knee-1) }
	// What gets slower begins faster: 500 ms is what a call takes at most, alone.
	halve := func(m *Model) {
		if m.Service > .1 {
			m.Service /= 2
		}
	}
	steady := Step{Speed: 1, Workers: 1, Latency: 1}
	with := func(at float64, f func(*Step)) Step {
		s := steady
		s.At = at
		f(&s)
		return s
	}
	return []Shape{
		{"workers", func(*Model) {}},
		{"heavy-tail", func(m *Model) { m.Heavy = true }},
		{"usl", usl},
		{"half-workers", func(m *Model) {
			m.Steps = []Step{with(m.WarmUp+30, func(s *Step) { s.Workers = .5 }), with(m.WarmUp+70, func(*Step) {})}
		}},
		{"half-knee", func(m *Model) {
			usl(m)
			m.Steps = []Step{with(m.WarmUp+30, func(s *Step) { s.Workers = .5 }), with(m.WarmUp+70, func(*Step) {})}
		}},
		{"half-speed", func(m *Model) {
			usl(m)
			halve(m)
			m.Steps = []Step{with(m.WarmUp+30, func(s *Step) { s.Speed = .5 }), with(m.WarmUp+70, func(*Step) {})}
		}},
		{"creep", func(m *Model) { usl(m); halve(m); m.Creep = -math.Ln2 / 120 }},
		{"stall", func(m *Model) {
			usl(m)
			halve(m)
			m.Steps = []Step{with(m.WarmUp+30, func(s *Step) { s.Speed = 0 }), with(m.WarmUp+60, func(*Step) {})}
		}},
		{"crash-1.5", func(m *Model) { usl(m); m.Crash, m.Restart = 1.5, 20 }},
		{"crash-2", func(m *Model) { m.Crash, m.Restart = 2, 20 }},
		{"crash-3", func(m *Model) { usl(m); m.Crash, m.Restart = 3, 20 }},
		{"batch", func(m *Model) {
			m.Fixed, m.MaxBatch = .8, 64
			if m.Service > .1 {
				m.Service /= m.Fixed + (1-m.Fixed)*float64(m.MaxBatch) // a full call takes as long
			}
		}},
		{"latency-x5", func(m *Model) {
			if m.Service > .1 {
				m.Service /= 5 // 250 to 500 ms is what it gets to: much more than that runs into deadlines
			}
			m.Steps = []Step{with(m.WarmUp+30, func(s *Step) { s.Latency = 5 }), with(m.WarmUp+70, func(*Step) {})}
		}},
		{"noise", func(m *Model) { usl(m); m.Noise = .01 }},
	}
}

// mostCalls bounds the calls of one run, so that fast stores with a high knee do not take minutes.
const mostCalls = 4e5

// Make draws a store of the shape: fast ones of 2 to 20 ms, slow ones of 250 to 500 ms, knees from 4 to 400.
func (s Shape) Make(seed uint64, slow bool) Model {
	r := rand.New(rand.NewPCG(seed, 7))
	between := func(a, b float64) float64 { return a * math.Pow(b/a, r.Float64()) }
	m := Model{Name: s.Name, WarmUp: 30, Length: 150}
	if slow {
		m.Service, m.WarmUp, m.Length = between(.25, .5), 60, 180
	} else {
		m.Service = between(.002, .02)
	}
	m.Knee = math.Round(between(4, 400))
	m.Knee = max(4, min(m.Knee, math.Round(mostCalls*m.Service/m.Length)))
	s.make(&m)
	return m
}
