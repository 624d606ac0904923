package embedded

import (
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	// The sizes of the arrays of counters, which are written to disk: another lane needs another format version.
	laneCount  = int(reset.LaneCampaign) + 1 // index 0 is unused
	classCount = int(reset.ClassDeferrable) + 1

	// A line's read-ahead. 18 lines of full windows are 36 MiB at most; a window of 1024 start jobs is 0.4 MiB and
	// costs one refill of about 2 ms.
	windowJobs  = 1024
	windowBytes = 2 << 20
)

func isValidLaneClass(l reset.Lane, c reset.Class) bool {
	return l >= reset.LaneStart && l <= reset.LaneCampaign && c <= reset.ClassDeferrable
}

// ordinalLane returns the lane whose ordinals and open keys a lane's jobs use. Hash and apply share those of apply: for
// callers the two lanes are one line.
func ordinalLane(l reset.Lane) reset.Lane {
	if l == reset.LaneHash {
		return reset.LaneApply
	}
	return l
}

// memory is what the engine knows without a read: the counters, the heads of the lines and the leases. It is guarded by
// Engine.mu; the committer alone changes it. The counters in it are on disk as well, the rest is rebuilt by Open.
type memory struct {
	counters
	queues       [laneCount][classCount]classQueue
	leaseByToken map[uint64]*lease
	leaseBySlot  map[slot]*lease
	deadlines    leaseHeap // leases that have not expired, by deadline
	lastToken    uint64    // the last lease token given out
	// Jobs that entered each lane, and that ended in it, since Open.
	enteredSinceOpen, endedSinceOpen [laneCount]uint64
	// firstExpiry is a time in µs before which no job of the lane expires. leaseExpired begins its scan there, and so does
	// not step over the tombstones of millions of jobs that ended in time, at 20 ns each while the lock is held.
	firstExpiry [laneCount]int64
}

func (m *memory) queueOf(p slot) *classQueue       { return &m.queues[p.lane][p.class] }
func (m *memory) countersOf(p slot) *queueCounters { return &m.Queues[p.lane][p.class] }
func (m *memory) ordinalsOf(p slot) *ordinalCounters {
	return &m.Ordinals[ordinalLane(p.lane)][p.class]
}

// passedOrdinal returns how many ordinals of the line have been passed. It never falls.
func (m *memory) passedOrdinal(l reset.Lane, c reset.Class) uint64 {
	return m.Ordinals[ordinalLane(l)][c].Passed
}

// updatePassed raises Passed after a job ended or was leased for the first time in its last lane.
func (m *memory) updatePassed(p slot) {
	if p.lane == reset.LaneStart {
		return // by passages
	}
	g := m.ordinalsOf(p)
	g.Passed = max(g.Passed, g.Ended+g.PassedSetAside+m.queues[ordinalLane(p.lane)][p.class].passedInMemory)
}

// hasWork reports whether a Lease up to the class could find something. It may be wrong when the line holds only places of
// coalesced starts or of jobs that have ended: the Lease then returns none.
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

// nextAlarm returns the first µs after now at which a lease expires or a retry becomes due; 0 for never. What is due
// already needs no alarm.
func (m *memory) nextAlarm(now int64) int64 {
	var next int64
	consider := func(at int64) {
		if next == 0 || at < next {
			next = at
		}
	}
	if len(m.deadlines) > 0 {
		consider(m.deadlines[0].deadline)
	}
	for l := range m.queues {
		for c := range m.queues[l] {
			if h := &m.queues[l][c].retries; len(h.items) > 0 && h.items[0].at > now {
				consider(h.items[0].at)
			}
		}
	}
	return next
}
