package pace

import "math"

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
