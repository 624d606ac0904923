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
	if !validLine(lane, upTo) {
		return 0, fmt.Errorf("queue: no such line: %v, %v", lane, upTo)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := e.enter(); err != nil {
		return 0, err
	}
	defer e.leave()
	e.mu.RLock()
	defer e.mu.RUnlock()
	now := max(e.mem.Clock, e.deps.Clock.Now().UnixMicro())
	n := uint64(0)
	for class := reset.ClassInteractive; class <= upTo; class++ {
		k, ln := &e.mem.Lines[lane][class], &e.mem.lines[lane][class]
		n += k.InLine - ln.leased
		n += uint64(ln.retries.countDue(0, now, 1024)) //nolint:gosec // G115: at most 1,024
	}
	return int(min(n, math.MaxInt)), nil //nolint:gosec // G115: bounded
}

// Wait implements queue.Worker.
func (e *Engine) Wait(ctx context.Context, lane reset.Lane, upTo reset.Class) error {
	if !validLine(lane, 0) {
		return fmt.Errorf("queue: no such lane: %v", lane)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{lane, upTo, make(chan struct{})}
	// Registered under Engine.mu: no commit comes between the look and the registration.
	e.mu.RLock()
	now, _ := e.times()
	if e.mem.ready(lane, upTo, now) && !isClosed(e.quit) && !isClosed(e.dead) {
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
	case <-e.dead:
		return e.failed()
	}
}

// wake lets those go whose lane has work, and sets the alarm. Called under Engine.mu.
func (e *Engine) wake(now int64) {
	e.waitMu.Lock()
	for w := range e.waiters {
		if e.mem.ready(w.lane, w.upTo, now) {
			close(w.ready)
			delete(e.waiters, w)
		}
	}
	e.waitMu.Unlock()
	next, armed := e.mem.nextAlarm(now), e.armed.Load()
	if next == 0 || armed != 0 && armed <= next {
		return
	}
	e.kickAlarm()
}

// Lease implements queue.Worker.
func (e *Engine) Lease(ctx context.Context, r queue.LeaseRequest) ([]queue.Lease, error) {
	if !validLine(r.Lane, r.UpTo) {
		return nil, fmt.Errorf("queue: no such line: %v, %v", r.Lane, r.UpTo)
	}
	if r.Max <= 0 || r.Visibility <= 0 {
		return nil, fmt.Errorf("queue: lease of %d jobs for %v", r.Max, r.Visibility)
	}
	var granted []*lease
	var out []queue.Lease
	err := e.lend(ctx, func(t *tx) {
		if r.Expired {
			granted = t.leaseExpired(r)
		} else {
			granted = t.lease(r)
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
func (e *Engine) lend(ctx context.Context, run func(*tx)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	r := &request{done: make(chan struct{})}
	r.run = func(t *tx) {
		r.early = t.b.Empty() && !t.changed
		run(t)
	}
	return e.hand(context.WithoutCancel(ctx), r)
}

// lease walks the line: expired leases, retries whose time has come, then the order of arrival.
func (t *tx) lease(r queue.LeaseRequest) (out []*lease) {
	deadline := t.now + r.Visibility.Microseconds()
	for class := reset.ClassInteractive; class <= r.UpTo; class++ {
		ln := t.m.line(place{lane: r.Lane, class: class})
		for len(ln.again) > 0 && len(out) < r.Max {
			l := ln.again[0]
			ln.again = ln.again[1:]
			if l.expired && t.m.leases[l.rec.place()] == l {
				out = append(out, t.grant(l.rec, l.size, deadline))
			}
		}
		for len(out) < r.Max && ln.retries.due(t.now) {
			p := place{r.Lane, class, ln.retries.items[0].seq}
			ln.retries.remove(p.seq)
			rec, size, ok := t.readJob(prefixAside, p)
			if !ok {
				return out
			}
			out = append(out, t.grant(rec, size, deadline))
		}
		out = t.leaseLine(r, class, deadline, out)
	}
	return out
}

// leaseLine hands out the head of the line. Places of coalesced asks count as jobs: who was first must not show.
func (t *tx) leaseLine(r queue.LeaseRequest, class reset.Class, deadline int64, out []*lease) []*lease {
	p := place{lane: r.Lane, class: class}
	ln, k := t.m.line(p), t.m.count(p)
	var upTo uint64
	places := 0
	for len(out)+places < r.Max {
		if len(ln.window) == 0 {
			if err := t.e.refill(r.Lane, class, t.visible[r.Lane][class], t.over); err != nil {
				t.fault(err)
				return out
			}
			if len(ln.window) == 0 {
				break
			}
		}
		entry := ln.pop()
		upTo = entry.seq
		p.seq = entry.seq
		if isPlace(entry.rec) {
			places++
			t.del(keyPlace(prefixJob, p))
			t.advance(p)
			continue
		}
		rec, size, err := decodeJob(entry.rec, entry.seq)
		if err != nil {
			t.fault(err)
			return out
		}
		out = append(out, t.grant(rec, size, deadline))
	}
	if r.Lane == reset.LaneStart && upTo > 0 {
		t.pass(class, upTo, t.now+r.DoneAfter.Microseconds())
	}
	if len(ln.window) == 0 && ln.next <= k.Last {
		// The head of a line is always in memory, for Wait and for the oldest wait.
		if err := t.e.refill(r.Lane, class, t.visible[r.Lane][class], t.over); err != nil {
			t.fault(err)
		}
	}
	return out
}

// pass fixes the DoneTime of the start places up to a sequence that no earlier passage fixed.
func (t *tx) pass(class reset.Class, upTo uint64, done int64) {
	g := &t.m.Groups[reset.LaneStart][class]
	if upTo <= g.Passed {
		return
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), g.Passed+1)
	t.put(keyPassage(class, upTo), binary.BigEndian.AppendUint64(v, uint64(done)))
	g.Passed = upTo
	t.changed = true
	if t.e.hub.watched() {
		t.g.passages = append(t.g.passages, passage{class, upTo, done})
	}
}

func (t *tx) grant(rec jobRecord, size uint64, deadline int64) *lease {
	before := t.m.group(rec.place()).Passed
	l := t.m.grant(rec, size, deadline)
	// A position that was told must not grow after a crash: what a first lease passes is durable before it is told.
	if t.m.group(rec.place()).Passed != before {
		t.changed = true
	}
	if l.passedIn {
		passed := l.rec
		passed.flags |= flagPassed
		t.openTicket(&passed)
	} else if !rec.job.Ticket.IsZero() && rec.job.Lane != reset.LaneStart {
		t.signal(rec.job.Ticket)
	}
	return l
}

func (t *tx) readJob(prefix byte, p place) (rec jobRecord, size uint64, ok bool) {
	b := t.get(keyPlace(prefix, p))
	if b == nil {
		t.fault(fmt.Errorf("%w: no job at %v, %v, %d", errCorrupt, p.lane, p.class, p.seq))
		return rec, 0, false
	}
	rec, size, err := decodeJob(bytes.Clone(b), p.seq)
	if err != nil {
		t.fault(err)
		return rec, 0, false
	}
	return rec, size, true
}

// leaseExpired hands out jobs whose ExpireTime has passed and that nobody holds.
func (t *tx) leaseExpired(r queue.LeaseRequest) (out []*lease) {
	deadline := t.now + r.Visibility.Microseconds()
	first := &t.m.expiring[r.Lane]
	it, err := t.e.db.NewIter(&pebble.IterOptions{
		LowerBound: keyExpire(place{lane: r.Lane}, *first), UpperBound: keyExpire(place{lane: r.Lane}, t.wall+1),
	})
	if err != nil {
		t.fault(err)
		return nil
	}
	defer func() {
		if err := it.Close(); err != nil {
			t.fault(err)
		}
	}()
	if !t.late[r.Lane] {
		*first = max(*first, t.wall+1) // unless something is found
	}
	for ok := it.First(); ok && len(out) < r.Max; ok = it.Next() {
		k := it.Key()
		if len(k) != 19 {
			t.fault(errCorrupt)
			return out
		}
		p := place{r.Lane, reset.Class(k[10]), binary.BigEndian.Uint64(k[11:])}
		if _, gone := t.over[string(k)]; gone {
			continue
		}
		*first = min(*first, int64(binary.BigEndian.Uint64(k[2:])))
		if p.class > r.UpTo {
			continue
		}
		if l := t.m.leases[p]; l != nil {
			if l.expired {
				out = append(out, t.grant(l.rec, l.size, deadline))
			}
			continue
		}
		prefix := byte(prefixJob)
		if t.get(keyPlace(prefixAside, p)) != nil {
			prefix = prefixAside
		}
		rec, size, ok := t.readJob(prefix, p)
		if !ok {
			return out
		}
		ln := t.m.line(p)
		ln.drop(p.seq)
		ln.retries.remove(p.seq)
		out = append(out, t.grant(rec, size, deadline))
	}
	return out
}

// Extend implements queue.Worker.
func (e *Engine) Extend(ctx context.Context, leases []queue.Lease, visibility time.Duration) []error {
	return each(ctx, e, leases, func(t *tx, held *queue.Lease) error {
		l := t.m.tokens[held.Token]
		if l == nil || l.rec.job.ID != held.Job.ID || l.expired {
			return queue.ErrLeaseLost
		}
		t.m.extend(l, t.now+visibility.Microseconds())
		return nil
	})
}

// each runs f on each item in one request and gives an error each.
func each[T any](ctx context.Context, e *Engine, items []T, f func(*tx, *T) error) []error {
	errs := make([]error, len(items))
	err := e.doPatient(ctx, func(t *tx) {
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
func (t *tx) held(h *queue.Lease) (*lease, error) {
	l := t.m.tokens[h.Token]
	if l == nil || l.rec.job.ID != h.Job.ID {
		return nil, queue.ErrLeaseLost
	}
	return l, nil
}

// Finish implements queue.Worker.
func (e *Engine) Finish(ctx context.Context, ends []queue.Finish) []error {
	return each(ctx, e, ends, (*tx).finish)
}

func (t *tx) finish(f *queue.Finish) error {
	l, err := t.held(&f.Lease)
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
		if i == heir && groupOf(j.Lane) == groupOf(rec.job.Lane) && j.Class == rec.job.Class {
			ord, carried = rec.ord, true
		}
		t.insert(j, ord)
	}
	if heir >= 0 && !carried {
		t.leaveLine(&rec)
	}
	for _, w := range f.Records {
		t.write(w)
	}
	return nil
}

// Retry implements queue.Worker.
func (e *Engine) Retry(ctx context.Context, retries []queue.Retry) []error {
	return each(ctx, e, retries, func(t *tx, r *queue.Retry) error {
		l, err := t.held(&r.Lease)
		if err != nil {
			return err
		}
		rec := t.setAside(l)
		if r.UsedTry {
			rec.job.Attempts++
		}
		t.putRetry(&rec, micros(r.NotBefore)+lag(t.now, t.wall))
		return nil
	})
}

// setAside takes a leased job out of where it lies; putRetry or putParked must follow. Its key stays taken.
func (t *tx) setAside(l *lease) jobRecord {
	rec := l.rec
	passed := l.passedIn || rec.flags&flagPassed != 0
	t.removeJob(&rec, l.size)
	rec.flags &^= flagRetrying | flagParked | flagPassed
	if passed {
		rec.flags |= flagPassed
		t.m.group(rec.place()).Flagged++
	}
	t.m.Bytes += l.size
	return rec
}

func (t *tx) putRetry(rec *jobRecord, at int64) {
	rec.flags |= flagRetrying
	rec.at = at
	p := rec.place()
	accept := micros(rec.job.AcceptTime)
	t.put(keyRetry(p, at), binary.BigEndian.AppendUint64(nil, uint64(accept)))
	t.m.line(p).retries.add(p.seq, at)
	t.m.line(p).addTried(p, accept)
	t.m.count(p).Retrying++
	t.putAside(rec)
}

func (t *tx) putAside(rec *jobRecord) {
	p := rec.place()
	t.set(keyPlace(prefixAside, p), appendJob(nil, rec, true))
	if !rec.job.ExpireTime.IsZero() {
		delete(t.over, string(keyExpire(p, micros(rec.job.ExpireTime)))) // removeJob has noted it as gone
		t.putExpire(rec)
	}
	if rec.job.Lane != reset.LaneMail {
		t.addOpen(rec)
	} else if keyed(&rec.job) && t.get(keyOpen(&rec.job)) == nil {
		t.addOpen(rec)
	}
	t.openTicket(rec)
}

// Park implements queue.Worker.
func (e *Engine) Park(ctx context.Context, parks []queue.Park) []error {
	return each(ctx, e, parks, func(t *tx, pk *queue.Park) error {
		if len(pk.Cause) > 256 {
			return fmt.Errorf("%w: cause of %d bytes", queue.ErrTooLarge, len(pk.Cause))
		}
		l, err := t.held(&pk.Lease)
		if err != nil {
			return err
		}
		rec := t.setAside(l)
		rec.flags |= flagParked
		rec.at = t.now
		p := rec.place()
		key := keyParked(p, rec.at)
		t.set(key, []byte(pk.Cause))
		t.set(key16(prefixParkedID, rec.job.ID), key)
		t.m.count(p).Parked++
		t.putAside(&rec)
		return nil
	})
}

// Parked implements queue.Operator.
func (e *Engine) Parked(ctx context.Context, lane reset.Lane, after reset.ID, limit int) (out []queue.ParkedJob, err error) {
	err = e.view(ctx, func(int64) error {
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
			p, since, err := parkedPlace(it.Key())
			if err != nil {
				return errors.Join(err, it.Close())
			}
			if lane != 0 && p.lane != lane {
				continue
			}
			b, closer, err := e.db.Get(keyPlace(prefixAside, p))
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
func (t *tx) parked(id reset.ID) (rec jobRecord, size uint64, err error) {
	b := t.get(key16(prefixParkedID, id))
	if b == nil {
		return rec, 0, queue.ErrNotFound
	}
	p, _, err := parkedPlace(b)
	if err != nil {
		t.fault(err)
		return rec, 0, err
	}
	rec, size, ok := t.readJob(prefixAside, p)
	if !ok {
		return rec, 0, t.err
	}
	return rec, size, nil
}

// Requeue implements queue.Operator.
func (e *Engine) Requeue(ctx context.Context, ids []reset.ID) []error {
	return each(ctx, e, ids, func(t *tx, id *reset.ID) error {
		rec, size, err := t.parked(*id)
		if err != nil {
			return err
		}
		moved := t.setAside(&lease{rec: rec, size: size, index: -1})
		moved.job.Attempts = 0
		t.putRetry(&moved, t.now)
		return nil
	})
}

// GiveUp implements queue.Operator.
func (e *Engine) GiveUp(ctx context.Context, ids []reset.ID) []error {
	return each(ctx, e, ids, func(t *tx, id *reset.ID) error {
		rec, size, err := t.parked(*id)
		if err != nil {
			return err
		}
		t.endJob(&rec, size, reset.StateFailed, reset.ReasonOperator, true)
		return nil
	})
}
