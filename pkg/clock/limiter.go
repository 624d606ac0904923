package clock

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Clamp turns times that arrive out of order into a sequence that never goes back. The zero value works. It is safe for
// concurrent use.
type Clamp struct {
	mu  sync.Mutex
	max time.Time
}

// Now returns the latest of all times that were passed to it, t included.
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

// Limiter is a token bucket on rate.Limiter that accepts times in any order and can give tokens back. Make it with NewLimiter.
// It is safe for concurrent use.
type Limiter struct {
	mu      sync.Mutex // held from clamping a time until limiter has seen it; also guards max
	max     time.Time  // the latest time of a call that changes the bucket
	limiter *rate.Limiter
}

// NewLimiter returns a full bucket that holds at most burst tokens and refills with perSecond tokens a second. With rate.Inf
// every call succeeds.
func NewLimiter(perSecond rate.Limit, burst int) *Limiter {
	return &Limiter{limiter: rate.NewLimiter(perSecond, burst)}
}

// AllowN takes n tokens and returns true if the bucket holds them at now. Otherwise it takes none.
func (l *Limiter) AllowN(now time.Time, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limiter.AllowN(l.clamp(now), n)
}

// TokensAt returns how many tokens the bucket holds at now.
func (l *Limiter) TokensAt(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Reading does not set max: a reader whose clock is ahead must not stop the refill.
	return l.limiter.TokensAt(latest(l.max, now))
}

// Set changes the rate and the burst from now on. The bucket keeps its tokens, up to the new burst.
func (l *Limiter) Set(now time.Time, perSecond rate.Limit, burst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.clamp(now)
	l.limiter.SetLimitAt(now, perSecond) // before the burst: it adds what has refilled at the old rate
	l.limiter.SetBurstAt(now, burst)
}

// GiveBack puts n tokens back that AllowN took. The bucket never holds more than its burst. A negative n does nothing.
func (l *Limiter) GiveBack(now time.Time, n int) {
	if n <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// The limiter caps its tokens at the burst before each take, so tokens above the burst are never given out.
	l.limiter.AllowN(l.clamp(now), -n)
}

// WaitFor returns how long after now the bucket holds n tokens if nobody takes any: 0 if it holds them already,
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
	// One nanosecond more, so that rounding never makes a caller come back too early.
	return clamped.Sub(now) + time.Duration(seconds*float64(time.Second)) + 1
}

// clamp returns the latest time so far. The caller holds mu.
func (l *Limiter) clamp(now time.Time) time.Time {
	l.max = latest(l.max, now)
	return l.max
}
