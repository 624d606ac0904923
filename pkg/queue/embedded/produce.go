package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Enqueue implements queue.Producer.
func (e *Engine) Enqueue(ctx context.Context, items []queue.Item) []queue.Verdict {
	out := make([]queue.Verdict, len(items))
	if p := e.enqueueRefusal.Load(); p != nil {
		return e.refuseAll(out, fmt.Errorf("%w: %w", queue.ErrNotDurable, *p))
	}
	work := make([]queue.Item, len(items))
	todo := 0
	for i, it := range items {
		if out[i].Err = checkJob(&it.Job); out[i].Err == nil {
			todo++
		}
		work[i] = it
		work[i].Job.Payload = bytes.Clone(it.Job.Payload) // the caller may leave, and use it again, before it is written
		if it.Mark != nil {
			mark := *it.Mark
			work[i].Mark = &mark
		}
	}
	if todo > 0 {
		verdicts := append([]queue.Verdict(nil), out...) // the committer's own: the caller may leave before it writes
		err := e.submit(ctx, func(t *tx) {
			for i := range work {
				if verdicts[i].Err == nil {
					verdicts[i] = t.enqueue(&work[i])
				}
			}
		})
		if err != nil {
			for i := range out {
				if out[i].Err == nil {
					out[i].Err = err
				}
			}
		} else {
			out = verdicts
		}
	}
	for i := range out {
		e.metrics.countVerdict(out[i])
	}
	return out
}

func (e *Engine) refuseAll(out []queue.Verdict, err error) []queue.Verdict {
	for i := range out {
		out[i].Err = err
		e.metrics.countVerdict(out[i])
	}
	return out
}

func checkJob(j *reset.Job) error {
	switch {
	case !isValidLaneClass(j.Lane, j.Class):
		return fmt.Errorf("queue: no such line: %v, %v", j.Lane, j.Class)
	case j.ID.IsZero():
		return errors.New("queue: a job needs an id")
	case len(j.Payload) > queue.MaxPayload:
		return fmt.Errorf("%w: payload of %d bytes", queue.ErrTooLarge, len(j.Payload))
	}
	return nil
}

func (t *tx) enqueue(it *queue.Item) queue.Verdict {
	j := it.Job
	if j.AcceptTime.IsZero() {
		j.AcceptTime = fromMicros(t.wallTime)
	}
	var mark markRecord
	if it.Mark != nil {
		key := key16(prefixMark, it.Mark.Account)
		if b := t.getLikelyAbsent(key); b != nil {
			old, err := decodeMark(b)
			if err != nil {
				t.abort(err)
				return queue.Verdict{Err: err}
			}
			if old.expire == 0 || old.expire > t.wallTime {
				if !it.Mark.Request.IsZero() && old.request == it.Mark.Request {
					return queue.Verdict{Ref: old.ref, Replayed: true}
				}
				if old.mark != it.Mark.TokenMark {
					return queue.Verdict{Err: queue.ErrMarkSpent}
				}
				mark.mark = old.mark
			}
		}
		mark.mark = max(mark.mark+1, it.Mark.TokenMark+1, uint64(micros(j.AcceptTime)))
		mark.request, mark.expire = it.Mark.Request, micros(it.Mark.ExpireTime)
		j.Sequence = mark.mark
	}
	size := uint64(headerBytes + len(j.Payload))
	if t.mem.Enqueued-t.mem.Ended >= t.e.cfg.MaxJobs || t.mem.Bytes+size > t.e.cfg.MaxBytes {
		return queue.Verdict{Err: queue.ErrFull}
	}
	// Places of coalesced asks are no jobs, but they must not grow without bound either.
	if g := &t.mem.Ordinals[reset.LaneStart][j.Class]; j.Lane == reset.LaneStart && g.Last-g.Passed >= t.e.cfg.MaxJobs {
		return queue.Verdict{Err: queue.ErrFull}
	}
	v := t.insert(j, 0)
	if passed := t.mem.passedOrdinal(j.Lane, j.Class); v.Ref.Seq > passed {
		v.Ahead = v.Ref.Seq - passed
	}
	if it.Mark != nil {
		mark.ref = v.Ref
		key := key16(prefixMark, it.Mark.Account)
		t.set(key, appendMark(make([]byte, 0, markBytes), mark))
		t.group.markAccounts = append(t.group.markAccounts, it.Mark.Account)
		if mark.expire != 0 {
			t.setBatchOnly(keyRetention(mark.expire, key), nil)
		}
	}
	return v
}

// insert puts a job in line, joins it or ends it superseded. ord is the ordinal that a follow-up takes over, or 0.
func (t *tx) insert(j reset.Job, ord uint64) queue.Verdict {
	m := t.mem
	if usesKey(&j) {
		if b := t.getLikelyAbsent(keyOpen(&j)); b != nil {
			open, size, err := decodeOpen(b, j.Lane)
			if err != nil {
				t.abort(err)
				return queue.Verdict{Err: err}
			}
			l := m.leaseBySlot[open.slot()]
			leased := l != nil && !l.expired
			switch j.Lane {
			case reset.LaneStart:
				if leased || !t.endParked(open.slot()) {
					return t.addPlaceholder(&j)
				}
			case reset.LaneMail:
				if !leased && !t.endParked(open.slot()) {
					return queue.Verdict{Joined: true, Ref: reset.Ref{ID: open.job.Ticket, Lane: j.Lane, Class: open.job.Class, Seq: open.seq, AcceptTime: j.AcceptTime}}
				}
			default:
				if open.job.Sequence >= j.Sequence && open.job.ID != j.ID {
					return t.insertEnded(j, ord)
				}
				t.endJob(&open, size, reset.StateRejected, reset.ReasonSuperseded, false)
			}
		}
	}
	r := t.assignSlot(j, ord)
	m.Enqueued++
	m.enteredSinceOpen[j.Lane]++
	t.addJob(&r)
	t.writeOpenTicket(&r)
	return queue.Verdict{Ref: r.ref()}
}

// endParked ends the job at the place superseded if it is parked, and tells whether it was. What failed as often as a
// job may must not bar who asks once more: his job takes the key, with a payload that may do better.
func (t *tx) endParked(p slot) bool {
	if t.mem.countersOf(p).Parked == 0 {
		return false // spares nearly every ask a look-up
	}
	b := t.get(keySlot(prefixSetAside, p))
	if b == nil {
		return false
	}
	r, size, err := decodeJob(b, p.seq)
	if err != nil {
		t.abort(err)
		return false
	}
	if r.flags&flagParked == 0 {
		return false
	}
	t.endJob(&r, size, reset.StateRejected, reset.ReasonSuperseded, false)
	return true
}

// place gives the job its sequence and ordinal.
func (t *tx) assignSlot(j reset.Job, ord uint64) jobRecord {
	r := jobRecord{job: j, ordinal: ord}
	k, g := &t.mem.Queues[j.Lane][j.Class], &t.mem.Ordinals[ordinalLane(j.Lane)][j.Class]
	k.Last++
	r.seq = k.Last
	if ord == 0 {
		g.Last++
		r.ordinal = g.Last
	}
	t.countersChanged = true
	return r
}

func (r *jobRecord) ref() reset.Ref {
	return reset.Ref{ID: r.job.Ticket, Lane: r.job.Lane, Class: r.job.Class, Seq: r.ordinal, AcceptTime: r.job.AcceptTime}
}

// joinStart gives a coalesced ask a place at the end of the line, so that nobody sees whether he was the first.
func (t *tx) addPlaceholder(j *reset.Job) queue.Verdict {
	r := t.assignSlot(*j, 0)
	rec := appendPlaceholder(make([]byte, 0, placeholderBytes), j.AcceptTime)
	t.setBatchOnly(keySlot(prefixJob, r.slot()), rec)
	t.mem.queueOf(r.slot()).pushWindow(r.seq, rec)
	return queue.Verdict{Ref: r.ref(), Joined: true}
}

// insertEnded counts a job that a newer one has superseded before it could wait.
func (t *tx) insertEnded(j reset.Job, ord uint64) queue.Verdict {
	r := t.assignSlot(j, ord)
	t.mem.Enqueued++
	t.mem.Ended++
	t.mem.enteredSinceOpen[j.Lane]++
	t.mem.endedSinceOpen[j.Lane]++
	t.writeFinalTicket(&r, reset.StateRejected, reset.ReasonSuperseded)
	t.countOrdinalEnded(&r)
	t.reportEnd(&r.job, reset.StateRejected)
	return queue.Verdict{Ref: r.ref()}
}

// Ticket implements queue.Producer.
func (e *Engine) Ticket(ctx context.Context, ref reset.Ref) (queue.Status, error) {
	if err := e.beginCall(); err != nil {
		return queue.Status{}, err
	}
	defer e.endCall()
	if !isValidLaneClass(ref.Lane, ref.Class) {
		return queue.Status{}, queue.ErrNotFound
	}
	e.mu.RLock()
	now, wall := e.readTimes()
	g := e.lastGroup
	var s queue.Status
	var err error
	if ref.Lane == reset.LaneStart {
		s, err = e.startStatus(ref, now)
		if !s.DoneTime.IsZero() {
			s.DoneTime = s.DoneTime.Add(-time.Duration(clockLag(now, wall)) * time.Microsecond) // by the caller's clock
			if s.State == reset.StateDone {
				s.UpdateTime = s.DoneTime
			}
		}
	} else {
		s, err = e.ticketStatus(ref, now)
		if s.State.Final() {
			g = e.newestUnsyncedGroup(micros(s.UpdateTime)) // it changes no more: what was written since does not matter
		}
	}
	e.mu.RUnlock()
	if err != nil {
		return queue.Status{}, err
	}
	// What is told must still be true after a power cut.
	if err := e.waitDurable(ctx, g); err != nil {
		return queue.Status{}, err
	}
	return s, nil
}

func (e *Engine) startStatus(ref reset.Ref, now int64) (queue.Status, error) {
	m := &e.mem
	if ref.Seq == 0 || ref.Seq > m.Queues[ref.Lane][ref.Class].Last {
		return queue.Status{}, queue.ErrNotFound
	}
	s := queue.Status{State: reset.StateAccepted, Lane: ref.Lane, UpdateTime: ref.AcceptTime}
	if passed := m.passedOrdinal(ref.Lane, ref.Class); ref.Seq > passed {
		s.Ahead = ref.Seq - passed
		return s, nil
	}
	it, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: keyPassage(ref.Class, ref.Seq),
		UpperBound: []byte{prefixPassage, byte(ref.Class) + 1},
	})
	if err != nil {
		return s, fmt.Errorf("queue: read passage: %w", err)
	}
	var done int64
	if it.First() {
		v, verr := it.ValueAndErr()
		if err = verr; err == nil && len(v) == 16 && binary.BigEndian.Uint64(v) <= ref.Seq {
			done = int64(binary.BigEndian.Uint64(v[8:]))
		}
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return s, fmt.Errorf("queue: read passage: %w", err)
	}
	if done == 0 || done+e.cfg.Retention.Microseconds() <= now {
		return s, queue.ErrNotFound
	}
	s.DoneTime = fromMicros(done)
	if done <= now {
		s.State, s.UpdateTime = reset.StateDone, s.DoneTime
	}
	return s, nil
}

func (e *Engine) ticketStatus(ref reset.Ref, now int64) (queue.Status, error) {
	b, closer, err := e.db.Get(key16(prefixTicket, ref.ID))
	if errors.Is(err, pebble.ErrNotFound) {
		return queue.Status{}, queue.ErrNotFound
	} else if err != nil {
		return queue.Status{}, fmt.Errorf("queue: read ticket: %w", err)
	}
	t, err := decodeTicket(b)
	_ = closer.Close()
	if err != nil {
		return queue.Status{}, fmt.Errorf("queue: %w", err)
	}
	s := queue.Status{State: t.state, Reason: t.reason, UpdateTime: fromMicros(t.update), Lane: t.slot.lane}
	if t.state.Final() {
		if t.update+e.cfg.Retention.Microseconds() <= now {
			return queue.Status{}, queue.ErrNotFound
		}
		return s, nil
	}
	l := e.mem.leaseBySlot[t.slot]
	last := t.slot.lane == ordinalLane(t.slot.lane)
	switch {
	case l != nil && !l.expired && last:
		s.State = reset.StateRunning
	case l != nil && last, t.flags&flagPassed != 0:
		s.Retrying = t.flags&(flagRetrying|flagParked) != 0 && l == nil
	default:
		s.Retrying = t.flags&(flagRetrying|flagParked) != 0 && l == nil
		if passed := e.mem.passedOrdinal(t.slot.lane, t.slot.class); t.ordinal > passed {
			s.Ahead = t.ordinal - passed
		}
	}
	return s, nil
}

// Stats implements queue.Producer.
func (e *Engine) Stats(ctx context.Context) (queue.Stats, error) {
	if err := ctx.Err(); err != nil {
		return queue.Stats{}, err
	}
	if err := e.beginCall(); err != nil {
		return queue.Stats{}, err
	}
	defer e.endCall()
	return e.stats(), nil
}

func (e *Engine) stats() queue.Stats {
	e.mu.RLock()
	s := e.mem.stats()
	e.mu.RUnlock()
	s.MaxBytes, s.CommitTime = e.cfg.MaxBytes, e.commitTimes.now(e.deps.Clock.Now())
	if p := e.enqueueRefusal.Load(); p != nil {
		s.NotAccepting = fmt.Errorf("%w: %w", queue.ErrNotDurable, *p)
	}
	return s
}

// view calls f under the lock, with the machine's time, and then waits until what it saw is durable.
func (e *Engine) readDurable(ctx context.Context, f func(wall int64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.beginCall(); err != nil {
		return err
	}
	defer e.endCall()
	e.mu.RLock()
	g := e.lastGroup
	err := f(e.deps.Clock.Now().UnixMicro())
	e.mu.RUnlock()
	if err != nil {
		return err
	}
	return e.waitDurable(ctx, g)
}

// Get implements queue.Records.
func (e *Engine) Get(ctx context.Context, kind queue.RecordKind, key string) (r queue.Record, err error) {
	err = e.readDurable(ctx, func(wall int64) error {
		b, closer, err := e.db.Get(keyRecord(kind, key))
		if errors.Is(err, pebble.ErrNotFound) {
			return queue.ErrNotFound
		} else if err != nil {
			return fmt.Errorf("queue: read record: %w", err)
		}
		r, err = decodeRecord(kind, key, b)
		_ = closer.Close()
		if err == nil && isRecordExpired(r, wall) {
			r, err = queue.Record{}, queue.ErrNotFound
		}
		return err
	})
	return r, err
}

func isRecordExpired(r queue.Record, wall int64) bool {
	return !r.ExpireTime.IsZero() && micros(r.ExpireTime) <= wall
}

// Put implements queue.Records.
func (e *Engine) Put(ctx context.Context, w queue.RecordWrite) error {
	return e.PutAll(ctx, []queue.RecordWrite{w})
}

// PutAll implements queue.Records.
func (e *Engine) PutAll(ctx context.Context, writes []queue.RecordWrite) error {
	if len(writes) > queue.MaxRecordWrites {
		return fmt.Errorf("%w: %d records at once, at most %d", queue.ErrTooLarge, len(writes), queue.MaxRecordWrites)
	}
	writes = slices.Clone(writes)
	for i := range writes {
		if err := checkRecord(writes[i]); err != nil {
			return err
		}
		writes[i].Value = bytes.Clone(writes[i].Value)
	}
	var result error
	if err := e.submit(ctx, func(t *tx) {
		if result = t.checkVersions(writes); result != nil {
			return
		}
		for _, w := range writes {
			t.writeRecord(w)
		}
	}); err != nil {
		return err
	}
	return result
}

func checkRecord(w queue.RecordWrite) error {
	if len(w.Kind) == 0 || len(w.Kind) > 16 || len(w.Key) > 128 || len(w.Value) > 64<<10 {
		return fmt.Errorf("%w: record %q with a key of %d and a value of %d bytes", queue.ErrTooLarge, w.Kind, len(w.Key), len(w.Value))
	}
	return nil
}

func (t *tx) recordVersion(w queue.RecordWrite) uint64 {
	b := t.get(keyRecord(w.Kind, w.Key))
	if b == nil {
		return 0
	}
	r, err := decodeRecord(w.Kind, w.Key, b)
	if err != nil {
		t.abort(err)
	}
	if isRecordExpired(r, t.wallTime) {
		return 0
	}
	return r.Version
}

func (t *tx) checkVersions(writes []queue.RecordWrite) error {
	for _, w := range writes {
		if w.Version != queue.AnyVersion && t.recordVersion(w) != w.Version {
			return queue.ErrConflict
		}
	}
	return nil
}

func (t *tx) writeRecord(w queue.RecordWrite) {
	key := keyRecord(w.Kind, w.Key)
	if w.Value == nil {
		t.delete(key)
		return
	}
	r := queue.Record{Version: t.recordVersion(w) + 1, Value: w.Value, ExpireTime: w.ExpireTime}
	t.set(key, appendRecord(nil, r))
	if !w.ExpireTime.IsZero() {
		t.setBatchOnly(keyRetention(micros(w.ExpireTime), key), nil)
	}
}

// List implements queue.Records.
func (e *Engine) List(ctx context.Context, kind queue.RecordKind, after string, limit int) ([]queue.Record, error) {
	lower := keyRecord(kind, after)
	if after != "" {
		lower = append(lower, 0)
	}
	return e.list(ctx, kind, lower, recordsUpperBound(kind), limit, (*pebble.Iterator).First, (*pebble.Iterator).Next)
}

// ListBack implements queue.Records.
func (e *Engine) ListBack(ctx context.Context, kind queue.RecordKind, before string, limit int) ([]queue.Record, error) {
	upper := recordsUpperBound(kind)
	if before != "" {
		upper = keyRecord(kind, before)
	}
	return e.list(ctx, kind, keyRecord(kind, ""), upper, limit, (*pebble.Iterator).Last, (*pebble.Iterator).Prev)
}

// pastRecords is the key behind the kind's last.
func recordsUpperBound(kind queue.RecordKind) []byte {
	upper := keyRecord(kind, "")
	upper[len(upper)-1] = 1
	return upper
}

func (e *Engine) list(ctx context.Context, kind queue.RecordKind, lower, upper []byte, limit int, begin, step func(*pebble.Iterator) bool,
) (out []queue.Record, err error) {
	err = e.readDurable(ctx, func(wall int64) error {
		it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return fmt.Errorf("queue: list records: %w", err)
		}
		for ok := begin(it); ok && len(out) < limit; ok = step(it) {
			r, err := decodeRecord(kind, string(it.Key()[2+len(kind):]), it.Value())
			if err != nil {
				return errors.Join(err, it.Close())
			}
			if !isRecordExpired(r, wall) {
				out = append(out, r)
			}
		}
		return it.Close()
	})
	return out, err
}

// Mark implements queue.Records. It waits only where the account's own mark is not on disk yet: each completion and each
// look at a token begins with it, and waiting for whatever was written last cost them a commit of other people's work.
func (e *Engine) Mark(ctx context.Context, account reset.Key) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := e.beginCall(); err != nil {
		return 0, err
	}
	defer e.endCall()
	e.mu.RLock()
	g := e.unsyncedMarkGroup(account)
	mark, err := e.readMark(account)
	e.mu.RUnlock()
	if err != nil {
		return 0, err
	}
	if err := e.waitDurable(ctx, g); err != nil {
		return 0, err
	}
	return mark, nil
}

func (e *Engine) readMark(account reset.Key) (uint64, error) {
	b, closer, err := e.db.Get(key16(prefixMark, account))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("queue: read mark: %w", err)
	}
	m, err := decodeMark(b)
	_ = closer.Close()
	if err != nil || m.expire != 0 && m.expire <= e.deps.Clock.Now().UnixMicro() {
		return 0, err
	}
	return m.mark, nil
}
