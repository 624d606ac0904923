package embedded

import (
	"container/heap"
)

// lease is a job that was handed out and has not ended, been set aside or been handed out again.
type lease struct {
	token           uint64
	deadline        int64 // µs
	rec             jobRecord
	size            uint64 // the job's share of Stats.Bytes
	expired         bool   // the job is in its line again; the token is good until it is handed out again
	countedAsPassed bool   // counted in classQueue.passedInMemory
	index           int    // in memory.deadlines; -1 when not there
}

// addLease makes a lease of a job that the caller has taken out of its line. An expired lease of the job ends.
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

// adjustLeased adds by (1, or ^0 for -1) to the count of leases from where the job lies.
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

// removeLease removes a lease; the caller says what becomes of the job.
func (m *memory) removeLease(l *lease) {
	if !l.expired { // expireLeases has done it otherwise
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
	// Keep the front of expiredLeases valid: hasWork looks through the list for every waiter.
	ln := m.queueOf(l.rec.slot())
	for len(ln.expiredLeases) > 0 && m.leaseBySlot[ln.expiredLeases[0].rec.slot()] != ln.expiredLeases[0] {
		ln.expiredLeases = ln.expiredLeases[1:]
	}
}

// expireLeases puts the jobs of leases whose deadline has passed back into their lines, and calls expired for each.
func (m *memory) expireLeases(now int64, expired func(*lease)) {
	for len(m.deadlines) > 0 && m.deadlines[0].deadline <= now {
		l := heap.Pop(&m.deadlines).(*lease)
		m.adjustLeased(l, ^uint64(0))
		l.expired = true
		expired(l)
		if l.rec.flags&flagParked != 0 {
			continue // it stays parked; its token is still good for a late Finish
		}
		ln := m.queueOf(l.rec.slot())
		ln.expiredLeases = append(ln.expiredLeases, l)
	}
}

// leaseHeap is a container/heap of leases by deadline. Each lease knows its index.
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
