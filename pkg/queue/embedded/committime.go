package embedded

import (
	"math"
	"sync/atomic"
	"time"
)

// commitTimes tells how long a change takes now until it is durable. syncLoop writes it, Stats reads it.
type commitTimes struct {
	mean    atomic.Int64 // nanoseconds; see end
	waiting atomic.Int64 // when the group that is waited for was begun, in nanoseconds since 1970; 0: none is

	ended time.Time // when the last group was durable; only syncLoop uses it
}

// commitMemory is how long a group counts in the mean: the time constant of its decay.
const commitMemory = 5 * time.Second

// begin notes that a group that was begun at that time is now waited for.
func (c *commitTimes) begin(started time.Time) { c.waiting.Store(started.UnixNano()) }

// end notes that it is durable now. A group weighs as much as the time since the one before it, so that the mean is what a
// change that comes at any moment waits for: between many fast groups, few slow ones are what people feel.
func (c *commitTimes) end(started, now time.Time) {
	c.waiting.Store(0)
	took, weight := now.Sub(started), 1.
	if !c.ended.IsZero() {
		weight = 1 - math.Exp(-max(0, now.Sub(c.ended).Seconds())/commitMemory.Seconds())
	}
	c.ended = now
	mean := c.mean.Load()
	c.mean.Store(mean + int64(weight*float64(int64(took)-mean)))
}

// now returns the mean of the last seconds, or the time that the group that is waited for has taken so far if that is longer;
// 0 before the first.
func (c *commitTimes) now(now time.Time) time.Duration {
	took := c.mean.Load()
	if began := c.waiting.Load(); began != 0 {
		took = max(took, now.UnixNano()-began)
	}
	return time.Duration(took)
}
