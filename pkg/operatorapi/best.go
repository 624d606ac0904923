package operatorapi

import (
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// bestMinutes is how far back a downstream is compared with itself: the hour that surgegate:downstream:speed_ratio looks at.
const bestMinutes = 60

// lookupWork is a look-up's share of a write, as in the same rule.
const lookupWork = .25

// best is what a downstream delivered at its best, for each minute of the last hour.
type best struct{ minutes [bestMinutes]peak }

// peak is the best window that ended in a minute.
type peak struct {
	minute      int64 // since 1970
	items, work float64
	at          time.Time // of the items
}

// speed is what a downstream delivers beside its best.
type speed struct {
	ratio, items float64 // 0: nothing to compare with
	at           time.Time
}

// remember takes a full window into the best of its minute.
func (r *rates) remember(now time.Time) {
	w := r.spanLocked(now)
	if w.seconds < .9*rateWindow.Seconds() {
		return // a short one is all chance
	}
	minute := w.last.at.Unix() / 60
	for s := range w.last.counts {
		if s.family != familyItems || s.second != "ok" {
			continue
		}
		b := r.best[s.first]
		if b == nil { // the downstreams are a closed set
			b = &best{}
			r.best[s.first] = b
		}
		p := &b.minutes[minute%bestMinutes]
		if p.minute != minute {
			*p = peak{minute: minute}
		}
		if items := w.rate(s); items > p.items {
			p.items, p.at = items, w.last.at
		}
		p.work = max(p.work, w.work(s.first))
	}
}

// work is what the store delivers in writes: a storm begins with look-ups and goes on with writes, which takes its items down
// and not its work. 0 for the others.
func (w span) work(downstream string) float64 {
	if downstream != "store" {
		return 0
	}
	_, starts := w.lane(reset.LaneStart)
	_, applies := w.lane(reset.LaneApply)
	return applies + lookupWork*starts
}

// speed compares the window with the best of the last hour.
func (r *rates) speed(w span, downstream string) (s speed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.best[downstream]
	if b == nil || w.seconds <= 0 {
		return speed{}
	}
	var work float64
	for _, p := range b.minutes {
		if p.minute <= w.last.at.Unix()/60-bestMinutes {
			continue
		}
		if p.items > s.items {
			s.items, s.at = p.items, p.at
		}
		work = max(work, p.work)
	}
	if s.items < 1 { // a handful of items tells nothing of a speed
		return speed{}
	}
	s.ratio = w.rate(series{familyItems, downstream, "ok"}) / s.items
	if work >= 1 {
		s.ratio = max(s.ratio, w.work(downstream)/work)
	}
	return s
}
