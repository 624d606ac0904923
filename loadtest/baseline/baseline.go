package baseline

import (
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

// The bounds of every limit here, and where those begin that learn.
const (
	Least   = 1
	Most    = 2000
	initial = 20 // the default of both libraries, but for AIMDLimit's 10
)

// Config of a baseline. Zero fields mean the defaults.
type Config struct {
	Batch int     // items in one call; default pace.DefaultBatch
	Rate  float64 // of FixedBucket, items/s; required there
	Seed  uint64  // of Vegas's jitter
}

func (c Config) withDefaults() Config {
	if c.Batch == 0 {
		c.Batch = pace.DefaultBatch
	}
	return c
}

func (c Config) validate() error {
	if c.Batch < 0 {
		return fmt.Errorf("baseline: Batch is %d", c.Batch)
	}
	return nil
}

// Names are what New makes, in the order of a table.
func Names() []string {
	return []string{"nothing", "fixed", "aimd", "gradient2", "vegas", "failsafe"}
}

// New makes a baseline by its name.
func New(name string, c Config) (pace.Pacer, error) {
	switch name {
	case "nothing":
		return NewNothing(c)
	case "fixed":
		return NewFixedBucket(c)
	case "aimd":
		return NewAIMD(c)
	case "gradient2":
		return NewGradient2(c)
	case "vegas":
		return NewVegas(c)
	case "failsafe":
		return NewFailsafe(c)
	default:
		return nil, fmt.Errorf("baseline: %q is none of %v", name, Names())
	}
}

// NewNothing lets everything in, up to Most calls.
func NewNothing(c Config) (pace.Pacer, error) {
	c = c.withDefaults()
	return pace.NewFixed(pace.Config{Concurrency: Most, Batch: c.Batch, RampInitial: 1})
}

// NewFixedBucket is what an operator would configure who knows the store's rate and nothing else: a token bucket, and no
// bound of what is inside but Most.
func NewFixedBucket(c Config) (pace.Pacer, error) {
	if !(c.Rate > 0) {
		return nil, fmt.Errorf("baseline: Rate is %v; a fixed bucket needs one", c.Rate)
	}
	c = c.withDefaults()
	return pace.NewFixed(pace.Config{Concurrency: Most, Rate: c.Rate, Batch: c.Batch, RampInitial: 1})
}

// sample is one ended call.
type sample struct {
	end      time.Time
	latency  time.Duration
	inFlight int // this call included
	dropped  bool
}

// algorithm makes a limit of samples.
type algorithm interface {
	add(sample)
	limit() int
}

// limiter is a pace.Pacer whose concurrency follows an algorithm.
type limiter struct {
	batch     int
	inFlight  int
	algorithm algorithm
}

func newLimiter(c Config, a algorithm) (pace.Pacer, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &limiter{batch: c.withDefaults().Batch, algorithm: a}, nil
}

// Ask implements pace.Pacer.
func (l *limiter) Ask(_ time.Time, _ pace.Kind, items int) pace.Verdict {
	if items < 1 {
		panic(fmt.Sprintf("baseline: Ask for %d items", items))
	}
	if l.inFlight >= l.algorithm.limit() {
		return pace.Verdict{}
	}
	l.inFlight++
	return pace.Verdict{Go: true, Items: min(items, l.batch)}
}

// Done implements pace.Pacer.
func (l *limiter) Done(now time.Time, c pace.Call) {
	if l.inFlight == 0 {
		panic("baseline: Done without an Ask that was told Go")
	}
	s := sample{
		end: now, latency: max(1, now.Sub(c.Start)), inFlight: l.inFlight,
		dropped: c.Outcome == pace.OutcomeOverload || c.Outcome == pace.OutcomeTimeout,
	}
	l.inFlight--
	if c.Items > 0 && (s.dropped || c.Outcome == pace.OutcomeOK) {
		l.algorithm.add(s)
	}
}

// Resume implements pace.Pacer.
func (l *limiter) Resume(time.Time) {}

// Limits implements pace.Pacer.
func (l *limiter) Limits() pace.Limits {
	return pace.Limits{Concurrency: l.algorithm.limit(), InFlight: l.inFlight, Batch: l.batch, Ramp: 1}
}

// clamp keeps a limit within the bounds.
func clamp(limit float64) float64 { return max(Least, min(Most, limit)) }
