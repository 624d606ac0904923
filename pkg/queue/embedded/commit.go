package embedded

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/reset"
)

// request is work for the committer. run must not block; its effects are durable when done is signalled.
type request struct {
	run  func(*tx)
	done chan struct{}
	// early: what the answer tells lies in the groups before, so it need not wait for what this group writes.
	answerBeforeSync bool
}

// group is requests that share one fsync.
type commitGroup struct {
	requests      []*request
	batch         *pebble.Batch // nil when nothing was written
	started       time.Time
	now           int64         // µs; the queue's time, as in what the group wrote; no later group's is earlier
	previous      *commitGroup  // the group before, nil once that is durable; guarded by Engine.mu
	synced        chan struct{} // closed once durable, or once it is known that it will never be
	markAccounts  []reset.Key   // accounts whose marks it wrote
	ticketSignals []reset.ID
	passages      []passage
}

// passage is what one Lease fixed for the start places of a class up to a sequence.
type passage struct {
	class reset.Class
	upTo  uint64
	done  int64 // µs
}

type overlayEntry struct {
	value   []byte
	deleted bool
}

// tx is one group in the making. All of it happens on the committer's goroutine, under Engine.mu.
type tx struct {
	e               *Engine
	mem             *memory
	batch           *pebble.Batch
	iter            *pebble.Iterator
	tableIter       *pebble.Iterator        // what is in tables only, without the memtables
	overlay         map[string]overlayEntry // keys of this group that may be looked up before it is visible
	now             int64                   // µs; the queue's time, which never goes back
	wallTime        int64                   // µs; the machine's clock, by which callers give their times
	lastApplied     [laneCount][classCount]uint64
	wroteExpired    [laneCount]bool // a job was written whose time is over, which the group's iterators do not see
	countersChanged bool            // the counters differ from the disk's
	group           *commitGroup
	err             error // reading the database failed: nothing of this group may be trusted
}

// clockSlack is how far the machine's clock may be behind the queue's time without being taken for one that was set
// back: between two readings of the clock, and of its steady part, microseconds come and go.
const clockSlack = int64(time.Second / time.Microsecond)

// flow is where the queue's time goes on from while the machine's clock is behind it.
type timeBase struct {
	begin     time.Time // with its monotonic reading, so that steps of the clock do not count
	queueTime int64     // µs; the queue's time at begin
}

func (f timeBase) timeAt(t time.Time) int64 { return f.queueTime + t.Sub(f.begin).Microseconds() }

// times reads the clock. Called under Engine.mu.
func (e *Engine) readTimes() (now, wall int64) {
	t := e.deps.Clock.Now()
	wall = t.UnixMicro()
	now = max(wall, e.mem.Clock)
	if now-wall > clockSlack {
		now = max(now, e.timeBase.timeAt(t))
	}
	return now, wall
}

// lag is how far the machine's clock is behind the queue's time.
func clockLag(now, wall int64) int64 {
	if now-wall <= clockSlack {
		return 0
	}
	return now - wall
}

// do hands the work to the committer and waits until it is durable.
func (e *Engine) submit(ctx context.Context, run func(*tx)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.beginCall(); err != nil {
		return err
	}
	defer e.endCall()
	return e.submitRequest(ctx, &request{run: run, done: make(chan struct{})})
}

func (e *Engine) submitRequest(ctx context.Context, r *request) error {
	select {
	case e.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.failedSignal:
		return e.failureErr()
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.failedSignal:
		return e.failureErr()
	}
}

// doPatient is do, but once the work is handed over it waits for the answer whatever ctx does: a lease granted to a
// caller who has left would lie idle until it expires, and the wait is a few milliseconds.
func (e *Engine) submitDetached(ctx context.Context, run func(*tx)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.submit(context.WithoutCancel(ctx), run)
}

// commitLoop groups what waits into batches. While one group's fsync is under way the next is made; a third waits.
func (e *Engine) commitLoop() {
	defer close(e.synced)
	defer e.failOnPanic("commit")
	over := make(map[string]overlayEntry)
	for first := range e.requests {
		g := &commitGroup{requests: []*request{first}, synced: make(chan struct{})}
	collect:
		for len(g.requests) < e.cfg.MaxBatch {
			select {
			case r, ok := <-e.requests:
				if !ok {
					break collect
				}
				g.requests = append(g.requests, r)
			default:
				break collect
			}
		}
		g.started = e.deps.Clock.Now()
		clear(over)
		if err := e.runGroup(g, over); err != nil {
			e.fail(err)
			return
		}
		select {
		case e.synced <- g:
		case <-e.failedSignal:
			return
		}
	}
}

// make runs a group's requests and applies what they wrote.
func (e *Engine) runGroup(g *commitGroup, over map[string]overlayEntry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := &e.mem
	t := &tx{e: e, mem: m, batch: e.db.NewBatch(), overlay: over, group: g}
	defer func() {
		for _, it := range []*pebble.Iterator{t.iter, t.tableIter} {
			if it != nil {
				_ = it.Close() // its errors were seen where they arose
			}
		}
	}()
	t.now, t.wallTime = e.readTimes()
	if t.now-e.timeBase.timeAt(e.deps.Clock.Now()) > clockSlack { // set forward
		e.timeBase = timeBase{begin: e.deps.Clock.Now(), queueTime: t.now}
	}
	m.Clock = t.now
	for l := range m.Queues {
		for c := range m.Queues[l] {
			t.lastApplied[l][c] = m.Queues[l][c].Last
		}
	}
	m.expireLeases(t.now, func(l *lease) { t.signalTicket(l.rec.job.Ticket) })
	for _, r := range g.requests {
		r.run(t)
		if t.err != nil {
			return t.err
		}
	}
	if t.countersChanged {
		t.setBatchOnly([]byte{prefixCounters}, m.append(nil))
	}
	if !t.batch.Empty() {
		g.batch = t.batch
		if err := e.db.ApplyNoSyncWait(t.batch, pebble.Sync); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
	} else {
		_ = t.batch.Close()
	}
	g.now, g.previous, e.lastGroup = t.now, e.lastGroup, g
	for p := g; p.previous != nil; p = p.previous {
		if isClosed(p.previous.synced) {
			p.previous = nil // at most two are not durable
			break
		}
	}
	e.wakeWaiters(t.now)
	return e.memtableFilter.rotate(e.db)
}

// syncLoop waits for fsyncs and answers, in order: so a group that wrote nothing is answered after those before it.
func (e *Engine) syncLoop() {
	defer e.failOnPanic("sync")
	for g := range e.synced {
		if e.failureErr() != nil {
			return
		}
		g.answer(true) // all groups before are durable
		if g.batch != nil {
			e.commitTimes.begin(g.started)
			if err := g.batch.SyncWait(); err != nil {
				e.fail(fmt.Errorf("fsync: %w", err))
				return
			}
			e.metrics.requests.Observe(float64(len(g.requests)))
			e.metrics.fsync.Observe(g.batch.CommitStats().CommitWaitDuration.Seconds())
			_ = g.batch.Close()
			g.batch = nil
			e.commitTimes.end(e.deps.Clock.Now().Sub(g.started))
		}
		if e.failureErr() != nil {
			return
		}
		e.metrics.commit.Observe(e.deps.Clock.Now().Sub(g.started).Seconds())
		close(g.synced)
		g.answer(false)
		if e.watchers.signalGroup(g) {
			e.rescheduleAlarm()
		}
	}
}

func (g *commitGroup) answer(early bool) {
	for _, r := range g.requests {
		if r.answerBeforeSync == early {
			close(r.done)
		}
	}
}

// wrote returns the latest group that may have written what bears the time at; nil when that is durable. Called under
// Engine.mu.
func (e *Engine) newestUnsyncedGroup(at int64) *commitGroup {
	g := e.lastGroup
	for g != nil && g.now > at {
		g = g.previous
	}
	return g
}

// marked returns the latest group that wrote the account's mark; nil when that is durable. Called under Engine.mu.
func (e *Engine) unsyncedMarkGroup(account reset.Key) *commitGroup {
	g := e.lastGroup
	for g != nil && !slices.Contains(g.markAccounts, account) {
		g = g.previous
	}
	return g
}

// guard turns a panic of Pebble's on a loop, which is how it reports some WAL errors, into the fatal hook.
func (e *Engine) failOnPanic(what string) {
	if r := recover(); r != nil {
		buf := make([]byte, 8<<10)
		buf = buf[:runtime.Stack(buf, false)]
		e.fail(fmt.Errorf("%s: panic: %v\n%s", what, r, buf))
	}
}

// durable waits until everything that the caller saw under Engine.mu is durable.
func (e *Engine) waitDurable(ctx context.Context, g *commitGroup) error {
	if g == nil {
		return nil
	}
	select {
	case <-g.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.failedSignal:
		return e.failureErr()
	}
}

// get looks a key up, in this group's writes first. The value is good until the next get.
func (t *tx) get(key []byte) []byte {
	if o, ok := t.overlay[string(key)]; ok {
		return o.value
	}
	return t.seek(&t.iter, false, key)
}

// getNew is get for open keys and marks, which for most jobs are not there: what this process has not written lately
// is looked for in tables alone, where bloom filters answer.
func (t *tx) getLikelyAbsent(key []byte) []byte {
	if o, ok := t.overlay[string(key)]; ok {
		return o.value
	}
	if t.e.memtableFilter.mayContain(key) {
		return t.seek(&t.iter, false, key)
	}
	return t.seek(&t.tableIter, true, key)
}

func (t *tx) seek(at **pebble.Iterator, tablesOnly bool, key []byte) []byte {
	if *at == nil {
		// With UseL6Filters an absent key costs 3.6 µs, with db.Get 12.8 µs (15 M jobs in place).
		it, err := t.e.db.NewIter(&pebble.IterOptions{UseL6Filters: true, OnlyReadGuaranteedDurable: tablesOnly})
		if err != nil {
			t.abort(err)
			return nil
		}
		*at = it
	}
	it := *at
	if !it.SeekPrefixGE(key) {
		if err := it.Error(); err != nil {
			t.abort(err)
		}
		return nil
	}
	if !bytes.Equal(it.Key(), key) {
		return nil
	}
	v, err := it.ValueAndErr()
	if err != nil {
		t.abort(err)
		return nil
	}
	return v
}

func (t *tx) abort(err error) {
	if t.err == nil {
		t.err = fmt.Errorf("read: %w", err)
	}
}

// put writes a key that nothing in this group looks up.
func (t *tx) setBatchOnly(key, value []byte) {
	if err := t.batch.Set(key, value, nil); err != nil {
		t.abort(err)
	}
}

// set writes a key that may be looked up. It keeps the value.
func (t *tx) set(key, value []byte) {
	t.overlay[string(key)] = overlayEntry{value: value}
	t.e.memtableFilter.add(key)
	t.setBatchOnly(key, value)
}

func (t *tx) delete(key []byte) {
	t.overlay[string(key)] = overlayEntry{deleted: true}
	t.e.memtableFilter.add(key)
	if err := t.batch.Delete(key, nil); err != nil {
		t.abort(err)
	}
}

// addJob writes a job that is new to its line, and counts it.
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

// keyed tells whether the job holds its key: a second one with it joins or supersedes.
func usesKey(j *reset.Job) bool {
	return !j.Unique && !j.Key.IsZero() &&
		(j.Lane == reset.LaneStart || j.Lane == reset.LaneMail || j.Lane == reset.LaneHash || j.Lane == reset.LaneApply)
}

func (t *tx) writeOpenKey(r *jobRecord) {
	if usesKey(&r.job) {
		t.set(keyOpen(&r.job), appendOpen(r))
	}
}

// removeJob takes a job out of wherever it lies, with its indexes. Counters of what becomes of it are the caller's.
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

// floorStep is how far a line's head moves before what is behind it is deleted as a range: tombstones behind the
// head would otherwise be read by compactions one by one.
const floorStep = 1 << 14

// advance moves the line's floor up, below which nothing lies.
func (t *tx) advanceFloor(p slot) {
	ln, k := t.mem.queueOf(p), t.mem.countersOf(p)
	head := ln.nextUnread
	if len(ln.window) > 0 {
		head = ln.window[0].seq
	}
	if head < max(k.Floor+floorStep, ln.nextFloorCheck) {
		return
	}
	ln.nextFloorCheck = head + floorStep/16 // while an old lease holds the floor, not every end looks through them all
	for q, l := range t.mem.leaseBySlot {
		if q.lane == p.lane && q.class == p.class && !l.rec.isSetAside() {
			head = min(head, q.seq)
		}
	}
	if head < k.Floor+floorStep {
		return
	}
	k.Floor = head
	if err := t.batch.DeleteRange(keySlot(prefixJob, slot{p.lane, p.class, ln.deletedBelow}), keySlot(prefixJob, slot{p.lane, p.class, head}), nil); err != nil {
		t.abort(err)
	}
	ln.deletedBelow = head
}

// endJob ends an open job and, if it has one, its ticket. A zero state leaves the ticket to the follow-up.
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

// tellEnd tells of a job's end. Its age is by the machine's clock, as its accept time is.
func (t *tx) reportEnd(j *reset.Job, state reset.State) {
	t.e.deps.OnJobEnd(j.Lane, j.Unique, state, time.Duration(t.wallTime-micros(j.AcceptTime))*time.Microsecond)
}

// leaveLine counts the ticket's ordinal as behind.
func (t *tx) countOrdinalEnded(r *jobRecord) {
	t.mem.ordinalsOf(r.slot()).Ended++
	t.mem.updatePassed(r.slot())
}

// releaseKey frees the key, unless a later link mail has taken it.
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

func (t *tx) writeFinalTicket(r *jobRecord, state reset.State, reason reset.Reason) {
	if r.job.Ticket.IsZero() || r.job.Lane == reset.LaneStart {
		return
	}
	t.writeTicket(r.job.Ticket, ticketRecord{state: state, reason: reason, slot: r.slot(), ordinal: r.ordinal, update: t.now})
	t.setBatchOnly(keyRetention(t.now+t.e.cfg.Retention.Microseconds(), key16(prefixTicket, r.job.Ticket)), nil)
}

// openTicket notes where the ticket's job is now.
func (t *tx) writeOpenTicket(r *jobRecord) {
	if r.job.Ticket.IsZero() || r.job.Lane == reset.LaneStart {
		return
	}
	t.writeTicket(r.job.Ticket, ticketRecord{state: reset.StateAccepted, slot: r.slot(), ordinal: r.ordinal, flags: r.flags, update: t.now})
}

func (t *tx) writeTicket(id reset.ID, rec ticketRecord) {
	t.setBatchOnly(key16(prefixTicket, id), appendTicket(make([]byte, 0, ticketBytes), rec))
	t.signalTicket(id)
}

func (t *tx) signalTicket(id reset.ID) {
	if t.e.watchers.hasWatchers() {
		t.group.ticketSignals = append(t.group.ticketSignals, id)
	}
}
