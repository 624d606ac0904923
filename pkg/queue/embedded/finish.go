package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// forEachItem calls f for each item in one request, and so in one atomic write, and returns one error for each. An item
// for which f returns an error must have written nothing.
func forEachItem[T any](ctx context.Context, e *Engine, items []T, f func(*tx, *T) error) []error {
	errs := make([]error, len(items))
	err := e.submitDetached(ctx, func(t *tx) {
		for i := range items {
			errs[i] = f(t, &items[i])
		}
	})
	if err != nil {
		errs = make([]error, len(items)) // a new slice: the committer may still write to the other one
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// Finish implements queue.Worker.
func (e *Engine) Finish(ctx context.Context, ends []queue.Finish) []error {
	return forEachItem(ctx, e, ends, (*tx).finish)
}

// finish ends one leased job. Everything is checked before anything is written, because one refused item must leave
// nothing behind in the batch that it shares with others.
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
	// The job ends. Its ticket becomes final unless a follow-up carries it.
	rec, size := l.rec, l.size
	state := f.State
	carrier := -1 // index of the follow-up that carries the ticket
	if state == 0 {
		if carrier = ticketCarrier(f, rec.job.Ticket); carrier < 0 {
			state = reset.StateDone
		}
	}
	t.endJob(&rec, size, state, f.Reason, true)
	// The follow-ups enter their lines. The one that carries the ticket keeps its ordinal if it stays in the same line
	// of ordinals (hash to apply); otherwise the ordinal has ended here.
	keptOrdinal := false
	for i := range f.FollowUps {
		j := f.FollowUps[i]
		if j.AcceptTime.IsZero() {
			j.AcceptTime = rec.job.AcceptTime
		}
		var ord uint64
		if i == carrier && ordinalLane(j.Lane) == ordinalLane(rec.job.Lane) && j.Class == rec.job.Class {
			ord, keptOrdinal = rec.ordinal, true
		}
		t.insert(j, ord)
	}
	if carrier >= 0 && !keptOrdinal {
		t.countOrdinalEnded(&rec)
	}
	for _, w := range f.Records {
		t.writeRecord(w)
	}
	return nil
}

// ticketCarrier returns the index of the follow-up that carries the ticket, or -1.
func ticketCarrier(f *queue.Finish, ticket reset.ID) int {
	if ticket.IsZero() {
		return -1
	}
	return slices.IndexFunc(f.FollowUps, func(j reset.Job) bool { return j.Ticket == ticket })
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

// setAside takes a leased or parked job out of where it is and ends its lease. The caller must call writeRetry, or set
// flagParked and call writeSetAside, in the same request: the job is in no line until then. It keeps its key.
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

// writeRetry makes a job that was set aside retrying: it may be leased from at, in µs of the queue's time.
func (t *tx) writeRetry(rec *jobRecord, at int64) {
	rec.flags |= flagRetrying
	rec.at = at
	p := rec.slot()
	accept := micros(rec.job.AcceptTime)
	t.setBatchOnly(keyRetry(p, at), appendInt64(nil, accept))
	t.mem.queueOf(p).retries.add(p.seq, at)
	t.mem.queueOf(p).addRetryByAccept(p, accept)
	t.mem.countersOf(p).Retrying++
	t.writeSetAside(rec)
}

func (t *tx) writeSetAside(rec *jobRecord) {
	p := rec.slot()
	t.set(keySlot(prefixSetAside, p), appendJob(nil, rec, true))
	if !rec.job.ExpireTime.IsZero() {
		delete(t.overlay, string(keyExpire(p, micros(rec.job.ExpireTime)))) // removeJob has marked it as deleted
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
