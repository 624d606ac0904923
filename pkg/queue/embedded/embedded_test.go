package embedded_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

func open(tb testing.TB, dir string, clk clock.Clock) *embedded.Engine {
	tb.Helper()
	e, err := embedded.Open(embedded.Config{Dir: dir}, embedded.Deps{Clock: clk, Fatal: func(err error) { tb.Errorf("fatal: %v", err) }})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func key(n uint64) (k reset.Key) {
	binary.BigEndian.PutUint64(k[8:], n)
	k[0] = 1
	return k
}

func startJob(n uint64) reset.Job {
	return reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: key(n), AcceptTime: time.Unix(1e9, 0), Payload: make([]byte, 130)}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	clk := clock.NewManual(time.Unix(1_700_000_000, 0))
	e := open(t, dir, clk)
	v := e.Enqueue(ctx, []queue.Item{{Job: startJob(1)}, {Job: startJob(1)}, {Job: startJob(2)}})
	for _, x := range v {
		if x.Err != nil {
			t.Fatal(x.Err)
		}
	}
	if v[0].Joined || !v[1].Joined || v[2].Joined {
		t.Fatalf("%+v", v)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir, clk)
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := e.Wait(ctx, reset.LaneStart, 0); err != nil {
		t.Fatal(err)
	}
	l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneStart, Max: 10, Visibility: time.Second, DoneAfter: time.Second})
	if err != nil || len(l) != 2 {
		t.Fatalf("%d leases, %v", len(l), err)
	}
	for i := range v {
		s, err := e.Ticket(ctx, v[i].Ref)
		if err != nil || s.State != reset.StateAccepted || s.DoneTime.IsZero() {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	clk.Advance(time.Second)
	errs := e.Finish(ctx, []queue.Finish{{Lease: l[0]}, {Lease: l[1]}})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s, err := e.Ticket(ctx, v[1].Ref)
	if err != nil || s.State != reset.StateDone {
		t.Fatalf("%+v, %v", s, err)
	}
	st, err := e.Stats(ctx)
	if err != nil || st.Conservation() != 0 || st.Held != 0 || st.Bytes != 0 || st.Ended != 2 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// A retry that falls due in the moment between a commit and the alarm's look wakes its lane all the same.
func TestShortRetriesAlwaysWakeTheirLane(t *testing.T) {
	t.Parallel()
	e := open(t, t.TempDir(), clock.System{})
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if v := e.Enqueue(t.Context(), []queue.Item{{Job: startJob(1)}}); v[0].Err != nil {
		t.Fatal(v[0].Err)
	}
	for i := range 3000 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := e.Wait(ctx, reset.LaneStart, 0); err != nil {
			t.Fatalf("retry %d does not wake the lane: %v", i, err)
		}
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneStart, Max: 1, Visibility: time.Minute})
		cancel()
		if err != nil || len(l) != 1 {
			t.Fatalf("%d leases, %v", len(l), err)
		}
		// From at once to 0.3 ms: some of them fall into the moment.
		notBefore := time.Now().Add(time.Duration(i%150) * 2 * time.Microsecond)
		if err := errors.Join(e.Retry(t.Context(), []queue.Retry{{Lease: l[0], NotBefore: notBefore}})...); err != nil {
			t.Fatal(err)
		}
	}
}
