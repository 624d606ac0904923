package gate_test

import (
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// What an operator is told of a completion is where it really is.
func TestInspectFollowsACompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	id := w.complete(w.completion(w.token("acc-1"))).Ticket.ID
	look := func(state reset.State, lane reset.Lane, retrying bool) {
		t.Helper()
		i, err := w.gate.Inspect(t.Context(), id)
		if err != nil || i.Ticket.State != state || i.Lane != lane || i.Retrying != retrying {
			t.Errorf("%+v, %v; want %v in %v", i, err, state, lane)
		}
	}
	look(reset.StateAccepted, reset.LaneHash, false)
	hash := w.lease(reset.LaneHash, 0)[0]
	apply := hash.Job
	apply.Lane, apply.Payload = reset.LaneApply, []byte("sealed")
	w.finish(queue.Finish{Lease: hash, FollowUps: []reset.Job{apply}})
	look(reset.StateAccepted, reset.LaneApply, false)
	lease := w.lease(reset.LaneApply, 0)[0]
	for _, err := range w.faults.Park(t.Context(), []queue.Park{{Lease: lease, Cause: "refused"}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	look(reset.StateAccepted, reset.LaneApply, true)
	for _, err := range w.faults.GiveUp(t.Context(), []reset.ID{lease.Job.ID}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	look(reset.StateFailed, 0, false)
	if _, err := w.gate.Inspect(t.Context(), "no ticket"); reset.KindOf(err) != reset.KindNotFound {
		t.Errorf("%v", err)
	}
	w.wantCount("get_ticket", "ok", 0) // operators are no callers
}

// An ask whose look-up found an account and one whose look-up found none, or that cannot be worked at all, look alike.
func TestInspectIsNoOracle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	hit, miss, parked := w.ask("hit@example.com"), w.ask("miss@example.com"), w.ask("parked@example.com")
	leases := w.lease(reset.LaneStart, time.Second)
	if len(leases) != 3 {
		t.Fatalf("%d leased", len(leases))
	}
	mail := reset.Job{ID: reset.NewID(), Lane: reset.LaneMail, Key: reset.Key{7}, Account: reset.Key{7},
		AcceptTime: leases[0].Job.AcceptTime, Payload: []byte("m")}
	w.finish(queue.Finish{Lease: leases[0], FollowUps: []reset.Job{mail}}, queue.Finish{Lease: leases[1]})
	for _, err := range w.faults.Park(t.Context(), []queue.Park{{Lease: leases[2], Cause: "x"}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		first, err := w.gate.Inspect(t.Context(), hit.Ticket.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{miss.Ticket.ID, parked.Ticket.ID} {
			i, err := w.gate.Inspect(t.Context(), a)
			if err != nil || i.Lane != first.Lane || i.Retrying != first.Retrying || i.Ticket.State != first.Ticket.State ||
				i.Ticket.Position != first.Ticket.Position || !i.Ticket.UpdateTime.Equal(first.Ticket.UpdateTime) {
				t.Errorf("%+v differs from %+v, %v", i, first, err)
			}
		}
		w.advance(time.Minute) // past the moment of done
	}
}

func (w *world) ask(identifier string) gate.Answer {
	w.t.Helper()
	return w.start(gate.StartRequest{Identifier: identifier, Client: w.client("192.0.2.1")})
}
