package gate_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func TestStartIsDurableSealedWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	c := w.client("192.0.2.1")
	c.Locale = "pt-BR"
	a := w.start(gate.StartRequest{Identifier: "  e\u0301va@Example.com ", Client: c})
	if a.Ticket.State != reset.StateAccepted || a.Ticket.ETA == nil || a.PollAfter <= 0 || a.Replayed {
		t.Errorf("answer %+v", a)
	}
	if !a.Ticket.AcceptTime.Equal(w.clock.Now()) || !a.Ticket.UpdateTime.Equal(a.Ticket.AcceptTime) {
		t.Errorf("times %v %v", a.Ticket.AcceptTime, a.Ticket.UpdateTime)
	}
	if again := w.ticket(a.Ticket.ID); again.Ticket.ID != a.Ticket.ID || again.Ticket.State != reset.StateAccepted {
		t.Errorf("GetTicket %+v", again)
	}
	leases := w.lease(reset.LaneStart, time.Second)
	if len(leases) != 1 {
		t.Fatalf("%d jobs", len(leases))
	}
	var p reset.StartPayload
	w.open(leases[0].Job, &p)
	want := reset.StartPayload{Identifier: "\u00e9va@Example.com", Locale: "pt-BR", Purpose: reset.PurposeLink}
	if p != want {
		t.Errorf("payload %+v, want %+v", p, want)
	}
	if strings.Contains(string(leases[0].Job.Payload), "Example") {
		t.Error("the identifier lies open in the queue")
	}
}

// A hit, a miss and a coalesced ask live equally long: each answer comes at the DONE of its own place, whatever has
// become of the job, and not a moment earlier.
func TestEqualLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	begin := w.clock.Now()
	type told struct {
		answer gate.Answer
		at     time.Duration
	}
	ids := []string{"hit@example.com", "miss@example.com", "hit@example.com"}
	answers := make([]told, len(ids))
	var done sync.WaitGroup
	for i, id := range ids {
		done.Go(func() {
			a := w.start(gate.StartRequest{Identifier: id, Client: w.client("192.0.2.1"), Wait: 20 * time.Second})
			answers[i] = told{a, w.clock.Now().Sub(begin)}
		})
		w.blockUntilTimers(i + 1)
	}
	w.advance(time.Second)
	leases := w.lease(reset.LaneStart, 750*time.Millisecond)
	if len(leases) != 2 {
		t.Fatalf("%d jobs for three asks, want 2", len(leases))
	}
	// The hit ends at once and with a mail, the miss is still being looked up.
	w.finish(queue.Finish{Lease: leases[0], State: reset.StateDone})
	w.advance(749 * time.Millisecond)
	w.advance(time.Millisecond)
	done.Wait()
	seen := make(map[string]bool)
	for i, a := range answers {
		if a.answer.Ticket.State != reset.StateDone || a.at != 1750*time.Millisecond || a.answer.Ticket.ETA != nil || a.answer.PollAfter != 0 {
			t.Errorf("%s: %v after %v: %+v", ids[i], a.answer.Ticket.State, a.at, a.answer)
		}
		if want := begin.Add(1750 * time.Millisecond); !a.answer.Ticket.UpdateTime.Equal(want) {
			t.Errorf("%s: update time %v, want %v", ids[i], a.answer.Ticket.UpdateTime, want)
		}
		if seen[a.answer.Ticket.ID] {
			t.Errorf("%s: not a ticket of its own", ids[i])
		}
		seen[a.answer.Ticket.ID] = true
	}
}

func TestPositionsCountCoalescedAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	for i, id := range []string{"a", "b", "a", "a", "c"} {
		a := w.start(gate.StartRequest{Identifier: id, Client: w.client("192.0.2.1")})
		if a.Ticket.Position != uint64(i) {
			t.Errorf("ask %d for %q: position %d", i, id, a.Ticket.Position)
		}
	}
	w.wantCount("start", "accepted", 3)
	w.wantCount("start", "coalesced", 2)
}

func TestWaitEndsWithTheTicketAsItStands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		wait, want time.Duration
	}{{"as asked", 10 * time.Second, 10 * time.Second}, {"the longest", 30 * time.Second, 30 * time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{})
			begin := w.clock.Now()
			answered := make(chan gate.Answer)
			go func() {
				answered <- w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1"), Wait: c.wait})
			}()
			w.blockUntilTimers(1)
			w.advance(c.want - time.Millisecond)
			w.advance(time.Millisecond)
			a := <-answered
			if a.Ticket.State != reset.StateAccepted || w.clock.Now().Sub(begin) != c.want {
				t.Errorf("%v after %v", a.Ticket.State, w.clock.Now().Sub(begin))
			}
		})
	}
}

// The machine's clock jumps far ahead while an answer is held: it is given, and says what holds now.
func TestWaitSurvivesAJumpAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	answered := make(chan gate.Answer)
	go func() {
		answered <- w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1"), Wait: 20 * time.Second})
	}()
	w.blockUntilTimers(1)
	w.lease(reset.LaneStart, 5*time.Second)
	w.advance(5 * time.Hour)
	if a := <-answered; a.Ticket.State != reset.StateDone {
		t.Errorf("%+v", a)
	}
}

// The machine's clock is set back: the gate's is behind the queue's, which has passed the ticket's end.
func TestDoneSurvivesAClockSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	id := w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")}).Ticket.ID
	w.lease(reset.LaneStart, time.Second)
	if a := w.ticket(id); a.Ticket.State != reset.StateAccepted || a.Ticket.Position != 0 || *a.Ticket.ETA != (reset.ETA{Low: time.Second, High: time.Second}) {
		t.Errorf("%+v", a)
	}
	w.engine.Advance(time.Second)
	if a := w.ticket(id); a.Ticket.State != reset.StateDone {
		t.Errorf("%+v", a)
	}
}

func TestWaitIsIgnoredFromLevel1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.admission.SetLevel(1, admission.Cause{Words: "test"})
	if a := w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1"), Wait: 30 * time.Second}); a.Ticket.State != reset.StateAccepted {
		t.Errorf("%+v", a)
	}
}

func TestStartRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		spoil     func(w *world)
		kind      reset.Kind
		givenBack bool
	}{
		{name: "draining", spoil: func(w *world) { w.gate.Drain() }, kind: reset.KindDraining, givenBack: true},
		{name: "known not durable", spoil: func(w *world) { w.faults.notAccepting(queue.ErrNotDurable); w.refresh() },
			kind: reset.KindNotDurable, givenBack: true},
		{name: "not durable", spoil: func(w *world) { w.faults.enqueue(queue.ErrNotDurable) }, kind: reset.KindNotDurable, givenBack: true},
		{name: "full", spoil: func(w *world) { w.faults.enqueue(queue.ErrFull) }, kind: reset.KindQueueFull, givenBack: true},
		{name: "closed", spoil: func(w *world) { w.faults.enqueue(queue.ErrClosed) }, kind: reset.KindDraining, givenBack: true},
		{name: "engine fault", spoil: func(w *world) { w.faults.enqueue(errors.New("disk on fire")) }, kind: reset.KindInternal},
		{name: "time bound", spoil: func(w *world) {
			w.pace(reset.Pace{Lane: reset.LaneStart, Rate: 100, OutageSince: w.clock.Now().Add(-9 * time.Hour)})
			w.refresh()
		}, kind: reset.KindQueueFull, givenBack: true},
		{name: "shed", spoil: func(w *world) { w.admission.SetLevel(3, admission.Cause{Words: "test"}) }, kind: reset.KindShed, givenBack: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{clientBurst: 1})
			client := w.client("192.0.2.1")
			r := gate.StartRequest{Identifier: "ada", Client: client}
			c.spoil(w)
			_, err := w.gate.StartReset(t.Context(), r)
			wantKind(t, err, c.kind)
			var e *reset.Error
			if errors.As(err, &e) && c.givenBack != (e.RetryAfter > 0) {
				t.Errorf("retry after %v", e.RetryAfter)
			}
			if n := w.held(); n != 0 {
				t.Errorf("%d jobs in the queue after a refusal", n)
			}
			if c.kind == reset.KindDraining && c.name == "draining" {
				return // for good
			}
			w.mend()
			_, err = w.gate.StartReset(t.Context(), gate.StartRequest{Identifier: "ada", Client: client})
			if c.givenBack && err != nil {
				t.Errorf("the permit was not given back: %v", err)
			}
			if !c.givenBack {
				wantKind(t, err, reset.KindLimitClient)
			}
		})
	}
}

// The time bound holds between two looks at the queue as well.
func TestTimeBoundCountsWhatWasJustAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{clientBurst: 100})
	w.pace(reset.Pace{Lane: reset.LaneStart, Rate: 1.0 / 3600}) // one an hour
	w.refresh()
	accepted := 0
	for i := range 20 {
		_, err := w.gate.StartReset(t.Context(), gate.StartRequest{Identifier: string(rune('a' + i)), Client: w.client("192.0.2.1")})
		if err == nil {
			accepted++
			continue
		}
		wantKind(t, err, reset.KindQueueFull)
	}
	if accepted != 9 { // 12 h ÷ 1.4 is 8.6 h: the newcomer with 8 ahead is the last
		t.Errorf("%d accepted", accepted)
	}
}

// What is durable is never answered with an error, even when the ticket cannot be read back.
func TestAcceptedStaysAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.faults.ticket(queue.ErrClosed)
	a := w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1"), Wait: time.Second})
	if a.Ticket.State != reset.StateAccepted || a.Ticket.ETA == nil {
		t.Errorf("%+v", a)
	}
	w.mend()
	w.ticket(a.Ticket.ID)
}
