package gate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Everybody at once, with a work side that works: every acceptance has a ticket of its own, every ticket ends, no
// state is ever left again, and nothing is lost or invented.
func TestEverybodyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{system: true, unlimited: true})
	w.now = time.Now
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for _, lane := range []reset.Lane{reset.LaneStart, reset.LaneHash} {
		work.Go(func() { w.work(ctx, lane) })
	}
	const people, asks = 16, 12
	tickets := make([][]string, people)
	var done sync.WaitGroup
	for p := range people {
		done.Go(func() {
			for i := range asks {
				wait := time.Duration(rand.IntN(2)) * 5 * time.Second
				var a gate.Answer
				if i%2 == 0 {
					a = w.start(gate.StartRequest{Identifier: fmt.Sprintf("person%d", rand.IntN(5)), Client: w.client("192.0.2.1"), Wait: wait})
				} else {
					r := w.completion(w.token(fmt.Sprintf("acc-%d-%d", p, i)))
					r.Wait = wait
					a = w.complete(r)
				}
				if wait > 0 && a.Ticket.State != reset.StateDone {
					t.Errorf("not done within %v: %+v", wait, a)
				}
				tickets[p] = append(tickets[p], a.Ticket.ID)
				w.followToTheEnd(ctx, a.Ticket.ID)
			}
		})
	}
	done.Wait()
	stop()
	work.Wait()
	seen := make(map[string]bool)
	for _, ids := range tickets {
		for _, id := range ids {
			if seen[id] {
				t.Error("two asks hold one ticket")
			}
			seen[id] = true
			if a := w.ticket(id); a.Ticket.State != reset.StateDone {
				t.Errorf("%+v", a)
			}
		}
	}
	s, err := w.queue.Stats(t.Context())
	if err != nil || s.Conservation() != 0 || s.Held != 0 {
		t.Errorf("conservation %d, %d held, %v", s.Conservation(), s.Held, err)
	}
}

// work ends whatever comes into the lane.
func (w *world) work(ctx context.Context, lane reset.Lane) {
	for w.queue.Wait(ctx, lane, reset.ClassDeferrable) == nil {
		leases, err := w.queue.Lease(ctx, queue.LeaseRequest{Lane: lane, UpTo: reset.ClassDeferrable, Max: 8, Visibility: time.Minute,
			DoneAfter: 20 * time.Millisecond})
		if err != nil {
			if ctx.Err() == nil {
				w.t.Error(err)
			}
			return
		}
		var ends []queue.Finish
		for _, l := range leases {
			ends = append(ends, queue.Finish{Lease: l, State: reset.StateDone})
		}
		for _, err := range w.queue.Finish(context.WithoutCancel(ctx), ends) {
			if err != nil {
				w.t.Error(err)
			}
		}
	}
}

// followToTheEnd watches a ticket and checks that its states and positions only go forward.
func (w *world) followToTheEnd(ctx context.Context, id string) {
	last := reset.Ticket{State: reset.StateAccepted, Position: 1 << 62}
	err := w.gate.WatchTicket(ctx, id, func(t reset.Ticket) error {
		if t.State < last.State || t.Position > last.Position || (t.ETA == nil) != t.State.Final() {
			w.t.Errorf("%+v after %+v", t, last)
		}
		last = t
		return nil
	})
	if err != nil || last.State != reset.StateDone {
		w.t.Errorf("ended %v, %v", last.State, err)
	}
}
