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

func validLine(l reset.Lane, c reset.Class) bool {
	return l >= reset.LaneStart && l <= reset.LaneCampaign && c <= reset.ClassDeferrable
}

// groupOf is the lane whose ordinals and open keys a lane's jobs use: hash and apply are one line to their callers.
func groupOf(l reset.Lane) reset.Lane {
	if l == reset.LaneHash {
		return reset.LaneApply
	}
	return l
}

// line is the jobs of one lane and class, as much of it as must be in memory.
type line struct {
	// window is the head of the line in order of sequence; the records of jobs that were ended or leased out of turn
	// are nil.
	window []windowEntry
	bytes  int
	next   uint64 // first sequence that the window has not taken in
	// expired leases go first, then retries that are due.
	again   []*lease
	retries retryHeap
	tried   retryHeap // interactive jobs that retry, leased or not, by accept time
	leased  uint64    // of those that lie in line on disk: leased and not expired
	asideL  uint64    // leased from aside, retrying
	parkedL uint64    // leased from aside, parked
	flagged uint64    // leased or expired, counted as passed in memory alone
	low     uint64    // below this the disk has been range-deleted
	look    uint64    // head from which on it is worth looking for the oldest lease again
}

type windowEntry struct {
	seq uint64
	rec []byte
}

// lease is a job that was handed out and has not ended, been put back or been handed out again.
type lease struct {
	token    uint64
	deadline int64 // µs
	rec      jobRecord
	size     uint64
	expired  bool // waits in its line again; its token is still good until it is handed out again
	passedIn bool // counted in line.flagged
	index    int  // in the heap of deadlines; -1 when not there
}

func (ln *line) push(seq uint64, rec []byte) bool {
	if ln.next != seq || len(ln.window) >= windowJobs || ln.bytes+len(rec) > windowBytes {
		return false
	}
	ln.window = append(ln.window, windowEntry{seq, rec})
	ln.bytes += len(rec)
	ln.next = seq + 1
	return true
}

// drop takes a job out of the window, if it is there.
func (ln *line) drop(seq uint64) {
	i := sort.Search(len(ln.window), func(i int) bool { return ln.window[i].seq >= seq })
	if i < len(ln.window) && ln.window[i].seq == seq {
		ln.bytes -= len(ln.window[i].rec)
		ln.window[i].rec = nil
		ln.trim()
	}
}

func (ln *line) trim() {
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

func (ln *line) pop() windowEntry {
	e := ln.window[0]
	ln.window[0] = windowEntry{}
	ln.window = ln.window[1:]
	ln.bytes -= len(e.rec)
	ln.trim()
	return e
}

type retryItem struct {
	at    int64
	seq   uint64
	index int
}

type retryHeap struct {
	items []*retryItem
	bySeq map[uint64]*retryItem
}

func (h *retryHeap) Len() int { return len(h.items) }
func (h *retryHeap) Less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (h *retryHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}
func (h *retryHeap) Push(x any) {
	it := x.(*retryItem)
	it.index = len(h.items)
	h.items = append(h.items, it)
}
func (h *retryHeap) Pop() any {
	it := h.items[len(h.items)-1]
	h.items[len(h.items)-1] = nil
	h.items = h.items[:len(h.items)-1]
	return it
}

func (h *retryHeap) add(seq uint64, at int64) {
	if h.bySeq == nil {
		h.bySeq = make(map[uint64]*retryItem)
	}
	it := &retryItem{at: at, seq: seq}
	h.bySeq[seq] = it
	heap.Push(h, it)
}

func (h *retryHeap) remove(seq uint64) {
	if it, ok := h.bySeq[seq]; ok {
		heap.Remove(h, it.index)
		delete(h.bySeq, seq)
	}
}

// addTried notes a job that retries among those of which the oldest is told; of the other classes none is.
func (ln *line) addTried(p place, accept int64) {
	if p.class == reset.ClassInteractive && accept != 0 {
		ln.tried.add(p.seq, accept)
	}
}

func (ln *line) oldestTried() time.Time {
	if len(ln.tried.items) == 0 {
		return time.Time{}
	}
	return fromMicros(ln.tried.items[0].at)
}

func (h *retryHeap) due(now int64) bool { return len(h.items) > 0 && h.items[0].at <= now }

// countDue counts those that are due from the i-th downwards, at most so many: nothing below one that is not due is.
func (h *retryHeap) countDue(i int, now int64, most int) int {
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
	lines     [laneCount][classCount]line
	tokens    map[uint64]*lease
	leases    map[place]*lease
	deadlines leaseHeap
	token     uint64
	// jobs that came and ended since the engine opened
	enteredOpen, endedOpen [laneCount]uint64
	// nothing expires before these times (µs): a sweep need not step over the tombstones of 15 million jobs that
	// ended in time, 20 ns each while everybody waits.
	expiring [laneCount]int64
}

func (m *memory) line(p place) *line           { return &m.lines[p.lane][p.class] }
func (m *memory) count(p place) *lineCounters  { return &m.Lines[p.lane][p.class] }
func (m *memory) group(p place) *groupCounters { return &m.Groups[groupOf(p.lane)][p.class] }

// passed is how many of the line's ordinals are behind; it never falls.
func (m *memory) passed(l reset.Lane, c reset.Class) uint64 { return m.Groups[groupOf(l)][c].Passed }

// notePassed raises Passed after something ended or was leased for the first time in its last lane.
func (m *memory) notePassed(p place) {
	if p.lane == reset.LaneStart {
		return // by passages
	}
	g := m.group(p)
	g.Passed = max(g.Passed, g.Ended+g.Flagged+m.lines[groupOf(p.lane)][p.class].flagged)
}

// grant makes a lease of the job. The caller has taken it out of its line.
func (m *memory) grant(r jobRecord, size uint64, deadline int64) *lease {
	p := r.place()
	if old := m.leases[p]; old != nil {
		m.forget(old)
		r, size = old.rec, old.size
	}
	m.token++
	l := &lease{token: m.token, deadline: deadline, rec: r, size: size}
	m.tokens[l.token], m.leases[p] = l, l
	heap.Push(&m.deadlines, l)
	m.countLease(l, 1)
	if p.lane == groupOf(p.lane) && r.flags&flagPassed == 0 {
		l.passedIn = true
		m.line(p).flagged++
		m.notePassed(p)
	}
	return l
}

func (m *memory) countLease(l *lease, by uint64) {
	ln := m.line(l.rec.place())
	switch {
	case l.rec.flags&flagParked != 0:
		ln.parkedL += by
	case l.rec.flags&flagRetrying != 0:
		ln.asideL += by
	default:
		ln.leased += by
	}
}

func (m *memory) extend(l *lease, deadline int64) {
	l.deadline = deadline
	heap.Fix(&m.deadlines, l.index)
}

// forget removes a lease; the job goes elsewhere.
func (m *memory) forget(l *lease) {
	if !l.expired {
		m.countLease(l, ^uint64(0))
	}
	if l.index >= 0 {
		heap.Remove(&m.deadlines, l.index)
	}
	if l.passedIn {
		m.line(l.rec.place()).flagged--
	}
	delete(m.tokens, l.token)
	delete(m.leases, l.rec.place())
	// What is handed out or ended leaves no trace in the line: Wait looks through it.
	ln := m.line(l.rec.place())
	for len(ln.again) > 0 && m.leases[ln.again[0].rec.place()] != ln.again[0] {
		ln.again = ln.again[1:]
	}
}

// expire puts the jobs of leases whose time is over back in line, and tells whose they are.
func (m *memory) expire(now int64, expired func(*lease)) {
	for len(m.deadlines) > 0 && m.deadlines[0].deadline <= now {
		l := heap.Pop(&m.deadlines).(*lease)
		m.countLease(l, ^uint64(0))
		l.expired = true
		expired(l)
		if l.rec.flags&flagParked != 0 {
			continue // still good for a late Finish; parked it stays
		}
		ln := m.line(l.rec.place())
		ln.again = append(ln.again, l)
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
	for l := range m.lines {
		for c := range m.lines[l] {
			if h := &m.lines[l][c].retries; len(h.items) > 0 && h.items[0].at > now {
				earlier(h.items[0].at)
			}
		}
	}
	return next
}

// ready tells whether a Lease up to the class may find something.
func (m *memory) ready(lane reset.Lane, upTo reset.Class, now int64) bool {
	for c := reset.ClassInteractive; c <= upTo && c <= reset.ClassDeferrable; c++ {
		ln := &m.lines[lane][c]
		if len(ln.window) > 0 || ln.next <= m.Lines[lane][c].Last || ln.retries.due(now) {
			return true
		}
		for _, l := range ln.again {
			if m.leases[l.rec.place()] == l && l.expired {
				return true
			}
		}
	}
	return false
}

func (m *memory) held() (n uint64) {
	for l := range m.Lines {
		for c := range m.Lines[l] {
			k := &m.Lines[l][c]
			n += k.InLine + k.Retrying + k.Parked
		}
	}
	return n
}

// stats is the snapshot. Called with the engine's lock held.
func (m *memory) stats() queue.Stats {
	s := queue.Stats{Lanes: make(map[reset.Lane]queue.LaneStats, laneCount-1), Enqueued: m.Enqueued, Ended: m.Ended, Held: m.held(), Bytes: m.Bytes}
	for _, lane := range reset.Lanes() {
		ls := queue.LaneStats{Entered: m.enteredOpen[lane], Ended: m.endedOpen[lane]}
		for _, class := range reset.Classes() {
			k, ln := &m.Lines[lane][class], &m.lines[lane][class]
			ls.Waiting[class] = k.InLine - ln.leased
			ls.Leased += ln.leased + ln.asideL + ln.parkedL
			ls.Retrying += k.Retrying - ln.asideL
			ls.Parked += k.Parked - ln.parkedL
		}
		ls.OldestAccept, ls.OldestRetry = m.oldest(lane), m.lines[lane][reset.ClassInteractive].oldestTried()
		s.Lanes[lane] = ls
	}
	return s
}

// oldest is the accept time of the oldest waiting interactive job that is in memory, which the head of the line is.
func (m *memory) oldest(lane reset.Lane) time.Time {
	ln := &m.lines[lane][reset.ClassInteractive]
	var t time.Time
	consider := func(accept time.Time) {
		if !accept.IsZero() && (t.IsZero() || accept.Before(t)) {
			t = accept
		}
	}
	for _, e := range ln.window {
		if e.rec != nil && !isPlace(e.rec) {
			consider(acceptOf(e.rec))
			break
		}
	}
	for _, l := range ln.again {
		if l.expired && m.leases[l.rec.place()] == l && !l.rec.aside() {
			consider(l.rec.job.AcceptTime)
		}
	}
	return t
}

func acceptOf(rec []byte) time.Time { return fromMicros(int64(binary.BigEndian.Uint64(rec[24:]))) }

// recent tells which open keys and marks this process may have written or deleted since they were last sure to be in
// tables. A memtable has no filter: in its skip list an absent key costs a cache miss a level, and that was the largest
// part of the committer's time when StartReset was profiled (make bench). It may say yes wrongly, never no.
//
// Keys are added before they are applied. When a generation is full the memtables are flushed, and it is forgotten
// once that is done; so a key that neither generation knows is in a table or nowhere.
type recent struct {
	limit       int // keys in a generation
	seed        maphash.Seed
	now, before *generation     // before is nil when all of it is in tables
	flushed     <-chan struct{} // closed once all of before is
}

// generation is a Bloom filter with 16 bits a key and 4 probes: 1 wrong yes in 400 at its limit.
type generation struct {
	all  bool // knows every key: what was there at Open
	n    int
	bits []uint64
}

// recentKeys makes a filter of 512 KiB, which stays in the processor's cache.
const recentKeys = 1 << 18

func newRecent(db *pebble.DB, limit int) (*recent, error) {
	r := &recent{limit: limit, seed: maphash.MakeSeed(), now: newGeneration(limit), before: &generation{all: true}}
	var err error
	r.flushed, err = db.AsyncFlush()
	return r, err
}

func newGeneration(limit int) *generation { return &generation{bits: make([]uint64, limit/4)} }

func (r *recent) add(key []byte) {
	if key[0] != prefixOpen && key[0] != prefixMark {
		return
	}
	r.now.n++
	h := maphash.Bytes(r.seed, key)
	for i := range uint64(4) {
		bit := (h + i*(h>>32|1)) % uint64(64*len(r.now.bits))
		r.now.bits[bit/64] |= 1 << (bit % 64)
	}
}

func (r *recent) has(key []byte) bool {
	h := maphash.Bytes(r.seed, key)
	return r.now.has(h) || r.before != nil && r.before.has(h)
}

func (g *generation) has(h uint64) bool {
	if g.all {
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
func (r *recent) turn(db *pebble.DB) error {
	if r.before != nil {
		select {
		case <-r.flushed:
			r.before = nil
		default:
			return nil
		}
	}
	if r.now.n < r.limit {
		return nil
	}
	flushed, err := db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	r.before, r.now, r.flushed = r.now, newGeneration(r.limit), flushed
	return nil
}
