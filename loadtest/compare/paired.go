package compare

import (
	"math"
	"slices"

	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/report"
)

// figures are what people are compared by: false where a person says nothing of it in one of the arms.
func figures() []struct {
	name, unit string
	of         func(a, b people.Outcome) (float64, bool)
} {
	return []struct {
		name, unit string
		of         func(a, b people.Outcome) (float64, bool)
	}{
		{"got their new password", "percentage points", func(a, b people.Outcome) (float64, bool) {
			return 100 * (one(b.Completed) - one(a.Completed)), true
		}},
		{"steps that failed for a person", "steps", func(a, b people.Outcome) (float64, bool) {
			return float64(b.Failures - a.Failures), true
		}},
		{"wait of those who got there in both", "s", func(a, b people.Outcome) (float64, bool) {
			return (b.Wait - a.Wait).Seconds(), a.Completed && b.Completed
		}},
	}
}

// differences compares every arm with the first, person by person. With three rounds or more each round is one difference.
func differences(arms []Arm, rounds []round, seed uint64) []report.Difference {
	var list []report.Difference
	for i := 1; i < len(arms); i++ {
		for _, figure := range figures() {
			var all, means []float64
			for _, r := range rounds {
				part := paired(r.outcomes[0], r.outcomes[i], figure.of)
				all = append(all, part...)
				if len(part) > 0 {
					means = append(means, Paired(part, seed).Mean)
				}
			}
			got := Paired(all, seed)
			if len(rounds) >= 3 {
				got = Rounds(means)
			}
			if got.N == 0 || math.IsInf(got.High, 0) {
				continue // too few to say anything
			}
			list = append(list, report.Difference{
				Figure: figure.name, Arm: arms[i].Name, Against: arms[0].Name, Unit: figure.unit,
				Difference: got.Mean, Low: got.Low, High: got.High, N: got.N,
			})
		}
	}
	return list
}

// paired are the differences of those who came in both arms, in the order of their coming, which is that of their numbers.
func paired(a, b []people.Outcome, of func(a, b people.Outcome) (float64, bool)) []float64 {
	other := make(map[uint64]people.Outcome, len(a))
	for _, o := range a {
		other[o.Person] = o
	}
	b = slices.Clone(b)
	slices.SortFunc(b, func(x, y people.Outcome) int { return int(x.Person) - int(y.Person) })
	var list []float64
	for _, o := range b {
		before, ok := other[o.Person]
		if !ok {
			continue
		}
		if d, ok := of(before, o); ok {
			list = append(list, d)
		}
	}
	return list
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
