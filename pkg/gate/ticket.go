package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	// deadlineMargin leaves the answer time to reach the caller before its deadline.
	deadlineMargin = 50 * time.Millisecond
	// A watcher looks for a new position every tenth of the ETA within these, and is told of one that has not halved
	// every watchTell.
	watchLookLeast = time.Second
	watchLookMost  = 10 * time.Second
	watchTell      = 10 * time.Second
)

// GetTicket tells where a ticket stands now.
func (g *Gate) GetTicket(ctx context.Context, id string) (Answer, error) {
	begin := g.clock.Now()
	var st queue.Status
	ref, err := g.open(id)
	if err == nil {
		st, err = g.status(ctx, ref)
	}
	g.metrics.count(callGetTicket, verdictOK, err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	if err != nil {
		return Answer{}, err
	}
	return g.tell(ref, id, st, g.clock.Now()), nil
}

// Inspection is a ticket as whoever helps its holder sees it: nothing that the holder is not told, and of the work behind a
// completion where it is.
type Inspection struct {
	Ticket reset.Ticket
	// Lane is where its job is; 0 once it is final.
	Lane reset.Lane
	// Retrying is true while the job waits for another try, or is parked. Never so for an ask: what its job meets after the
	// look-up would tell whether there is an account.
	Retrying bool
}

// Inspect is GetTicket for operators. It is not counted among the calls of people.
func (g *Gate) Inspect(ctx context.Context, id string) (Inspection, error) {
	ref, err := g.open(id)
	if err != nil {
		return Inspection{}, err
	}
	st, err := g.status(ctx, ref)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Ticket: g.tell(ref, id, st, g.clock.Now()).Ticket}
	switch {
	case i.Ticket.State.Final():
	case ref.Lane == reset.LaneStart:
		i.Lane = ref.Lane
	default:
		i.Lane, i.Retrying = st.Lane, st.Retrying
	}
	return i, nil
}

// WatchTicket sends the ticket at once and at every change (see the package comment), and returns nil after a final
// state. It returns send's error as it is.
func (g *Gate) WatchTicket(ctx context.Context, id string, send func(reset.Ticket) error) error {
	begin := g.clock.Now()
	var st queue.Status
	var changed <-chan struct{}
	ref, err := g.open(id)
	if err == nil {
		// Before the first look, so that no change falls between the two.
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
	timer := g.clock.NewTimer(0)
	defer timer.Stop()
	var told reset.Ticket
	var toldTime time.Time
	for first := true; ; first = false {
		now := g.clock.Now()
		ticket := g.tell(ref, id, st, now).Ticket
		if first || worthTelling(told, ticket, now.Sub(toldTime)) {
			if err := send(ticket); err != nil {
				return err
			}
			told, toldTime = ticket, now
		}
		if ticket.State.Final() {
			return nil
		}
		timer.Reset(g.nextLook(ref, st, ticket, now))
		select {
		case <-changed:
		case <-timer.C():
			if final(ref, st, g.clock.Now()) {
				continue // nothing is read between the timer and the answer
			}
		case <-ctx.Done():
			return &reset.Error{Kind: reset.KindCanceled, Cause: context.Cause(ctx)}
		case <-g.closing:
			return refuseDraining()
		}
		if st, err = g.status(ctx, ref); err != nil {
			return err
		}
	}
}

func worthTelling(told, now reset.Ticket, since time.Duration) bool {
	return now.State != told.State || now.Reason != told.Reason ||
		now.Position < told.Position && (now.Position <= told.Position/2 || since >= watchTell)
}

// nextLook is when to look at a watched ticket again without being told to.
func (g *Gate) nextLook(ref reset.Ref, st queue.Status, t reset.Ticket, now time.Time) time.Duration {
	look := min(max(t.ETA.High/10, watchLookLeast), watchLookMost)
	look = time.Duration(float64(look) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // jitter is no secret
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() {
		look = min(look, max(st.DoneTime.Sub(now), 0))
	}
	return look
}

// open returns the place in line that a ticket's id stands for.
func (g *Gate) open(id string) (reset.Ref, error) {
	if err := checkTicketID(id); err != nil {
		return reset.Ref{}, err
	}
	ref, err := g.d.Tickets.Open(id)
	if err != nil {
		return reset.Ref{}, notFound(err)
	}
	return ref, nil
}

func (g *Gate) status(ctx context.Context, ref reset.Ref) (queue.Status, error) {
	st, err := g.d.Queue.Ticket(ctx, ref)
	if errors.Is(err, queue.ErrNotFound) {
		return queue.Status{}, notFound(err)
	}
	if err != nil {
		return queue.Status{}, g.queueError(err, ref.Lane)
	}
	return st, nil
}

// final tells whether the ticket is final at now. A start ticket is from its DoneTime on.
func final(ref reset.Ref, st queue.Status, now time.Time) bool {
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() && !now.Before(st.DoneTime) {
		return true
	}
	return st.State.Final()
}

// tell is the ticket as a caller sees it.
func (g *Gate) tell(ref reset.Ref, id string, st queue.Status, now time.Time) Answer {
	t := reset.Ticket{ID: id, State: st.State, Reason: st.Reason, AcceptTime: ref.AcceptTime, UpdateTime: st.UpdateTime}
	if ref.Lane == reset.LaneStart {
		// Only ever ACCEPTED, then DONE: whatever else the engine knows of the job stays inside.
		t.State, t.Reason, t.UpdateTime = reset.StateAccepted, reset.ReasonNone, ref.AcceptTime
		if final(ref, st, now) {
			t.State, t.UpdateTime = reset.StateDone, st.DoneTime
		}
	}
	if t.UpdateTime.IsZero() {
		t.UpdateTime = ref.AcceptTime
	}
	if t.State.Final() {
		return Answer{Ticket: t}
	}
	if t.State == reset.StateAccepted && st.DoneTime.IsZero() {
		t.Position = max(st.Ahead, 1) - 1 // the others
	}
	eta := g.view.Load().eta(ref, st, now)
	t.ETA = &eta
	return Answer{Ticket: t, PollAfter: pollAfter(eta)}
}

// answer tells where accepted work stands, after wait if that was asked for. From here on nothing is an error: the
// work is durable.
func (g *Gate) answer(ctx context.Context, verdict queue.Verdict, wait time.Duration) Answer {
	now := g.clock.Now()
	ref := verdict.Ref
	wait = g.allowedWait(ctx, wait, now)
	st := queue.Status{State: reset.StateAccepted, Lane: ref.Lane, Ahead: verdict.Ahead}
	if wait <= 0 && verdict.Ahead > 0 {
		// Reading the ticket back would wait for the next commit: 53 instead of 22 µs a call at 64 callers.
		return g.accepted(ref, st, now, verdict.Replayed)
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
	if wait > 0 && !final(ref, st, now) {
		st, now = g.hold(ctx, ref, st, changed, now.Add(wait))
	}
	return g.accepted(ref, st, now, verdict.Replayed)
}

// accepted is the answer to work that is durable, and counts the ETA that it tells.
func (g *Gate) accepted(ref reset.Ref, st queue.Status, now time.Time, replayed bool) Answer {
	a := g.tell(ref, g.d.Tickets.Seal(ref), st, now)
	a.Replayed = replayed
	if a.Ticket.ETA != nil && !replayed {
		g.metrics.told(ref.Lane, *a.Ticket.ETA)
	}
	return a
}

// allowedWait is how long an answer may be held.
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

// hold returns when the ticket is final, at until, or when ctx or the gate ends, with the last status and the time.
func (g *Gate) hold(ctx context.Context, ref reset.Ref, st queue.Status, changed <-chan struct{}, until time.Time) (queue.Status, time.Time) {
	g.metrics.waited.Inc()
	defer g.metrics.waited.Dec()
	now := g.clock.Now()
	timer := g.clock.NewTimer(g.holdFor(ref, st, until, now))
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
		if final(ref, st, now) {
			return st, now
		}
		if !now.Before(until) {
			// A change may be on its way here still: the answer says what holds now.
			if next, err := g.d.Queue.Ticket(ctx, ref); err == nil {
				st = next
			}
			return st, now
		}
		timer.Reset(g.holdFor(ref, st, until, now))
	}
}

// holdFor is the time to the end of the wait, or to the moment of a start ticket's DONE if that comes first.
func (g *Gate) holdFor(ref reset.Ref, st queue.Status, until, now time.Time) time.Duration {
	left := until.Sub(now)
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() {
		left = min(left, st.DoneTime.Sub(now))
	}
	return max(left, 0)
}
