package clock

import (
	"context"
	"sync"
	"time"
)

// Manual is a clock that moves only by Advance. It is safe for concurrent use.
type Manual struct {
	mu      sync.Mutex
	changed *sync.Cond // a timer was started, fired or stopped
	now     time.Time
	started uint64 // orders timers with the same deadline
	timers  map[*manualTimer]struct{}
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

// NewTimer implements Clock. A timer whose time has come already fires at once and is not waited for.
func (m *Manual) NewTimer(d time.Duration) Timer {
	t := &manualTimer{clock: m, c: make(chan time.Time, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start(t, d)
	return t
}

// Sleep implements Clock.
func (m *Manual) Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, m, d) }

// Advance moves the clock by d and fires, in order, every timer whose deadline it reaches, those included that are
// started meanwhile by others. A negative d panics: what goes back is a test of Clamp, not of Manual.
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

// BlockUntil returns once at least n timers wait.
func (m *Manual) BlockUntil(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.timers) < n {
		m.changed.Wait()
	}
}

// Waiters returns how many timers wait.
func (m *Manual) Waiters() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.timers)
}

// next returns the earliest waiting timer, nil if there is none up to end.
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

// fire never blocks: the channel is empty, because start follows only a making or a stop.
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

// stop reports, as time.Timer does since Go 1.23, whether a value was still to come or not yet received.
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
