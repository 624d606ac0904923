package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Lease implements queue.Worker.
func (e *Engine) Lease(ctx context.Context, r queue.LeaseRequest) ([]queue.Lease, error) {
	if !isValidLaneClass(r.Lane, r.UpTo) {
		return nil, fmt.Errorf("queue: no such lane and class: %v, %v", r.Lane, r.UpTo)
	}
	if r.Max <= 0 || r.Visibility <= 0 {
		return nil, fmt.Errorf("queue: lease of %d jobs for %v: both must be positive", r.Max, r.Visibility)
	}
	var granted []*lease
	var out []queue.Lease
	err := e.submitLease(ctx, func(t *tx) {
		if r.Expired {
			granted = t.leaseExpired(r)
		} else {
			granted = t.leaseJobs(r)
		}
		out = make([]queue.Lease, len(granted))
		for i, l := range granted {
			out[i] = queue.Lease{Job: l.rec.job, Token: l.token, Deadline: fromMicros(l.deadline)}
			out[i].Job.Payload = bytes.Clone(l.rec.job.Payload)
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// submitLease is submitDetached for a Lease, which may often be answered before its own fsync. A Lease returns jobs. If no
// request before it in its group wrote anything, these jobs were written by earlier groups and are durable when those are.
// The Lease itself writes only positions of tickets and passages. Whoever reads those waits for this group (see
// waitDurable), and a later Finish is behind it in the log. So the worker may call the downstream while the disk writes.
func (e *Engine) submitLease(ctx context.Context, run func(*tx)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.beginCall(); err != nil {
		return err
	}
	defer e.endCall()
	r := &request{done: make(chan struct{})}
	r.run = func(t *tx) {
		r.answerBeforeSync = t.batch.Empty() && !t.countersChanged
		run(t)
	}
	return e.submitRequest(context.WithoutCancel(ctx), r)
}

// leaseJobs leases up to r.Max jobs, class by class: first jobs whose lease has expired, then retries that are due, then
// the line in the order of arrival.
func (t *tx) leaseJobs(r queue.LeaseRequest) (out []*lease) {
	deadline := t.now + r.Visibility.Microseconds()
	for class := reset.ClassInteractive; class <= r.UpTo; class++ {
		ln := t.mem.queueOf(slot{lane: r.Lane, class: class})
		for len(ln.expiredLeases) > 0 && len(out) < r.Max {
			l := ln.expiredLeases[0]
			ln.expiredLeases = ln.expiredLeases[1:]
			if l.expired && t.mem.leaseBySlot[l.rec.slot()] == l {
				out = append(out, t.grantLease(l.rec, l.size, deadline))
			}
		}
		for len(out) < r.Max && ln.retries.hasDue(t.now) {
			p := slot{r.Lane, class, ln.retries.items[0].seq}
			ln.retries.remove(p.seq)
			rec, size, ok := t.readJob(prefixSetAside, p)
			if !ok {
				return out
			}
			out = append(out, t.grantLease(rec, size, deadline))
		}
		out = t.leaseInOrder(r, class, deadline, out)
	}
	return out
}

// leaseInOrder leases from the head of one line and appends to out. The places of coalesced starts count towards r.Max:
// otherwise the time at which a place is passed would show who asked first.
func (t *tx) leaseInOrder(r queue.LeaseRequest, class reset.Class, deadline int64, out []*lease) []*lease {
	p := slot{lane: r.Lane, class: class}
	ln, k := t.mem.queueOf(p), t.mem.countersOf(p)
	var upTo uint64
	places := 0
	for len(out)+places < r.Max {
		if len(ln.window) == 0 {
			if err := t.e.refill(r.Lane, class, t.lastApplied[r.Lane][class], t.overlay); err != nil {
				t.abort(err)
				return out
			}
			if len(ln.window) == 0 {
				break
			}
		}
		entry := ln.popWindow()
		upTo = entry.seq
		p.seq = entry.seq
		if isPlaceholder(entry.rec) {
			places++
			t.delete(keySlot(prefixJob, p))
			t.advanceFloor(p)
			continue
		}
		rec, size, err := decodeJob(entry.rec, entry.seq)
		if err != nil {
			t.abort(err)
			return out
		}
		out = append(out, t.grantLease(rec, size, deadline))
	}
	if r.Lane == reset.LaneStart && upTo > 0 {
		t.recordPassage(class, upTo, t.now+r.DoneAfter.Microseconds())
	}
	if len(ln.window) == 0 && ln.nextUnread <= k.Last {
		// The head of a line is always in memory: hasWork and oldestInLine rely on it.
		if err := t.e.refill(r.Lane, class, t.lastApplied[r.Lane][class], t.overlay); err != nil {
			t.abort(err)
		}
	}
	return out
}

// recordPassage writes the DoneTime (µs) of the start places up to a sequence, from the first one that has none. It is
// written once and never changed.
func (t *tx) recordPassage(class reset.Class, upTo uint64, done int64) {
	g := &t.mem.Ordinals[reset.LaneStart][class]
	if upTo <= g.Passed {
		return
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), g.Passed+1)
	t.setBatchOnly(keyPassage(class, upTo), appendInt64(v, done))
	g.Passed = upTo
	t.countersChanged = true
	if t.e.watchers.hasWatchers() {
		t.group.passages = append(t.group.passages, passage{class, upTo, done})
	}
}

// grantLease leases one job. The caller has taken it out of its line in memory.
func (t *tx) grantLease(rec jobRecord, size uint64, deadline int64) *lease {
	before := t.mem.ordinalsOf(rec.slot()).Passed
	l := t.mem.addLease(rec, size, deadline)
	// A first lease in the last lane moves those behind it up. The counters are written with it, so that a position that was
	// told does not grow after a crash.
	if t.mem.ordinalsOf(rec.slot()).Passed != before {
		t.countersChanged = true
	}
	if l.countedAsPassed {
		passed := l.rec
		passed.flags |= flagPassed
		t.writeOpenTicket(&passed)
	} else if !rec.job.Ticket.IsZero() && rec.job.Lane != reset.LaneStart {
		t.signalTicket(rec.job.Ticket)
	}
	return l
}

// leaseExpired leases jobs whose ExpireTime has passed and that nobody holds, parked ones included.
func (t *tx) leaseExpired(r queue.LeaseRequest) (out []*lease) {
	deadline := t.now + r.Visibility.Microseconds()
	first := &t.mem.firstExpiry[r.Lane]
	it, err := t.e.db.NewIter(&pebble.IterOptions{
		LowerBound: keyExpire(slot{lane: r.Lane}, *first), UpperBound: keyExpire(slot{lane: r.Lane}, t.wallTime+1),
	})
	if err != nil {
		t.abort(err)
		return nil
	}
	defer func() {
		if err := it.Close(); err != nil {
			t.abort(err)
		}
	}()
	if !t.wroteExpired[r.Lane] {
		*first = max(*first, t.wallTime+1) // if the scan finds something, it is lowered to that
	}
	for ok := it.First(); ok && len(out) < r.Max; ok = it.Next() {
		k := it.Key()
		if len(k) != 19 {
			t.abort(errCorrupt)
			return out
		}
		p := slot{r.Lane, reset.Class(k[10]), binary.BigEndian.Uint64(k[11:])}
		if _, changed := t.overlay[string(k)]; changed {
			continue // deleted by this group
		}
		*first = min(*first, int64At(k[2:]))
		if p.class > r.UpTo {
			continue
		}
		if l := t.mem.leaseBySlot[p]; l != nil {
			if l.expired {
				out = append(out, t.grantLease(l.rec, l.size, deadline))
			}
			continue
		}
		prefix := byte(prefixJob)
		if t.get(keySlot(prefixSetAside, p)) != nil {
			prefix = prefixSetAside
		}
		rec, size, ok := t.readJob(prefix, p)
		if !ok {
			return out
		}
		ln := t.mem.queueOf(p)
		ln.removeFromWindow(p.seq)
		ln.retries.remove(p.seq)
		out = append(out, t.grantLease(rec, size, deadline))
	}
	return out
}

// Extend implements queue.Worker.
func (e *Engine) Extend(ctx context.Context, leases []queue.Lease, visibility time.Duration) []error {
	return forEachItem(ctx, e, leases, func(t *tx, h *queue.Lease) error {
		l, err := t.findLease(h)
		if err != nil || l.expired {
			return queue.ErrLeaseLost
		}
		t.mem.extendLease(l, t.now+visibility.Microseconds())
		return nil
	})
}

// findLease returns the caller's lease, or ErrLeaseLost if the job was handed out again or has ended. A lease past its
// deadline is still found until then.
func (t *tx) findLease(h *queue.Lease) (*lease, error) {
	l := t.mem.leaseByToken[h.Token]
	if l == nil || l.rec.job.ID != h.Job.ID {
		return nil, queue.ErrLeaseLost
	}
	return l, nil
}
