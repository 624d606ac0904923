package embedded

import (
	"context"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// alarmLoop submits an empty request when a lease expires or a retry becomes due, so that the committer wakes the waiters,
// and signals watchers when a start is done.
func (e *Engine) alarmLoop(ctx context.Context) {
	timer := e.deps.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		e.mu.RLock()
		now, _ := e.readTimes()
		// From the last group's time, and not from now: what became due since then has not woken anybody.
		next := e.mem.nextAlarm(e.mem.Clock)
		e.alarmTime.Store(next)
		e.mu.RUnlock()
		if done := e.watchers.signalDoneStarts(now); done != 0 && (next == 0 || done < next) {
			next = done
		}
		e.setAlarm(timer, now, next)
		select {
		case <-timer.C():
			if e.submit(ctx, func(*tx) {}) != nil {
				return
			}
		case <-e.alarmChanged:
		case <-ctx.Done():
			return
		case <-e.failedSignal:
			return
		}
	}
}

// setAlarm sets the timer to next, in µs of the queue's time; 0 for never. A timer counts from when it is set. The clock may
// have moved between now, when it was read, and that moment; so setAlarm reads it again and sets the timer again until both
// agree within a millisecond. Otherwise the alarm would be late or, with a clock that a test moves by hand, never come.
func (e *Engine) setAlarm(timer clock.Timer, now, next int64) {
	const slack = int64(time.Millisecond / time.Microsecond)
	for {
		wait := time.Hour
		if next != 0 {
			wait = min(wait, max(0, time.Duration(next-now)*time.Microsecond))
		}
		timer.Reset(wait)
		before := now
		e.mu.RLock()
		now, _ = e.readTimes()
		e.mu.RUnlock()
		if now-before < slack {
			return
		}
	}
}

// rescheduleAlarm has alarmLoop compute the next alarm again. It does not block.
func (e *Engine) rescheduleAlarm() {
	select {
	case e.alarmChanged <- struct{}{}:
	default: // alarmLoop has not taken the last signal yet
	}
}
