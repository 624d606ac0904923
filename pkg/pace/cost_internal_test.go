package pace

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Weights are learnt from kinds in flight at the same time: neither the setting nor the mix moves them, and the reference costs 1
// whatever the other kinds are compared with. If it drifted, every limit of the cost would drift with it.
func TestWeightsDoNotMoveWithTheSetting(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var w weights
	w.refer(1)
	cost := []float64{20, 1, 5} // of a call, beside each other
	for i := range 2000 {
		slower := math.Exp(3 * r.Float64()) // the setting: all kinds take so much longer
		var kinds [MaxKinds]kindCount
		for k := range cost {
			calls := float64(r.IntN(40)) // the mix
			noise := 1 + .3*r.NormFloat64()/math.Sqrt(math.Max(1, calls))
			kinds[k] = kindCount{calls: calls, items: 4 * calls, area: calls * cost[k] * slower * noise}
		}
		w.count(float64(i), kinds)
		if w.known[1] && w.of[1] != 1 {
			t.Fatalf("the reference costs %v after %d rounds", w.of[1], i)
		}
	}
	for k, want := range cost {
		if got := w.of[k]; math.Abs(got/want-1) > .15 {
			t.Errorf("kind %d costs %.2f, want %v", k, got, want)
		}
	}
}

// What a mix of kinds delivers is compared kind by kind: another mix at the same speed is no gain, and the same mix at half the
// speed is a loss of a half.
func TestEfficiencyComparesLikeWithLike(t *testing.T) {
	t.Parallel()
	at := func(writes, lookups, slower float64) point {
		return point{seconds: 1, kinds: [MaxKinds]kindCount{
			{calls: writes, items: writes, area: writes * .02 * slower}, {calls: lookups, items: lookups, area: lookups * .001 * slower},
		}}
	}
	base := at(100, 1000, 1)
	for name, tc := range map[string]struct {
		look point
		want float64
	}{
		"the same":        {at(100, 1000, 1), 0},
		"more writes":     {at(300, 10, 1), 0},
		"more look-ups":   {at(5, 5000, 1), 0},
		"twice as slow":   {at(100, 1000, 2), -math.Ln2},
		"slower and else": {at(300, 10, 2), -math.Ln2},
	} {
		got, se, ok := tc.look.efficiency(base, kindCount.size)
		if !ok || math.Abs(got-tc.want) > 1e-9 || se <= 0 {
			t.Errorf("%s: %v ± %v, %v; want %v", name, got, se, ok, tc.want)
		}
	}
	if _, _, ok := at(100, 0, 1).efficiency(at(0, 100, 1), kindCount.size); ok {
		t.Error("kinds that have nothing in common were compared")
	}
}
