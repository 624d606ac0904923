package interval

import (
	"math"
	"slices"

	"github.com/surgegate/surgegate/loadtest/draw"
)

const (
	// batches is 20 as Law recommends: fewer say little of the spread, more are no longer independent.
	batches   = 20
	resamples = 2000
	level     = .95
)

// Interval of a mean, with the probability of 95 %.
type Interval struct {
	Mean, Low, High float64
	N               int // differences that it stands on
}

// Sure tells whether it leaves 0 out.
func (i Interval) Sure() bool { return i.Low > 0 || i.High < 0 }

// Paired is the interval of the mean of differences, in the order in which their people came. Fewer than two: Low and High
// are infinite.
func Paired(differences []float64, seed uint64) Interval {
	k := min(batches, len(differences))
	means := make([]batch, k)
	for i := range means {
		part := differences[i*len(differences)/k : (i+1)*len(differences)/k]
		means[i] = batch{sum(part), float64(len(part))}
	}
	return bootstrap(means, len(differences), seed)
}

// batch is a sum over so many.
type batch struct{ sum, n float64 }

func bootstrap(all []batch, n int, seed uint64) Interval {
	mean := meanOf(all)
	if len(all) < 2 {
		return Interval{Mean: mean, Low: math.Inf(-1), High: math.Inf(1), N: n}
	}
	source := draw.New(seed)
	means := make([]float64, resamples)
	drawn := make([]batch, len(all))
	for i := range means {
		for j := range drawn {
			drawn[j] = all[int(source.Uniform(uint64(i), draw.Number{Nth: uint32(j)})*float64(len(all)))]
		}
		means[i] = meanOf(drawn)
	}
	slices.Sort(means)
	return Interval{Mean: mean, Low: means[int(resamples*(1-level)/2)], High: means[int(resamples*(1+level)/2)-1], N: n}
}

func meanOf(all []batch) float64 {
	var s, n float64
	for _, b := range all {
		s, n = s+b.sum, n+b.n
	}
	if n == 0 {
		return 0
	}
	return s / n
}

func sum(list []float64) (s float64) {
	for _, v := range list {
		s += v
	}
	return s
}
