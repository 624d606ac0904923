package pace

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// ChartConfig is the configuration of a Chart. The zero value measures everything.
type ChartConfig struct {
	// Min and Max bound the concurrency. Defaults 1 and 1000.
	Min, Max int
	// Start is the concurrency that it begins with. Default 4: the least at which one slow call does not stop all others.
	Start int
	// Headroom is the share of the concurrency that is left for the downstream's other callers. Default 0, at most 0.9.
	Headroom float64
	// Rate is the most items a second, whatever the downstream could do; a tenth of a second's may pass at once, at least
	// one. 0 (default): no bound.
	Rate float64
	// Batch is the most items in one call. Default 1000, and no more than pass at once.
	Batch int
}

// WithDefaults returns the config with its zero fields filled in.
func (c ChartConfig) WithDefaults() ChartConfig {
	if c.Min == 0 {
		c.Min = 1
	}
	if c.Max == 0 {
		c.Max = max(1000, c.Min)
	}
	if c.Start == 0 {
		c.Start = startLevel
	}
	if c.Batch == 0 {
		c.Batch = 1000
	}
	return c
}

// Validate names the field that is wrong. Zero fields are right.
func (c ChartConfig) Validate() error {
	c = c.WithDefaults()
	var errs []error
	if c.Min < 1 {
		errs = append(errs, fmt.Errorf("min: %d is not at least 1", c.Min))
	}
	if c.Max < c.Min {
		errs = append(errs, fmt.Errorf("max: %d is under the least of %d", c.Max, c.Min))
	}
	if c.Start < 1 {
		errs = append(errs, fmt.Errorf("start: %d is not at least 1", c.Start))
	}
	if !(c.Headroom >= 0 && c.Headroom <= .9) {
		errs = append(errs, fmt.Errorf("headroom: %v is not within 0 and 0.9", c.Headroom))
	}
	if !(c.Rate >= 0) || math.IsInf(c.Rate, 1) {
		errs = append(errs, fmt.Errorf("rate: %v is not a number of items a second", c.Rate))
	}
	if c.Batch < 1 {
		errs = append(errs, fmt.Errorf("batch: %d is not at least 1", c.Batch))
	}
	return errors.Join(errs...)
}

// capped bounds the batch where there is a rate: a larger one than may pass at once could never pass.
func (c ChartConfig) capped() ChartConfig {
	if c.Rate > 0 {
		c.Batch = min(c.Batch, burstOf(c.Rate))
	}
	return c
}

// Chart is a Pacer that finds the downstream's capacity by measuring. Make it with NewChart.
type Chart struct {
	configured ChartConfig
	config     ChartConfig // in force
	clamp      clock.Clamp
	first      time.Time
	now        float64 // s since first

	inFlight int
	area     float64 // ∫ inFlight dt
	tokens   *bucket

	costs costs
	fails failures
	chart chart
	look  look
	plan  plan
	// looks counts the looks, and cutLook is the first one after speed was last cut.
	looks, cutLook uint64
	// ceiling is how many items in flight an overload has taught to stay under; +Inf: none.
	ceiling   float64
	ceilingAt float64
	// sound is the base of the last look that came to its end.
	sound int
	// before is the concurrency before the outage that it comes back from; 0: none.
	before  float64
	wanting bool // somebody was refused for want of a slot since the look began
	bigger  bool // somebody asked for more items than a call may carry since the look began
	starved bool // the caller is short of processor time
}

var _ Pacer = (*Chart)(nil)

// startLevel is ChartConfig.Start's default.
const startLevel = 4

// NewChart returns a Pacer that begins with calls of 1 item. Errors are those of ChartConfig.Validate.
func NewChart(config ChartConfig) (*Chart, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("pace: %w", err)
	}
	config = config.WithDefaults()
	c := &Chart{
		configured: config, config: config.capped(), ceiling: math.Inf(1), tokens: newBucket(config.Rate, burstOf(config.Rate)),
	}
	c.costs.reset()
	c.chart, c.sound = make(chart), c.bound(c.config.Start, 1)
	c.begin(setting{c.sound, 1})
	return c, nil
}

// tick takes note of the time.
func (c *Chart) tick(t time.Time) time.Time {
	t = c.clamp.Now(t)
	if c.first.IsZero() {
		c.first = t
		return t
	}
	now := t.Sub(c.first).Seconds()
	c.area += float64(c.inFlight) * (now - c.now)
	c.now = now
	return t
}

// Ask implements Pacer.
func (c *Chart) Ask(now time.Time, kind Kind, items int) Verdict {
	if items < 1 || kind >= MaxKinds {
		panic(fmt.Sprintf("pace: Ask for %d items of kind %d", items, kind))
	}
	now = c.tick(now)
	c.press(items)
	c.progress()
	c.press(items) // the look may be another now
	at := c.look.at
	items = min(items, at.batch)
	if c.inFlight >= at.calls {
		return Verdict{RetryAt: c.time(c.look.until)}
	}
	if !c.tokens.take(now, items) {
		return Verdict{RetryAt: c.tokens.when(now, items)}
	}
	c.inFlight++
	if c.inFlight >= at.calls {
		c.look.reached = true
	}
	return Verdict{Go: true, Items: items, Grant: c.tokens.epoch}
}

// press notes what of an Ask the look's setting does not let through.
func (c *Chart) press(items int) {
	c.bigger = c.bigger || items > c.look.at.batch
	c.wanting = c.wanting || c.inFlight >= c.look.at.calls
}

// Done implements Pacer.
func (c *Chart) Done(now time.Time, call Call) {
	if c.inFlight == 0 {
		panic("pace: Done without an Ask that was told Go")
	}
	now = c.tick(now)
	c.inFlight--
	c.tokens.giveBack(now, call)
	started := call.Start.Sub(c.first).Seconds()
	if started < c.look.since {
		c.look.old = max(0, c.look.old-1)
	}
	if call.Outcome == OutcomeCanceled {
		return
	}
	switch call.Outcome {
	case OutcomeOverload, OutcomeTimeout:
		c.failed(call.Outcome, started)
	case OutcomeError: // answered, but nothing was delivered, and perhaps much faster than what is
		c.fails.succeeded(c.now, c.costs.latency)
	default:
		if started >= c.fails.cutAt {
			c.costs.add(call.Kind, call.Items, math.Max(c.now-started, 1e-6), float64(c.inFlight+1))
		}
		c.fails.succeeded(c.now, c.costs.latency)
		c.look.calls++
		c.look.work += c.costs.work(call.Kind, float64(call.Items))
	}
	c.progress()
}

// Resume implements Pacer.
func (c *Chart) Resume(now time.Time) {
	c.tick(now)
	c.before = float64(c.sound)
	c.fails.cutAt = c.now
	c.costs.renew()
	if n := c.fails.lesson(); n > 0 {
		c.ceiling, c.ceilingAt = n, c.now
	}
	c.restart(setting{c.bound(c.sound/4, c.plan.base.batch), c.plan.base.batch})
	c.cutLook = c.looks
}

// SetStarved says whether the caller is short of processor time.
func (c *Chart) SetStarved(now time.Time, starved bool) {
	c.tick(now)
	c.starved = starved
}

// Limits implements Pacer.
func (c *Chart) Limits() Limits {
	ramp := 1.0
	if c.before > 0 {
		ramp = math.Min(1, float64(c.look.at.calls)/c.before)
	}
	return Limits{
		Concurrency: c.look.at.calls, InFlight: c.inFlight, Rate: c.config.Rate, Batch: c.look.at.batch, Ramp: ramp,
	}
}

func (c *Chart) settings() Override {
	return Override{Min: c.configured.Min, Max: c.configured.Max, Rate: c.configured.Rate, Batch: c.configured.Batch}
}

// bounded implements steerable. What the chart knows stays; only what is outside the bounds is left at once.
func (c *Chart) bounded(now time.Time, o Override) {
	now = c.tick(now)
	config := c.configured
	config.Min, config.Max = o.bounds(config.Min, config.Max)
	if o.Rate > 0 {
		config.Rate = o.Rate
	}
	base, held := c.plan.base, c.plan.base.calls >= c.config.Max && config.Max > c.config.Max
	c.config = config.capped()
	c.tokens.set(now, config.Rate, burstOf(config.Rate))
	within := setting{batch: min(base.batch, c.config.Batch)}
	within.calls = c.bound(base.calls, within.batch)
	c.sound = c.bound(c.sound, within.batch)
	switch at := c.look.at; {
	case within != base, held:
		c.begin(within)
		c.plan.hurry = within.calls > base.calls || held
	case at.calls < c.config.Min || at.calls > c.config.Max || at.batch > c.config.Batch:
		c.switchTo(lookBase, c.rest())
	}
}

// leave implements steerable.
func (c *Chart) leave(now time.Time) (inFlight int, tokens *bucket) {
	c.tick(now)
	inFlight, c.inFlight = c.inFlight, 0
	return inFlight, c.tokens
}

// enter implements steerable: as after an outage, but that it begins where it was, or at what the downstream has just
// borne, if that is less. Calls of the time between teach it nothing: they began before a cut.
func (c *Chart) enter(now time.Time, inFlight int, tokens *bucket, most int) {
	c.tick(now)
	c.inFlight, c.tokens = inFlight, tokens
	n := c.sound
	if most > 0 {
		n = min(n, most)
	}
	c.before = 0
	c.fails = failures{cutAt: c.now, survived: c.fails.survived, at: c.fails.at}
	c.costs.renew()
	c.restart(setting{c.bound(n, c.plan.base.batch), c.plan.base.batch})
	c.cutLook = c.looks
}

func (c *Chart) time(s float64) time.Time {
	if math.IsInf(s, 1) {
		return time.Time{}
	}
	return c.first.Add(time.Duration(math.Ceil(s * 1e9)))
}

// bound keeps a concurrency within the configuration and the ceiling.
func (c *Chart) bound(n, batch int) int {
	most := float64(c.config.Max)
	if ceiling := c.ceiling / float64(batch) * math.Exp((c.now-c.ceilingAt)*ceilingGrowth); ceiling < most {
		most = math.Max(ceiling, float64(c.config.Min))
	}
	return max(c.config.Min, min(n, int(most)))
}

// ceilingGrowth lets the ceiling rise by 2 % a minute, so that it is no verdict for ever.
const ceilingGrowth = .02 / 60
