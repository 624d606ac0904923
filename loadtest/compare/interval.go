package compare

import (
	"math"
	"slices"

	"github.com/surgegate/surgegate/loadtest/model"
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

// Rounds is the interval of the mean of independent rounds' differences: Student's t, since a bootstrap of three says little
// more than the least and the most of them.
func Rounds(differences []float64) Interval {
	n := len(differences)
	i := Interval{Low: math.Inf(-1), High: math.Inf(1), N: n}
	if n == 0 {
		return i
	}
	i.Mean = sum(differences) / float64(n)
	if n < 2 {
		return i
	}
	var squares float64
	for _, d := range differences {
		squares += (d - i.Mean) * (d - i.Mean)
	}
	half := student(n-1) * math.Sqrt(squares/float64(n-1)/float64(n))
	i.Low, i.High = i.Mean-half, i.Mean+half
	return i
}

// student is the 97.5 % quantile of t with so many degrees of freedom; past 10 by its expansion (Abramowitz and Stegun
// 26.7.5), which is within 0.1 % there.
func student(df int) float64 {
	known := [...]float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	if df <= len(known) {
		return known[df-1]
	}
	const z = 1.959964
	return z + (z*z*z+z)/(4*float64(df))
}

// batch is a sum over so many.
type batch struct{ sum, n float64 }

func bootstrap(all []batch, n int, seed uint64) Interval {
	mean := meanOf(all)
	if len(all) < 2 {
		return Interval{Mean: mean, Low: math.Inf(-1), High: math.Inf(1), N: n}
	}
	source := model.NewRandom(seed)
	means := make([]float64, resamples)
	drawn := make([]batch, len(all))
	for i := range means {
		for j := range drawn {
			drawn[j] = all[int(source.Uniform(uint64(i), model.Draw{Nth: uint32(j)})*float64(len(all)))]
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
