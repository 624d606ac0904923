package pace

import (
	"testing"
	"time"
)

// backlog runs a store of so many workers under a backlog that never ends; look is called before time moves on.
func backlog(c *Chart, from, d time.Duration, workers int, each time.Duration, look func(passed time.Duration)) {
	base := time.Unix(1e9, 0)
	type call struct{ start, end time.Duration }
	var out []call // in the order of their ends
	now := from
	for now < from+d {
		for c.Ask(base.Add(now), 0, 1).Go {
			end := now + each
			if n := len(out); n >= workers {
				end = out[n-workers].end + each
			}
			out = append(out, call{now, end})
		}
		look(out[0].end - now)
		now = out[0].end
		c.Done(base.Add(now), Call{Start: base.Add(out[0].start), Items: 1})
		out = out[1:]
	}
	for _, o := range out {
		c.Done(base.Add(o.end), Call{Start: base.Add(o.start), Items: 1})
	}
}

func TestChartRestsFourFifthsOfTheTime(t *testing.T) {
	t.Parallel()
	for _, each := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond} {
		c, err := NewChart(ChartConfig{Headroom: .3})
		if err != nil {
			t.Fatal(err)
		}
		backlog(c, 0, 60*time.Second, 40, each, func(time.Duration) {})
		var over, all time.Duration
		backlog(c, 61*time.Second, 300*time.Second, 40, each, func(passed time.Duration) {
			all += passed
			if c.look.at.calls > c.rest().calls {
				over += passed
			}
		})
		if share := float64(over) / float64(all); share > .2 {
			t.Errorf("calls of %v: %.2f of the time without the headroom", each, share)
		}
	}
}

// What a lull leaves behind must not look like another store: the first count after it is at the rest.
func TestChartWithHeadroomTakesALullForNothingElse(t *testing.T) {
	t.Parallel()
	c, err := NewChart(ChartConfig{Headroom: .5})
	if err != nil {
		t.Fatal(err)
	}
	most, at := 0, time.Duration(0)
	backlog(c, 0, 60*time.Second, 40, 10*time.Millisecond, func(time.Duration) {})
	for at = 61 * time.Second; at < 400*time.Second; at += 4 * time.Second {
		backlog(c, at, 2*time.Second, 40, 10*time.Millisecond, func(time.Duration) { most = max(most, c.look.at.calls) })
		for lull := range time.Duration(10) { // one call now and then
			now := time.Unix(1e9, 0).Add(at + 2500*time.Millisecond + lull*100*time.Millisecond)
			if c.Ask(now, 0, 1).Go {
				c.Done(now.Add(10*time.Millisecond), Call{Start: now, Items: 1})
			}
		}
	}
	if most > 75 {
		t.Errorf("up to %d calls at once at a store of 40 workers", most)
	}
}
