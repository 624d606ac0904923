package clock

import (
	"context"
	"sync"
	"time"
)

// Manual is a clock that moves only by Advance. It is safe for concurrent use.
type Manual struct {
	mu      sync.Mutex
	changed *sync.Cond // signalled when a timer was started, fired or stopped
	now     time.Time
	started uint64                    // timers started so far; orders those with the same deadline
	timers  map[*manualTimer]struct{} // the ones that have neither fired nor been stopped
}

// NewManual returns a clock that shows t.
func NewManual(t time.Time) *Manual {
	m := &Manual{now: t, timers: make(map[*manualTimer]struct{})}
	m.changed = sync.NewCond(&m.mu)
	return m
}

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// NewTimer implements Clock. With d of 0 or less the timer fires at once, and BlockUntil does not count it.
func (m *Manual) NewTimer(d time.Duration) Timer {
	t := &manualTimer{clock: m, c: make(chan time.Time, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start(t, d)
	return t
}

// Sleep implements Clock.
func (m *Manual) Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, m, d) }

// Advance moves the clock by d and fires, in order, every timer whose deadline it reaches. It panics if d is negative.
func (m *Manual) Advance(d time.Duration) {
	if d < 0 {
		panic("clock: Manual cannot go back")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.now.Add(d)
	for t := m.next(end); t != nil; t = m.next(end) {
		m.now = t.deadline
		m.fire(t)
	}
	m.now = end
}

// BlockUntil blocks until at least n timers are running.
func (m *Manual) BlockUntil(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.timers) < n {
		m.changed.Wait()
	}
}

// Waiters returns how many timers are running.
func (m *Manual) Waiters() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.timers)
}

// next returns the running timer with the earliest deadline up to end, or nil. The caller holds mu.
func (m *Manual) next(end time.Time) *manualTimer {
	var first *manualTimer
	for t := range m.timers {
		if t.deadline.After(end) {
			continue
		}
		if first == nil || t.deadline.Before(first.deadline) ||
			t.deadline.Equal(first.deadline) && t.order < first.order {
			first = t
		}
	}
	return first
}

// start runs a timer that is not running. The caller holds mu.
func (m *Manual) start(t *manualTimer, d time.Duration) {
	m.started++
	t.order, t.deadline = m.started, m.now.Add(max(d, 0))
	if d <= 0 {
		m.fire(t)
		return
	}
	m.timers[t] = struct{}{}
	m.changed.Broadcast()
}

// fire sends the time to the timer's channel. It does not block: start is called only for a new or a stopped timer, whose
// channel is empty. The caller holds mu.
func (m *Manual) fire(t *manualTimer) {
	delete(m.timers, t)
	t.c <- m.now
	m.changed.Broadcast()
}

type manualTimer struct {
	clock    *Manual
	c        chan time.Time
	deadline time.Time
	order    uint64
}

func (t *manualTimer) C() <-chan time.Time { return t.c }

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stop()
}

func (t *manualTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	active := t.stop()
	t.clock.start(t, d)
	return active
}

// stop stops the timer and drops a value that was not received. It reports, as time.Timer does since Go 1.23, whether the
// timer was running or had such a value. The caller holds the clock's mu.
func (t *manualTimer) stop() bool {
	_, active := t.clock.timers[t]
	delete(t.clock.timers, t)
	select {
	case <-t.c:
		active = true
	default:
	}
	t.clock.changed.Broadcast()
	return active
}
