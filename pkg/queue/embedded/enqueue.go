package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
		// A copy: the caller may return early, when its ctx ends, and use the payload again before it is written.
		work[i].Job.Payload = bytes.Clone(it.Job.Payload)
		if it.Mark != nil {
			mark := *it.Mark
			work[i].Mark = &mark
		}
	}
	if todo > 0 {
		verdicts := slices.Clone(out) // the committer writes to this one, perhaps after the caller has returned
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
		return fmt.Errorf("queue: no such lane and class: %v, %v", j.Lane, j.Class)
	case j.ID.IsZero():
		return errors.New("queue: the job has no id")
	case len(j.Payload) > queue.MaxPayload:
		return fmt.Errorf("%w: payload of %d bytes", queue.ErrTooLarge, len(j.Payload))
	}
	return nil
}

// enqueue accepts or refuses one item. Mark, job and records go into the same batch, so they are durable together.
func (t *tx) enqueue(it *queue.Item) queue.Verdict {
	j := it.Job
	if j.AcceptTime.IsZero() {
		j.AcceptTime = fromMicros(t.wallTime)
	}
	// 1. The mark decides first: a used token is refused, and a repeat of the call that used it gets the first answer.
	var mark markRecord
	if it.Mark != nil {
		var earlier *queue.Verdict
		if mark, earlier = t.raiseMark(it.Mark, j.AcceptTime); earlier != nil {
			return *earlier
		}
		j.Sequence = mark.mark
	}
	// 2. The bounds. Nothing has been written so far.
	size := uint64(headerBytes + len(j.Payload))
	if t.mem.Enqueued-t.mem.Ended >= t.e.cfg.MaxJobs || t.mem.Bytes+size > t.e.cfg.MaxBytes {
		return queue.Verdict{Err: queue.ErrFull}
	}
	// The places of coalesced starts are no jobs, but they must not grow without bound either.
	if g := &t.mem.Ordinals[reset.LaneStart][j.Class]; j.Lane == reset.LaneStart && g.Last-g.Passed >= t.e.cfg.MaxJobs {
		return queue.Verdict{Err: queue.ErrFull}
	}
	// 3. The job itself, or its place beside the open job with its key.
	v := t.insert(j, 0)
	if passed := t.mem.passedOrdinal(j.Lane, j.Class); v.Ref.Seq > passed {
		v.Ahead = v.Ref.Seq - passed
	}
	// 4. The raised mark, with the ticket that a repeat of this call gets.
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

// raiseMark returns the account's raised mark, which the caller writes. If the item must not be accepted it returns its
// verdict instead.
func (t *tx) raiseMark(raise *queue.MarkRaise, accept time.Time) (mark markRecord, refused *queue.Verdict) {
	if b := t.getLikelyAbsent(key16(prefixMark, raise.Account)); b != nil {
		old, err := decodeMark(b)
		if err != nil {
			t.abort(err)
			return mark, &queue.Verdict{Err: err}
		}
		// A mark past its time counts as absent, whether or not the sweep has deleted it.
		if old.expire == 0 || old.expire > t.wallTime {
			if !raise.Request.IsZero() && old.request == raise.Request {
				return mark, &queue.Verdict{Ref: old.ref, Replayed: true}
			}
			if old.mark != raise.TokenMark {
				return mark, &queue.Verdict{Err: queue.ErrMarkSpent}
			}
			mark.mark = old.mark
		}
	}
	mark.mark = max(mark.mark+1, raise.TokenMark+1, uint64(micros(accept)))
	mark.request, mark.expire = raise.Request, micros(raise.ExpireTime)
	return mark, nil
}

// insert adds a job to its line, joins it to the open job with its key, or ends it or that job as superseded. ord is the
// ordinal that a follow-up keeps, 0 for a new one.
func (t *tx) insert(j reset.Job, ord uint64) queue.Verdict {
	m := t.mem
	if usesKey(&j) { // look for the open job with this key
		if b := t.getLikelyAbsent(keyOpen(&j)); b != nil {
			open, size, err := decodeOpen(b, j.Lane)
			if err != nil {
				t.abort(err)
				return queue.Verdict{Err: err}
			}
			l := m.leaseBySlot[open.slot()]
			leased := l != nil && !l.expired
			switch j.Lane {
			case reset.LaneStart: // join it, but not one that is parked: that one ends
				if leased || !t.endParked(open.slot()) {
					return t.addPlaceholder(&j)
				}
			case reset.LaneMail: // join it until it is leased; a parked one ends
				if !leased && !t.endParked(open.slot()) {
					return queue.Verdict{Joined: true, Ref: reset.Ref{
						ID: open.job.Ticket, Lane: j.Lane, Class: open.job.Class, Seq: open.seq, AcceptTime: j.AcceptTime,
					}}
				}
			default: // hash and apply: the higher Sequence stays, the other one ends
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

// endParked ends the job in the slot as superseded if it is parked, and reports whether it was. A parked job must not
// block a person who asks again: the new job takes the key, and its payload may do better.
func (t *tx) endParked(p slot) bool {
	if t.mem.countersOf(p).Parked == 0 {
		return false // without a read, for nearly every start
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

// assignSlot gives the job the next sequence of its line, and the next ordinal if ord is 0.
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

// addPlaceholder gives a coalesced start a place of its own at the end of the line. So its position looks like any other,
// and nobody can see whether an identifier was asked for before.
func (t *tx) addPlaceholder(j *reset.Job) queue.Verdict {
	r := t.assignSlot(*j, 0)
	rec := appendPlaceholder(make([]byte, 0, placeholderBytes), j.AcceptTime)
	t.setBatchOnly(keySlot(prefixJob, r.slot()), rec)
	t.mem.queueOf(r.slot()).pushWindow(r.seq, rec)
	return queue.Verdict{Ref: r.ref(), Joined: true}
}

// insertEnded counts a job that a newer one has superseded before it could wait, and makes its ticket final.
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
