package pace

import (
	"math"
	"time"
)

// latencies is how long calls take: the mean and its spread.
type latencies struct {
	mean  float64 // s of a call, weighed by how long calls of each kind are in flight
	cv2   float64 // squared coefficient of variation among calls of one kind
	seen  float64
	kinds [MaxKinds]kindLatency
}

type kindLatency struct {
	seen   float64
	mean   float64 // s of a call
	recent float64 // calls, of the last ones of all kinds
}

// Bounds of cv²: under the least, counts would be believed too early; over the most, never.
const (
	leastCV2 = .15
	mostCV2  = 5
	// memory is how many calls cv² remembers: enough that one mix of calls is like the next.
	memory = 200
	// firstCV2 is what it is taken for before any call, with the weight of doubt calls: a few calls of a store with a heavy
	// tail look regular.
	firstCV2, doubt = 2, 20
	// outlier bounds what one call adds to cv²: one that hung says nothing of the others.
	outlier = 4 * mostCV2
	// recentCalls is how many calls of all kinds the shares of the kinds are taken from.
	recentCalls = 100
)

func (c *latencies) reset() { *c = latencies{cv2: firstCV2} }

// add learns from one answered call; atOnce is how many were in flight.
func (c *latencies) add(kind Kind, latency, atOnce float64) {
	c.addAll(kind, Tally{Calls: 1, Latency: latency, Square: latency * latency}, atOnce)
}

// addAll learns from answered calls of one kind.
func (c *latencies) addAll(kind Kind, t Tally, atOnce float64) {
	if t.Calls < 1 {
		return
	}
	k := &c.kinds[kind]
	mean := t.Latency / t.Calls
	c.seen += t.Calls
	k.seen += t.Calls
	last := math.Max(10, atOnce)
	if k.seen-t.Calls >= 10 {
		x := mean/k.mean - 1
		x2 := x*x + math.Max(0, t.Square/t.Calls-mean*mean)/(k.mean*k.mean)
		c.cv2 += (math.Min(x2, outlier) - c.cv2) / fold(t.Calls, k.seen+doubt, memory)
	}
	k.mean += 1 / fold(t.Calls, k.seen, last) * (mean - k.mean)
	var time, square float64
	keep := math.Exp(-t.Calls / recentCalls)
	for i := range c.kinds {
		of := &c.kinds[i]
		of.recent *= keep
		if Kind(i) == kind {
			of.recent += t.Calls
		}
		time += of.recent * of.mean
		square += of.recent * of.mean * of.mean
	}
	c.mean = square / time
}

// fold is what to divide by for a running mean to take in n values at once, the last of those seen: a mean of all while they
// are few, and of about the last ones then.
func fold(n, seen, last float64) float64 {
	if n == 1 || seen <= last {
		return math.Min(seen, last) / n
	}
	return 1 / (1 - math.Pow(1-1/last, n))
}

// renew forgets latencies, which an outage has spoilt.
func (c *latencies) renew() {
	c.seen = 0
	for i := range c.kinds {
		c.kinds[i].seen, c.kinds[i].recent = 0, 0
	}
}

// spread is the variance of the logarithm of a count of one call: the prototype's fit, from queueing theory's shape
// for a saturated store (between a Poisson stream's 1 and a regular one's 0).
func (c *latencies) spread() float64 { return .1 + .9*math.Max(leastCV2, math.Min(mostCV2, c.cv2)) }

// settling is how long, in s, new calls take to be like those that have been in flight for long: .7 of a latency, and where
// few calls take most of the time more, because the fast ones end first (the prototype's first looks read 98 ms for a
// store of 250 ms).
func (c *latencies) settling() float64 {
	return .7 * c.mean * math.Max(1, math.Min(mostCV2, c.cv2)/1.3)
}

// failures counts calls that load may have broken.
type failures struct {
	total, failed float64 // calls of the window
	since         float64 // when it began
	row           float64 // failures since the last success, and those of them that were time-outs
	rowTimeouts   float64
	first         load // in flight at the first of the row, when, and the base then
	mix           mix
	firstAt       float64
	base          load
	cutAt         float64 // when speed was last cut for them
	survived      load    // the most in flight that did no harm, and when
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

// survive notes that so much in flight did no harm.
func (e *failures) survive(now float64, l load) {
	was := e.survives(now)
	e.survived, e.at = load{math.Max(was.calls, l.calls), math.Max(was.cost, l.cost)}, now
}

// survives forgets over a minute.
func (e *failures) survives(now float64) load { return e.survived.times(math.Exp(-(now - e.at) / 60)) }

// lesson is what to stay under after an outage that began as failures in a row: refusals, not time-outs, with more in flight
// than the base or than had been survived lately; 0 where there is none.
func (e *failures) lesson() load {
	if e.first.calls == 0 || e.rowTimeouts > e.row/2 {
		return load{}
	}
	s := e.survives(e.firstAt)
	return load{stayUnder(e.first.calls, e.base.calls, s.calls), stayUnder(e.first.cost, e.base.cost, s.cost)}
}

// stayUnder is the lesson of an outage with first in flight. The first failure is seen when a look's calls are all out, and
// the downstream may have died on the way there from the base: so not much more than the base, which it has borne.
func stayUnder(first, base, survived float64) float64 {
	switch {
	case first > 1.05*base:
		return math.Max(base, .7*first)
	case first > 1.05*survived:
		return .8 * first
	default:
		return 0
	}
}

// tolerated is the share of failures that may have another reason than load.
const tolerated = .08

// failed counts a call that load has broken. What began before the last cut says nothing of the speed since.
func (c *Chart) failed(o Outcome, started float64, inFlight load) {
	e := &c.fails
	if started < e.cutAt {
		return
	}
	e.count(c.now, c.latency.mean)
	if e.row == 0 {
		e.first, e.mix, e.firstAt = inFlight, c.flight.mix(), c.now
		e.base = load{float64(c.plan.base.calls), c.base.cost}
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
	c.restart(c.within(c.plan.base.scaled(cut)))
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
	settle := time.Duration(c.latency.settling() * float64(time.Second))
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
	c.flight.calls = s.InFlight
	c.used.note(c.now, load{calls: float64(s.InFlight)})
	answered := s.Errors
	for kind, t := range s.Good {
		if t.Calls > 0 {
			c.latency.addAll(Kind(kind), t, float64(s.InFlight))
			answered += int(t.Calls)
		}
	}
	for range answered {
		c.fails.succeeded(c.now, c.latency.mean)
	}
	cut := c.cutLook
	for i := 0; i < s.Overloads+s.Timeouts && c.cutLook == cut; i++ { // what is left after a cut began before it
		o := OutcomeOverload
		if i >= s.Overloads {
			o = OutcomeTimeout
		}
		c.failed(o, c.now, load{calls: float64(s.InFlight + 1)})
	}
	if s.Look != c.looks || s.Seconds <= 0 {
		return
	}
	// The callers tell the calls in flight of all kinds together: they are shared out as the time that the calls took.
	p := point{seconds: s.Seconds}
	var time float64
	for _, t := range s.Counted {
		time += t.Latency
	}
	for kind, t := range s.Counted {
		if t.Calls > 0 {
			p.kinds[kind] = kindCount{calls: t.Calls, items: t.Items, area: s.Area * t.Latency / time}
		}
	}
	c.look.refused = refusals{calls: count(s.Wanting)}
	c.bigger = s.Bigger
	c.measured(p)
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
