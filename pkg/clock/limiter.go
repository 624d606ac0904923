package clock

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Clamp turns times that arrive out of order into a sequence that never goes back. The zero value works; it is safe
// for concurrent use.
type Clamp struct {
	mu  sync.Mutex
	max time.Time
}

// Now returns the latest time that the Clamp has been given, t included.
func (c *Clamp) Now(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max = latest(c.max, t)
	return c.max
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Limiter is a token bucket over rate.Limiter that takes times in any order and gives back. Make it with NewLimiter;
// it is safe for concurrent use.
type Limiter struct {
	mu      sync.Mutex // guards max, and holds the clamped time and the limiter's own together
	max     time.Time
	limiter *rate.Limiter
}

// NewLimiter returns a bucket that is full, holds burst tokens at most and refills with perSecond tokens a second.
// rate.Inf as perSecond makes every call succeed.
func NewLimiter(perSecond rate.Limit, burst int) *Limiter {
	return &Limiter{limiter: rate.NewLimiter(perSecond, burst)}
}

// AllowN takes n tokens if the bucket holds them at now, else none.
func (l *Limiter) AllowN(now time.Time, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limiter.AllowN(l.clamp(now), n)
}

// TokensAt returns how many tokens the bucket holds at now. It takes none.
func (l *Limiter) TokensAt(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Reading does not move the clamp: a dashboard that asks with another clock must not stop the refill.
	return l.limiter.TokensAt(latest(l.max, now))
}

// Set changes the rate and the burst from now on. The bucket keeps what it holds, up to the new burst: nothing is made up
// and nothing else is lost.
func (l *Limiter) Set(now time.Time, perSecond rate.Limit, burst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.clamp(now)
	l.limiter.SetLimitAt(now, perSecond) // first: it counts what has refilled at the old rate
	l.limiter.SetBurstAt(now, burst)
}

// GiveBack returns n tokens that AllowN took; the bucket never holds more than its burst.
func (l *Limiter) GiveBack(now time.Time, n int) {
	if n <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Nothing above the burst is ever given out: the limiter caps what it holds before it takes.
	l.limiter.AllowN(l.clamp(now), -n)
}

// WaitFor returns how long after now the bucket holds n tokens if nobody takes any: zero if it does already,
// rate.InfDuration if it never will.
func (l *Limiter) WaitFor(now time.Time, n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limiter.Limit() == rate.Inf {
		return 0
	}
	if n > l.limiter.Burst() {
		return rate.InfDuration
	}
	clamped := latest(l.max, now)
	missing := float64(n) - l.limiter.TokensAt(clamped)
	if missing <= 0 {
		return 0
	}
	if l.limiter.Limit() <= 0 {
		return rate.InfDuration
	}
	seconds := missing / float64(l.limiter.Limit())
	if seconds > math.MaxInt64/2/1e9 {
		return rate.InfDuration
	}
	// One nanosecond more, so that rounding never sends a caller back a moment too early.
	return clamped.Sub(now) + time.Duration(seconds*float64(time.Second)) + 1
}

func (l *Limiter) clamp(now time.Time) time.Time {
	l.max = latest(l.max, now)
	return l.max
}
