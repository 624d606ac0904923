package pace

import (
	"math"
	"testing"
	"time"
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

// Calls that came to nothing are out of the way as well: a look must not wait for them.
func TestCanceledCallsAreNoLongerOut(t *testing.T) {
	t.Parallel()
	c, err := NewChart(ChartConfig{Min: 8})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	for range 8 {
		c.Ask(now, 0, 1)
	}
	start := now
	now = now.Add(time.Second)
	c.Resume(now)
	if c.look.old != 8 {
		t.Fatalf("%d calls out from before", c.look.old)
	}
	for range 8 {
		c.Done(now, Call{Start: start, Unused: 1, Outcome: OutcomeCanceled})
	}
	if c.look.old != 0 {
		t.Errorf("%d calls out from before, and all have ended", c.look.old)
	}
}
