package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// GetTicket returns where a ticket stands now. Errors are *reset.Error, or reset.Violations for the id.
func (g *Gate) GetTicket(ctx context.Context, id string) (Answer, error) {
	begin := g.clock.Now()
	var st queue.Status
	ref, err := g.openTicket(id)
	if err == nil {
		st, err = g.status(ctx, ref)
	}
	g.metrics.count(callGetTicket, verdictOK, err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	if err != nil {
		return Answer{}, err
	}
	return g.describe(ref, id, st, g.clock.Now()), nil
}

// Inspection is a ticket as an operator sees it who helps its holder: the same ticket, and where the work of a completion is.
type Inspection struct {
	Ticket reset.Ticket
	// Lane is where the job is; 0 if the ticket is final.
	Lane reset.Lane
	// Retrying says that the job waits for another try, or is parked. It is always false for a start: what happens to its job after
	// the look-up would show whether the account exists.
	Retrying bool
}

// Inspect is GetTicket for operators. It is not counted among the calls of people.
func (g *Gate) Inspect(ctx context.Context, id string) (Inspection, error) {
	ref, err := g.openTicket(id)
	if err != nil {
		return Inspection{}, err
	}
	st, err := g.status(ctx, ref)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Ticket: g.describe(ref, id, st, g.clock.Now()).Ticket}
	switch {
	case i.Ticket.State.Final():
	case ref.Lane == reset.LaneStart:
		i.Lane = ref.Lane
	default:
		i.Lane, i.Retrying = st.Lane, st.Retrying
	}
	return i, nil
}

// openTicket returns the place in line that a ticket's id stands for.
func (g *Gate) openTicket(id string) (reset.Ref, error) {
	if err := checkTicketID(id); err != nil {
		return reset.Ref{}, err
	}
	ref, err := g.d.Tickets.Open(id)
	if err != nil {
		return reset.Ref{}, notFound(err)
	}
	return ref, nil
}

// status returns what the queue knows of a ticket.
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

// isFinal says whether the ticket is final at now. A start ticket is final from its DoneTime on.
func isFinal(ref reset.Ref, st queue.Status, now time.Time) bool {
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() && !now.Before(st.DoneTime) {
		return true
	}
	return st.State.Final()
}

// describe returns the ticket as a caller sees it at now.
func (g *Gate) describe(ref reset.Ref, id string, st queue.Status, now time.Time) Answer {
	t := reset.Ticket{ID: id, State: st.State, Reason: st.Reason, AcceptTime: ref.AcceptTime, UpdateTime: st.UpdateTime}
	if ref.Lane == reset.LaneStart {
		// A start ticket is only ever ACCEPTED, then DONE: what else the engine knows of the job stays inside.
		t.State, t.Reason, t.UpdateTime = reset.StateAccepted, reset.ReasonNone, ref.AcceptTime
		if isFinal(ref, st, now) {
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
		t.Position = max(st.Ahead, 1) - 1 // Ahead counts the ticket itself
	}
	eta := g.view.Load().ETA(ref, st, now)
	t.ETA = &eta
	return Answer{Ticket: t, PollAfter: PollAfter(eta, rand.Float64())}
}
