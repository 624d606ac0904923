package embedded

import (
	"sort"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// classQueue is the line of one lane and class: as much of it as must be in memory. The rest is on disk.
type classQueue struct {
	// window is the head of the line, in order of sequence, without gaps up to nextUnread. The record of a job that has
	// ended or was leased out of turn is nil.
	window     []windowEntry
	bytes      int    // of the records in window
	nextUnread uint64 // the first sequence that the window has not taken in
	// expiredLeases are leased before retries that are due, and those before the window.
	expiredLeases   []*lease
	retries         timeHeap // jobs that retry and are not leased, by their time
	retriesByAccept timeHeap // interactive jobs that retry, leased or not, by accept time
	leasedInLine    uint64   // of the jobs that lie in line on disk: leased and not expired
	leasedRetries   uint64   // of those that are set aside and retrying
	leasedParked    uint64   // of those that are set aside and parked
	passedInMemory  uint64   // leases with countedAsPassed, expired ones included
	deletedBelow    uint64   // every sequence below it has been deleted as a range
	nextFloorCheck  uint64   // the head at which advanceFloor looks for the oldest lease again
}

// windowEntry is one place of a line, with the bytes of its record; rec is nil once the job was taken out.
type windowEntry struct {
	seq uint64
	rec []byte
}

// pushWindow appends a new job to the window if the window reaches to the end of the line and has room, and reports whether
// it did. Otherwise refill reads the job later.
func (ln *classQueue) pushWindow(seq uint64, rec []byte) bool {
	if ln.nextUnread != seq || len(ln.window) >= windowJobs || ln.bytes+len(rec) > windowBytes {
		return false
	}
	ln.window = append(ln.window, windowEntry{seq, rec})
	ln.bytes += len(rec)
	ln.nextUnread = seq + 1
	return true
}

// removeFromWindow takes a job out of the window, if it is there.
func (ln *classQueue) removeFromWindow(seq uint64) {
	i := sort.Search(len(ln.window), func(i int) bool { return ln.window[i].seq >= seq })
	if i < len(ln.window) && ln.window[i].seq == seq {
		ln.bytes -= len(ln.window[i].rec)
		ln.window[i].rec = nil
		ln.trimWindow()
	}
}

// trimWindow drops the entries without a record from the front, so that the first entry is the head of the line.
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

// popWindow takes the head of the line out of the window, which must not be empty.
func (ln *classQueue) popWindow() windowEntry {
	e := ln.window[0]
	ln.window[0] = windowEntry{}
	ln.window = ln.window[1:]
	ln.bytes -= len(e.rec)
	ln.trimWindow()
	return e
}

// addRetryByAccept notes the accept time of a job that retries. Only interactive jobs are noted: only their oldest is told.
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
