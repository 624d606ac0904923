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

// counter adds up the calls of a downstream. The zero value is ready; it is not safe for concurrent use.
type counter struct {
	sum   Counts // without its Kinds
	kinds [pace.MaxKinds]Calls
}

// markSent notes that a call is sent.
func (d *Downstream) markSent(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.sum.LastCall = at
}

// count adds a call that ended. The permit's host, if there is one, counts it by its kind.
func (p *Permit) count(now time.Time, c Class, items int) {
	took := now.Sub(p.start)
	p.d.mu.Lock()
	n := &p.d.counts
	n.sum.Ended++
	n.sum.EndedTime += took
	switch c {
	case OK:
		n.sum.Calls.add(items, took)
		n.sum.LastSuccess = now
		n.kinds[p.kind].add(items, took)
	case Canceled, Item: // ours, or of an item alone
	default:
		n.sum.Failed++
	}
	p.d.mu.Unlock()
	if h := p.host; h != nil && c == OK {
		h.d.mu.Lock()
		h.d.counts.kinds[h.kind].add(items, took)
		h.d.mu.Unlock()
	}
}

func (c *Calls) add(items int, took time.Duration) {
	c.Count++
	c.Items += uint64(max(0, items))
	c.Time += took
}

// readCounts returns what was counted.
func (d *Downstream) readCounts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.counts.sum
	for kind, calls := range d.counts.kinds {
		if calls.Count > 0 {
			c.Kinds = append(c.Kinds, KindCounts{Kind: d.callName(pace.Kind(kind)), Calls: calls})
		}
	}
	return c
}
