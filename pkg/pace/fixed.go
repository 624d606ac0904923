package pace

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// DefaultBatch is where a PostgreSQL store's password updates stopped gaining much from larger batches: 75 to 110 k/s in batches
// of 64 to 256 (loadtest/README.md, "Batches").
const DefaultBatch = 64

// Config is the configuration of a Fixed pacer.
type Config struct {
	// Concurrency is how many calls may be in flight. 0 (default): unlimited.
	Concurrency int
	// Rate is how many items a second. 0 (default): unlimited.
	Rate float64
	// Burst is how many items may pass at once after a pause. Default: the larger of Batch and a tenth of a second of
	// Rate. Without Rate it is unused.
	Burst int
	// Batch is the largest number of items in one call. Default: DefaultBatch, or Burst if that is set and smaller.
	Batch int
	// RampInitial is the share of full speed after an outage, RampTime how long it takes to grow to 1.
	// Defaults 0.1 and 10 s.
	RampInitial float64
	RampTime    time.Duration
}

// WithDefaults returns the config with its zero fields filled in.
func (c Config) WithDefaults() Config {
	if c.Batch == 0 {
		c.Batch = DefaultBatch
		if c.Rate > 0 && c.Burst > 0 {
			c.Batch = min(c.Batch, c.Burst)
		}
	}
	if c.Burst == 0 && c.Rate > 0 {
		c.Burst = max(c.Batch, int(min(math.Ceil(c.Rate/10), maxBurst)))
	}
	if c.RampInitial == 0 {
		c.RampInitial = .1
	}
	if c.RampTime == 0 {
		c.RampTime = 10 * time.Second
	}
	return c
}

// maxBurst keeps the float64 of the bucket exact to far below one item.
const maxBurst = 1 << 30

// Validate names the field that is wrong. Zero fields are right.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	if c.Concurrency < 0 {
		errs = append(errs, fmt.Errorf("concurrency: %d is negative", c.Concurrency))
	}
	if c.Rate < 0 || math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) {
		errs = append(errs, fmt.Errorf("rate: %v is not a number of items a second", c.Rate))
	}
	if c.Batch < 1 {
		errs = append(errs, fmt.Errorf("batch: %d is not at least 1", c.Batch))
	}
	if c.Burst < 0 || c.Burst > maxBurst {
		errs = append(errs, fmt.Errorf("burst: %d is not within 0 and %d", c.Burst, maxBurst))
	} else if c.Rate > 0 && c.Burst < c.Batch {
		errs = append(errs, fmt.Errorf("burst: %d is under the batch of %d, which could never pass", c.Burst, c.Batch))
	}
	if !(c.RampInitial > 0 && c.RampInitial <= 1) {
		errs = append(errs, fmt.Errorf("ramp_initial: %v is not over 0 and at most 1", c.RampInitial))
	}
	if c.RampTime < 0 {
		errs = append(errs, fmt.Errorf("ramp_time: %v is negative", c.RampTime))
	}
	return errors.Join(errs...)
}

// Fixed is a Pacer with constant limits. Make it with NewFixed.
type Fixed struct {
	configured Config
	config     Config // in force
	tokens     *bucket
	clamp      clock.Clamp
	flight     flight
	ramp       Ramp
	share      float64 // of the ramp, at the latest time seen
}

var _ Pacer = (*Fixed)(nil)

// NewFixed returns a pacer with constant limits whose bucket is full. Errors are those of Config.Validate.
func NewFixed(config Config) (*Fixed, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("pace: %w", err)
	}
	config = config.WithDefaults()
	return &Fixed{configured: config, config: config, share: 1, tokens: newBucket(config.Rate, config.Burst)}, nil
}

// Ask implements Pacer.
func (f *Fixed) Ask(now time.Time, kind Kind, items int) Verdict {
	if items < 1 || kind >= MaxKinds {
		panic(fmt.Sprintf("pace: Ask for %d items of kind %d", items, kind))
	}
	now = f.clamp.Now(now)
	f.share = f.ramp.Share(now)
	items = min(items, max(1, int(f.share*float64(f.config.Batch))))
	if limit := f.config.Concurrency; limit > 0 && f.flight.calls >= max(1, int(f.share*float64(limit))) {
		if f.share < 1 {
			return Verdict{RetryAt: now.Add(rampStep)}
		}
		return Verdict{}
	}
	if !f.tokens.take(now, items) {
		return Verdict{RetryAt: f.tokens.when(now, items)}
	}
	f.flight.add(kind, items)
	return Verdict{Go: true, Items: items, Grant: f.tokens.epoch}
}

// Done implements Pacer.
func (f *Fixed) Done(now time.Time, c Call) {
	f.flight.remove(c)
	f.tokens.giveBack(f.clamp.Now(now), c)
}

// rampStep is how long an Ask that the ramp refuses has to wait: a hundredth of the default ramp.
const rampStep = 100 * time.Millisecond

// Resume implements Pacer.
func (f *Fixed) Resume(now time.Time) {
	f.ramp = Ramp{Start: f.clamp.Now(now), Initial: f.config.RampInitial, Length: f.config.RampTime}
	f.share = f.config.RampInitial
}

// Limits implements Pacer.
func (f *Fixed) Limits() Limits {
	return Limits{
		Concurrency: f.config.Concurrency, InFlight: f.flight.calls, Rate: f.config.Rate, Batch: f.config.Batch, Ramp: f.share,
	}
}

func (f *Fixed) settings() Override {
	return Override{Fixed: true, Concurrency: f.configured.Concurrency, Rate: f.configured.Rate, Batch: f.configured.Batch}
}

// bounded implements steerable.
func (f *Fixed) bounded(now time.Time, o Override) {
	c := f.configured
	if o.Max > 0 && (c.Concurrency == 0 || c.Concurrency > o.Max) {
		c.Concurrency = o.Max
	}
	if c.Concurrency > 0 {
		c.Concurrency = max(c.Concurrency, o.Min)
	}
	if o.Rate > 0 {
		c.Rate, c.Burst = o.Rate, burstOf(o.Rate)
		c.Batch = min(c.Batch, c.Burst)
	}
	f.configure(now, c)
}

// configure puts another configuration into force.
func (f *Fixed) configure(now time.Time, c Config) {
	f.config = c
	f.tokens.set(f.clamp.Now(now), c.Rate, c.Burst)
}

// leave implements steerable.
func (f *Fixed) leave(time.Time) (out flight, tokens *bucket) {
	out, f.flight = f.flight, flight{}
	return out, f.tokens
}

// enter implements steerable. A constant pace is what it is, wherever it comes from.
func (f *Fixed) enter(_ time.Time, out flight, tokens *bucket, _ int) {
	f.flight, f.tokens = out, tokens
}

// full is the concurrency of the present, less than the configured one during a ramp.
func (f *Fixed) full(now time.Time) int {
	return max(1, int(f.ramp.Share(now)*float64(f.config.Concurrency)))
}

// Ramp is a share of full speed that grows linearly with time. The zero value is full speed.
type Ramp struct {
	Start   time.Time     // zero: no ramp, full speed
	Initial float64       // the share at Start
	Length  time.Duration // until the share is 1
}

// Share returns the share at now, from Initial to 1; before Start it is Initial.
func (r Ramp) Share(now time.Time) float64 {
	if r.Done(now) {
		return 1
	}
	passed := max(now.Sub(r.Start), 0)
	return r.Initial + (1-r.Initial)*float64(passed)/float64(r.Length)
}

// Done reports whether full speed is reached.
func (r Ramp) Done(now time.Time) bool {
	return r.Start.IsZero() || r.Length <= 0 || now.Sub(r.Start) >= r.Length
}
