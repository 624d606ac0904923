package gate

import (
	"context"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// deadlineMargin leaves the answer time to reach the caller before its deadline.
const deadlineMargin = 50 * time.Millisecond

// answer returns the ticket of accepted work. It holds the answer for wait, or until the ticket is final. From here on nothing is an
// error, because the work is durable.
func (g *Gate) answer(ctx context.Context, verdict queue.Verdict, wait time.Duration) Answer {
	now := g.clock.Now()
	ref := verdict.Ref
	wait = g.allowedWait(ctx, wait, now)
	st := queue.Status{State: reset.StateAccepted, Lane: ref.Lane, Ahead: verdict.Ahead}
	if wait <= 0 && verdict.Ahead > 0 {
		// The ticket is not read back, because that waits for the next commit.
		return g.acceptedAnswer(ref, st, now, verdict.Replayed)
	}
	var changed <-chan struct{}
	if wait > 0 {
		var stop func()
		changed, stop = g.d.Queue.Watch(ref)
		defer stop()
	}
	if read, err := g.d.Queue.Ticket(ctx, ref); err == nil {
		st = read
	} else {
		wait = 0
	}
	if wait > 0 && !isFinal(ref, st, now) {
		st, now = g.hold(ctx, ref, st, changed, now.Add(wait))
	}
	return g.acceptedAnswer(ref, st, now, verdict.Replayed)
}

// acceptedAnswer returns the answer to work that is durable, and records its ETA.
func (g *Gate) acceptedAnswer(ref reset.Ref, st queue.Status, now time.Time, replayed bool) Answer {
	a := g.describe(ref, g.d.Tickets.Seal(ref), st, now)
	a.Replayed = replayed
	if a.Ticket.ETA != nil && !replayed {
		g.metrics.observeETA(ref.Lane, *a.Ticket.ETA)
	}
	return a
}

// allowedWait returns how long an answer may be held; 0 or less: not at all.
func (g *Gate) allowedWait(ctx context.Context, wait time.Duration, now time.Time) time.Duration {
	if wait <= 0 {
		return 0
	}
	if level, _ := g.d.Admission.Level(); level >= 1 {
		return 0 // from level 1 on, tickets are answered at once (pkg/README.md, "Brownout")
	}
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, deadline.Sub(now)-deadlineMargin)
	}
	return wait
}

// hold blocks until the ticket is final, until the given time, or until ctx or the gate ends. It returns the last status and the time.
func (g *Gate) hold(ctx context.Context, ref reset.Ref, st queue.Status, changed <-chan struct{}, until time.Time) (queue.Status, time.Time) {
	g.metrics.waited.Inc()
	defer g.metrics.waited.Dec()
	now := g.clock.Now()
	timer := g.clock.NewTimer(timeToHold(ref, st, until, now))
	defer timer.Stop()
	for {
		select {
		case <-changed:
			next, err := g.d.Queue.Ticket(ctx, ref)
			if err != nil {
				return st, g.clock.Now()
			}
			st = next
		case <-timer.C():
		case <-ctx.Done():
			return st, g.clock.Now()
		case <-g.closing:
			return st, g.clock.Now()
		}
		now = g.clock.Now()
		if isFinal(ref, st, now) {
			return st, now
		}
		if !now.Before(until) {
			// A change may still be on its way here: the answer says what holds now.
			if next, err := g.d.Queue.Ticket(ctx, ref); err == nil {
				st = next
			}
			return st, now
		}
		timer.Reset(timeToHold(ref, st, until, now))
	}
}

// timeToHold returns the time to the end of the wait, or to the moment at which a start ticket is DONE if that comes first.
func timeToHold(ref reset.Ref, st queue.Status, until, now time.Time) time.Duration {
	left := until.Sub(now)
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() {
		left = min(left, st.DoneTime.Sub(now))
	}
	return max(left, 0)
}
