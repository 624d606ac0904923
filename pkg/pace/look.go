package pace

import (
	"math"
	"time"
)

// setting is what a look tries: calls at once, and items a call.
type setting struct{ calls, batch int }

// point is what the chart knows of one setting.
type point struct {
	calls, work, seconds, area float64 // area: ∫ in flight dt
	seen                       float64
}

func (p point) rate() float64     { return p.work / p.seconds }
func (p point) inFlight() float64 { return p.area / p.seconds }

func (p point) plus(q point) point {
	return point{p.calls + q.calls, p.work + q.work, p.seconds + q.seconds, p.area + q.area, math.Max(p.seen, q.seen)}
}

// chart is delivered work by setting.
type chart map[setting]point

const (
	// A point that has counted enough calls forgets with this half-life, in s.
	halfLife = 8
	enough   = 150
	// A point that was not looked at for so long, in s, is dropped.
	unseen = 32
)

// add counts one look at a setting.
func (c chart) add(now float64, s setting, look point) {
	p := c[s]
	if p.calls > enough {
		keep := math.Max(math.Exp2(-(now-p.seen)/halfLife), enough/p.calls)
		p.calls, p.work, p.seconds, p.area = p.calls*keep, p.work*keep, p.seconds*keep, p.area*keep
	}
	c[s] = p.plus(look)
	for s, p := range c {
		if now-p.seen > unseen {
			delete(c, s)
		}
	}
}

// look is one measurement under way.
type look struct {
	role     role
	at       setting
	since    float64 // when the limit was switched
	until    float64 // when to look at the clock again, at the latest; +Inf: when a call ends
	old      int     // calls from before the switch that are still out
	oldFirst int
	reached  bool // the limit was reached since the switch

	counting    bool
	from        float64
	area        float64
	calls, work float64
	extended    int
}

// role is what a look is for.
type role uint8

const (
	lookBase role = iota
	lookUp
	lookDown
	lookDrop    // lower, after the downstream got slower
	lookRest    // under the base by the headroom
	lookBatch   // twice the items in a call
	lookUnbatch // half of them
)

// least is the shortest count, in s: under it, the coarseness of timers and of the caller's own work shows.
const least = .05

func (c *Chart) switchTo(r role, s setting) {
	c.look = look{role: r, at: s, since: c.now, old: c.inFlight, oldFirst: c.inFlight, reached: c.inFlight >= s.calls}
	c.look.until = c.now + math.Max(c.costs.settling(), 1e-3)
	c.looks++
	c.wanting, c.bigger = false, false
}

// progress takes a look on: from settling to counting to its verdict.
func (c *Chart) progress() {
	l, latency := &c.look, c.costs.latency
	if !l.counting {
		if latency == 0 { // until a first call is answered there is nothing to go by
			l.until = math.Inf(1)
			return
		}
		passed := c.now - l.since
		settling := c.costs.settling()
		settled := passed >= settling && float64(l.old) <= .3*float64(l.oldFirst) &&
			(l.reached || c.bigger) && c.inFlight <= l.at.calls
		late := passed >= 4*settling
		switch {
		case late && !l.reached && !c.pressed():
			c.switchTo(lookBase, c.rest()) // nothing to measure: less is asked for than the limit allows
			return
		case !settled && !late:
			l.until = c.now + math.Max(latency, 1e-3)
			return
		}
		l.counting, l.from, l.area, l.calls, l.work = true, c.now, c.area, 0, 0
		c.wanting, c.bigger = false, false
		l.until = c.now + math.Max(least, latency)
		return
	}
	c.measured(c.now-l.from, c.area-l.area)
}

// measured tells what the look has come to in so many seconds, and decides if that is enough.
func (c *Chart) measured(passed, area float64) {
	l, latency := &c.look, c.costs.latency
	span := math.Max(least, latency)
	inFlight := area / math.Max(passed, 1e-9)
	times := float64(1 + l.extended)
	switch l.role {
	case lookBase:
		times = c.dwell(span)
	case lookRest:
		times = math.Max(restCount, 16*latency) / span
	}
	fewest := 10.0
	if c.plan.hurry {
		fewest = 20 // a wrong yes doubles what is inside
	}
	full := passed >= span*times && l.calls >= math.Max(fewest, .8*inFlight)*times
	if !full && passed < 4*span*times {
		l.until = c.now + span
		return
	}
	if l.calls == 0 || !c.pressed() || c.wanting && inFlight < .5*float64(l.at.calls) {
		c.switchTo(lookBase, c.rest())
		return
	}
	c.fails.survive(c.now, inFlight*float64(l.at.batch))
	if l.role == lookBase || l.role == lookUp {
		c.sound = c.plan.base.calls
	}
	c.decide(point{calls: l.calls, work: l.work, seconds: passed, area: area, seen: c.now})
}

// pressed tells whether more is asked for than is let through. A caller that does not fill the calls but asks for more items
// than one may carry is short of calls itself: to it, larger ones are speed.
func (c *Chart) pressed() bool { return c.wanting || c.bigger }

// dwell is how long the base is counted, in spans: as long as the look that it is compared with, and while nothing changes
// longer, up to half a second, because looks elsewhere cost a few per cent. With headroom it rests in place of that.
func (c *Chart) dwell(span float64) float64 {
	p := &c.plan
	times := float64(p.patience)
	if p.hurry {
		return 1
	}
	if p.calm >= steady && c.rest() == p.base {
		times = math.Max(times, math.Min(float64(p.calm), mostDwell/span))
	}
	return times
}

const (
	// steady is how many looks in a row must have been refused for the base to be believed.
	steady = 4
	// mostDwell in s.
	mostDwell = .5
	// restCount, in s, is the shortest count at the rest: nothing else is looked at meanwhile, so it may be a sure one.
	restCount = 3
)

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
