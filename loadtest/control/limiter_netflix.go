package control

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

// aimd counts up by one with each answer while at least half of the limit is used, and down by a tenth, but by at least
// one, with each drop. An answer after 5 s is a drop too. (AIMDLimit)
type aimd struct{ now int }

// NewAIMD is Netflix's AIMDLimit.
func NewAIMD(c LimiterConfig) (pace.Pacer, error) { return newLimiter(c, &aimd{now: 10}) }

func (a *aimd) limit() int { return a.now }

func (a *aimd) add(s sample) {
	const (
		backoff = .9
		late    = 5 * time.Second
	)
	switch {
	case s.dropped || s.latency > late:
		a.now = max(Least, min(a.now-1, int(float64(a.now)*backoff)))
	case 2*s.inFlight >= a.now:
		a.now = min(Most, a.now+1)
	}
}

// average is the mean of its first ten values, and exponential after that.
type average struct {
	value float64
	count int
	share float64 // of a new value: 2 ÷ (window + 1)
}

func (a *average) add(v float64) {
	const warmUp = 10
	if a.count < warmUp {
		a.count++
		a.value += (v - a.value) / float64(a.count)
		return
	}
	a.value += (v - a.value) * a.share
}

// gradient2 compares the present latency with its long-term mean. (Gradient2Limit)
type gradient2 struct {
	window window
	long   average // of latency, in s
	now    float64
}

// NewGradient2 is Netflix's Gradient2Limit in its WindowedLimit.
func NewGradient2(c LimiterConfig) (pace.Pacer, error) {
	return newLimiter(c, &gradient2{now: initial, long: average{share: 2. / 601}})
}

func (g *gradient2) limit() int { return int(g.now) }

func (g *gradient2) add(s sample) {
	const (
		queue     = 4   // calls that may queue while latency is as usual
		tolerance = 1.5 // how much longer than the long-term mean the present latency may be
		smoothing = .2
	)
	s, full := g.window.add(s)
	if !full {
		return
	}
	short := s.latency.Seconds()
	g.long.add(short)
	long := g.long.value
	if long > 2*short { // latency is back to normal: do not wait for the mean
		g.long.value *= .95
	}
	if float64(s.inFlight) < g.now/2 {
		return
	}
	gradient := max(.5, min(1, tolerance*long/short))
	g.now = clamp(g.now*(1-smoothing) + (g.now*gradient+queue)*smoothing)
}

// window makes one sample a second of many. (WindowedLimit with its defaults)
type window struct {
	next     time.Time
	sum      time.Duration
	count    int
	inFlight int
	dropped  bool
}

// add returns the second's sample once it is over and had ten calls; fewer are thrown away.
func (w *window) add(s sample) (sample, bool) {
	const (
		length = time.Second
		least  = 10
		tooFew = 100 * time.Microsecond // shorter calls did not reach the store
	)
	if s.latency < tooFew {
		return sample{}, false
	}
	w.sum, w.count = w.sum+s.latency, w.count+1
	w.inFlight, w.dropped = max(w.inFlight, s.inFlight), w.dropped || s.dropped
	if !s.end.After(w.next) {
		return sample{}, false
	}
	all := sample{end: s.end, latency: w.sum / time.Duration(w.count), inFlight: w.inFlight, dropped: w.dropped}
	full := w.count >= least
	*w = window{next: s.end.Add(length)}
	return all, full
}

// vegas takes what a call was slower than the fastest seen for time in a queue. (VegasLimit)
type vegas struct {
	now     float64
	fastest time.Duration
	samples int     // since the fastest was last forgotten
	jitter  float64 // .5 to 1: when it is forgotten next
	rand    *rand.Rand
}

// NewVegas is Netflix's VegasLimit.
func NewVegas(c LimiterConfig) (pace.Pacer, error) {
	v := &vegas{now: initial, rand: rand.New(rand.NewPCG(c.Seed, 0))} // a simulation's draw, no secret
	v.jitter = .5 + v.rand.Float64()/2
	return newLimiter(c, v)
}

func (v *vegas) limit() int { return int(v.now) }

func (v *vegas) add(s sample) {
	const forgetAfter = 30 // times the limit, times the jitter, samples
	v.samples++
	if float64(v.samples) >= forgetAfter*v.jitter*v.now {
		v.samples, v.fastest = 0, s.latency
		v.jitter = .5 + v.rand.Float64()/2
		return
	}
	if v.fastest == 0 || s.latency < v.fastest {
		v.fastest = s.latency
		return
	}
	step := logarithm(v.now)
	queue := math.Ceil(v.now * (1 - float64(v.fastest)/float64(s.latency)))
	switch {
	case s.dropped:
		v.now -= step
	case float64(2*s.inFlight) < v.now:
	case queue <= step:
		v.now += 6 * step
	case queue < 3*step:
		v.now += step
	case queue > 6*step:
		v.now -= step
	}
	v.now = clamp(v.now)
}

// logarithm of a limit, in whole steps and at least 1; past 1000 that library takes the root.
func logarithm(limit float64) float64 {
	if limit < 1000 {
		return max(1, math.Floor(math.Log10(math.Floor(limit))))
	}
	return math.Floor(math.Sqrt(limit))
}
