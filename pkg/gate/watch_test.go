package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// watch follows a ticket; what is told comes out of the channel, the end out of the other.
func (w *world) watch(ctx context.Context, id string) (<-chan reset.Ticket, <-chan error) {
	told, ended := make(chan reset.Ticket, 100), make(chan error, 1) // holds all that a test tells
	go func() {
		ended <- w.gate.WatchTicket(ctx, id, func(t reset.Ticket) error {
			select {
			case told <- t:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return told, ended
}

func TestWatchTellsEveryState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	a := w.complete(w.completion(w.token("acc-1")))
	told, ended := w.watch(t.Context(), a.Ticket.ID)
	if first := <-told; first.State != reset.StateAccepted || first.ID != a.Ticket.ID || first.ETA == nil {
		t.Errorf("first %+v", first)
	}
	hash := w.lease(reset.LaneHash, 0)[0]
	apply := hash.Job
	apply.Lane, apply.Payload = reset.LaneApply, []byte("sealed")
	w.finish(queue.Finish{Lease: hash, FollowUps: []reset.Job{apply}})
	lease := w.lease(reset.LaneApply, 0)[0]
	running := <-told
	for running.State == reset.StateAccepted { // moved on to the next lane
		running = <-told
	}
	if running.State != reset.StateRunning || running.Position != 0 || running.ETA == nil {
		t.Errorf("second %+v", running)
	}
	w.finish(queue.Finish{Lease: lease, State: reset.StateDone})
	if done := <-told; done.State != reset.StateDone || done.ETA != nil || done.Position != 0 {
		t.Errorf("third %+v", done)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// A ticket that has ended is told once.
	told, ended = w.watch(t.Context(), a.Ticket.ID)
	if done := <-told; done.State != reset.StateDone {
		t.Errorf("%+v", done)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWatchedStartIsDoneToTheMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	a := w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")})
	told, ended := w.watch(t.Context(), a.Ticket.ID)
	<-told
	w.finish(queue.Finish{Lease: w.lease(reset.LaneStart, 1250*time.Millisecond)[0], State: reset.StateDone})
	begin := w.clock.Now()
	w.blockUntilTimers(1)
	w.advance(1249 * time.Millisecond)
	w.advance(time.Millisecond)
	done := <-told
	for done.State == reset.StateAccepted { // its place was passed: position 0, exact ETA
		done = <-told
	}
	if done.State != reset.StateDone || !done.UpdateTime.Equal(begin.Add(1250*time.Millisecond)) {
		t.Errorf("%+v", done)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Position is told when it has halved, and every 10 s while it moves.
func TestWatchTellsMovement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{clientBurst: 1000})
	for i := range 100 {
		w.start(gate.StartRequest{Identifier: string(rune('a'+i%26)) + strings.Repeat("x", i), Client: w.client("192.0.2.1")})
	}
	a := w.start(gate.StartRequest{Identifier: "last", Client: w.client("192.0.2.1")})
	told, ended := w.watch(t.Context(), a.Ticket.ID)
	if first := <-told; first.Position != 100 {
		t.Errorf("%+v", first)
	}
	passed := 0
	pass := func(n int) {
		t.Helper()
		leases, err := w.queue.Lease(t.Context(), queue.LeaseRequest{Lane: reset.LaneStart, UpTo: reset.ClassSuspect, Max: n, Visibility: time.Hour})
		if err != nil || len(leases) != n {
			t.Fatalf("%d leases, %v", len(leases), err)
		}
		passed += n
	}
	// It moves by little: told after 10 s. Looks come at most 1.2 s apart at this ETA.
	pass(3)
	var next reset.Ticket
	begin := w.clock.Now()
	for waiting := true; waiting; {
		w.blockUntilTimers(1)
		w.advance(100 * time.Millisecond)
		select {
		case next = <-told:
			waiting = false
		default:
			if w.clock.Now().Sub(begin) > 20*time.Second {
				t.Fatal("not told")
			}
		}
	}
	if took := w.clock.Now().Sub(begin); next.Position != 97 || took < 10*time.Second || took > 12*time.Second {
		t.Errorf("position %d after %v", next.Position, took)
	}
	// It halves: told at the next look.
	pass(60)
	begin = w.clock.Now()
	for waiting := true; waiting; {
		w.blockUntilTimers(1)
		w.advance(100 * time.Millisecond)
		select {
		case next = <-told:
			waiting = false
		default:
			if w.clock.Now().Sub(begin) > 5*time.Second {
				t.Fatal("not told")
			}
		}
	}
	if next.Position != 37 {
		t.Errorf("position %d", next.Position)
	}
	if err := w.gate.Close(); err != nil {
		t.Error(err)
	}
	wantKind(t, <-ended, reset.KindDraining)
}

func TestWatchEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	a := w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")})
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := w.watch(ctx, a.Ticket.ID)
	<-told
	cancel()
	wantKind(t, <-ended, reset.KindCanceled)

	gone := errors.New("stream is gone")
	err := w.gate.WatchTicket(t.Context(), a.Ticket.ID, func(reset.Ticket) error { return gone })
	if !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func TestDrainServesReadsAndCloseEndsWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	answered := make(chan gate.Answer)
	go func() {
		answered <- w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1"), Wait: 30 * time.Second})
	}()
	w.blockUntilTimers(1)
	w.gate.Drain()
	_, err := w.gate.StartReset(t.Context(), gate.StartRequest{Identifier: "bob", Client: w.client("192.0.2.1")})
	wantKind(t, err, reset.KindDraining)
	if err := w.gate.Close(); err != nil {
		t.Fatal(err)
	}
	a := <-answered
	if a.Ticket.State != reset.StateAccepted {
		t.Errorf("%+v", a)
	}
	if again := w.ticket(a.Ticket.ID); again.Ticket.State != reset.StateAccepted {
		t.Errorf("%+v", again)
	}
}

func TestUnknownTickets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	real := w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")}).Ticket.ID
	for name, id := range map[string]string{"garbage": "garbage", "256 bytes": strings.Repeat("A", 256), "NUL": "\x00",
		"changed": flip(real), "longer": real + "A", "padded": real + "=", "cut": real[1:]} {
		_, err := w.gate.GetTicket(t.Context(), id)
		if reset.KindOf(err) != reset.KindNotFound {
			t.Errorf("GetTicket %s: %v", name, err)
		}
		err = w.gate.WatchTicket(t.Context(), id, func(reset.Ticket) error { t.Error("told"); return nil })
		if reset.KindOf(err) != reset.KindNotFound {
			t.Errorf("WatchTicket %s: %v", name, err)
		}
	}
	w.faults.ticket(queue.ErrNotFound) // past its retention
	_, err := w.gate.GetTicket(t.Context(), real)
	wantKind(t, err, reset.KindNotFound)
}

func TestMetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	series := make(map[string]int)
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
	}
	for name, want := range map[string]int{"surgegate_gate_requests_total": 3*20 + 2*7, "surgegate_gate_request_seconds": 5,
		"surgegate_gate_eta_seconds": 2, "surgegate_gate_tickets_watched": 2} {
		if series[name] != want {
			t.Errorf("%s: %d series, want %d", name, series[name], want)
		}
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := gate.New(gate.Config{}, gate.Deps{Registerer: prometheus.NewRegistry()}); err == nil {
		t.Error("no error")
	}
	for field, c := range map[string]gate.Config{"max_start_wait": {MaxStartWait: time.Second}, "max_sealed_wait": {MaxSealedWait: -1}} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
