package compare

import (
	"math"
	"testing"

	"github.com/surgegate/surgegate/loadtest/model"
)

// Of intervals of 95 %, about 95 in 100 hold the truth; a percentile bootstrap of 20 batches is known to be a little narrow.
func TestCoverage(t *testing.T) {
	t.Parallel()
	const trials, truth = 400, 3.0
	source := model.NewRandom(5)
	held := 0
	for trial := range uint64(trials) {
		list := make([]float64, 500)
		for i := range list {
			list[i] = truth + 4*(source.Uniform(trial, model.Draw{Nth: uint32(i)})-.5)
		}
		if got := Paired(list, trial); got.Low <= truth && truth <= got.High {
			held++
		}
	}
	if share := float64(held) / trials; share < .90 || share > .98 {
		t.Errorf("%.3f of the intervals hold the truth, want about 0.95", share)
	}
}

// Neighbours who share a queue's fate make an interval wider than as many strangers would.
func TestNeighboursAreNotIndependent(t *testing.T) {
	t.Parallel()
	source := model.NewRandom(1)
	var strangers, neighbours []float64
	for i := range uint64(2000) {
		strangers = append(strangers, source.Uniform(i, model.Draw{}))
		neighbours = append(neighbours, source.Uniform(i/100, model.Draw{}))
	}
	a, b := Paired(strangers, 1), Paired(neighbours, 1)
	if b.High-b.Low < 3*(a.High-a.Low) {
		t.Errorf("strangers %v, neighbours %v", a, b)
	}
}

func TestSure(t *testing.T) {
	t.Parallel()
	ones := make([]float64, 100)
	for i := range ones {
		ones[i] = 1 + .1*float64(i%2)
	}
	if got := Paired(ones, 1); !got.Sure() || got.N != 100 || math.Abs(got.Mean-1.05) > 1e-9 {
		t.Errorf("%+v", got)
	}
	for _, few := range [][]float64{nil, {1}} {
		if got := Paired(few, 1); got.Sure() || !math.IsInf(got.High, 1) {
			t.Errorf("of %d differences: %+v", len(few), got)
		}
	}
	if got := Paired([]float64{1, 2, 1}, 1); got.Low < 1 || got.High > 2 || !got.Sure() {
		t.Errorf("%+v", got)
	}
}

// Of intervals of three rounds, about 95 in 100 hold the truth.
func TestRoundsCover(t *testing.T) {
	t.Parallel()
	source := model.NewRandom(9)
	for _, n := range []int{3, 15} {
		const trials = 2000
		held := 0
		for trial := range uint64(trials) {
			list := make([]float64, n)
			for i := range list { // about normal: a sum of twelve uniforms
				for k := range 12 {
					list[i] += source.Uniform(trial, model.Draw{Kind: uint32(i), Nth: uint32(k)})
				}
			}
			if got := Rounds(list); got.Low <= 6 && 6 <= got.High && got.N == n {
				held++
			}
		}
		if share := float64(held) / trials; share < .935 || share > .965 {
			t.Errorf("%.3f of the intervals of %d rounds hold the truth", share, n)
		}
	}
	if got := Rounds([]float64{1}); got.Sure() {
		t.Errorf("one round is sure: %+v", got)
	}
}
