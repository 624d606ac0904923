package draw

import "math"

// Source is one seeded family of draws. The zero value works and is seed 0.
type Source struct{ seed uint64 }

// New returns the draws of a seed.
func New(seed uint64) Source { return Source{seed: seed} }

// Number names one decision of a person: what is decided, and the how-manieth time.
type Number struct {
	Kind uint32
	Nth  uint32
}

// Bits returns 64 random bits of a person's draw.
func (s Source) Bits(person uint64, n Number) uint64 {
	h := mix(s.seed + 0x9e3779b97f4a7c15)
	h = mix(h ^ mix(person+0xd1b54a32d192ed03))
	return mix(h ^ mix(uint64(n.Kind)<<32|uint64(n.Nth)))
}

// Uniform returns a number in [0, 1).
func (s Source) Uniform(person uint64, n Number) float64 {
	return float64(s.Bits(person, n)>>11) / (1 << 53)
}

// Exponential returns a number with mean 1.
func (s Source) Exponential(person uint64, n Number) float64 {
	return -math.Log1p(-s.Uniform(person, n))
}

// LogNormal returns a number with the given median and σ of its logarithm.
func (s Source) LogNormal(person uint64, n Number, median, sigma float64) float64 {
	u := s.Uniform(person, n)
	if u == 0 {
		u = 1.0 / (1 << 54)
	}
	return median * math.Exp(sigma*math.Sqrt2*math.Erfinv(2*u-1))
}

func mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}
