package embedded

import (
	"context"
	"fmt"
	"math"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// waiter is one call of Wait that is blocked. ready is closed by the committer, which also removes the waiter.
type waiter struct {
	lane  reset.Lane
	upTo  reset.Class
	ready chan struct{}
}

// Wait implements queue.Worker.
func (e *Engine) Wait(ctx context.Context, lane reset.Lane, upTo reset.Class) error {
	if !isValidLaneClass(lane, 0) {
		return fmt.Errorf("queue: no such lane: %v", lane)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{lane, upTo, make(chan struct{})}
	// Look and register under Engine.mu, so that no group is applied in between: its wakeWaiters would not see us.
	e.mu.RLock()
	now, _ := e.readTimes()
	if e.mem.hasWork(lane, upTo, now) && !isClosed(e.quit) && !isClosed(e.failedSignal) {
		e.mu.RUnlock()
		return nil
	}
	e.waitMu.Lock()
	e.waiters[w] = struct{}{}
	e.waitMu.Unlock()
	e.mu.RUnlock()
	defer func() {
		e.waitMu.Lock()
		delete(e.waiters, w)
		e.waitMu.Unlock()
	}()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.quit:
		return queue.ErrClosed
	case <-e.failedSignal:
		return e.failureErr()
	}
}

// wakeWaiters releases the waiters whose lane has work, and has the alarm set again if something becomes due before it.
// Called by runGroup under Engine.mu.
func (e *Engine) wakeWaiters(now int64) {
	e.waitMu.Lock()
	for w := range e.waiters {
		if e.mem.hasWork(w.lane, w.upTo, now) {
			close(w.ready)
			delete(e.waiters, w)
		}
	}
	e.waitMu.Unlock()
	next, armed := e.mem.nextAlarm(now), e.alarmTime.Load()
	if next == 0 || armed != 0 && armed <= next {
		return
	}
	e.rescheduleAlarm()
}

// Backlog implements queue.Worker. It counts at most 1,024 due retries a class, so it is exact up to that.
func (e *Engine) Backlog(ctx context.Context, lane reset.Lane, upTo reset.Class) (int, error) {
	if !isValidLaneClass(lane, upTo) {
		return 0, fmt.Errorf("queue: no such lane and class: %v, %v", lane, upTo)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := e.beginCall(); err != nil {
		return 0, err
	}
	defer e.endCall()
	e.mu.RLock()
	defer e.mu.RUnlock()
	now := max(e.mem.Clock, e.deps.Clock.Now().UnixMicro())
	n := uint64(0)
	for class := reset.ClassInteractive; class <= upTo; class++ {
		k, ln := &e.mem.Queues[lane][class], &e.mem.queues[lane][class]
		n += k.InLine - ln.leasedInLine
		n += uint64(ln.retries.countDue(0, now, 1024))
	}
	return int(min(n, math.MaxInt)), nil
}
