package pace

import (
	"math"
	"testing"
)

func TestRenewKeepsWhatKindsCost(t *testing.T) {
	t.Parallel()
	var c costs
	c.reset()
	for range 300 {
		c.add(0, 1, .020, 4)
		c.add(1, 1, .005, 4)
	}
	for range 50 { // an outage: writes hang, look-ups have stopped
		c.add(0, 1, 2, 4)
	}
	c.renew()
	c.add(1, 1, .005, 4)
	if w := c.work(1, 1); math.Abs(w-.25) > .05 {
		t.Errorf("a look-up weighs %.4f of a write after an outage, .25 before", w)
	}
	if math.Abs(c.latency-.005) > 1e-9 || math.Abs(c.unit-.020) > .005 {
		t.Errorf("a latency of %v and %v a unit after one answer", c.latency, c.unit)
	}
}
