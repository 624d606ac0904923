package control

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

// LimiterConfig configures a limiter that the chart is compared with. Zero fields mean the defaults.
type LimiterConfig struct {
	Batch int     // items in one call; default pace.DefaultBatch
	Rate  float64 // of FixedBucket, items/s; required there
	Seed  uint64  // of Vegas's jitter
}

func (c LimiterConfig) withDefaults() LimiterConfig {
	if c.Batch == 0 {
		c.Batch = pace.DefaultBatch
	}
	return c
}

func (c LimiterConfig) validate() error {
	if c.Batch < 0 {
		return fmt.Errorf("control: Batch is %d", c.Batch)
	}
	return nil
}

// LimiterNames lists what NewLimiter makes, in the order of a table.
func LimiterNames() []string {
	return []string{"nothing", "fixed", "aimd", "gradient2", "vegas"}
}

// NewLimiter returns the limiter of that name:
//
//	nothing    lets everything in, up to Most calls
//	fixed      a token bucket of a configured rate: pace.Fixed
//	aimd       +1 with each answer, ×0.9 with each drop
//	gradient2  limit × long-term ÷ present latency + 4, smoothed, once a second
//	vegas      keeps the queue, limit × (1 − least ÷ present latency), within 3..6 lg
//
// The formulas and constants of aimd, gradient2 and vegas are those of github.com/Netflix/concurrency-limits (Apache 2.0); the code is
// ours. Only the bounds of the limit differ: 1 to 2000 (there 20 to 200, and 1 to 1000), because the stores of the comparison have
// knees from 4 to 400. What that library leaves to its caller is done so:
//
//   - a sample is one call, also of a batch: these limiters do not know items, so batches are as large as LimiterConfig.Batch;
//   - OutcomeOverload and OutcomeTimeout are drops; OutcomeError and OutcomeCanceled are ignored, as in its gRPC adapters;
//   - "in flight" of a sample is what is in flight when the call ends, itself included;
//   - gradient2 sits in that library's window of a second (mean latency, most in flight, at least ten samples).
//
// None of them knows an outage: Resume changes nothing, and there is no ramp.
func NewLimiter(name string, c LimiterConfig) (pace.Pacer, error) {
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
	default:
		return nil, fmt.Errorf("control: %q is none of %v", name, LimiterNames())
	}
}

// NewNothing lets everything in, up to Most calls.
func NewNothing(c LimiterConfig) (pace.Pacer, error) {
	c = c.withDefaults()
	return pace.NewFixed(pace.Config{Concurrency: Most, Batch: c.Batch, RampInitial: 1})
}

// NewFixedBucket is what an operator would configure who knows the store's rate and nothing else: a token bucket, and no
// bound of what is inside but Most.
func NewFixedBucket(c LimiterConfig) (pace.Pacer, error) {
	if !(c.Rate > 0) {
		return nil, fmt.Errorf("control: Rate is %v; a fixed bucket needs one", c.Rate)
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

func newLimiter(c LimiterConfig, a algorithm) (pace.Pacer, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &limiter{batch: c.withDefaults().Batch, algorithm: a}, nil
}

// Ask implements pace.Pacer.
func (l *limiter) Ask(_ time.Time, _ pace.Kind, items int) pace.Verdict {
	if items < 1 {
		panic(fmt.Sprintf("control: Ask for %d items", items))
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
		panic("control: Done without an Ask that was told Go")
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
