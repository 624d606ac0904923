package pace

import "math"

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

// Thresholds of the elasticity.
const (
	// pays is how many per cent more one per cent more in flight must deliver: on a USL curve with a knee of 40 that is
	// about .99 of the best.
	pays = .10
	// paysHurry is the same in a hurry, and hurryOn what it takes to go on hurrying: with less the knee is near, and the
	// next look would be far above it.
	paysHurry, hurryOn = .35, .7
	// steepDoubt is the share of a standard error by which a look up must be over the bar where a look down delivered clearly
	// less: throughput that rises up to here seldom stops rising just here, and a slow store gives few calls to tell by.
	steepDoubt = .3
	// extensions is how many times a look that has not decided goes on.
	extensions = 3
)

type verdict uint8

const (
	unsure verdict = iota // it looks as if: more evidence
	yes
	no
)

// judge is a sequential test of one value against a threshold: yes when it is clearly over, no when it seems to be under.
func judge(over, threshold, se float64) verdict {
	switch {
	case over-se > threshold:
		return yes
	case over > threshold:
		return unsure
	default:
		return no
	}
}

// weigh is a test without a favourite: what is not clear gets more evidence, and at last the likelier wins. Looks at
// another batch are rare, so each had better be right.
func weigh(over, threshold, se float64, last bool) verdict {
	switch {
	case over-se > threshold, last && over > threshold:
		return yes
	case over+se < threshold, last:
		return no
	default:
		return unsure
	}
}

// verdict tells whether the base should move to where the look was.
func (c *Chart) verdict(look, base point) (v verdict, e, se float64) {
	e, se = c.elasticity(look, base)
	gain, noise := c.gain(look, base)
	switch {
	case c.look.role == lookUp && c.plan.hurry:
		v = judge(e, paysHurry, se)
	case c.look.role == lookUp:
		if c.plan.steep {
			se *= steepDoubt
		}
		v = judge(e, pays, se)
	case c.look.role == lookBatch:
		v = weigh(gain, batchPays, noise, c.look.extended == extensions)
	case c.look.role == lookUnbatch:
		v = weigh(gain, halfPays, noise, c.look.extended == extensions)
	default:
		v = judge(-e, -pays, se)
	}
	return v, e, se
}

// elasticity is by how many per cent more is delivered for one per cent more in flight, and its standard error.
func (c *Chart) elasticity(look, base point) (e, se float64) {
	dn := math.Log(look.inFlight() / base.inFlight())
	if math.Abs(dn) < .02 {
		return 0, math.Inf(1)
	}
	gain, noise := c.gain(look, base)
	return gain / dn, noise / math.Abs(dn)
}

// gain is the logarithm of how much more is delivered, and its standard error.
func (c *Chart) gain(look, base point) (gain, se float64) {
	return math.Log(look.rate() / base.rate()), math.Sqrt(c.costs.spread() * (1/look.calls + 1/base.calls))
}
