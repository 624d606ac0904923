package queuetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func leaseLost(f *fixture) {
	v := f.accept(f.completion(reset.LaneApply, 1), nil)
	old := f.lease1(reset.LaneApply)
	f.none(reset.LaneApply)
	f.h.Clock.Advance(time.Minute)
	fresh := f.lease1(reset.LaneApply)
	if fresh.Job.ID != old.Job.ID || fresh.Token == old.Token {
		f.t.Fatal("not the same job with another token")
	}
	f.wantErr(f.q.Finish(f.ctx(), []queue.Finish{{Lease: old, State: reset.StateDone, FollowUps: []reset.Job{f.start(2)},
		Records: []queue.RecordWrite{{Kind: queue.RecordLink, Key: "a", Value: []byte("x")}}}})[0], queue.ErrLeaseLost)
	f.wantErr(f.q.Extend(f.ctx(), []queue.Lease{old}, time.Minute)[0], queue.ErrLeaseLost)
	f.none(reset.LaneStart)
	_, err := f.q.Get(f.ctx(), queue.RecordLink, "a")
	f.wantErr(err, queue.ErrNotFound)
	f.state(v.Ref, reset.StateRunning, 0)
	f.crash()
	// Leases end with the engine, or live on in it; the job is not lost either way.
	f.h.Clock.Advance(time.Minute)
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneApply), State: reset.StateDone})
	f.held(0)
}

func lateFinish(f *fixture) {
	f.accept(f.start(1), nil)
	l := f.lease1(reset.LaneStart)
	f.h.Clock.Advance(time.Hour)
	f.held(1)
	if err := f.q.Finish(f.ctx(), []queue.Finish{{Lease: l, State: reset.StateDone}})[0]; err != nil && !errors.Is(err, queue.ErrLeaseLost) {
		f.t.Fatal(err)
	} else if err == nil {
		f.none(reset.LaneStart)
		f.crash()
		f.none(reset.LaneStart)
	}
}

func extend(f *fixture) {
	f.accept(f.start(1), nil)
	l := f.lease1(reset.LaneStart)
	f.h.Clock.Advance(50 * time.Second)
	f.wantErr(f.q.Extend(f.ctx(), []queue.Lease{l}, time.Minute)[0], nil)
	f.h.Clock.Advance(50 * time.Second)
	f.none(reset.LaneStart)
	f.h.Clock.Advance(10 * time.Second)
	if again := f.lease1(reset.LaneStart); again.Job.ID != l.Job.ID {
		f.t.Fatal("another job")
	}
}

func finishTwice(f *fixture) {
	v := f.accept(f.completion(reset.LaneApply, 1), nil)
	l := f.lease1(reset.LaneApply)
	f.finish(queue.Finish{Lease: l, State: reset.StateDone, FollowUps: []reset.Job{f.start(1)}})
	errs := f.q.Finish(f.ctx(), []queue.Finish{{Lease: l, State: reset.StateFailed, Reason: reset.ReasonExpired, FollowUps: []reset.Job{f.start(2)}}})
	f.wantErr(errs[0], queue.ErrLeaseLost)
	f.crash()
	errs = f.q.Finish(f.ctx(), []queue.Finish{{Lease: l, State: reset.StateFailed, FollowUps: []reset.Job{f.start(3)}}})
	f.wantErr(errs[0], queue.ErrLeaseLost)
	f.state(v.Ref, reset.StateDone, 0)
	f.none(reset.LaneApply)
	f.held(1)
}

func finishConflict(f *fixture) {
	f.accept(f.start(1), nil)
	l := f.lease1(reset.LaneStart)
	write := queue.RecordWrite{Kind: queue.RecordBudget, Key: "k", Value: []byte("1")}
	f.wantErr(f.q.Put(f.ctx(), write), nil)
	end := queue.Finish{Lease: l, Records: []queue.RecordWrite{write}, FollowUps: []reset.Job{f.mail(1)}}
	f.wantErr(f.q.Finish(f.ctx(), []queue.Finish{end})[0], queue.ErrConflict)
	f.held(1)
	end.Records[0].Version, end.Records[0].Value = 1, []byte("2")
	f.finish(end)
	f.crash()
	r, err := f.q.Get(f.ctx(), queue.RecordBudget, "k")
	if err != nil || string(r.Value) != "2" || r.Version != 2 {
		f.t.Fatalf("%+v, %v", r, err)
	}
	f.held(1)
	f.lease1(reset.LaneMail)
}

func retryTime(f *fixture) {
	v := f.accept(f.completion(reset.LaneApply, 1), nil)
	l := f.lease1(reset.LaneApply)
	notBefore := f.h.Clock.Now().Add(10 * time.Second)
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: l, NotBefore: notBefore, UsedTry: true}})[0], nil)
	accepted := f.h.Clock.Now().UTC().Truncate(time.Microsecond)
	oldest := func(want time.Time) {
		f.t.Helper()
		l := f.conserved().Lanes[reset.LaneApply]
		if !l.OldestAccept.IsZero() || !l.OldestRetry.Equal(want) || !l.Oldest().Equal(want) {
			f.t.Fatalf("oldest in line %v, between tries %v, want none and %v", l.OldestAccept, l.OldestRetry, want)
		}
	}
	for range 2 {
		oldest(accepted)
		if s := f.ticket(v.Ref); s.State != reset.StateAccepted || !s.Retrying || s.Ahead != 0 {
			f.t.Fatalf("%+v", s)
		}
		f.none(reset.LaneApply)
		f.crash()
	}
	f.h.Clock.Advance(10*time.Second - time.Microsecond)
	f.none(reset.LaneApply)
	f.h.Clock.Advance(time.Microsecond)
	l = f.lease1(reset.LaneApply)
	if l.Job.Attempts != 1 || string(l.Job.Payload) != "sealed password" {
		f.t.Fatalf("%+v", l.Job)
	}
	oldest(accepted) // a try that hangs hides nothing
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: l}})[0], nil)
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: f.lease1(reset.LaneApply)}})[0], nil)
	oldest(time.Time{})
	f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{l.Job.ID})[0], nil)
	oldest(accepted)
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneApply), State: reset.StateDone})
	oldest(time.Time{})
	f.state(v.Ref, reset.StateDone, 0)
	f.held(0)
}

func order(f *fixture) {
	var want []reset.ID
	for _, class := range []reset.Class{reset.ClassDeferrable, reset.ClassSuspect, reset.ClassInteractive} {
		var ids []reset.ID
		for range 3 {
			j := f.start(uint64(len(want) + len(ids)))
			j.Class = class
			f.accept(j, nil)
			ids = append(ids, j.ID)
		}
		want = append(ids, want...)
	}
	l, err := f.q.Lease(f.ctx(), queue.LeaseRequest{Lane: reset.LaneStart, UpTo: reset.ClassSuspect, Max: 100, Visibility: time.Minute})
	if err != nil || len(l) != 6 {
		f.t.Fatalf("%d leases up to suspect, %v; want 6", len(l), err)
	}
	f.crash()
	for i, l := range f.lease(reset.LaneStart, 100) {
		if l.Job.ID != want[i] {
			f.t.Fatalf("job %d is out of order", i)
		}
	}
}

func waits(f *fixture) {
	ctx, cancel := context.WithTimeout(f.ctx(), 20*time.Second)
	defer cancel()
	wait := func(step string, then func()) {
		f.t.Helper()
		got := make(chan error, 1)
		go func() { got <- f.q.Wait(ctx, reset.LaneApply, reset.ClassInteractive) }()
		then()
		if err := <-got; err != nil {
			f.t.Fatalf("%s: %v", step, err)
		}
	}
	wait("a job committed", func() { f.accept(f.completion(reset.LaneApply, 1), nil) })
	f.lease1(reset.LaneApply)
	wait("a lease expired", func() { f.h.Clock.Advance(time.Minute) })
	l := f.lease1(reset.LaneApply)
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: l, NotBefore: f.h.Clock.Now().Add(time.Second)}})[0], nil)
	wait("a retry due", func() { f.h.Clock.Advance(time.Second) })
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneApply), State: reset.StateDone})
	ended, stop := context.WithCancel(f.ctx())
	stop()
	f.wantErr(f.q.Wait(ended, reset.LaneApply, 0), context.Canceled)
}

// backlog checks that Backlog counts the jobs that wait, up to the class, and none that are leased.
func backlog(f *fixture) {
	is := func(step string, upTo reset.Class, want int) {
		f.t.Helper()
		if n, err := f.q.Backlog(f.ctx(), reset.LaneApply, upTo); err != nil || n != want {
			f.t.Fatalf("%s: a backlog of %d (%v), not %d", step, n, err, want)
		}
	}
	is("nothing", reset.ClassDeferrable, 0)
	for i := range 3 {
		f.accept(f.completion(reset.LaneApply, uint64(i+1)), nil)
	}
	suspect := f.completion(reset.LaneApply, 4)
	suspect.Class = reset.ClassSuspect
	f.accept(suspect, nil)
	is("of people", reset.ClassInteractive, 3)
	is("of all", reset.ClassDeferrable, 4)
	l := f.lease1(reset.LaneApply)
	is("one is in hand", reset.ClassInteractive, 2)
	f.finish(queue.Finish{Lease: l, State: reset.StateDone})
	f.lease1(reset.LaneApply)
	is("another is in hand", reset.ClassInteractive, 1)
	is("the last and the suspect wait", reset.ClassDeferrable, 2)
	next := f.lease1(reset.LaneApply)
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: next, NotBefore: f.h.Clock.Now().Add(time.Minute)}})[0], nil)
	is("a retry that is not due", reset.ClassDeferrable, 1)
}

func parkSteps(f *fixture) {
	v := f.accept(f.completion(reset.LaneApply, 1), f.mark(1, 0, 0))
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: f.lease1(reset.LaneApply), Cause: "store says no"}})[0], nil)
	f.crash()
	parked, err := f.q.Parked(f.ctx(), 0, reset.ID{}, 10)
	if err != nil || len(parked) != 1 || parked[0].Cause != "store says no" || parked[0].Job.Payload != nil || !parked[0].ParkTime.Equal(f.h.Clock.Now()) {
		f.t.Fatalf("%+v, %v", parked, err)
	}
	id := parked[0].Job.ID
	f.none(reset.LaneApply)
	if s := f.ticket(v.Ref); s.State != reset.StateAccepted || !s.Retrying {
		f.t.Fatalf("%+v", s)
	}
	f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{id})[0], nil)
	f.crash()
	f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{id})[0], queue.ErrNotFound)
	f.held(1)
	l := f.lease1(reset.LaneApply)
	if l.Job.Attempts != 0 || string(l.Job.Payload) != "sealed password" {
		f.t.Fatalf("%+v", l.Job)
	}
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: l, Cause: "again"}})[0], nil)
	f.wantErr(f.q.GiveUp(f.ctx(), []reset.ID{id, reset.NewID()})[0], nil)
	f.crash()
	f.wantErr(f.q.GiveUp(f.ctx(), []reset.ID{id})[0], queue.ErrNotFound)
	f.state(v.Ref, reset.StateFailed, reset.ReasonOperator)
	f.held(0)
	// Listing: oldest first, by lane, in pages.
	var ids []reset.ID
	for n := range uint64(4) {
		j := f.completion(reset.LaneHash, 10+n)
		if n == 3 {
			j = f.start(99)
		}
		f.accept(j, nil)
		f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: f.lease1(j.Lane), Cause: fmt.Sprint(n)}})[0], nil)
		ids = append(ids, j.ID)
		f.h.Clock.Advance(time.Second)
	}
	page, err := f.q.Parked(f.ctx(), reset.LaneHash, ids[0], 2)
	if err != nil || len(page) != 2 || page[0].Job.ID != ids[1] || page[1].Job.ID != ids[2] {
		f.t.Fatalf("%+v, %v", page, err)
	}
	page, err = f.q.Parked(f.ctx(), 0, ids[1], 10)
	if err != nil || len(page) != 2 || page[1].Job.ID != ids[3] {
		f.t.Fatalf("%+v, %v", page, err)
	}
}

func expiredJobs(f *fixture) {
	expired := func() []queue.Lease {
		f.t.Helper()
		l, err := f.q.Lease(f.ctx(), queue.LeaseRequest{Lane: reset.LaneHash, UpTo: reset.ClassDeferrable, Max: 10, Visibility: time.Minute, Expired: true})
		if err != nil {
			f.t.Fatal(err)
		}
		return l
	}
	var refs []reset.Ref
	for n := range uint64(4) {
		refs = append(refs, f.accept(f.completion(reset.LaneHash, n), nil).Ref)
	}
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: f.lease1(reset.LaneHash)}})[0], nil)
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: f.lease1(reset.LaneHash), NotBefore: f.h.Clock.Now().Add(48 * time.Hour)}})[0], nil)
	if len(expired()) != 0 {
		f.t.Fatal("nothing has expired")
	}
	f.h.Clock.Advance(time.Hour)
	leased := f.lease1(reset.LaneHash)
	if n := len(expired()); n != 3 {
		f.t.Fatalf("%d expired, want 3: parked, retrying, waiting", n)
	}
	f.none(reset.LaneHash)
	f.crash()
	f.h.Clock.Advance(time.Minute)
	ends := expired()
	if len(ends) != 4 {
		f.t.Fatalf("%d expired, want 4", len(ends))
	}
	for _, l := range ends {
		f.finish(queue.Finish{Lease: l, State: reset.StateFailed, Reason: reset.ReasonExpired})
	}
	f.wantErr(f.q.Finish(f.ctx(), []queue.Finish{{Lease: leased, State: reset.StateDone}})[0], queue.ErrLeaseLost)
	for _, ref := range refs {
		f.state(ref, reset.StateFailed, reset.ReasonExpired)
	}
	f.held(0)
	if p, err := f.q.Parked(f.ctx(), 0, reset.ID{}, 1); err != nil || len(p) != 0 {
		f.t.Fatalf("%d parked, %v", len(p), err)
	}
}

// traces checks that a job keeps its trace in each lane, over a crash, a retry and parking, and into the follow-up.
func traces(f *fixture) {
	trace := reset.Trace{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3, 7: 4}, Flags: 1}
	same := func(l queue.Lease, want reset.Trace) {
		f.t.Helper()
		if l.Job.Trace != want || string(l.Job.Payload) == "" {
			f.t.Fatalf("leased with the trace %x and the payload %q, want %x and one", l.Job.Trace, l.Job.Payload, want)
		}
	}
	traced := f.completion(reset.LaneHash, 1)
	traced.Trace = trace
	f.accept(traced, f.mark(1, 0, 0))
	f.accept(f.completion(reset.LaneHash, 2), f.mark(2, 0, 0))
	f.crash()
	both := f.lease(reset.LaneHash, 2)
	if len(both) != 2 {
		f.t.Fatalf("leased %d jobs, want 2", len(both))
	}
	same(both[0], trace)
	same(both[1], reset.Trace{})
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: both[0], NotBefore: f.h.Clock.Now()}})[0], nil)
	f.crash()
	l := f.lease1(reset.LaneHash)
	same(l, trace)
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: l, Cause: "a test"}})[0], nil)
	f.crash()
	f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{l.Job.ID})[0], nil)
	l = f.lease1(reset.LaneHash)
	same(l, trace)
	next := f.completion(reset.LaneApply, 1)
	next.Ticket, next.Sequence, next.Trace = l.Job.Ticket, l.Job.Sequence, l.Job.Trace
	f.finish(queue.Finish{Lease: l, FollowUps: []reset.Job{next}})
	f.crash()
	same(f.lease1(reset.LaneApply), trace)
	// A newer completion supersedes a traced one as it does any other.
	f.accept(f.completion(reset.LaneHash, 1), f.mark(1, l.Job.Sequence, 0))
	f.held(2)
}
