package control

import (
	"slices"
	"testing"
)

// The chart keeps what it has reached: a few seeds a shape, small stores, floors a little under today's worst. The whole
// comparison with many seeds is `make bench`; this only tells that a change broke something.
func TestTheChartKeepsItsGoodput(t *testing.T) {
	t.Parallel()
	floors := map[string]struct{ fast, slow float64 }{
		"workers":      {0.95, 0.95},
		"heavy-tail":   {0.94, 0.95},
		"usl":          {0.92, 0.90},
		"half-workers": {0.95, 0.92},
		"half-knee":    {0.92, 0.74}, // 0.749 in a plain build, 0.84 with the race detector: one look decided otherwise
		"half-speed":   {0.87, 0.85},
		"creep":        {0.92, 0.89},
		"stall":        {0.89, 0.77},
		"crash-1.5":    {0.80, 0.90},
		"crash-2":      {0.90, 0.71},
		"crash-3":      {0.92, 0.90},
		"batch":        {0.87, 0.89},
		"latency-x5":   {0.94, 0.92},
		"noise":        {0.91, 0.85},
	}
	for _, shape := range shapes() {
		for _, slow := range []bool{false, true} {
			floor := floors[shape.Name].fast
			speed := "fast"
			if slow {
				floor, speed = floors[shape.Name].slow, "slow"
			}
			t.Run(shape.Name+"/"+speed, func(t *testing.T) {
				t.Parallel()
				worst, at := 1.0, uint64(0)
				for _, seed := range []uint64{6, 9} {
					m := shape.Make(Draw{Seed: seed, Slow: slow, MostCalls: 20_000})
					if g := Run(m, newChart(t, m), seed).Goodput; g < worst {
						worst, at = g, seed
					}
				}
				if worst < floor {
					t.Errorf("goodput %.3f of seed %d is under %.2f", worst, at, floor)
				}
			})
		}
	}
}

// Several kinds of work, and callers that do not use what they may: the limit follows what is in flight, no mix that changes
// within seconds pushes a fast store over, and one that dies dies at most once, in the first minute.
func TestTheChartBearsMixes(t *testing.T) {
	t.Parallel()
	for _, shape := range Mixes() {
		t.Run(shape.Name, func(t *testing.T) {
			t.Parallel()
			var goodputs []float64
			for _, seed := range []uint64{0, 1, 4, 6} {
				m := shape.Make(Draw{Seed: seed, MostCalls: 20_000})
				r := Run(m, newChart(t, m), seed)
				goodputs = append(goodputs, r.Goodput)
				if r.Unused > 2 {
					t.Errorf("seed %d: the limit was raised to %.2f times the calls that had been in flight", seed, r.Unused)
				}
				most := 1
				if m.Contention == ByCost {
					most = 2 // where it dies again on the way back before it knows what each kind costs: one more than the goal
				}
				if r.Crashes > most || r.Late > 0 {
					t.Errorf("seed %d: %d crashes, %d after the first minute", seed, r.Crashes, r.Late)
				}
			}
			slices.Sort(goodputs)
			if median := (goodputs[1] + goodputs[2]) / 2; shape.saturated() && median < .93 {
				t.Errorf("a median goodput of %.3f: %.3f", median, goodputs)
			}
		})
	}
}

// saturated tells whether the shape's caller always has something to send, and sends as much as it may; a store that dies
// delivers nothing for a while.
func (s Shape) saturated() bool {
	m := s.Make(Draw{Seed: 1, MostCalls: 20_000})
	return m.Saturated() && m.Crash == 0
}

// With two of its calls in flight a caller is no reason to allow more, however large the calls that it asks for.
func TestAnUnusedLimitStays(t *testing.T) {
	t.Parallel()
	m := Model{Service: .005, Knee: 100, Fixed: .8, MaxBatch: 16, Slots: 2, WarmUp: 10, Length: 60}
	r := Run(m, newChart(t, m), 1)
	for _, p := range r.Trace {
		if p.Limit > startLimit {
			t.Fatalf("a limit of %d with %v inside at %v s", p.Limit, p.Inside, p.At)
		}
	}
	if last := r.Trace[len(r.Trace)-1]; last.Batch < 8 {
		t.Errorf("a batch of %d: larger calls are what such a caller gains by", last.Batch)
	}
}
