package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/decision"
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

// decisionLines are how refusals are logged: those that a person did not bring about himself, by what they are.
func decisionLines(log *decision.Log) map[reset.Kind]*decision.Line {
	lines := make(map[reset.Kind]*decision.Line)
	for reason, kinds := range map[decision.Reason][]reset.Kind{
		decision.Shed:    {reset.KindShed},
		decision.Limited: {reset.KindLimitClient, reset.KindLimitGlobal},
		decision.Refused: {reset.KindQueueFull, reset.KindNotDurable, reset.KindStoreUnknown, reset.KindKeyUnknown},
	} {
		for _, k := range kinds {
			if line := log.Line(reason, kindVerdict(k)); line != nil {
				lines[k] = line
			}
		}
	}
	return lines
}

// grounds are the Cause of a refusal that is logged: the numbers that it was decided on.
type grounds interface{ Numbers() []slog.Attr }

// bound is a time bound that was missed.
type bound struct {
	lane       reset.Lane
	eta, bound time.Duration
}

// Error implements error.
func (b bound) Error() string {
	return fmt.Sprintf("lane %s: %v is over the bound of %v", b.lane, b.eta, b.bound)
}

// Numbers implements grounds.
func (b bound) Numbers() []slog.Attr {
	return []slog.Attr{slog.String("lane", b.lane.String()), slog.Duration("eta", b.eta.Round(time.Millisecond)), slog.Duration("bound", b.bound)}
}

// missed is the cause of a refusal for a time bound; none where nobody wants to know.
func (g *Gate) missed(lane reset.Lane, eta reset.ETA, over time.Duration) error {
	if g.lines[reset.KindQueueFull] == nil {
		return nil
	}
	return bound{lane: lane, eta: eta.High, bound: eta.High - over}
}

// decided logs why a call was refused, where that is wanted. It names nobody.
func (g *Gate) decided(ctx context.Context, c call, client Client, err error) {
	if err == nil || len(g.lines) == 0 {
		return
	}
	var e *reset.Error
	if !errors.As(err, &e) || !g.lines[e.Kind].Due() {
		return
	}
	attrs := []slog.Attr{slog.String("call", c.String()), slog.String("class", classOf(client).String()),
		slog.Duration("retry_after", e.RetryAfter.Round(time.Millisecond))}
	var why grounds
	if errors.As(e.Cause, &why) {
		attrs = append(attrs, why.Numbers()...)
	} else if e.Kind == reset.KindNotDurable && e.Cause != nil { // the queue's words; others' could quote a caller's
		attrs = append(attrs, slog.String("why", e.Cause.Error()))
	}
	if e.Kind == reset.KindQueueFull || e.Kind == reset.KindNotDurable {
		s := g.view.Load().stats
		attrs = append(attrs, slog.Uint64("jobs_held", s.Held), slog.Uint64("bytes", s.Bytes), slog.Uint64("max_bytes", s.MaxBytes))
	}
	g.lines[e.Kind].Write(ctx, attrs...)
}
