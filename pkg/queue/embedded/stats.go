package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

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

// stats returns the snapshot. It takes microseconds: nothing is read from the database and no line is counted. The caller
// holds Engine.mu.
func (m *memory) stats() queue.Stats {
	s := queue.Stats{
		Lanes:    make(map[reset.Lane]queue.LaneStats, laneCount-1),
		Enqueued: m.Enqueued, Ended: m.Ended, Held: m.countOpenJobs(), Bytes: m.Bytes,
	}
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

func (m *memory) countOpenJobs() (n uint64) {
	for l := range m.Queues {
		for c := range m.Queues[l] {
			k := &m.Queues[l][c]
			n += k.InLine + k.Retrying + k.Parked
		}
	}
	return n
}

// oldestInLine returns the accept time of the oldest interactive job that waits in line; the zero time when there is none.
// The head of every line is in memory, so it reads nothing.
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

// acceptTimeOf reads the accept time of a job record without decoding the rest.
func acceptTimeOf(rec []byte) time.Time { return fromMicros(int64At(rec[24:])) }
