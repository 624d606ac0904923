package embedded

import (
	"sync/atomic"
	"time"
)

// commitTimes tells how long a change takes now until it is durable. syncLoop writes it, Stats reads it; both are atomic.
type commitTimes struct {
	mean    atomic.Int64 // nanoseconds; each group weighs a quarter, so it follows the last four or so
	waiting atomic.Int64 // when the group that is waited for was begun, in nanoseconds since 1970; 0: none is
}

// begin notes that a group that was begun at that time is now waited for.
func (c *commitTimes) begin(started time.Time) { c.waiting.Store(started.UnixNano()) }

// end notes that it is durable, after so long.
func (c *commitTimes) end(took time.Duration) {
	c.waiting.Store(0)
	if mean := c.mean.Load(); mean == 0 {
		c.mean.Store(int64(took))
	} else {
		c.mean.Store(mean + (int64(took)-mean)/4)
	}
}

// now returns the mean of the last groups, or the time that the one that is waited for has taken so far if that is longer;
// 0 before the first.
func (c *commitTimes) now(now time.Time) time.Duration {
	took := c.mean.Load()
	if began := c.waiting.Load(); began != 0 {
		took = max(took, now.UnixNano()-began)
	}
	return time.Duration(took)
}
