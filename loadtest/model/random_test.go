package model

import (
	"math"
	"slices"
	"testing"
)

const samples = 200_000

func TestDrawsFollowTheirDistributions(t *testing.T) {
	t.Parallel()
	s := NewRandom(7)
	var uniform, exponential float64
	logs := make([]float64, samples)
	for person := range uint64(samples) {
		uniform += s.Uniform(person, Draw{Kind: 1})
		exponential += s.Exponential(person, Draw{Kind: 2})
		logs[person] = s.LogNormal(person, Draw{Kind: 3}, 4, 2)
	}
	if mean := uniform / samples; math.Abs(mean-0.5) > 0.005 {
		t.Errorf("uniform mean %.4f, want 0.5", mean)
	}
	if mean := exponential / samples; math.Abs(mean-1) > 0.01 {
		t.Errorf("exponential mean %.4f, want 1", mean)
	}
	slices.Sort(logs)
	if median := logs[samples/2]; math.Abs(median-4) > 0.1 {
		t.Errorf("log-normal median %.3f, want 4", median)
	}
	// One σ above the median lies at Φ(1) = 0.8413 of the sorted samples.
	if q := logs[int(0.8413*samples)]; math.Abs(q-4*math.Exp(2)) > 1.2 {
		t.Errorf("log-normal at one sigma %.2f, want %.2f", q, 4*math.Exp(2))
	}
}

func TestDrawsDependOnTheirKeyOnly(t *testing.T) {
	t.Parallel()
	a, b := NewRandom(1), NewRandom(1)
	_ = b.Bits(9, Draw{Kind: 9}) // another draw in between changes nothing
	if a.Bits(5, Draw{Kind: 1, Nth: 2}) != b.Bits(5, Draw{Kind: 1, Nth: 2}) {
		t.Error("the same key drew different numbers")
	}
	seen := map[uint64]string{}
	for _, c := range []struct {
		name string
		bits uint64
	}{
		{"base", a.Bits(5, Draw{Kind: 1, Nth: 2})},
		{"seed", NewRandom(2).Bits(5, Draw{Kind: 1, Nth: 2})},
		{"person", a.Bits(6, Draw{Kind: 1, Nth: 2})},
		{"kind", a.Bits(5, Draw{Kind: 2, Nth: 2})},
		{"nth", a.Bits(5, Draw{Kind: 1, Nth: 3})},
	} {
		if other, dup := seen[c.bits]; dup {
			t.Errorf("%s and %s drew the same number", c.name, other)
		}
		seen[c.bits] = c.name
	}
}
