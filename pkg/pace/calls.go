package pace

import (
	"math"
	"time"
)

// costs is what calls take: the mean latency and its spread, and what an item of a kind costs beside the others.
type costs struct {
	latency float64 // s of a call, mean of the last ones
	cv2     float64 // squared coefficient of variation of latencies of one kind
	unit    float64 // s of one item of the reference kind
	seen    float64
	ref     int // the kind that was seen first; −1: none
	kinds   [MaxKinds]kindCost
}

type kindCost struct {
	seen    float64
	latency float64 // s of a call
	weight  float64 // an item's cost; 1 for the reference kind
	weighed float64 // calls that weight has learnt from
}

// Bounds of cv²: under the least, counts would be believed too early; over the most, never.
const (
	leastCV2 = .15
	mostCV2  = 5
	// memory is how many calls cv² and weights remember: enough that one mix of calls is like the next.
	memory = 200
	// firstCV2 is what it is taken for before any call, with the weight of doubt calls: a few calls of a store with a heavy
	// tail look regular.
	firstCV2, doubt = 2, 20
	// outlier bounds what one call adds to cv²: one that hung says nothing of the others.
	outlier = 4 * mostCV2
)

func (c *costs) reset() { *c = costs{ref: -1, cv2: firstCV2} }

// add learns from one answered call; atOnce is how many were in flight.
func (c *costs) add(kind Kind, items int, latency, atOnce float64) {
	c.addAll(kind, Tally{Calls: 1, Items: float64(items), Latency: latency, Square: latency * latency}, atOnce)
}

// addAll learns from answered calls of one kind.
func (c *costs) addAll(kind Kind, t Tally, atOnce float64) {
	if t.Items < 1 {
		return
	}
	k := &c.kinds[kind]
	if c.ref < 0 {
		c.ref = int(kind)
	}
	mean := t.Latency / t.Calls
	c.seen += t.Calls
	k.seen += t.Calls
	last := math.Max(10, atOnce)
	fast := 1 / fold(t.Calls, c.seen, last)
	c.latency += fast * (mean - c.latency)
	if k.seen-t.Calls >= 10 {
		x := mean/k.latency - 1
		x2 := x*x + math.Max(0, t.Square/t.Calls-mean*mean)/(k.latency*k.latency)
		c.cv2 += (math.Min(x2, outlier) - c.cv2) / fold(t.Calls, k.seen+doubt, memory)
	}
	k.latency += 1 / fold(t.Calls, k.seen, last) * (mean - k.latency)
	perItem := t.Latency / t.Items
	if c.ref == int(kind) {
		k.weight = 1
	} else if c.unit > 0 && (c.seen > t.Calls || k.weight == 0) { // the first after renew sets the unit, which is an outage's until then
		k.weighed += t.Calls
		k.weight += (perItem/c.unit - k.weight) / fold(t.Calls, k.weighed, memory)
	}
	if k.weight > 0 {
		c.unit += fast * (perItem/k.weight - c.unit)
	}
}

// fold is what to divide by for a running mean to take in n values at once, the last of those seen: a mean of all while they
// are few, and of about the last ones then.
func fold(n, seen, last float64) float64 {
	if n == 1 || seen <= last {
		return math.Min(seen, last) / n
	}
	return 1 / (1 - math.Pow(1-1/last, n))
}

// renew forgets latencies, which an outage has spoilt, and keeps what kinds cost beside each other.
func (c *costs) renew() {
	c.seen = 0
	for i := range c.kinds {
		c.kinds[i].seen = 0
	}
}

// work is what items of a kind cost, in items of the reference kind.
func (c *costs) work(kind Kind, items float64) float64 { return c.kinds[kind].weight * items }

// spread is the variance of the logarithm of a count of one call: the prototype's fit, from queueing theory's shape
// for a saturated store (between a Poisson stream's 1 and a regular one's 0).
func (c *costs) spread() float64 { return .1 + .9*math.Max(leastCV2, math.Min(mostCV2, c.cv2)) }

// settling is how long, in s, new calls take to be like those that have been in flight for long: .7 of a latency, and where
// few calls take most of the time more, because the fast ones end first (the prototype's first looks read 98 ms for a
// store of 250 ms).
func (c *costs) settling() float64 { return .7 * c.latency * math.Max(1, math.Min(mostCV2, c.cv2)/1.3) }

// failures counts calls that load may have broken.
type failures struct {
	total, failed float64 // calls of the window
	since         float64 // when it began
	row           float64 // failures since the last success, and those of them that were time-outs
	rowTimeouts   float64
	first         float64 // items in flight at the first of the row, when, and the base's items then
	firstAt       float64
	base          float64
	cutAt         float64 // when speed was last cut for them
	survived      float64 // the most items in flight that did no harm, and when
	at            float64
}

// count counts a call; a window is of 20 calls and two latencies at least.
func (e *failures) count(now, latency float64) {
	if e.total >= 20 && now-e.since >= 2*latency {
		e.total, e.failed, e.since = 0, 0, now
	}
	e.total++
}

func (e *failures) succeeded(now, latency float64) {
	e.count(now, latency)
	e.row, e.rowTimeouts = 0, 0
}

// survive notes that so many in flight did no harm.
func (e *failures) survive(now, inFlight float64) {
	if inFlight >= e.survives(now) {
		e.survived, e.at = inFlight, now
	}
}

// survives forgets over a minute.
func (e *failures) survives(now float64) float64 { return e.survived * math.Exp(-(now-e.at)/60) }

// lesson is how many items in flight to stay under after an outage that began as failures in a row: refusals, not time-outs,
// at more than the base or than had been survived lately; 0 for any other, which has no lesson. The first failure is seen
// when a look's calls are all out, and the downstream may have died on the way there from the base: so not much more than the
// base, which it has borne.
func (e *failures) lesson() float64 {
	switch {
	case e.first == 0 || e.rowTimeouts > e.row/2:
		return 0
	case e.first > 1.05*e.base:
		return math.Max(e.base, .7*e.first)
	case e.first > 1.05*e.survives(e.firstAt):
		return .8 * e.first
	default:
		return 0
	}
}

// tolerated is the share of failures that may have another reason than load.
const tolerated = .08

// failed counts a call that load has broken. What began before the last cut says nothing of the speed since.
func (c *Chart) failed(o Outcome, started float64) {
	e := &c.fails
	if started < e.cutAt {
		return
	}
	e.count(c.now, c.costs.latency)
	if e.row == 0 {
		e.first, e.firstAt = float64(c.inFlight+1)*float64(c.look.at.batch), c.now
		e.base = float64(c.plan.base.calls) * float64(c.plan.base.batch)
	}
	e.row++
	e.failed++
	if o == OutcomeTimeout {
		e.rowTimeouts++
	}
	n := math.Max(e.total, 20)
	// While nothing at all succeeds it is the breaker's to stop.
	if e.row >= e.total || e.failed <= tolerated*n+2*math.Sqrt(tolerated*n) {
		return
	}
	cut := .85
	if e.failed > .25*n {
		cut = .5
	}
	e.total, e.failed, e.cutAt = 0, 0, c.now
	s := c.plan.base
	s.calls = c.bound(int(cut*float64(s.calls)), s.batch)
	c.restart(s)
	c.cutLook, c.plan.hurry = c.looks, false
}

// Look is what a Chart wants measured. One that several callers share says it to them (package replica); they count.
type Look struct {
	Number uint64 // grows with each look
	// Cut is the first look after speed was last cut: what calls from before it come to says nothing of the speed since.
	Cut          uint64
	Calls, Batch int           // of all callers together, and in each call
	Settle       time.Duration // how long new calls take to be like those that have been in flight for long
}

// Tally is calls that ended well.
type Tally struct {
	Calls, Items    float64
	Latency, Square float64 // sum of their latencies, in s, and of the squares
}

// Sum is what callers that share a Chart have seen together.
type Sum struct {
	InFlight int
	// What ended since the last Sum.
	Good                        [MaxKinds]Tally
	Errors, Overloads, Timeouts int
	// Look is the look that the rest was counted at, by all callers, each since it had settled.
	Look    uint64
	Seconds float64 // that were counted; 0: not all have settled
	Area    float64 // ∫ calls in flight dt
	Counted [MaxKinds]Tally
	// Wanting and Bigger: somebody was refused for want of a slot, or asked for more items than a call may carry.
	Wanting, Bigger bool
}

// Look tells what to measure now.
func (c *Chart) Look() Look {
	settle := time.Duration(c.costs.settling() * float64(time.Second))
	return Look{Number: c.looks, Cut: c.cutLook, Calls: c.look.at.calls, Batch: c.look.at.batch, Settle: settle}
}

// Repeat begins the present look anew: who makes it has changed.
func (c *Chart) Repeat(now time.Time) {
	c.tick(now)
	c.switchTo(c.look.role, c.look.at)
}

// Count takes what several callers have seen, in place of Ask and Done of each call: a Chart has either.
func (c *Chart) Count(now time.Time, s Sum) {
	c.tick(now)
	c.inFlight = s.InFlight
	answered := s.Errors
	for kind, t := range s.Good {
		if t.Calls > 0 {
			c.costs.addAll(Kind(kind), t, float64(s.InFlight)) //nolint:gosec // under MaxKinds
			answered += int(t.Calls)
		}
	}
	for range answered {
		c.fails.succeeded(c.now, c.costs.latency)
	}
	cut := c.cutLook
	for i := 0; i < s.Overloads+s.Timeouts && c.cutLook == cut; i++ { // what is left after a cut began before it
		o := OutcomeOverload
		if i >= s.Overloads {
			o = OutcomeTimeout
		}
		c.failed(o, c.now)
	}
	if s.Look != c.looks || s.Seconds <= 0 {
		return
	}
	c.look.calls, c.look.work = 0, 0
	for kind, t := range s.Counted {
		c.look.calls += t.Calls
		c.look.work += c.costs.work(Kind(kind), t.Items) //nolint:gosec // under MaxKinds
	}
	c.wanting, c.bigger = s.Wanting, s.Bigger
	c.measured(s.Seconds, s.Area)
}
