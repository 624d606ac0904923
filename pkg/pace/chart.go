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

	flight flight
	area   integral // of flight
	tokens *bucket

	latency latencies
	weights weights
	learnt  integral // area when weights last learnt, and what ended well since
	since   [MaxKinds]kindCount
	fails   failures
	chart   chart
	look    look
	plan    plan
	used    used
	// looks counts the looks, and cutLook is the first one after speed was last cut.
	looks, cutLook uint64
	// ceiling is what an outage has taught to stay under since ceilingAt; 0: nothing.
	ceiling    load
	ceilingMix mix // what was in flight when it was learnt
	ceilingAt  float64
	// sound is the base of the last look that came to its end.
	sound setting
	// before is the concurrency before the outage that it comes back from; 0: none.
	before  float64
	bigger  bool    // somebody asked for more items than a call may carry since the look began
	refused float64 // the cost of the dearest call that the limit of the cost has held back since the base was counted
	base    load    // the mean in flight when the base was last counted or moved
	mix     mix     // the same by kind
	starved bool    // the caller is short of processor time
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
		configured: config, config: config.capped(), tokens: newBucket(config.Rate, burstOf(config.Rate)),
	}
	c.latency.reset()
	c.chart = make(chart)
	c.sound = c.within(setting{calls: c.config.Start, batch: 1, cost: costSlack * float64(c.config.Start) * size(1)})
	c.begin(c.sound)
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
	for k, f := range c.flight.kinds {
		c.area[k].calls += float64(f.calls) * (now - c.now)
		c.area[k].size += f.size * (now - c.now)
	}
	c.now = now
	return t
}

// Ask implements Pacer.
func (c *Chart) Ask(now time.Time, kind Kind, items int) Verdict {
	if items < 1 || kind >= MaxKinds {
		panic(fmt.Sprintf("pace: Ask for %d items of kind %d", items, kind))
	}
	now = c.tick(now)
	c.weights.refer(kind)
	c.allowed(kind, items)
	c.progress()
	items = c.allowed(kind, items) // the look may be another now
	if items == 0 {
		return Verdict{RetryAt: c.time(c.look.until)}
	}
	if !c.tokens.take(now, items) {
		return Verdict{RetryAt: c.tokens.when(now, items)}
	}
	c.flight.add(kind, items)
	c.look.reached = c.look.reached || c.flight.calls >= c.look.at.calls
	c.used.note(c.now, load{float64(c.flight.calls), c.weights.cost(c.flight)})
	return Verdict{Go: true, Items: items, Grant: c.tokens.epoch}
}

// allowed is how many of the items a call may carry now, 0 for none, and notes which limit holds it back. One call is always
// allowed, however dear: nothing would ever be known of its kind.
func (c *Chart) allowed(kind Kind, items int) int {
	l := &c.look
	c.bigger = c.bigger || items > l.at.batch
	items = min(items, l.at.batch)
	if c.flight.calls >= l.at.calls {
		l.refused.calls++
		l.reached = true
		return 0
	}
	weight := c.weights.weight(kind)
	room := math.Max(l.at.cost, c.leastCost(l.at.calls)) - c.weights.cost(c.flight)
	if weight*size(items) <= room || c.config.Min > 1 && c.flight.calls < c.config.Min { // an operator's least goes before
		return items
	}
	if c.flight.calls == 0 {
		return max(1, min(items, int(room/weight-callItems)))
	}
	l.refused.cost++
	l.reached = true
	c.refused = math.Max(c.refused, weight*size(items))
	return 0
}

// Done implements Pacer.
func (c *Chart) Done(now time.Time, call Call) {
	now = c.tick(now)
	was := load{float64(c.flight.calls), c.weights.cost(c.flight)}
	c.flight.remove(call)
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
		c.failed(call.Outcome, started, was)
	case OutcomeError: // answered, but nothing was delivered, and perhaps much faster than what is
		c.fails.succeeded(c.now, c.latency.mean)
	default:
		if started >= c.fails.cutAt {
			c.latency.add(call.Kind, math.Max(c.now-started, 1e-6), was.calls)
		}
		c.fails.succeeded(c.now, c.latency.mean)
		ended := kindCount{calls: 1, items: float64(call.Items)}
		c.look.done[call.Kind] = c.look.done[call.Kind].plus(ended)
		c.since[call.Kind] = c.since[call.Kind].plus(ended)
	}
	c.progress()
}

// learnWeights takes what has been counted since the last time.
func (c *Chart) learnWeights() {
	for k := range c.since {
		c.since[k].area = c.area[k].calls - c.learnt[k].calls
	}
	old := c.weights
	c.weights.count(c.now, c.since)
	c.learnt, c.since = c.area, [MaxKinds]kindCount{}
	if old.of != c.weights.of {
		c.ceiling.cost *= c.weights.change(&old, c.ceilingMix)
		c.reprice(c.weights.change(&old, c.mix))
	}
}

// reprice brings all costs but the ceiling's into new weights, in which what they stand for costs f times as much.
func (c *Chart) reprice(f float64) {
	for _, cost := range []*float64{
		&c.plan.base.cost, &c.plan.below.cost, &c.plan.resumed.at.cost, &c.sound.cost, &c.look.at.cost, &c.base.cost, &c.refused,
		&c.fails.survived.cost, &c.fails.first.cost, &c.fails.base.cost, &c.used.now.cost, &c.used.last.cost,
	} {
		*cost *= f
	}
	repriced := make(chart, len(c.chart))
	for l, p := range c.chart {
		l.cost *= f
		if same, ok := repriced[l]; ok { // two that differed by a rounding error
			p = p.plus(same)
		}
		repriced[l] = p
	}
	c.chart = repriced
}

// Resume implements Pacer.
func (c *Chart) Resume(now time.Time) {
	c.tick(now)
	c.before = float64(c.sound.calls)
	c.fails.cutAt = c.now
	c.latency.renew()
	c.ceiling, c.ceilingAt = c.ceilingNow(), c.now
	lesson := c.fails.lesson()
	if lesson.calls > 0 {
		c.ceiling.calls = lesson.calls
	}
	if lesson.cost > 0 {
		c.ceiling.cost, c.ceilingMix = lesson.cost, c.fails.mix
	}
	c.restart(c.within(c.sound.scaled(.25)))
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
	calls := c.look.at.calls
	if c.plan.by == limitCost && c.base.cost > 0 { // as many as their cost allows at the present mix
		calls = min(calls, max(c.flight.calls, int(math.Ceil(c.look.at.cost*c.base.calls/c.base.cost))))
	}
	if c.weights.cost(c.flight)+c.weights.least()*size(1) > math.Max(c.look.at.cost, c.leastCost(c.look.at.calls)) {
		calls = min(calls, c.flight.calls)
	}
	calls = max(calls, c.config.Min)
	return Limits{Concurrency: calls, InFlight: c.flight.calls, Rate: c.config.Rate, Batch: c.look.at.batch, Ramp: ramp}
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
	within := base
	within.batch = min(base.batch, c.config.Batch)
	within = c.within(within)
	c.sound = c.within(c.sound)
	switch at := c.look.at; {
	case within != base, held:
		c.begin(within)
		c.plan.hurry = within.calls > base.calls || held
	case at.calls < c.config.Min || at.calls > c.config.Max || at.batch > c.config.Batch:
		c.switchTo(lookBase, c.rest())
	}
}

// leave implements steerable.
func (c *Chart) leave(now time.Time) (out flight, tokens *bucket) {
	c.tick(now)
	out, c.flight = c.flight, flight{}
	return out, c.tokens
}

// enter implements steerable: as after an outage, but that it begins where it was, or at what the downstream has just
// borne, if that is less. Calls of the time between teach it nothing: they began before a cut.
func (c *Chart) enter(now time.Time, out flight, tokens *bucket, most int) {
	c.tick(now)
	c.flight, c.tokens = out, tokens
	s := c.sound
	if most > 0 && most < s.calls {
		s = s.scaled(float64(most) / float64(s.calls))
	}
	c.before = 0
	c.fails = failures{cutAt: c.now, survived: c.fails.survived, at: c.fails.at}
	c.latency.renew()
	c.restart(c.within(s))
	c.cutLook = c.looks
}

func (c *Chart) time(s float64) time.Time {
	if math.IsInf(s, 1) {
		return time.Time{}
	}
	return c.first.Add(time.Duration(math.Ceil(s * 1e9)))
}

// within keeps a setting within the configuration and the ceiling.
func (c *Chart) within(s setting) setting {
	ceiling := c.ceilingNow()
	if ceiling.calls > 0 {
		s.calls = min(s.calls, int(ceiling.calls))
	}
	if ceiling.cost > 0 {
		s.cost = math.Min(s.cost, ceiling.cost)
	}
	s.calls = max(c.config.Min, min(s.calls, c.config.Max))
	s.cost = math.Max(s.cost, c.leastCost(s.calls))
	return s
}

// leastCost is the least limit of the cost: as many calls of one item as it begins with, of the dearest kind, fit in.
func (c *Chart) leastCost(calls int) float64 {
	least := c.weights.dearest() * size(1) * float64(min(calls, c.config.Start))
	if ceiling := c.ceilingNow(); ceiling.cost > 0 {
		least = math.Min(least, ceiling.cost)
	}
	return least
}

func (c *Chart) ceilingNow() load {
	return c.ceiling.times(math.Exp((c.now - c.ceilingAt) * ceilingGrowth))
}

// ceilingGrowth lets the ceiling rise by 2 % a minute, so that it is no verdict for ever.
const ceilingGrowth = .02 / 60
