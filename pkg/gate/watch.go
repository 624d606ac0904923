package gate

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// A watcher is sent its ticket when its position has halved, or has changed and watchEvery has passed. Between changes of state the
// position is looked up every tenth of the ETA, within these bounds.
const (
	watchEvery        = 10 * time.Second
	shortestWatchLook = time.Second
	longestWatchLook  = 10 * time.Second
)

// WatchTicket sends the ticket at once, at every change of state, when its position has halved, and otherwise every 10 s if its position
// has changed: a person sees movement, and a million watchers cost no second storm. It blocks until the ticket is final, and then
// returns nil. It returns an error of send unchanged.
func (g *Gate) WatchTicket(ctx context.Context, id string, send func(reset.Ticket) error) error {
	begin := g.clock.Now()
	var st queue.Status
	var changed <-chan struct{}
	ref, err := g.openTicket(id)
	if err == nil {
		// This comes before the first look, so that no change falls between the two.
		var stop func()
		changed, stop = g.d.Queue.Watch(ref)
		defer stop()
		st, err = g.status(ctx, ref)
	}
	g.metrics.count(callWatchTicket, verdictOK, err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	if err != nil {
		return err
	}
	g.metrics.watched.Inc()
	defer g.metrics.watched.Dec()
	return g.followTicket(ctx, ref, id, st, changed, send)
}

// followTicket sends a ticket and its changes until it is final. changed has an element when the queue has news of the ticket.
func (g *Gate) followTicket(ctx context.Context, ref reset.Ref, id string, st queue.Status, changed <-chan struct{}, send func(reset.Ticket) error) error {
	timer := g.clock.NewTimer(0)
	defer timer.Stop()
	var sent reset.Ticket
	var sentTime time.Time
	for first := true; ; first = false {
		now := g.clock.Now()
		ticket := g.describe(ref, id, st, now).Ticket
		if first || isWorthSending(sent, ticket, now.Sub(sentTime)) {
			if err := send(ticket); err != nil {
				return err
			}
			sent, sentTime = ticket, now
		}
		if ticket.State.Final() {
			return nil
		}
		timer.Reset(untilNextLook(ref, st, ticket, now))
		select {
		case <-changed:
		case <-timer.C():
			if isFinal(ref, st, g.clock.Now()) {
				continue // nothing is read between the timer and the answer
			}
		case <-ctx.Done():
			return &reset.Error{Kind: reset.KindCanceled, Cause: context.Cause(ctx)}
		case <-g.closing:
			return refuseDraining()
		}
		var err error
		if st, err = g.status(ctx, ref); err != nil {
			return err
		}
	}
}

// isWorthSending says whether a watcher is sent the ticket as it is now; sent is what it was sent last, since ago.
func isWorthSending(sent, now reset.Ticket, since time.Duration) bool {
	return now.State != sent.State || now.Reason != sent.Reason ||
		now.Position < sent.Position && (now.Position <= sent.Position/2 || since >= watchEvery)
}

// untilNextLook returns when to look at a watched ticket again although the queue has no news of it.
func untilNextLook(ref reset.Ref, st queue.Status, t reset.Ticket, now time.Time) time.Duration {
	look := min(max(t.ETA.High/10, shortestWatchLook), longestWatchLook)
	look = time.Duration(float64(look) * (0.8 + 0.4*rand.Float64()))
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() {
		look = min(look, max(st.DoneTime.Sub(now), 0))
	}
	return look
}
