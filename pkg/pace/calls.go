package pace

import "math"

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
	if items < 1 {
		return
	}
	k := &c.kinds[kind]
	if c.ref < 0 {
		c.ref = int(kind)
	}
	c.seen++
	k.seen++
	fast := 1 / math.Min(c.seen, math.Max(10, atOnce))
	c.latency += fast * (latency - c.latency)
	fastKind := 1 / math.Min(k.seen, math.Max(10, atOnce))
	if k.seen > 10 {
		x := latency/k.latency - 1
		c.cv2 += (math.Min(x*x, outlier) - c.cv2) / math.Min(k.seen+doubt, memory)
	}
	k.latency += fastKind * (latency - k.latency)
	perItem := latency / float64(items)
	if c.ref == int(kind) {
		k.weight = 1
	} else if c.unit > 0 && (c.seen > 1 || k.weight == 0) { // the first after renew sets the unit, which is an outage's until then
		k.weighed++
		k.weight += (perItem/c.unit - k.weight) / math.Min(k.weighed, memory)
	}
	if k.weight > 0 {
		c.unit += fast * (perItem/k.weight - c.unit)
	}
}

// renew forgets latencies, which an outage has spoilt, and keeps what kinds cost beside each other.
func (c *costs) renew() {
	c.seen = 0
	for i := range c.kinds {
		c.kinds[i].seen = 0
	}
}

// work is what items of a kind cost, in items of the reference kind.
func (c *costs) work(kind Kind, items int) float64 { return c.kinds[kind].weight * float64(items) }

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
	c.plan.hurry = false
}
