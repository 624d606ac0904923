package embedded

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// submit hands run to the committer and returns once its effects are durable. With an error of ctx, run may or may not
// have been executed, or may be executed later: it must write only to memory that the caller does not read then.
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

// submitDetached is submit for calls that must not be abandoned: after run is handed over it ignores the end of ctx. A
// lease granted to a caller that has left would stay idle until it expires. The wait is a few milliseconds.
func (e *Engine) submitDetached(ctx context.Context, run func(*tx)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.submit(context.WithoutCancel(ctx), run)
}

// commitLoop is the only goroutine that changes the queue. Each round takes the requests that have piled up, at most
// maxGroup, and makes one group of them.
//
// The pipeline has two stages, so that the next group is made while the last one is written to disk:
//
//	commitLoop: collect ─► run ─► Apply (in the WAL's buffer, visible to readers) ─► synced ─► the next group
//	syncLoop:                                                                        wait for fsync ─► answer
func (e *Engine) commitLoop() {
	defer close(e.synced)
	defer e.failOnPanic("commit")
	overlay := make(map[string]overlayEntry) // one map for all groups, cleared for each
	for first := range e.requests {
		// Wait for one request, then take without waiting what else is there. Under load this is all that arrived while
		// the last group was made, so groups grow with the load and nobody waits for a group to fill.
		g := &commitGroup{requests: []*request{first}, synced: make(chan struct{})}
	collect:
		for len(g.requests) < maxGroup {
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
		clear(overlay)
		if err := e.runGroup(g, overlay); err != nil {
			// Memory and database may differ now. No request of this group is ever answered.
			e.fail(err)
			return
		}
		// This blocks while syncLoop waits for the fsync of the group before.
		select {
		case e.synced <- g:
		case <-e.failedSignal:
			return
		}
	}
}

// runGroup executes a group's requests and applies their batch. It holds Engine.mu all the time, so readers see all of the
// group or nothing of it. It does not wait for the fsync.
func (e *Engine) runGroup(g *commitGroup, overlay map[string]overlayEntry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := &e.mem
	t := &tx{e: e, mem: m, batch: e.db.NewBatch(), overlay: overlay, group: g}
	defer t.closeIterators()
	// The whole group gets one time, which is at or after that of every earlier group.
	t.now, t.wallTime = e.readTimes()
	m.Clock = t.now
	e.followClock(t.now)
	for l := range m.Queues {
		for c := range m.Queues[l] {
			t.lastApplied[l][c] = m.Queues[l][c].Last
		}
	}
	// Leases whose deadline has passed go back into their lines before anybody leases or finishes.
	m.expireLeases(t.now, func(l *lease) { t.signalTicket(l.rec.job.Ticket) })
	// The requests run one after the other. Each sees what those before it did: in memory, or through the overlay.
	for _, r := range g.requests {
		r.run(t)
		if t.err != nil {
			return t.err
		}
	}
	// The counters go into the same batch as what they count, so after a crash they agree with it.
	if t.countersChanged {
		t.setBatchOnly([]byte{prefixCounters}, m.append(nil))
	}
	// Write the batch to the WAL and make it visible. It is durable only after syncLoop's SyncWait.
	if !t.batch.Empty() {
		g.batch = t.batch
		if err := e.db.ApplyNoSyncWait(t.batch, pebble.Sync); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
	} else {
		_ = t.batch.Close()
	}
	// Link the group, so that readers can find the group that they must wait for, and cut the chain behind the first
	// durable one. At most two groups are not durable (see Engine.synced), so the chain stays short.
	g.now, g.previous, e.lastGroup = t.now, e.lastGroup, g
	for p := g; p.previous != nil; p = p.previous {
		if isClosed(p.previous.synced) {
			p.previous = nil
			break
		}
	}
	// Waiters may go now: what they lease is made in a later group, which is answered after this one is durable.
	e.wakeWaiters(t.now)
	return e.memtableFilter.rotate(e.db)
}

// syncLoop waits for the groups' fsyncs, one after the other in commit order, and answers their requests. So when a group
// is answered, every group before it is durable too. That holds also for a group that wrote nothing: its answers may tell
// what an earlier group wrote.
func (e *Engine) syncLoop() {
	defer e.failOnPanic("sync")
	for g := range e.synced {
		if e.failureErr() != nil {
			return
		}
		// All groups before this one are durable: that is enough for the requests that tell nothing of this group.
		g.answer(true)
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
			e.commitTimes.end(g.started, e.deps.Clock.Now())
		}
		// Pebble may have reported a WAL error through Fatalf while SyncWait returned nil. Then nothing is answered.
		if e.failureErr() != nil {
			return
		}
		e.metrics.commit.Observe(e.deps.Clock.Now().Sub(g.started).Seconds())
		// The group is durable. First let the readers go that wait for it, then answer, then signal watchers: they may
		// read the tickets at once.
		close(g.synced)
		g.answer(false)
		if e.watchers.signalGroup(g) {
			e.rescheduleAlarm()
		}
	}
}
