package downstream

import (
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

// Counts are what a downstream's calls have added up to since the start.
type Counts struct {
	Calls     Calls         // that ended well
	Failed    uint64        // calls that ended by overload, time-out or error; what we ended is not among them
	EndedTime time.Duration // of all calls that ended, ours included
	Ended     uint64
	// Kinds are the calls that ended well by kind: lookup, write, revoke, mail, hash. A revocation that stands on the store
	// is among the store's too, and not in its Calls.
	Kinds []KindCounts
	// LastCall is when a call was last sent, LastSuccess when one last did what was asked for; zero before the first.
	LastCall, LastSuccess time.Time
}

// Calls are calls of one kind.
type Calls struct {
	Count, Items uint64
	Time         time.Duration
}

// KindCounts are the calls of a kind that ended well.
type KindCounts struct {
	Kind string
	Calls
}

// kindNames names the kinds of a downstream's calls; main is its own work: a write, a mail, a hash.
func kindNames(main string) [pace.MaxKinds]string {
	return [pace.MaxKinds]string{KindMain: main, KindLookup: "lookup", KindRevoke: "revoke"}
}

// sent notes that a call is sent.
func (d *Downstream) sent(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.LastCall = at
}

// count adds a call that ended. The permit's host, if there is one, counts it by its kind.
func (p *Permit) count(now time.Time, c Class, items int) {
	took := now.Sub(p.start)
	p.d.mu.Lock()
	n := &p.d.counts
	n.Ended++
	n.EndedTime += took
	switch c {
	case OK:
		n.Calls.add(items, took)
		n.LastSuccess = now
		p.d.kinds[p.kind].add(items, took)
	case Overload, Timeout, Error:
		n.Failed++
	}
	p.d.mu.Unlock()
	if h := p.host; h != nil && c == OK {
		h.d.mu.Lock()
		h.d.kinds[h.kind].add(items, took)
		h.d.mu.Unlock()
	}
}

func (c *Calls) add(items int, took time.Duration) {
	c.Count++
	c.Items += uint64(max(0, items)) //nolint:gosec // not negative
	c.Time += took
}

// countsLocked returns what was counted.
func (d *Downstream) countsLocked() Counts {
	c := d.counts
	for kind, calls := range d.kinds {
		if calls.Count > 0 {
			c.Kinds = append(c.Kinds, KindCounts{Kind: d.kindNames[kind], Calls: calls})
		}
	}
	return c
}
