package pace

import (
	"testing"
	"time"
)

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
