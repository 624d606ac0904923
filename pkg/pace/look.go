package pace

import "math"

// setting is what a look tries.
type setting struct {
	calls int     // at once
	batch int     // items a call
	cost  float64 // in flight, see weights
}

func (s setting) scaled(f float64) setting {
	return setting{max(1, int(f*float64(s.calls))), s.batch, f * s.cost}
}

// limit is which limit of a setting held calls back.
type limit uint8

const (
	limitNone limit = iota // the caller had nothing to send
	limitCalls
	limitCost
)

// level is a setting as the chart knows it: by the limit that was in force.
type level struct {
	by    limit
	calls int
	batch int
	cost  float64
}

func (s setting) level(by limit) level {
	if by == limitCost {
		return level{by: by, batch: s.batch, cost: s.cost}
	}
	return level{by: by, batch: s.batch, calls: s.calls}
}

// mix is the mean size of what was in flight, by kind.
func (p point) mix() (m mix) {
	for k := range p.kinds {
		m[k] = p.kinds[k].sizeArea / p.seconds
	}
	return m
}

// point is what was counted at one level.
type point struct {
	kinds   [MaxKinds]kindCount
	seconds float64
	seen    float64
}

func (p point) calls() (n float64) {
	for _, k := range p.kinds {
		n += k.calls
	}
	return n
}

// inFlight is the mean number of calls in flight.
func (p point) inFlight() (n float64) {
	for _, k := range p.kinds {
		n += k.area
	}
	return n / p.seconds
}

// cost is the mean cost of what was in flight; kinds whose weight is a guess do not count.
func (p point) cost(w *weights) (cost float64) {
	for k := range p.kinds {
		if w.known[k] {
			cost += w.of[k] * p.kinds[k].sizeArea
		}
	}
	return cost / p.seconds
}

// costOfSize is what the calls in flight would have cost, had they been as large as those of q.
func (p point) costOfSize(q point, w *weights) (cost float64) {
	for k, c := range p.kinds {
		if of := q.kinds[k]; w.known[k] && of.area > 0 {
			cost += w.of[k] * c.area * of.sizeArea / of.area
		}
	}
	return cost / p.seconds
}

// dearest is the mean cost of a call of the dearest kind that was in flight.
func (p point) dearest(w *weights) (cost float64) {
	for k, c := range p.kinds {
		if w.known[k] && c.area > 0 {
			cost = math.Max(cost, w.of[k]*c.sizeArea/c.area)
		}
	}
	return cost
}

// load is the mean of what was in flight.
func (p point) load(w *weights) load { return load{p.inFlight(), p.cost(w)} }

func (p point) plus(q point) point {
	for k := range p.kinds {
		p.kinds[k] = p.kinds[k].plus(q.kinds[k])
	}
	p.seconds += q.seconds
	p.seen = math.Max(p.seen, q.seen)
	return p
}

func (p point) times(f float64) point {
	for k := range p.kinds {
		p.kinds[k] = p.kinds[k].times(f)
	}
	p.seconds *= f
	return p
}

// differs tells whether another mix was in flight than at q: half of the difference of the kinds' shares of the time, beyond what
// chance makes of so few calls. Kinds wait behind each other in a downstream, so that even a kind's own time is another then.
func (p point) differs(q point) bool {
	var all, before float64
	for k := range p.kinds {
		all += p.kinds[k].area
		before += q.kinds[k].area
	}
	if all <= 0 || before <= 0 {
		return false
	}
	distance := 0.
	for k := range p.kinds {
		distance += math.Abs(p.kinds[k].area/all-q.kinds[k].area/before) / 2
	}
	return distance > math.Max(mostDifference, 2.5/math.Sqrt(math.Max(1, math.Min(p.calls(), q.calls()))))
}

// mostDifference is the share of the time by which two mixes may differ and still be compared.
const mostDifference = .15

// efficiency is how much more a call in flight delivers at p than at q, as a logarithm, and its standard error for a
// spread of 1. Kinds are compared each with itself, so that another mix is no gain and no loss: what p delivered would have
// taken so much time of calls in flight at q, and took so much at p (indirect standardisation). ok tells whether the kinds
// that both have counted are most of what was in flight.
func (p point) efficiency(q point, size func(kindCount) float64) (gain, se float64, ok bool) {
	var expected, took, all, noise float64
	for k, c := range p.kinds {
		all += c.area
		of := q.kinds[k]
		if c.calls < 1 || of.calls < 1 || of.area <= 0 || c.area <= 0 || size(of) <= 0 {
			continue
		}
		e := size(c) * of.area / size(of)
		expected += e
		took += c.area
		noise += e * e * (1/c.calls + 1/of.calls)
	}
	if took < .5*all || took == 0 {
		return 0, math.Inf(1), false
	}
	return math.Log(expected / took), math.Sqrt(noise) / expected, true
}

// chart is what was counted by level.
type chart map[level]point

const (
	// A point that has counted enough calls forgets with this half-life, in s.
	halfLife = 8
	enough   = 150
	// A point that was not looked at for so long, in s, is dropped.
	unseen = 32
)

// add counts one look at a level.
func (c chart) add(now float64, l level, look point) {
	p := c[l]
	if n := p.calls(); n > enough {
		p = p.times(math.Max(math.Exp2(-(now-p.seen)/halfLife), enough/n))
	}
	c[l] = p.plus(look)
	for l, p := range c {
		if now-p.seen > unseen {
			delete(c, l)
		}
	}
}

// refusals is how often each limit has held a call back since the look began to count.
type refusals struct{ calls, cost int }

// look is one measurement under way.
type look struct {
	role     role
	at       setting
	since    float64 // when the limit was switched
	until    float64 // when to look at the clock again, at the latest; +Inf: when a call ends
	old      int     // calls from before the switch that are still out
	oldFirst int
	reached  bool // a limit was reached since the switch
	late     bool // the caller came late to look at the clock: its own delay is in the count

	counting bool
	from     float64
	area     integral // at from
	done     [MaxKinds]kindCount
	refused  refusals
	extended int
}

// role is what a look is for.
type role uint8

const (
	lookBase role = iota
	lookUp
	lookDown
	lookDrop    // lower, after the downstream got slower
	lookRest    // under the base by the headroom
	lookBatch   // more items in a call
	lookUnbatch // fewer
)

// integral is what was in flight, integrated over the time since the start.
type integral [MaxKinds]struct{ calls, size float64 }

const (
	// least is the shortest count, in s: under it, the coarseness of timers and of the caller's own work shows.
	least = .05
	// lateBy in s, and as a share of what a look waits for, is how late a caller may look at the clock: more than a busy
	// machine's timers are late.
	lateBy, lateShare = .02, .5
)

func (c *Chart) switchTo(r role, s setting) {
	n := c.flight.calls
	c.look = look{role: r, at: s, since: c.now, old: n, oldFirst: n, reached: n >= s.calls}
	c.look.until = c.now + math.Max(c.latency.settling(), 1e-3)
	c.looks++
	c.bigger = false
}

// limitedBy is the limit that has held most calls back.
func (l *look) limitedBy() limit {
	switch {
	case l.refused.cost > l.refused.calls:
		return limitCost
	case l.refused.calls > 0:
		return limitCalls
	default:
		return limitNone
	}
}

// progress takes a look on: from settling to counting to its verdict.
func (c *Chart) progress() {
	l, latency := &c.look, c.latency.mean
	if wait := l.until - c.now; wait < -math.Max(lateBy, lateShare*math.Max(least, latency)) && l.refused != (refusals{}) {
		l.late = true
	}
	if !l.counting {
		c.settle()
		return
	}
	c.measured(c.counted())
}

// settle waits until most calls from before the switch have ended, and begins to count.
func (c *Chart) settle() {
	l, latency := &c.look, c.latency.mean
	if latency == 0 { // until a first call is answered there is nothing to go by
		l.until = math.Inf(1)
		return
	}
	passed := c.now - l.since
	settling := c.latency.settling()
	settled := passed >= settling && float64(l.old) <= .3*float64(l.oldFirst) &&
		(l.reached || c.bigger) && c.flight.calls <= l.at.calls
	late := passed >= 4*settling
	switch {
	case late && !l.reached && !c.bigger && l.limitedBy() == limitNone:
		c.learnWeights()
		c.lookAgain() // nothing to measure: less is asked for than the limit allows
	case !settled && !late:
		l.until = c.now + math.Max(latency, 1e-3)
	default:
		l.counting, l.from, l.area, l.late = true, c.now, c.area, false
		l.done, l.refused = [MaxKinds]kindCount{}, refusals{}
		c.bigger = false
		if l.role == lookBase {
			c.refused = 0
		}
		l.until = c.now + math.Max(least, latency)
	}
}

// counted is what the look has come to.
func (c *Chart) counted() point {
	p := point{kinds: c.look.done, seconds: c.now - c.look.from, seen: c.now}
	for k := range p.kinds {
		p.kinds[k].area = c.area[k].calls - c.look.area[k].calls
		p.kinds[k].sizeArea = c.area[k].size - c.look.area[k].size
	}
	return p
}

// measured decides whether what a look has come to is enough, and takes its verdict.
func (c *Chart) measured(p point) {
	l, latency := &c.look, c.latency.mean
	p.seen = c.now
	span := math.Max(least, latency)
	times := float64(1 + l.extended)
	switch l.role {
	case lookBase:
		times = c.dwell(span)
	case lookRest:
		times = math.Max(restCount, 16*latency) / span
	}
	fewest := 10.0
	if c.plan.hurry || l.role == lookBatch || l.role == lookUnbatch {
		fewest = 20 // a wrong yes takes the limit far up, and a wrong no is not tried again soon
	}
	calls, inFlight := p.calls(), p.inFlight()
	full := p.seconds >= span*times && calls >= math.Max(fewest, .8*inFlight)*times
	if !full && p.seconds < 4*span*times {
		l.until = c.now + span
		return
	}
	c.learnWeights()
	if calls == 0 || l.late || !c.usable(p) {
		c.lookAgain()
		return
	}
	c.fails.survive(c.now, p.load(&c.weights))
	if l.role == lookBase || l.role == lookUp {
		c.sound = c.plan.base
	}
	c.decide(p)
}

// usable tells whether a look says something. One that compares another number of calls does only if that number was used:
// with 1 call out of 100 that it may have, a caller delivers twice as much with 2, whatever the downstream takes. One that
// compares another size of calls does if larger ones were asked for.
func (c *Chart) usable(p point) bool {
	l := &c.look
	by := l.limitedBy()
	used := p.inFlight() / float64(l.at.calls)
	limited := by != limitNone && c.plan.by != limitNone
	switch l.role {
	case lookBase:
		return by == limitCost || by == limitCalls && used >= baseUse || by == limitNone && c.bigger
	case lookBatch, lookUnbatch:
		return !c.starved && (by == c.plan.by || limited)
	case lookUp:
		return !c.starved && limited && (c.plan.by == limitCost || used >= upUse)
	default:
		return limited && (c.plan.by == limitCost || used >= baseUse)
	}
}

const (
	// baseUse and upUse are the shares of the calls at once that a look must have used on average. Between two calls there is
	// a gap; a limit that goes up must have been what held calls back.
	baseUse, upUse = .6, .75
)

// dwell is how long the base is counted, in spans: as long as the look that it is compared with, and while nothing changes
// longer, up to half a second, because looks elsewhere cost a few per cent. With headroom it rests in place of that.
func (c *Chart) dwell(span float64) float64 {
	p := &c.plan
	times := float64(p.patience)
	if p.hurry {
		return times
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

// judgeHurry is a test that takes its time for a no as well: a hurry that ends too early is a long climb.
func (c *Chart) judgeHurry(e, se float64, last bool) verdict {
	switch {
	case e-se > paysHurry, last && e > paysHurry && e-se/2 > pays:
		return yes
	case e+se < paysHurry, last:
		return no
	default:
		return unsure
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
	last := c.look.extended == extensions
	switch c.look.role {
	case lookBatch, lookUnbatch:
		gain, noise := c.delivers(look, base)
		threshold := batchPays
		if c.look.role == lookUnbatch {
			threshold = smallerPays
		}
		return weigh(gain, threshold, noise, last), 0, 0
	}
	e, se = c.elasticity(look, base)
	_, _, alike := look.efficiency(base, kindCount.size)
	switch {
	case c.look.role == lookUp && c.plan.by == limitCost && c.look.limitedBy() == limitCalls && math.IsInf(se, 1) && alike:
		v = yes // the cost is not what limits any more, and no more of it was in flight
	case c.look.role == lookUp && c.plan.hurry:
		v = c.judgeHurry(e, se, last)
		// Two steps tell more than one: they are as noisy, and farther apart.
		if below, known := c.chart[c.plan.below]; known && v != yes {
			if far, noise := c.elasticity(look, below); e > 0 && far-noise > paysHurry {
				v, e = yes, far
			}
		}
	case c.look.role == lookUp:
		if c.plan.steep {
			se *= steepDoubt
		}
		v = judge(e, pays, se)
	default:
		v = judge(-e, -pays, se)
	}
	return v, e, se
}

// elasticity is by how many per cent more is delivered for one per cent more in flight, and its standard error. In flight are
// calls, or their cost where that is the limit.
func (c *Chart) elasticity(look, base point) (e, se float64) {
	a, b := look.inFlight(), base.inFlight()
	if c.plan.by == limitCost {
		a, b = look.cost(&c.weights), base.cost(&c.weights)
	}
	if a <= 0 || b <= 0 { // of kinds whose cost is not known yet
		return 0, math.Inf(1)
	}
	dn := math.Log(a / b)
	if math.Abs(dn) < .02 || dn < 0 && c.look.role == lookUp { // a look up with less in flight says nothing
		return 0, math.Inf(1)
	}
	gain, noise, ok := look.efficiency(base, kindCount.size)
	if !ok {
		return 0, math.Inf(1)
	}
	return 1 + gain/dn, noise * math.Sqrt(c.latency.spread()) / math.Abs(dn)
}

// delivers is the logarithm of how many more items are delivered with calls of another size, and its standard error.
func (c *Chart) delivers(look, base point) (gain, se float64) {
	gain, se, ok := look.efficiency(base, func(k kindCount) float64 { return k.items })
	if !ok {
		return 0, math.Inf(1)
	}
	more := look.inFlight() / base.inFlight()
	if c.plan.by == limitCost { // at another mix, as many calls as cost the same
		more = look.costOfSize(base, &c.weights) / base.cost(&c.weights)
	}
	if !(more > 0) || math.IsInf(more, 1) {
		return 0, math.Inf(1)
	}
	return gain + math.Log(more), se * math.Sqrt(c.latency.spread())
}

// differs is the logarithm of how much more a call in flight delivers at the same level, and its standard error.
func (c *Chart) differs(look, base point) (gain, se float64) {
	gain, se, ok := look.efficiency(base, kindCount.size)
	if !ok {
		return 0, math.Inf(1)
	}
	return gain, se * math.Sqrt(c.latency.spread())
}
