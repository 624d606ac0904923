package pace

import "math"

// plan is what to look at next.
type plan struct {
	base       setting
	seen       point // what was counted last at the base
	by         limit // that held calls back when the base was last counted
	below      level // the base before the present one, in a hurry; 0: none
	hurry      bool
	turn       role // what the next look is for: up, down, another batch, with the base between them
	ups, downs int  // accepted in a row
	calm       int  // looks refused in a row
	patience   int  // how often the last look had to be extended, and one: the base is counted as long
	noDown     float64
	rested     bool    // in this cycle
	awake      float64 // when, in s, the last rest ended, and the next began
	asleep     float64
	steep      bool // the last look down from this base delivered clearly less
	trial      trial
	// resumed is a look that waits until more is known of the base; role lookBase: none.
	resumed look
}

// trial is when another batch is tried.
type trial struct {
	again   float64
	refused int  // in a row
	smaller bool // the next is a smaller one
}

// begin starts from scratch at a setting.
func (c *Chart) begin(s setting) {
	c.plan = plan{base: s, hurry: true, patience: 1, trial: c.plan.trial, awake: c.now}
	c.switchTo(lookBase, s)
}

// restart begins again at a setting with an empty chart.
func (c *Chart) restart(s setting) {
	clear(c.chart)
	c.begin(s)
}

// rest is the base less the headroom.
func (c *Chart) rest() setting {
	return c.scaled(c.plan.base, 1-c.config.Headroom)
}

// scaled changes what limits the base at present: the calls, or their cost.
func (c *Chart) scaled(s setting, f float64) setting {
	if c.plan.by == limitCost {
		s.cost *= f
		return s
	}
	s.calls = max(c.config.Min, int(f*float64(s.calls)+1e-9))
	return s
}

// stride is how far a look goes: far enough that a look of a few calls can tell flat from rising, in few sizes, so that
// what one look counted serves the next. At one and a half times what pays, a downstream that dies over 1.5 times its knee
// lives.
func (c *Chart) stride() float64 {
	if c.plan.hurry {
		return mostStride
	}
	n := float64(c.plan.base.calls) * math.Max(1, least/math.Max(c.latency.mean, 1e-6))
	r := 1 + 2*math.Sqrt(c.latency.spread()/.4/n)
	switch {
	case r <= 1.25:
		return leastStride
	case r <= 1.6:
		return 1.35
	default:
		return mostStride
	}
}

const leastStride, safeStride, mostStride = 1.2, 1.35, 1.5

// above is a step up. More calls may cost more; where cost is the limit there are no more of them. Where it is not in a hurry the base may be over the knee already: then it goes no
// further than what has been survived, or by the least stride.
func (c *Chart) above() setting {
	p, s, r := &c.plan, c.plan.base, c.stride()
	if !p.hurry && !p.steep {
		survived := c.fails.survives(c.now)
		most := survived.calls / float64(s.calls)
		if p.by == limitCost {
			most = survived.cost / s.cost
		}
		r = math.Min(r, math.Max(safeStride, most))
	}
	if p.by == limitCost { // at least one call more
		s.cost = math.Max(r*s.cost, s.cost+c.refused)
	} else { // and what they cost at the present mix
		s.calls = max(s.calls+1, min(int(r*float64(s.calls)+.01), int(mostStride*c.base.calls+.5)))
		more := lookSlack * float64(s.calls) / math.Max(1, c.base.calls)
		if p.hurry { // far under the knee
			more = costSlack * r
		}
		s.cost = math.Max(s.cost, more*c.base.cost)
	}
	return c.within(s)
}

func (c *Chart) below() setting {
	s, r := c.plan.base, c.stride()
	r = math.Min(r, mostStride)
	if c.plan.downs > 1 {
		r = mostStride
	}
	if c.plan.by == limitCost {
		s.cost /= r
	} else {
		s.calls = min(s.calls-1, int(math.Round(float64(s.calls)/r)))
	}
	return c.within(s)
}

// higher and lower tell whether a setting is one that the present limit makes any difference of.
func (c *Chart) higher(s setting) bool {
	if c.plan.by == limitCost {
		return s.cost > c.plan.base.cost
	}
	return s.calls > c.plan.base.calls
}

func (c *Chart) lower(s setting) bool {
	if c.plan.by == limitCost {
		return s.cost < c.plan.base.cost
	}
	return s.calls < c.plan.base.calls
}

// costSlack is how much over the mean cost in flight the limit of the cost is at least, so that a constant mix, which comes
// in another order every time, is limited by the calls.
const costSlack = 1.25

// lookSlack is the same for a look up, which goes far enough as it is.
const lookSlack = 1.05

// allowCost lets the limit of the cost follow what was in flight where it has held nothing back: a mix that gets dearer with
// time passes, as long as it does not get so at once.
func (c *Chart) allowCost(p point) {
	if c.look.refused.cost > 0 {
		return
	}
	z := p.cost(&c.weights)
	s := c.plan.base
	s.cost = math.Max(costSlack*z, z+p.dearest(&c.weights))
	if s = c.within(s); s.cost > c.plan.base.cost {
		if c.look.at == c.plan.base {
			c.look.at = s
		}
		c.plan.base = s
	}
}

// used is the most that was in flight of late: in the present period, and in the one before it.
type used struct {
	since     float64
	now, last load
	turned    bool // since the limits were last held to it
}

// usedFor in s is a period.
const usedFor = 15

func (u *used) note(now float64, l load) {
	u.turn(now)
	u.now = load{math.Max(u.now.calls, l.calls), math.Max(u.now.cost, l.cost)}
}

// turn begins another period when it is time to.
func (u *used) turn(now float64) {
	if now-u.since < usedFor {
		return
	}
	u.last = u.now
	if now-u.since >= 2*usedFor { // nothing was sent meanwhile
		u.last = load{}
	}
	u.since, u.now, u.turned = now, load{}, true
}

// validate takes back limits that nobody has used for a while, as TCP does (RFC 7661): what was found in another hour says
// little of what the downstream takes now. What is used again is found again in a hurry.
func (c *Chart) validate() {
	c.used.turn(c.now)
	if !c.used.turned || c.now < 2*usedFor {
		return
	}
	c.used.turned = false
	s := c.plan.base
	s.calls = min(s.calls, max(c.config.Start, int(math.Ceil(mostStride*math.Max(c.used.last.calls, c.used.now.calls)))))
	s.cost = math.Min(s.cost, math.Max(costSlack*float64(c.config.Start)*size(1), mostStride*math.Max(c.used.last.cost, c.used.now.cost)))
	if s = c.within(s); s != c.plan.base {
		c.plan.base, c.plan.hurry = s, true
	}
}

// lookAgain throws the present look away: it says nothing.
func (c *Chart) lookAgain() {
	if c.before > 0 && c.now-c.fails.cutAt >= rampMost && c.fails.failed == 0 {
		c.before = 0
	}
	c.switchTo(lookBase, c.rest())
}

// rampMost, in s, ends the return from an outage where so little is asked for that the limit cannot be raised.
const rampMost = 30

// decide takes the verdict of a finished look and begins the next.
func (c *Chart) decide(seen point) {
	l, p := c.look, &c.plan
	if l.role == lookBase {
		c.decideBase(seen)
		return
	}
	base, known := c.chart[p.base.level(p.by)]
	if l.role == lookRest {
		c.decideRest(seen)
		return
	}
	if !known { // its point has been dropped: look at the base first
		c.switchTo(lookBase, p.base)
		return
	}
	if l.role == lookUp && seen.differs(p.seen) {
		c.lookAgain()
		return
	}
	at := l.at.level(l.limitedBy())
	all := c.chart[at].plus(seen)
	v, e, se := c.verdict(all, base)
	if v == unsure && l.extended < extensions {
		c.look.extended++
		if base.calls() < .6*all.calls() { // more of the look alone would tell little: the base is the less known
			c.chart.add(c.now, at, seen)
			p.patience, p.resumed = 1+c.look.extended, c.look
			c.switchTo(lookBase, p.base)
			return
		}
		c.look.until = c.now + math.Max(least, c.latency.mean)
		return
	}
	p.patience = 1 + l.extended
	c.chart.add(c.now, at, seen)
	switch l.role {
	case lookUp:
		c.decideUp(v == yes, e, seen)
	case lookDown, lookDrop:
		c.decideDown(l.role, v == yes, e-se > .5)
	default:
		c.decideBatch(v == yes, seen)
	}
}

func (c *Chart) decideBase(seen point) {
	l, p := &c.look, &c.plan
	if l.at != p.base { // at the rest, where a lull ended: the base has another throughput, and is next
		c.chart.add(c.now, l.at.level(l.limitedBy()), seen)
		c.switchTo(lookBase, p.base)
		return
	}
	p.by = l.limitedBy()
	at := l.at.level(p.by)
	if known, ok := c.chart[at]; ok && p.by != limitNone && !c.starved && c.changed(seen, known) {
		return
	}
	c.chart.add(c.now, at, seen)
	c.base, c.mix, p.seen = seen.load(&c.weights), seen.mix(), seen
	c.allowCost(seen)
	c.next()
}

// raise makes the look the base.
func (c *Chart) raise(seen point) {
	l, p := &c.look, &c.plan
	p.below = p.base.level(p.by)
	c.base, c.mix, p.seen = seen.load(&c.weights), seen.mix(), seen
	p.base, p.steep = l.at, false
	c.allowCost(seen)
}

func (c *Chart) decideUp(yes bool, e float64, seen point) {
	p := &c.plan
	if p.hurry {
		if yes {
			c.raise(seen)
			p.hurry = e > hurryOn
			c.next()
			return
		}
		p.hurry, p.turn, p.ups = false, lookUp, 0
		if e < .25 {
			p.turn = lookDown
		}
		c.switchTo(lookBase, p.base)
		return
	}
	if yes {
		c.raise(seen)
		p.ups, p.downs, p.calm = p.ups+1, 0, 0
		p.hurry = p.ups >= 2 && e > hurryOn
		p.turn = lookUp
		c.next()
		return
	}
	p.ups = 0
	p.calm++
	c.switchTo(lookBase, p.base)
}

func (c *Chart) decideDown(r role, yes, clearly bool) {
	l, p := &c.look, &c.plan
	if yes {
		p.calm = 0
		p.base, p.steep = l.at, false
		p.downs++
		p.turn = lookDown
		p.hurry = false
		if p.downs < 2 {
			p.turn = lookUp
		}
		c.next()
		return
	}
	p.downs = 0
	p.calm++
	if r == lookDrop {
		p.hurry = true
	} else if clearly {
		p.steep = true
		p.noDown = c.now + math.Max(3, 20*c.latency.mean)
	}
	c.switchTo(lookBase, p.base)
}

// next begins the look whose turn it is, after a base or an accepted look.
func (c *Chart) next() {
	p := &c.plan
	c.validate()
	if r := p.resumed; r.role != lookBase {
		p.resumed = look{}
		if !c.starved && p.by != limitNone {
			c.switchTo(r.role, r.at)
			c.look.extended = r.extended
			return
		}
	}
	if c.before > 0 && (!p.hurry || float64(p.base.calls) >= c.before) {
		c.before = 0
	}
	switch {
	case c.starved:
		c.switchTo(lookBase, p.base)
		return
	case p.by == limitNone:
		if !c.tryBatch() {
			c.switchTo(lookBase, p.base)
		}
		return
	case p.hurry:
		if s := c.above(); c.higher(s) {
			c.switchTo(lookUp, s)
			return
		}
		p.hurry, p.turn = false, lookDown
	}
	for range 3 {
		switch p.turn {
		case lookDown:
			p.turn = lookBatch
			if s := c.below(); c.lower(s) && c.now >= p.noDown {
				c.switchTo(lookDown, s)
				return
			}
		case lookBatch:
			p.turn = lookUp
			if c.tryBatch() {
				return
			}
		default:
			if rest := c.rest(); !p.rested && p.calm >= steady && c.lower(rest) {
				p.rested, p.asleep = true, c.now
				c.switchTo(lookRest, rest)
				return
			}
			p.turn, p.rested = lookDown, false
			if s := c.above(); c.higher(s) {
				c.switchTo(lookUp, s)
				return
			}
		}
	}
	c.switchTo(lookBase, p.base)
}

// decideRest looks for a change while nothing else is looked at.
func (c *Chart) decideRest(seen point) {
	p, at := &c.plan, c.look.at
	level := at.level(c.look.limitedBy())
	if rest, known := c.chart[level]; known && !c.starved {
		if gain, se := c.differs(seen, rest); another(gain, se) {
			clear(c.chart)
			p.calm, p.hurry = 0, gain > 0
		}
	}
	c.chart.add(c.now, level, seen)
	if p.calm > 0 && c.now < p.asleep+c.resting() {
		c.switchTo(lookRest, at)
		return
	}
	p.awake = c.now
	c.switchTo(lookBase, p.base)
}

// resting is how long a rest lasts, in s: four times as long as what came before it, so that at most a fifth of the time
// is spent over the headroom. One round of looks takes under 2 s and 30 latencies; what took longer was finding out, and
// is not paid back.
func (c *Chart) resting() float64 {
	return 4 * math.Min(c.plan.asleep-c.plan.awake, 2+30*c.latency.mean)
}

// another tells whether so much more or less is the work of another downstream than the chart knows: beyond noise, and
// beyond what matters.
func another(gain, se float64) bool { return math.Abs(gain) > math.Log(1.15) && math.Abs(gain) > 4*se }

// changed tells whether the downstream is another than the chart knows, and begins to find out.
func (c *Chart) changed(seen, base point) bool {
	gain, se := c.differs(seen, base)
	if !another(gain, se) {
		return false
	}
	p := &c.plan
	clear(c.chart)
	c.chart.add(c.now, p.base.level(p.by), seen)
	p.ups, p.downs, p.turn, p.noDown, p.calm = 0, 0, lookUp, 0, 0
	p.hurry = gain > 0
	if gain < 0 {
		s := c.within(c.scaled(p.base, math.Max(math.Exp(gain), .5)))
		if c.lower(s) {
			c.switchTo(lookDrop, s)
			return true
		}
		p.hurry = true
	}
	c.next()
	return true
}

// tryBatch begins a look at another batch if it is time for one.
func (c *Chart) tryBatch() bool {
	p, s := &c.plan, c.plan.base
	if c.now < p.trial.again {
		return false
	}
	if more := min((3*s.batch+1)/2, c.config.Batch); c.bigger && more > s.batch && !p.trial.smaller {
		s.batch, s.cost = more, math.Max(leastStride*s.cost, c.fails.survives(c.now).cost)
		c.switchTo(lookBatch, c.within(s))
		return true
	}
	p.trial.smaller = false
	if s.batch > 1 {
		s.batch = 2 * s.batch / 3
		c.switchTo(lookUnbatch, s)
		return true
	}
	return false
}

// decideBatch keeps or refuses another batch. After refusals it waits longer for the next.
func (c *Chart) decideBatch(keep bool, seen point) {
	p := &c.plan
	p.calm = 0
	if keep {
		p.base.batch, p.turn = c.look.at.batch, lookBatch
		if c.look.role == lookBatch {
			p.base.cost = math.Max(p.base.cost, c.look.at.cost)
		}
		c.allowCost(seen)
		p.trial.refused = 0
		p.ups, p.downs = 0, 0
		c.next()
		return
	}
	p.trial.again = c.now + math.Max(firstTrial, 10*c.latency.mean)*math.Exp2(float64(min(p.trial.refused, 4)))
	p.trial.refused++
	p.trial.smaller = p.trial.refused%3 == 2
	c.switchTo(lookBase, p.base)
}

const (
	// A batch half as large again must deliver more by batchPays: at the largest batch that does, 6 % of a call is not its
	// items. One smaller by a third must deliver more by smallerPays.
	batchPays, smallerPays = .02, .03
	// firstTrial is how long, in s, no other batch is tried after one was refused; doubled with each, 16 times at most.
	firstTrial = 1
)
