package embedded

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// slowDisk holds each fsync of the log until it is let go.
type slowDisk struct {
	holds atomic.Bool
	began chan struct{}
	let   chan struct{}
}

func (d *slowDisk) MaybeError(op errorfs.Op) error {
	sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	if d.holds.Load() && sync && strings.HasSuffix(op.Path, ".log") {
		d.began <- struct{}{}
		<-d.let
	}
	return nil
}

func (d *slowDisk) String() string { return "slow disk" }

// fsync waits until one has begun and lets it go.
func (d *slowDisk) fsync() {
	<-d.began
	d.let <- struct{}{}
}

func openSlow(t *testing.T) (*Engine, *slowDisk, *clock.Manual) {
	t.Helper()
	d := &slowDisk{began: make(chan struct{}), let: make(chan struct{})}
	clk := clock.NewManual(time.Unix(1_700_000_000, 0))
	e := openMem(t, errorfs.Wrap(vfs.NewMem(), d), clk)
	d.holds.Store(true)
	return e, d, clk
}

// soon fails the test where an answer does not come, rather than to let it hang.
func soon[T any](t *testing.T, what string, answer <-chan T) T {
	t.Helper()
	timer := clock.System{}.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case v := <-answer:
		return v
	case <-timer.C():
		t.Fatalf("%s waits for an fsync that it does not need", what)
		panic("unreachable")
	}
}

func background[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }() // ends with the call, which ends with the engine at the latest
	return c
}

// On an idle gateway each fsync between a completion and its end is latency: there are two, one for the job and one for
// what became of it. What the lease writes goes to disk while the downstream works.
func TestACompletionWaitsForTwoFsyncs(t *testing.T) {
	t.Parallel()
	e, disk, clk := openSlow(t)
	ctx := t.Context()
	gone, leave := context.WithCancel(ctx)
	leave() // whoever asks with it gets what needs no waiting

	j := reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneApply, Payload: []byte("sealed")}
	accepted := background(func() queue.Verdict { return e.Enqueue(ctx, []queue.Item{{Job: j}})[0] })
	disk.fsync()
	v := soon(t, "an enqueue", accepted)
	if v.Err != nil {
		t.Fatal(v.Err)
	}
	clk.Advance(time.Millisecond)
	leases := soon(t, "a lease", background(func() []queue.Lease {
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneApply, Max: 1, Visibility: time.Minute})
		if err != nil {
			t.Error(err)
		}
		return l
	}))
	if len(leases) != 1 {
		t.Fatalf("%d leases", len(leases))
	}
	if s, err := e.Ticket(gone, v.Ref); !errors.Is(err, context.Canceled) {
		t.Errorf("told of a lease that is not on disk: %+v, %v", s, err)
	}
	finished := background(func() error { return e.Finish(ctx, []queue.Finish{{Lease: leases[0], State: reset.StateDone}})[0] })
	disk.fsync() // the lease's; the end's may be part of it
	if err := settle(disk, finished); err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Millisecond)
	// Somebody else's fsync is under way.
	other := background(func() queue.Verdict {
		return e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneApply}}})[0]
	})
	<-disk.began
	if s, err := e.Ticket(gone, v.Ref); err != nil || s.State != reset.StateDone {
		t.Errorf("an end that is on disk: %+v, %v", s, err)
	}
	disk.let <- struct{}{}
	if v := soon(t, "an enqueue", other); v.Err != nil {
		t.Error(v.Err)
	}
	disk.holds.Store(false)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A mark is waited for only while it is not on disk itself.
func TestAMarkWaitsForItsOwnFsync(t *testing.T) {
	t.Parallel()
	e, disk, _ := openSlow(t)
	ctx := t.Context()
	complete := func(account byte) <-chan queue.Verdict {
		j := reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneApply}
		return background(func() queue.Verdict {
			return e.Enqueue(ctx, []queue.Item{{Job: j, Mark: &queue.MarkRaise{Account: reset.Key{account}}}})[0]
		})
	}
	mark := func(account byte) <-chan uint64 {
		return background(func() uint64 {
			m, err := e.Mark(ctx, reset.Key{account})
			if err != nil {
				t.Error(err)
			}
			return m
		})
	}
	first := complete(1)
	<-disk.began
	if m := soon(t, "a mark", mark(2)); m != 0 {
		t.Errorf("mark %d of nobody", m)
	}
	own := mark(1)
	select {
	case m := <-own:
		t.Errorf("told of mark %d, which is not on disk", m)
	case disk.let <- struct{}{}:
	}
	if v := soon(t, "an enqueue", first); v.Err != nil {
		t.Fatal(v.Err)
	}
	if m := soon(t, "a mark", own); m == 0 {
		t.Error("no mark")
	}
	second := complete(2)
	<-disk.began
	if m := soon(t, "a mark", mark(1)); m == 0 {
		t.Error("no mark while another's is written")
	}
	disk.let <- struct{}{}
	if v := soon(t, "an enqueue", second); v.Err != nil {
		t.Error(v.Err)
	}
	disk.holds.Store(false)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// settle lets fsyncs go until the answer is there.
func settle(d *slowDisk, answer <-chan error) error {
	for {
		select {
		case err := <-answer:
			return err
		case <-d.began:
			d.let <- struct{}{}
		}
	}
}

// A lease of what its own group wrote tells of something that is not on disk yet, and waits.
func TestALeaseOfItsOwnGroupWaits(t *testing.T) {
	t.Parallel()
	e, disk, _ := openSlow(t)
	ctx := t.Context()
	enqueue := func() <-chan queue.Verdict {
		return background(func() queue.Verdict {
			return e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneApply}}})[0]
		})
	}
	first := enqueue()
	<-disk.began
	second := enqueue() // made while the first syncs; the committer then waits until it may hand it over
	for e.inLine(t) != 2 {
		runtime.Gosched()
	}
	third := enqueue()
	for len(e.requests) != 1 {
		runtime.Gosched()
	}
	type grant struct{ leases, synced int }
	var synced atomic.Int64
	leased := background(func() grant {
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneApply, Max: 3, Visibility: time.Minute})
		if err != nil {
			t.Error(err)
		}
		return grant{len(l), int(synced.Load())}
	})
	for len(e.requests) != 2 {
		runtime.Gosched()
	}
	for range 3 {
		synced.Add(1)
		disk.let <- struct{}{}
		if synced.Load() < 3 {
			<-disk.began
		}
	}
	for _, c := range []<-chan queue.Verdict{first, second, third} {
		if v := soon(t, "an enqueue", c); v.Err != nil {
			t.Error(v.Err)
		}
	}
	if g := soon(t, "a lease", leased); g.leases != 3 || g.synced != 3 {
		t.Errorf("%d leases after %d fsyncs", g.leases, g.synced)
	}
	disk.holds.Store(false)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func (e *Engine) inLine(t *testing.T) uint64 {
	t.Helper()
	s, err := e.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Lanes[reset.LaneApply].Waiting[0]
}
