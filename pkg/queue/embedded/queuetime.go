package embedded

import (
	"time"
)

// clockSlack is how many µs the machine's clock may be behind the queue's time before the engine treats it as set back.
// Two readings of the clock, with and without its monotonic part, differ by microseconds.
const clockSlack = int64(time.Second / time.Microsecond)

// timeBase is a moment at which the queue's time was known. While the machine's clock is behind the queue's time, the
// queue's time continues from there by the monotonic clock, which no step of the machine's clock moves.
type timeBase struct {
	begin     time.Time // has a monotonic reading
	queueTime int64     // µs; the queue's time at begin
}

func (b timeBase) timeAt(t time.Time) int64 { return b.queueTime + t.Sub(b.begin).Microseconds() }

// readTimes reads the clock and returns, in µs, the queue's time and the machine's. The queue's time is at or after that of
// every applied group. The caller holds Engine.mu.
func (e *Engine) readTimes() (now, wall int64) {
	t := e.deps.Clock.Now()
	wall = t.UnixMicro()
	now = max(wall, e.mem.Clock)
	if now-wall > clockSlack {
		now = max(now, e.timeBase.timeAt(t))
	}
	return now, wall
}

// followClock moves the time base forward when the machine's clock was set forward, so that a clock that is set back again
// finds a base that is not in the past. The caller holds Engine.mu for writing.
func (e *Engine) followClock(now int64) {
	if t := e.deps.Clock.Now(); now-e.timeBase.timeAt(t) > clockSlack {
		e.timeBase = timeBase{begin: t, queueTime: now}
	}
}

// clockLag returns by how many µs the machine's clock is behind the queue's time; 0 within clockSlack.
func clockLag(now, wall int64) int64 {
	if now-wall <= clockSlack {
		return 0
	}
	return now - wall
}

// micros returns µs since 1970, and 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
