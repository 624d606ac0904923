package embedded

import (
	"bytes"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// addJob writes a new job at the end of its line and counts it.
func (t *tx) addJob(r *jobRecord) {
	p := r.slot()
	rec := appendJob(make([]byte, 0, headerBytes+len(r.job.Payload)+reset.TraceBytes), r, true)
	t.setBatchOnly(keySlot(prefixJob, p), rec)
	if !r.job.ExpireTime.IsZero() {
		t.writeExpiryKey(r)
	}
	t.writeOpenKey(r)
	t.mem.queueOf(p).pushWindow(p.seq, rec)
	t.mem.countersOf(p).InLine++
	t.mem.Bytes += uint64(len(rec))
	t.countersChanged = true
}

func (t *tx) writeExpiryKey(r *jobRecord) {
	at := micros(r.job.ExpireTime)
	t.setBatchOnly(keyExpire(r.slot(), at), nil)
	first := &t.mem.firstExpiry[r.job.Lane]
	*first = min(*first, at)
	t.wroteExpired[r.job.Lane] = t.wroteExpired[r.job.Lane] || at <= t.wallTime
}

// usesKey reports whether the job holds its key: a second open job with the key joins or supersedes it.
func usesKey(j *reset.Job) bool {
	return !j.Unique && !j.Key.IsZero() &&
		(j.Lane == reset.LaneStart || j.Lane == reset.LaneMail || j.Lane == reset.LaneHash || j.Lane == reset.LaneApply)
}

func (t *tx) writeOpenKey(r *jobRecord) {
	if usesKey(&r.job) {
		t.set(keyOpen(&r.job), appendOpen(r))
	}
}

// removeJob deletes a job and its index entries, wherever it is: in line, retrying or parked. A lease of it ends. size is
// the job's share of Stats.Bytes. The caller counts what becomes of the job.
func (t *tx) removeJob(r *jobRecord, size uint64) {
	p, m := r.slot(), t.mem
	ln, k := m.queueOf(p), m.countersOf(p)
	if l := m.leaseBySlot[p]; l != nil {
		m.removeLease(l)
	}
	switch {
	case r.flags&flagParked != 0:
		k.Parked--
		t.delete(keySlot(prefixSetAside, p))
		t.delete(keyParked(p, r.at))
		t.delete(key16(prefixParkedID, r.job.ID))
	case r.flags&flagRetrying != 0:
		k.Retrying--
		ln.retries.remove(p.seq)
		ln.retriesByAccept.remove(p.seq)
		t.delete(keySlot(prefixSetAside, p))
		t.delete(keyRetry(p, r.at))
	default:
		k.InLine--
		ln.removeFromWindow(p.seq)
		t.delete(keySlot(prefixJob, p))
		t.advanceFloor(p)
	}
	if r.flags&flagPassed != 0 {
		m.ordinalsOf(p).PassedSetAside--
	}
	if !r.job.ExpireTime.IsZero() {
		t.delete(keyExpire(p, micros(r.job.ExpireTime)))
	}
	m.Bytes -= size
	t.countersChanged = true
}

// floorStep is how many places a line's head moves before everything behind it is deleted as one range. Without the range
// compactions would read the tombstones behind the head one by one.
const floorStep = 1 << 14

// advanceFloor raises the line's floor to its first open job, once that is floorStep above it. Nothing is below the floor,
// so Open begins to read there.
func (t *tx) advanceFloor(p slot) {
	ln, k := t.mem.queueOf(p), t.mem.countersOf(p)
	head := ln.nextUnread
	if len(ln.window) > 0 {
		head = ln.window[0].seq
	}
	if head < max(k.Floor+floorStep, ln.nextFloorCheck) {
		return
	}
	// The loop below is long when there are many leases; while an old lease keeps the floor down, it need not run often.
	ln.nextFloorCheck = head + floorStep/16
	for q, l := range t.mem.leaseBySlot {
		if q.lane == p.lane && q.class == p.class && !l.rec.isSetAside() {
			head = min(head, q.seq)
		}
	}
	if head < k.Floor+floorStep {
		return
	}
	k.Floor = head
	lower, upper := slot{p.lane, p.class, ln.deletedBelow}, slot{p.lane, p.class, head}
	if err := t.batch.DeleteRange(keySlot(prefixJob, lower), keySlot(prefixJob, upper), nil); err != nil {
		t.abort(err)
	}
	ln.deletedBelow = head
}

// endJob ends an open job and, if it has a ticket, makes the ticket final. A zero state leaves the ticket to the follow-up
// that carries it. holdsKey is false when a newer job is about to take the key.
func (t *tx) endJob(r *jobRecord, size uint64, state reset.State, reason reset.Reason, holdsKey bool) {
	t.removeJob(r, size)
	if holdsKey && usesKey(&r.job) {
		t.releaseKey(r)
	}
	t.mem.Ended++
	t.mem.endedSinceOpen[r.job.Lane]++
	if state != 0 {
		t.writeFinalTicket(r, state, reason)
		t.countOrdinalEnded(r)
		t.reportEnd(&r.job, state)
	}
}

// reportEnd calls Deps.OnJobEnd. The job's age is by the machine's clock, as its accept time is.
func (t *tx) reportEnd(j *reset.Job, state reset.State) {
	t.e.deps.OnJobEnd(j.Lane, j.Unique, state, time.Duration(t.wallTime-micros(j.AcceptTime))*time.Microsecond)
}

// countOrdinalEnded counts the job's ordinal as ended, so that those behind it move up.
func (t *tx) countOrdinalEnded(r *jobRecord) {
	t.mem.ordinalsOf(r.slot()).Ended++
	t.mem.updatePassed(r.slot())
}

// releaseKey deletes the job's open key. In the mail lane a later mail may have taken the key; then it stays.
func (t *tx) releaseKey(r *jobRecord) {
	key := keyOpen(&r.job)
	if r.job.Lane == reset.LaneMail {
		b := t.get(key)
		if b == nil {
			return
		}
		if h, _, err := decodeOpen(b, r.job.Lane); err != nil || h.slot() != r.slot() {
			return
		}
	}
	t.delete(key)
}

// writeFinalTicket writes the ticket's last state, and when it may be deleted. A start's ticket has no record.
func (t *tx) writeFinalTicket(r *jobRecord, state reset.State, reason reset.Reason) {
	if r.job.Ticket.IsZero() || r.job.Lane == reset.LaneStart {
		return
	}
	t.writeTicket(r.job.Ticket, ticketRecord{state: state, reason: reason, slot: r.slot(), ordinal: r.ordinal, update: t.now})
	t.setBatchOnly(keyRetention(t.now+t.e.cfg.Retention.Microseconds(), key16(prefixTicket, r.job.Ticket)), nil)
}

// writeOpenTicket writes where the ticket's job is now. A start's ticket has no record.
func (t *tx) writeOpenTicket(r *jobRecord) {
	if r.job.Ticket.IsZero() || r.job.Lane == reset.LaneStart {
		return
	}
	t.writeTicket(r.job.Ticket, ticketRecord{
		state: reset.StateAccepted, slot: r.slot(), ordinal: r.ordinal, flags: r.flags, update: t.now,
	})
}

func (t *tx) writeTicket(id reset.ID, rec ticketRecord) {
	t.setBatchOnly(key16(prefixTicket, id), appendTicket(make([]byte, 0, ticketBytes), rec))
	t.signalTicket(id)
}

// signalTicket has the ticket's watchers signalled once the group is durable.
func (t *tx) signalTicket(id reset.ID) {
	if t.e.watchers.hasWatchers() {
		t.group.ticketSignals = append(t.group.ticketSignals, id)
	}
}

// readJob reads a job that must exist; if it does not, the database is damaged and the group is given up.
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
