package embedded

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	laneCount  = int(reset.LaneCampaign) + 1 // index 0 is unused
	classCount = int(reset.ClassDeferrable) + 1
	groupCount = laneCount

	// A line's read-ahead. 18 lines of full windows are 36 MiB at most; a window of 1024 start jobs is 0.4 MiB and
	// costs one refill of about 2 ms.
	windowJobs  = 1024
	windowBytes = 2 << 20
)

func isValidLaneClass(l reset.Lane, c reset.Class) bool {
	return l >= reset.LaneStart && l <= reset.LaneCampaign && c <= reset.ClassDeferrable
}

// groupOf is the lane whose ordinals and open keys a lane's jobs use: hash and apply are one line to their callers.
func ordinalLane(l reset.Lane) reset.Lane {
	if l == reset.LaneHash {
		return reset.LaneApply
	}
	return l
}

// line is the jobs of one lane and class, as much of it as must be in memory.
type classQueue struct {
	// window is the head of the line in order of sequence; the records of jobs that were ended or leased out of turn
	// are nil.
	window     []windowEntry
	bytes      int
	nextUnread uint64 // first sequence that the window has not taken in
	// expired leases go first, then retries that are due.
	expiredLeases   []*lease
	retries         timeHeap
	retriesByAccept timeHeap // interactive jobs that retry, leased or not, by accept time
	leasedInLine    uint64   // of those that lie in line on disk: leased and not expired
	leasedRetries   uint64   // leased from aside, retrying
	leasedParked    uint64   // leased from aside, parked
	passedInMemory  uint64   // leased or expired, counted as passed in memory alone
	deletedBelow    uint64   // below this the disk has been range-deleted
	nextFloorCheck  uint64   // head from which on it is worth looking for the oldest lease again
}

type windowEntry struct {
	seq uint64
	rec []byte
}

// lease is a job that was handed out and has not ended, been put back or been handed out again.
type lease struct {
	token           uint64
	deadline        int64 // µs
	rec             jobRecord
	size            uint64
	expired         bool // waits in its line again; its token is still good until it is handed out again
	countedAsPassed bool // counted in line.flagged
	index           int  // in the heap of deadlines; -1 when not there
}

func (ln *classQueue) pushWindow(seq uint64, rec []byte) bool {
	if ln.nextUnread != seq || len(ln.window) >= windowJobs || ln.bytes+len(rec) > windowBytes {
		return false
	}
	ln.window = append(ln.window, windowEntry{seq, rec})
	ln.bytes += len(rec)
	ln.nextUnread = seq + 1
	return true
}

// drop takes a job out of the window, if it is there.
func (ln *classQueue) removeFromWindow(seq uint64) {
	i := sort.Search(len(ln.window), func(i int) bool { return ln.window[i].seq >= seq })
	if i < len(ln.window) && ln.window[i].seq == seq {
		ln.bytes -= len(ln.window[i].rec)
		ln.window[i].rec = nil
		ln.trimWindow()
	}
}

func (ln *classQueue) trimWindow() {
	n := 0
	for n < len(ln.window) && ln.window[n].rec == nil {
		n++
	}
	if n == len(ln.window) {
		ln.window = ln.window[:0]
		return
	}
	if n > 0 && n >= len(ln.window)/2 {
		ln.window = append(ln.window[:0], ln.window[n:]...)
		clear(ln.window[len(ln.window) : len(ln.window)+n])
		return
	}
	ln.window = ln.window[n:]
}

func (ln *classQueue) popWindow() windowEntry {
	e := ln.window[0]
	ln.window[0] = windowEntry{}
	ln.window = ln.window[1:]
	ln.bytes -= len(e.rec)
	ln.trimWindow()
	return e
}

type timeItem struct {
	at    int64
	seq   uint64
	index int
}

type timeHeap struct {
	items []*timeItem
	bySeq map[uint64]*timeItem
}

func (h *timeHeap) Len() int { return len(h.items) }
func (h *timeHeap) Less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (h *timeHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}
func (h *timeHeap) Push(x any) {
	it := x.(*timeItem)
	it.index = len(h.items)
	h.items = append(h.items, it)
}
func (h *timeHeap) Pop() any {
	it := h.items[len(h.items)-1]
	h.items[len(h.items)-1] = nil
	h.items = h.items[:len(h.items)-1]
	return it
}

func (h *timeHeap) add(seq uint64, at int64) {
	if h.bySeq == nil {
		h.bySeq = make(map[uint64]*timeItem)
	}
	it := &timeItem{at: at, seq: seq}
	h.bySeq[seq] = it
	heap.Push(h, it)
}

func (h *timeHeap) remove(seq uint64) {
	if it, ok := h.bySeq[seq]; ok {
		heap.Remove(h, it.index)
		delete(h.bySeq, seq)
	}
}

// addTried notes a job that retries among those of which the oldest is told; of the other classes none is.
func (ln *classQueue) addRetryByAccept(p slot, accept int64) {
	if p.class == reset.ClassInteractive && accept != 0 {
		ln.retriesByAccept.add(p.seq, accept)
	}
}

func (ln *classQueue) oldestRetry() time.Time {
	if len(ln.retriesByAccept.items) == 0 {
		return time.Time{}
	}
	return fromMicros(ln.retriesByAccept.items[0].at)
}

func (h *timeHeap) hasDue(now int64) bool { return len(h.items) > 0 && h.items[0].at <= now }

// countDue counts those that are due from the i-th downwards, at most so many: nothing below one that is not due is.
func (h *timeHeap) countDue(i int, now int64, most int) int {
	if i >= len(h.items) || most <= 0 || h.items[i].at > now {
		return 0
	}
	n := 1 + h.countDue(2*i+1, now, most-1)
	return n + h.countDue(2*i+2, now, most-n)
}

type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *leaseHeap) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}
func (h *leaseHeap) Pop() any {
	l := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	l.index = -1
	return l
}

// memory is everything that the committer knows without reading; guarded by Engine.mu.
type memory struct {
	counters
	queues       [laneCount][classCount]classQueue
	leaseByToken map[uint64]*lease
	leaseBySlot  map[slot]*lease
	deadlines    leaseHeap
	lastToken    uint64
	// jobs that came and ended since the engine opened
	enteredSinceOpen, endedSinceOpen [laneCount]uint64
	// nothing expires before these times (µs): a sweep need not step over the tombstones of 15 million jobs that
	// ended in time, 20 ns each while everybody waits.
	firstExpiry [laneCount]int64
}

func (m *memory) queueOf(p slot) *classQueue       { return &m.queues[p.lane][p.class] }
func (m *memory) countersOf(p slot) *queueCounters { return &m.Queues[p.lane][p.class] }
func (m *memory) ordinalsOf(p slot) *ordinalCounters {
	return &m.Ordinals[ordinalLane(p.lane)][p.class]
}

// passed is how many of the line's ordinals are behind; it never falls.
func (m *memory) passedOrdinal(l reset.Lane, c reset.Class) uint64 {
	return m.Ordinals[ordinalLane(l)][c].Passed
}

// notePassed raises Passed after something ended or was leased for the first time in its last lane.
func (m *memory) updatePassed(p slot) {
	if p.lane == reset.LaneStart {
		return // by passages
	}
	g := m.ordinalsOf(p)
	g.Passed = max(g.Passed, g.Ended+g.PassedSetAside+m.queues[ordinalLane(p.lane)][p.class].passedInMemory)
}

// grant makes a lease of the job. The caller has taken it out of its line.
func (m *memory) addLease(r jobRecord, size uint64, deadline int64) *lease {
	p := r.slot()
	if old := m.leaseBySlot[p]; old != nil {
		m.removeLease(old)
		r, size = old.rec, old.size
	}
	m.lastToken++
	l := &lease{token: m.lastToken, deadline: deadline, rec: r, size: size}
	m.leaseByToken[l.token], m.leaseBySlot[p] = l, l
	heap.Push(&m.deadlines, l)
	m.adjustLeased(l, 1)
	if p.lane == ordinalLane(p.lane) && r.flags&flagPassed == 0 {
		l.countedAsPassed = true
		m.queueOf(p).passedInMemory++
		m.updatePassed(p)
	}
	return l
}

func (m *memory) adjustLeased(l *lease, by uint64) {
	ln := m.queueOf(l.rec.slot())
	switch {
	case l.rec.flags&flagParked != 0:
		ln.leasedParked += by
	case l.rec.flags&flagRetrying != 0:
		ln.leasedRetries += by
	default:
		ln.leasedInLine += by
	}
}

func (m *memory) extendLease(l *lease, deadline int64) {
	l.deadline = deadline
	heap.Fix(&m.deadlines, l.index)
}

// forget removes a lease; the job goes elsewhere.
func (m *memory) removeLease(l *lease) {
	if !l.expired {
		m.adjustLeased(l, ^uint64(0))
	}
	if l.index >= 0 {
		heap.Remove(&m.deadlines, l.index)
	}
	if l.countedAsPassed {
		m.queueOf(l.rec.slot()).passedInMemory--
	}
	delete(m.leaseByToken, l.token)
	delete(m.leaseBySlot, l.rec.slot())
	// What is handed out or ended leaves no trace in the line: Wait looks through it.
	ln := m.queueOf(l.rec.slot())
	for len(ln.expiredLeases) > 0 && m.leaseBySlot[ln.expiredLeases[0].rec.slot()] != ln.expiredLeases[0] {
		ln.expiredLeases = ln.expiredLeases[1:]
	}
}

// expire puts the jobs of leases whose time is over back in line, and tells whose they are.
func (m *memory) expireLeases(now int64, expired func(*lease)) {
	for len(m.deadlines) > 0 && m.deadlines[0].deadline <= now {
		l := heap.Pop(&m.deadlines).(*lease)
		m.adjustLeased(l, ^uint64(0))
		l.expired = true
		expired(l)
		if l.rec.flags&flagParked != 0 {
			continue // still good for a late Finish; parked it stays
		}
		ln := m.queueOf(l.rec.slot())
		ln.expiredLeases = append(ln.expiredLeases, l)
	}
}

// nextAlarm is when something becomes due by time alone; 0 for never. What is due already needs no alarm.
func (m *memory) nextAlarm(now int64) int64 {
	var next int64
	earlier := func(at int64) {
		if next == 0 || at < next {
			next = at
		}
	}
	if len(m.deadlines) > 0 {
		earlier(m.deadlines[0].deadline)
	}
	for l := range m.queues {
		for c := range m.queues[l] {
			if h := &m.queues[l][c].retries; len(h.items) > 0 && h.items[0].at > now {
				earlier(h.items[0].at)
			}
		}
	}
	return next
}

// ready tells whether a Lease up to the class may find something.
func (m *memory) hasWork(lane reset.Lane, upTo reset.Class, now int64) bool {
	for c := reset.ClassInteractive; c <= upTo && c <= reset.ClassDeferrable; c++ {
		ln := &m.queues[lane][c]
		if len(ln.window) > 0 || ln.nextUnread <= m.Queues[lane][c].Last || ln.retries.hasDue(now) {
			return true
		}
		for _, l := range ln.expiredLeases {
			if m.leaseBySlot[l.rec.slot()] == l && l.expired {
				return true
			}
		}
	}
	return false
}

func (m *memory) countOpenJobs() (n uint64) {
	for l := range m.Queues {
		for c := range m.Queues[l] {
			k := &m.Queues[l][c]
			n += k.InLine + k.Retrying + k.Parked
		}
	}
	return n
}

// stats is the snapshot. Called with the engine's lock held.
func (m *memory) stats() queue.Stats {
	s := queue.Stats{Lanes: make(map[reset.Lane]queue.LaneStats, laneCount-1), Enqueued: m.Enqueued, Ended: m.Ended, Held: m.countOpenJobs(), Bytes: m.Bytes}
	for _, lane := range reset.Lanes() {
		ls := queue.LaneStats{Entered: m.enteredSinceOpen[lane], Ended: m.endedSinceOpen[lane]}
		for _, class := range reset.Classes() {
			k, ln := &m.Queues[lane][class], &m.queues[lane][class]
			ls.Waiting[class] = k.InLine - ln.leasedInLine
			ls.Leased += ln.leasedInLine + ln.leasedRetries + ln.leasedParked
			ls.Retrying += k.Retrying - ln.leasedRetries
			ls.Parked += k.Parked - ln.leasedParked
		}
		ls.OldestAccept, ls.OldestRetry = m.oldestInLine(lane), m.queues[lane][reset.ClassInteractive].oldestRetry()
		s.Lanes[lane] = ls
	}
	return s
}

// oldest is the accept time of the oldest waiting interactive job that is in memory, which the head of the line is.
func (m *memory) oldestInLine(lane reset.Lane) time.Time {
	ln := &m.queues[lane][reset.ClassInteractive]
	var t time.Time
	consider := func(accept time.Time) {
		if !accept.IsZero() && (t.IsZero() || accept.Before(t)) {
			t = accept
		}
	}
	for _, e := range ln.window {
		if e.rec != nil && !isPlaceholder(e.rec) {
			consider(acceptTimeOf(e.rec))
			break
		}
	}
	for _, l := range ln.expiredLeases {
		if l.expired && m.leaseBySlot[l.rec.slot()] == l && !l.rec.isSetAside() {
			consider(l.rec.job.AcceptTime)
		}
	}
	return t
}

func acceptTimeOf(rec []byte) time.Time { return fromMicros(int64(binary.BigEndian.Uint64(rec[24:]))) }

// recent tells which open keys and marks this process may have written or deleted since they were last sure to be in
// tables. A memtable has no filter: in its skip list an absent key costs a cache miss a level, and that was the largest
// part of the committer's time when StartReset was profiled (make bench). It may say yes wrongly, never no.
//
// Keys are added before they are applied. When a generation is full the memtables are flushed, and it is forgotten
// once that is done; so a key that neither generation knows is in a table or nowhere.
type memtableFilter struct {
	maxKeys           int // keys in a generation
	seed              maphash.Seed
	current, previous *bloomFilter    // before is nil when all of it is in tables
	flushed           <-chan struct{} // closed once all of before is
}

// generation is a Bloom filter with 16 bits a key and 4 probes: 1 wrong yes in 400 at its limit.
type bloomFilter struct {
	matchAll bool // knows every key: what was there at Open
	keys     int
	bits     []uint64
}

// recentKeys makes a filter of 512 KiB, which stays in the processor's cache.
const defaultFilterKeys = 1 << 18

func newMemtableFilter(db *pebble.DB, limit int) (*memtableFilter, error) {
	r := &memtableFilter{maxKeys: limit, seed: maphash.MakeSeed(), current: newBloomFilter(limit), previous: &bloomFilter{matchAll: true}}
	var err error
	r.flushed, err = db.AsyncFlush()
	return r, err
}

func newBloomFilter(limit int) *bloomFilter { return &bloomFilter{bits: make([]uint64, limit/4)} }

func (r *memtableFilter) add(key []byte) {
	if key[0] != prefixOpen && key[0] != prefixMark {
		return
	}
	r.current.keys++
	h := maphash.Bytes(r.seed, key)
	for i := range uint64(4) {
		bit := (h + i*(h>>32|1)) % uint64(64*len(r.current.bits))
		r.current.bits[bit/64] |= 1 << (bit % 64)
	}
}

func (r *memtableFilter) mayContain(key []byte) bool {
	h := maphash.Bytes(r.seed, key)
	return r.current.mayContain(h) || r.previous != nil && r.previous.mayContain(h)
}

func (g *bloomFilter) mayContain(h uint64) bool {
	if g.matchAll {
		return true
	}
	for i := range uint64(4) {
		bit := (h + i*(h>>32|1)) % uint64(64*len(g.bits))
		if g.bits[bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
	}
	return true
}

// turn begins a new generation when this one is full and the one before is in tables. All of this one has been applied.
func (r *memtableFilter) rotate(db *pebble.DB) error {
	if r.previous != nil {
		select {
		case <-r.flushed:
			r.previous = nil
		default:
			return nil
		}
	}
	if r.current.keys < r.maxKeys {
		return nil
	}
	flushed, err := db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	r.previous, r.current, r.flushed = r.current, newBloomFilter(r.maxKeys), flushed
	return nil
}
