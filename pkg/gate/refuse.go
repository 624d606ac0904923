package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// When to come back after a refusal, where the speed of no line says it. All are jittered to 1 to 2 times.
const (
	retryDraining     = time.Second // another replica, or this one restarted (reopened in 0.2–0.5 s with 15 M jobs)
	retryNotDurable   = 5 * time.Second
	retryKeyUnknown   = 2 * time.Second // a key file reaches all replicas within one look at the folder
	retryStoreUnknown = 5 * time.Second
	shortestRetryFull = 5 * time.Second
	longestRetryFull  = 30 * time.Minute
)

// jitter spreads callers who were refused together over base to 2·base.
func jitter(base time.Duration) time.Duration { return jitterBy(base, rand.Float64()) }

// jitterBy is jitter with a given random number in [0, 1).
func jitterBy(base time.Duration, random float64) time.Duration {
	return base + time.Duration(random*float64(base))
}

// FullAfter returns when to come back if a time bound was missed by over. random is in [0, 1).
func FullAfter(over time.Duration, random float64) time.Duration {
	return jitterBy(min(max(over, shortestRetryFull), longestRetryFull), random)
}

func refuseDraining() *reset.Error {
	return &reset.Error{Kind: reset.KindDraining, Detail: "Shutting down: ask another replica, or again after the given time.",
		RetryAfter: jitter(retryDraining)}
}

func refuseNotDurable(cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindNotDurable, Detail: "Nothing can be stored durably now: ask again after the given time.",
		RetryAfter: jitter(retryNotDurable), Cause: cause}
}

// refuseFull refuses work whose time bound is missed by over. That is also when to come back: by then over has drained.
func refuseFull(over time.Duration, cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindQueueFull, Detail: "More is waiting than can be finished in time: ask again after the given time.",
		RetryAfter: FullAfter(over, rand.Float64()), Cause: cause}
}

func refuseStoreUnknown() *reset.Error {
	return &reset.Error{Kind: reset.KindStoreUnknown, Detail: "The credential store has not been reached yet: ask again after the given time.",
		RetryAfter: jitter(retryStoreUnknown)}
}

func refuseUsed(cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindTokenUsed, Detail: "This link has been used: ask for a new one.", Cause: cause}
}

func notFound(cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindNotFound, Detail: "No such ticket: it never was, or it ended too long ago.", Cause: cause}
}

// checkOpen refuses new work that could not be kept, before any bucket is touched.
func (g *Gate) checkOpen() error {
	if g.draining.Load() {
		return refuseDraining()
	}
	switch cause := g.view.Load().stats.NotAccepting; {
	case errors.Is(cause, queue.ErrClosed):
		return refuseDraining()
	case errors.Is(cause, queue.ErrNotDurable):
		return refuseNotDurable(cause)
	default:
		return nil // a full queue may have room for this job, and a replay needs none: Enqueue decides
	}
}

// queueError returns what a caller sees of an error of the queue or the sealer. lane is where the job should have gone.
func (g *Gate) queueError(err error, lane reset.Lane) *reset.Error {
	var e *reset.Error
	switch {
	case errors.As(err, &e): // from the sealer
		if e.Kind != reset.KindNotDurable {
			return e
		}
		return refuseNotDurable(err)
	case errors.Is(err, queue.ErrMarkSpent):
		return refuseUsed(err)
	case errors.Is(err, queue.ErrFull):
		// Room comes as jobs end. Callers who were refused together come back when 1 % of the queue should be free.
		v := g.view.Load()
		return refuseFull(seconds(float64(v.stats.Held)/100/v.rate(lane)), err)
	case errors.Is(err, queue.ErrNotDurable):
		return refuseNotDurable(err)
	case errors.Is(err, queue.ErrClosed):
		refusal := refuseDraining()
		refusal.Cause = err
		return refusal
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &reset.Error{Kind: reset.KindCanceled, Detail: "The call ended before the answer: it may or may not have been accepted.", Cause: err}
	default:
		return &reset.Error{Kind: reset.KindInternal, Cause: err}
	}
}
