package model

import "math"

// Random makes common random numbers: every random decision of a storm depends on the seed, the person and the draw alone, never
// on the order in which things happened. All arms of a comparison therefore meet the same people with the same patience. The zero
// value has seed 0. The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014) and costs about 3 ns.
type Random struct{ seed uint64 }

// NewRandom returns the draws of a seed.
func NewRandom(seed uint64) Random { return Random{seed: seed} }

// Draw names one decision of a person: what is decided (Kind), and the count of earlier decisions of that kind (Nth).
type Draw struct {
	Kind uint32
	Nth  uint32
}

// Bits returns 64 random bits of a person's draw.
func (s Random) Bits(person uint64, n Draw) uint64 {
	h := mix(s.seed + 0x9e3779b97f4a7c15)
	h = mix(h ^ mix(person+0xd1b54a32d192ed03))
	return mix(h ^ mix(uint64(n.Kind)<<32|uint64(n.Nth)))
}

// Uniform returns a number in [0, 1).
func (s Random) Uniform(person uint64, n Draw) float64 {
	return float64(s.Bits(person, n)>>11) / (1 << 53)
}

// Exponential returns a number with mean 1.
func (s Random) Exponential(person uint64, n Draw) float64 {
	return -math.Log1p(-s.Uniform(person, n))
}

// LogNormal returns a number with the given median and σ of its logarithm.
func (s Random) LogNormal(person uint64, n Draw, median, sigma float64) float64 {
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
