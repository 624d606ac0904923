package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Times to come back after a refusal that no line's speed explains. All are jittered to 1–2 times.
const (
	retryDraining     = time.Second // another replica, or this one restarted (reopened in 0.2–0.5 s with 15 M jobs)
	retryNotDurable   = 5 * time.Second
	retryKeyUnknown   = 2 * time.Second // a key file reaches all replicas within one look at the folder
	retryStoreUnknown = 5 * time.Second
	retryFullLeast    = 5 * time.Second
	retryFullMost     = 30 * time.Minute
)

// jitter spreads callers who were refused together over base to 2·base.
func jitter(base time.Duration) time.Duration { return spreadBy(base, rand.Float64()) } //nolint:gosec // jitter is no secret

func spreadBy(base time.Duration, random float64) time.Duration {
	return base + time.Duration(random*float64(base))
}

// FullAfter is when to come back after a time bound was missed by over, with a draw in [0, 1).
func FullAfter(over time.Duration, random float64) time.Duration {
	return spreadBy(min(max(over, retryFullLeast), retryFullMost), random)
}

func refuseDraining() *reset.Error {
	return &reset.Error{Kind: reset.KindDraining, Detail: "Shutting down: ask another replica, or again after the given time.",
		RetryAfter: jitter(retryDraining)}
}

func refuseNotDurable(cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindNotDurable, Detail: "Nothing can be stored durably now: ask again after the given time.",
		RetryAfter: jitter(retryNotDurable), Cause: cause}
}

// refuseFull says when to come back: after over, by which a time bound is missed, has drained.
func refuseFull(over time.Duration, cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindQueueFull, Detail: "More is waiting than can be finished in time: ask again after the given time.",
		RetryAfter: FullAfter(over, rand.Float64()), Cause: cause} //nolint:gosec // jitter is no secret
}

func refuseStoreUnknown() *reset.Error {
	return &reset.Error{Kind: reset.KindStoreUnknown, Detail: "The credential store has not been reached yet: ask again after the given time.",
		RetryAfter: jitter(retryStoreUnknown)}
}

func refuseUsed(cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindTokenUsed, Detail: "This link has been used: ask for a new one.", Cause: cause}
}

func invalid(field, detail string) *reset.Error {
	return &reset.Error{Kind: reset.KindInvalid, Field: field, Detail: detail}
}

func notFound(cause error) *reset.Error {
	return &reset.Error{Kind: reset.KindNotFound, Detail: "No such ticket: it never was, or it ended too long ago.", Cause: cause}
}

// ready refuses new work that could not be kept, before any bucket is touched.
func (g *Gate) ready() error {
	if g.draining.Load() {
		return refuseDraining()
	}
	switch cause := g.view.Load().stats.NotAccepting; {
	case errors.Is(cause, queue.ErrClosed):
		return refuseDraining()
	case errors.Is(cause, queue.ErrNotDurable):
		return refuseNotDurable(cause)
	default:
		return nil // a full queue may have room for this one, and a replay needs none: Enqueue decides
	}
}

// queueError is what a caller sees of an error of the queue. lane is where the job should have gone.
func (g *Gate) queueError(err error, lane reset.Lane) *reset.Error {
	var e *reset.Error
	switch {
	case errors.As(err, &e): // the sealer's
		if e.Kind != reset.KindNotDurable {
			return e
		}
		return refuseNotDurable(err)
	case errors.Is(err, queue.ErrMarkSpent):
		return refuseUsed(err)
	case errors.Is(err, queue.ErrFull):
		// Room comes as jobs end; those refused together should find room for all: 1 % of the queue.
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

// refused settles the permit of a call that ends with err, and returns what the caller sees.
func (g *Gate) refused(permit admission.Permit, err error) error {
	now := g.clock.Now()
	var e *reset.Error
	if !errors.As(err, &e) {
		e = &reset.Error{Kind: reset.KindInternal, Cause: err}
	}
	switch e.Kind {
	case reset.KindNotDurable, reset.KindQueueFull, reset.KindDraining:
		permit.GiveBack(now)
	case reset.KindKeyUnknown:
		permit.GiveBack(now)
		jittered := *e // token's and seal's times are plain
		jittered.RetryAfter = jitter(max(e.RetryAfter, retryKeyUnknown))
		e = &jittered
	default:
	}
	return e
}

// charged is refused for a token or a password: it also spends the client's buckets.
func (g *Gate) charged(permit admission.Permit, err error) error {
	switch reset.KindOf(err) {
	case reset.KindTokenInvalid, reset.KindTokenExpired, reset.KindTokenUsed, reset.KindWeakPassword, reset.KindInvalid:
		if limit := permit.Charge(g.clock.Now()); limit != nil {
			return limit
		}
	default: // no fault of the caller's
	}
	return g.refused(permit, err)
}
