package pace

import "math"

// plan is what to look at next.
type plan struct {
	base       setting
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
	s := c.plan.base
	s.calls = max(c.config.Min, int(float64(s.calls)*(1-c.config.Headroom)))
	return s
}

// stride is how far a look goes: far enough that a look of a few calls can tell flat from rising, in few sizes, so that
// what one look counted serves the next.
func (c *Chart) stride() float64 {
	if c.plan.hurry {
		return 2
	}
	n := float64(c.plan.base.calls) * math.Max(1, least/math.Max(c.costs.latency, 1e-6))
	r := 1 + 2*math.Sqrt(c.costs.spread()/.4/n)
	switch {
	case r <= 1.25:
		return 1.2
	case r <= 1.6:
		return 1.35
	default:
		return 1.5
	}
}

func (c *Chart) above() setting {
	s := c.plan.base
	n := max(s.calls+1, int(math.Ceil(c.stride()*float64(s.calls)-.01)))
	s.calls = c.bound(n, s.batch)
	return s
}

func (c *Chart) below() setting {
	s := c.plan.base
	r := c.stride()
	if c.plan.downs > 1 {
		r = math.Max(r, 1.5)
	}
	s.calls = c.bound(min(s.calls-1, int(math.Round(float64(s.calls)/r))), s.batch)
	return s
}

// decide takes the verdict of a finished look and begins the next.
func (c *Chart) decide(seen point) {
	l, p := c.look, &c.plan
	base, known := c.chart[p.base]
	if l.role == lookBase {
		if l.at != p.base { // at the rest, where a lull ended: the base has another throughput, and is next
			c.chart.add(c.now, l.at, seen)
			c.switchTo(lookBase, p.base)
			return
		}
		if known && c.changed(seen, base) {
			return
		}
		c.chart.add(c.now, l.at, seen)
		c.next()
		return
	}
	if l.role == lookRest {
		c.decideRest(seen)
		return
	}
	if !known { // its point has been dropped: look at the base first
		c.switchTo(lookBase, p.base)
		return
	}
	all := c.chart[l.at].plus(seen)
	v, e, se := c.verdict(all, base)
	if v == unsure && l.extended < extensions {
		c.look.extended++
		c.look.until = c.now + math.Max(least, c.costs.latency)
		return
	}
	p.patience = 1 + l.extended
	c.chart.add(c.now, l.at, seen)
	switch l.role {
	case lookUp:
		c.decideUp(v == yes, e)
	case lookDown, lookDrop:
		c.decideDown(l.role, v == yes, e-se > .5)
	default:
		c.decideBatch(v == yes)
	}
}

func (c *Chart) decideUp(yes bool, e float64) {
	l, p := &c.look, &c.plan
	if p.hurry {
		if yes {
			p.base, p.steep = l.at, false
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
		p.base, p.steep = l.at, false
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
		p.noDown = c.now + math.Max(3, 20*c.costs.latency)
	}
	c.switchTo(lookBase, p.base)
}

// next begins the look whose turn it is, after a base or an accepted look.
func (c *Chart) next() {
	p := &c.plan
	if c.before > 0 && (!p.hurry || float64(p.base.calls) >= c.before) {
		c.before = 0
	}
	if p.hurry {
		if s := c.above(); s.calls > p.base.calls {
			c.switchTo(lookUp, s)
			return
		}
		p.hurry, p.turn = false, lookDown
	}
	for range 3 {
		switch p.turn {
		case lookDown:
			p.turn = lookBatch
			if s := c.below(); s.calls < p.base.calls && c.now >= p.noDown {
				c.switchTo(lookDown, s)
				return
			}
		case lookBatch:
			p.turn = lookUp
			if c.tryBatch() {
				return
			}
		default:
			if rest := c.rest(); !p.rested && p.calm >= steady && rest.calls < p.base.calls {
				p.rested, p.asleep = true, c.now
				c.switchTo(lookRest, rest)
				return
			}
			p.turn, p.rested = lookDown, false
			if s := c.above(); s.calls > p.base.calls {
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
	if rest, known := c.chart[at]; known {
		if gain, se := c.gain(seen, rest); another(gain, se) {
			clear(c.chart)
			p.calm, p.hurry = 0, gain > 0
		}
	}
	c.chart.add(c.now, at, seen)
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
	return 4 * math.Min(c.plan.asleep-c.plan.awake, 2+30*c.costs.latency)
}

// another tells whether so much more or less is the work of another downstream than the chart knows: beyond noise, and
// beyond what matters.
func another(gain, se float64) bool { return math.Abs(gain) > math.Log(1.15) && math.Abs(gain) > 4*se }

// changed tells whether the downstream is another than the chart knows, and begins to find out.
func (c *Chart) changed(seen, base point) bool {
	gain, se := c.gain(seen, base)
	if !another(gain, se) {
		return false
	}
	p := &c.plan
	clear(c.chart)
	c.chart.add(c.now, p.base, seen)
	p.ups, p.downs, p.turn, p.noDown, p.calm = 0, 0, lookUp, 0, 0
	p.hurry = gain > 0
	if gain < 0 {
		s := p.base
		s.calls = c.bound(int(math.Max(math.Exp(gain), .5)*float64(s.calls)), s.batch)
		if s.calls < p.base.calls {
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
	if more := min(2*s.batch, c.config.Batch); c.bigger && more > s.batch && !p.trial.smaller {
		c.switchTo(lookBatch, setting{c.bound(s.calls, more), more})
		return true
	}
	p.trial.smaller = false
	if s.batch > 1 {
		c.switchTo(lookUnbatch, setting{s.calls, s.batch / 2})
		return true
	}
	return false
}

// decideBatch keeps or refuses another batch. After refusals it waits longer for the next.
func (c *Chart) decideBatch(keep bool) {
	p := &c.plan
	p.calm = 0
	if keep {
		p.base, p.turn = c.look.at, lookBatch
		p.trial.refused = 0
		p.ups, p.downs = 0, 0
		c.next()
		return
	}
	p.trial.again = c.now + math.Max(firstTrial, 50*c.costs.latency)*math.Exp2(float64(min(p.trial.refused, 6)))
	p.trial.refused++
	p.trial.smaller = p.trial.refused%3 == 2
	c.switchTo(lookBase, p.base)
}

const (
	// A batch twice as large must deliver more by batchPays: at the largest batch that does, 6 % of a call is not its
	// items. Half a batch must deliver more by halfPays.
	batchPays, halfPays = .03, .05
	// firstTrial is how long, in s, no other batch is tried after one was refused; doubled with each, 64 times at most.
	firstTrial = 3
)
