package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// waiter waits for a lane to have work.
type waiter struct {
	lane  reset.Lane
	upTo  reset.Class
	ready chan struct{}
}

// Backlog implements queue.Worker. It is exact up to 1,024 due retries a class.
func (e *Engine) Backlog(ctx context.Context, lane reset.Lane, upTo reset.Class) (int, error) {
	if !isValidLaneClass(lane, upTo) {
		return 0, fmt.Errorf("queue: no such line: %v, %v", lane, upTo)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := e.beginCall(); err != nil {
		return 0, err
	}
	defer e.endCall()
	e.mu.RLock()
	defer e.mu.RUnlock()
	now := max(e.mem.Clock, e.deps.Clock.Now().UnixMicro())
	n := uint64(0)
	for class := reset.ClassInteractive; class <= upTo; class++ {
		k, ln := &e.mem.Queues[lane][class], &e.mem.queues[lane][class]
		n += k.InLine - ln.leasedInLine
		n += uint64(ln.retries.countDue(0, now, 1024)) //nolint:gosec // G115: at most 1,024
	}
	return int(min(n, math.MaxInt)), nil //nolint:gosec // G115: bounded
}

// Wait implements queue.Worker.
func (e *Engine) Wait(ctx context.Context, lane reset.Lane, upTo reset.Class) error {
	if !isValidLaneClass(lane, 0) {
		return fmt.Errorf("queue: no such lane: %v", lane)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{lane, upTo, make(chan struct{})}
	// Registered under Engine.mu: no commit comes between the look and the registration.
	e.mu.RLock()
	now, _ := e.readTimes()
	if e.mem.hasWork(lane, upTo, now) && !isClosed(e.quit) && !isClosed(e.failedSignal) {
		e.mu.RUnlock()
		return nil
	}
	e.waitMu.Lock()
	e.waiters[w] = struct{}{}
	e.waitMu.Unlock()
	e.mu.RUnlock()
	defer func() {
		e.waitMu.Lock()
		delete(e.waiters, w)
		e.waitMu.Unlock()
	}()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.quit:
		return queue.ErrClosed
	case <-e.failedSignal:
		return e.failureErr()
	}
}

// wake lets those go whose lane has work, and sets the alarm. Called under Engine.mu.
func (e *Engine) wakeWaiters(now int64) {
	e.waitMu.Lock()
	for w := range e.waiters {
		if e.mem.hasWork(w.lane, w.upTo, now) {
			close(w.ready)
			delete(e.waiters, w)
		}
	}
	e.waitMu.Unlock()
	next, armed := e.mem.nextAlarm(now), e.alarmTime.Load()
	if next == 0 || armed != 0 && armed <= next {
		return
	}
	e.rescheduleAlarm()
}

// Lease implements queue.Worker.
func (e *Engine) Lease(ctx context.Context, r queue.LeaseRequest) ([]queue.Lease, error) {
	if !isValidLaneClass(r.Lane, r.UpTo) {
		return nil, fmt.Errorf("queue: no such line: %v, %v", r.Lane, r.UpTo)
	}
	if r.Max <= 0 || r.Visibility <= 0 {
		return nil, fmt.Errorf("queue: lease of %d jobs for %v", r.Max, r.Visibility)
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

// lend is doPatient for a Lease. Its answer tells of jobs that are open, and where nothing before it in its group wrote
// anything, those are durable with the groups before. What it writes itself is where tickets stand; who tells that waits
// for it, and a Finish comes after it in the log. So the call to the downstream need not wait for this fsync.
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

// lease walks the line: expired leases, retries whose time has come, then the order of arrival.
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

// leaseLine hands out the head of the line. Places of coalesced asks count as jobs: who was first must not show.
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
		// The head of a line is always in memory, for Wait and for the oldest wait.
		if err := t.e.refill(r.Lane, class, t.lastApplied[r.Lane][class], t.overlay); err != nil {
			t.abort(err)
		}
	}
	return out
}

// pass fixes the DoneTime of the start places up to a sequence that no earlier passage fixed.
func (t *tx) recordPassage(class reset.Class, upTo uint64, done int64) {
	g := &t.mem.Ordinals[reset.LaneStart][class]
	if upTo <= g.Passed {
		return
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), g.Passed+1)
	t.setBatchOnly(keyPassage(class, upTo), binary.BigEndian.AppendUint64(v, uint64(done)))
	g.Passed = upTo
	t.countersChanged = true
	if t.e.watchers.hasWatchers() {
		t.group.passages = append(t.group.passages, passage{class, upTo, done})
	}
}

func (t *tx) grantLease(rec jobRecord, size uint64, deadline int64) *lease {
	before := t.mem.ordinalsOf(rec.slot()).Passed
	l := t.mem.addLease(rec, size, deadline)
	// A position that was told must not grow after a crash: what a first lease passes is durable before it is told.
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

func (t *tx) readJob(prefix byte, p slot) (rec jobRecord, size uint64, ok bool) {
	b := t.get(keySlot(prefix, p))
	if b == nil {
		t.abort(fmt.Errorf("%w: no job at %v, %v, %d", errCorrupt, p.lane, p.class, p.seq))
		return rec, 0, false
	}
	rec, size, err := decodeJob(bytes.Clone(b), p.seq)
	if err != nil {
		t.abort(err)
		return rec, 0, false
	}
	return rec, size, true
}

// leaseExpired hands out jobs whose ExpireTime has passed and that nobody holds.
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
		*first = max(*first, t.wallTime+1) // unless something is found
	}
	for ok := it.First(); ok && len(out) < r.Max; ok = it.Next() {
		k := it.Key()
		if len(k) != 19 {
			t.abort(errCorrupt)
			return out
		}
		p := slot{r.Lane, reset.Class(k[10]), binary.BigEndian.Uint64(k[11:])}
		if _, gone := t.overlay[string(k)]; gone {
			continue
		}
		*first = min(*first, int64(binary.BigEndian.Uint64(k[2:])))
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
	return forEachItem(ctx, e, leases, func(t *tx, held *queue.Lease) error {
		l := t.mem.leaseByToken[held.Token]
		if l == nil || l.rec.job.ID != held.Job.ID || l.expired {
			return queue.ErrLeaseLost
		}
		t.mem.extendLease(l, t.now+visibility.Microseconds())
		return nil
	})
}

// each runs f on each item in one request and gives an error each.
func forEachItem[T any](ctx context.Context, e *Engine, items []T, f func(*tx, *T) error) []error {
	errs := make([]error, len(items))
	err := e.submitDetached(ctx, func(t *tx) {
		for i := range items {
			errs[i] = f(t, &items[i])
		}
	})
	if err != nil {
		errs = make([]error, len(items)) // the committer may still write to the first
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// held returns the lease if it is still good.
func (t *tx) findLease(h *queue.Lease) (*lease, error) {
	l := t.mem.leaseByToken[h.Token]
	if l == nil || l.rec.job.ID != h.Job.ID {
		return nil, queue.ErrLeaseLost
	}
	return l, nil
}

// Finish implements queue.Worker.
func (e *Engine) Finish(ctx context.Context, ends []queue.Finish) []error {
	return forEachItem(ctx, e, ends, (*tx).finish)
}

func (t *tx) finish(f *queue.Finish) error {
	l, err := t.findLease(&f.Lease)
	if err != nil {
		return err
	}
	for i := range f.FollowUps {
		if err := checkJob(&f.FollowUps[i]); err != nil {
			return err
		}
	}
	for _, w := range f.Records {
		if err := checkRecord(w); err != nil {
			return err
		}
	}
	if err := t.checkVersions(f.Records); err != nil {
		return err
	}
	rec, size := l.rec, l.size
	state := f.State
	heir := -1 // the follow-up that carries the ticket
	if state == 0 {
		for i := range f.FollowUps {
			if !rec.job.Ticket.IsZero() && f.FollowUps[i].Ticket == rec.job.Ticket {
				heir = i
				break
			}
		}
		if heir < 0 {
			state = reset.StateDone
		}
	}
	t.endJob(&rec, size, state, f.Reason, true)
	carried := false
	for i := range f.FollowUps {
		j := f.FollowUps[i]
		if j.AcceptTime.IsZero() {
			j.AcceptTime = rec.job.AcceptTime
		}
		var ord uint64
		if i == heir && ordinalLane(j.Lane) == ordinalLane(rec.job.Lane) && j.Class == rec.job.Class {
			ord, carried = rec.ordinal, true
		}
		t.insert(j, ord)
	}
	if heir >= 0 && !carried {
		t.countOrdinalEnded(&rec)
	}
	for _, w := range f.Records {
		t.writeRecord(w)
	}
	return nil
}

// Retry implements queue.Worker.
func (e *Engine) Retry(ctx context.Context, retries []queue.Retry) []error {
	return forEachItem(ctx, e, retries, func(t *tx, r *queue.Retry) error {
		l, err := t.findLease(&r.Lease)
		if err != nil {
			return err
		}
		rec := t.setAside(l)
		if r.UsedTry {
			rec.job.Attempts++
		}
		t.writeRetry(&rec, micros(r.NotBefore)+clockLag(t.now, t.wallTime))
		return nil
	})
}

// setAside takes a leased job out of where it lies; putRetry or putParked must follow. Its key stays taken.
func (t *tx) setAside(l *lease) jobRecord {
	rec := l.rec
	passed := l.countedAsPassed || rec.flags&flagPassed != 0
	t.removeJob(&rec, l.size)
	rec.flags &^= flagRetrying | flagParked | flagPassed
	if passed {
		rec.flags |= flagPassed
		t.mem.ordinalsOf(rec.slot()).PassedSetAside++
	}
	t.mem.Bytes += l.size
	return rec
}

func (t *tx) writeRetry(rec *jobRecord, at int64) {
	rec.flags |= flagRetrying
	rec.at = at
	p := rec.slot()
	accept := micros(rec.job.AcceptTime)
	t.setBatchOnly(keyRetry(p, at), binary.BigEndian.AppendUint64(nil, uint64(accept)))
	t.mem.queueOf(p).retries.add(p.seq, at)
	t.mem.queueOf(p).addRetryByAccept(p, accept)
	t.mem.countersOf(p).Retrying++
	t.writeSetAside(rec)
}

func (t *tx) writeSetAside(rec *jobRecord) {
	p := rec.slot()
	t.set(keySlot(prefixSetAside, p), appendJob(nil, rec, true))
	if !rec.job.ExpireTime.IsZero() {
		delete(t.overlay, string(keyExpire(p, micros(rec.job.ExpireTime)))) // removeJob has noted it as gone
		t.writeExpiryKey(rec)
	}
	if rec.job.Lane != reset.LaneMail {
		t.writeOpenKey(rec)
	} else if usesKey(&rec.job) && t.get(keyOpen(&rec.job)) == nil {
		t.writeOpenKey(rec)
	}
	t.writeOpenTicket(rec)
}

// Park implements queue.Worker.
func (e *Engine) Park(ctx context.Context, parks []queue.Park) []error {
	return forEachItem(ctx, e, parks, func(t *tx, pk *queue.Park) error {
		if len(pk.Cause) > 256 {
			return fmt.Errorf("%w: cause of %d bytes", queue.ErrTooLarge, len(pk.Cause))
		}
		l, err := t.findLease(&pk.Lease)
		if err != nil {
			return err
		}
		rec := t.setAside(l)
		rec.flags |= flagParked
		rec.at = t.now
		p := rec.slot()
		key := keyParked(p, rec.at)
		t.set(key, []byte(pk.Cause))
		t.set(key16(prefixParkedID, rec.job.ID), key)
		t.mem.countersOf(p).Parked++
		t.writeSetAside(&rec)
		return nil
	})
}

// Parked implements queue.Operator.
func (e *Engine) Parked(ctx context.Context, lane reset.Lane, after reset.ID, limit int) (out []queue.ParkedJob, err error) {
	err = e.readDurable(ctx, func(int64) error {
		lower := []byte{prefixParked}
		if !after.IsZero() {
			b, closer, err := e.db.Get(key16(prefixParkedID, after))
			if errors.Is(err, pebble.ErrNotFound) {
				return queue.ErrNotFound
			} else if err != nil {
				return fmt.Errorf("queue: read parked: %w", err)
			}
			lower = append(bytes.Clone(b), 0)
			_ = closer.Close()
		}
		it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{prefixParked + 1}})
		if err != nil {
			return fmt.Errorf("queue: list parked: %w", err)
		}
		for ok := it.First(); ok && len(out) < limit; ok = it.Next() {
			p, since, err := decodeKeyParked(it.Key())
			if err != nil {
				return errors.Join(err, it.Close())
			}
			if lane != 0 && p.lane != lane {
				continue
			}
			b, closer, err := e.db.Get(keySlot(prefixSetAside, p))
			if err != nil {
				return errors.Join(fmt.Errorf("queue: read parked: %w", err), it.Close())
			}
			rec, _, err := decodeJob(b, p.seq)
			rec.job.Payload = nil
			_ = closer.Close()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			out = append(out, queue.ParkedJob{Job: rec.job, ParkTime: fromMicros(since), Cause: string(it.Value())})
		}
		return it.Close()
	})
	return out, err
}

// parked reads a parked job that nobody holds.
func (t *tx) readParked(id reset.ID) (rec jobRecord, size uint64, err error) {
	b := t.get(key16(prefixParkedID, id))
	if b == nil {
		return rec, 0, queue.ErrNotFound
	}
	p, _, err := decodeKeyParked(b)
	if err != nil {
		t.abort(err)
		return rec, 0, err
	}
	rec, size, ok := t.readJob(prefixSetAside, p)
	if !ok {
		return rec, 0, t.err
	}
	return rec, size, nil
}

// Requeue implements queue.Operator.
func (e *Engine) Requeue(ctx context.Context, ids []reset.ID) []error {
	return forEachItem(ctx, e, ids, func(t *tx, id *reset.ID) error {
		rec, size, err := t.readParked(*id)
		if err != nil {
			return err
		}
		moved := t.setAside(&lease{rec: rec, size: size, index: -1})
		moved.job.Attempts = 0
		t.writeRetry(&moved, t.now)
		return nil
	})
}

// GiveUp implements queue.Operator.
func (e *Engine) GiveUp(ctx context.Context, ids []reset.ID) []error {
	return forEachItem(ctx, e, ids, func(t *tx, id *reset.ID) error {
		rec, size, err := t.readParked(*id)
		if err != nil {
			return err
		}
		t.endJob(&rec, size, reset.StateFailed, reset.ReasonOperator, true)
		return nil
	})
}
