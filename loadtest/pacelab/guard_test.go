package pacelab

import "testing"

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
		"stall":        {0.92, 0.77},
		"crash-1.5":    {0.93, 0.90},
		"crash-2":      {0.90, 0.71},
		"crash-3":      {0.92, 0.90},
		"batch":        {0.87, 0.93},
		"latency-x5":   {0.94, 0.92},
		"noise":        {0.91, 0.89},
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
