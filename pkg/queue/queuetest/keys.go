package queuetest

import (
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func sameKeyConcurrent(f *fixture) {
	const callers = 32
	verdicts := make([]queue.Verdict, callers)
	var wg sync.WaitGroup
	for i := range callers {
		j := f.start(1)
		wg.Go(func() { verdicts[i] = f.q.Enqueue(f.ctx(), []queue.Item{{Job: j}})[0] })
	}
	wg.Wait()
	joined := 0
	seqs := make(map[uint64]bool)
	for _, v := range verdicts {
		if v.Err != nil {
			f.t.Fatal(v.Err)
		}
		if v.Joined {
			joined++
		}
		seqs[v.Ref.Seq] = true
		f.state(v.Ref, reset.StateAccepted, 0)
	}
	if joined != callers-1 || len(seqs) != callers {
		f.t.Fatalf("%d joined and %d places, of %d callers", joined, len(seqs), callers)
	}
	f.held(1)
	f.crash()
	jobs := 0
	for range 2 * callers {
		jobs += len(f.lease(reset.LaneStart, 4))
	}
	if jobs != 1 {
		f.t.Fatalf("%d jobs, want 1", jobs)
	}
	f.h.Clock.Advance(time.Second)
	for _, v := range verdicts {
		f.state(v.Ref, reset.StateDone, 0)
	}
}

func markRefused(f *fixture) {
	first := f.completion(reset.LaneHash, 1)
	f.accept(first, f.mark(1, 7, 1))
	mark, err := f.q.Mark(f.ctx(), keyOf(1))
	if err != nil || mark != uint64(first.AcceptTime.UnixMicro()) {
		f.t.Fatalf("mark %d, %v; want the accept time %d", mark, err, first.AcceptTime.UnixMicro())
	}
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneHash), State: reset.StateDone})
	second := f.completion(reset.LaneHash, 1)
	v := f.enqueue(queue.Item{Job: second, Mark: f.mark(1, 7, 2)})[0]
	f.wantErr(v.Err, queue.ErrMarkSpent)
	for range 2 {
		f.none(reset.LaneHash)
		f.held(0)
		if again, err := f.q.Mark(f.ctx(), keyOf(1)); err != nil || again != mark {
			f.t.Fatalf("mark %d, %v; want %d", again, err, mark)
		}
		_, err = f.q.Ticket(f.ctx(), reset.Ref{ID: second.Ticket, Lane: second.Lane, Seq: 2})
		f.wantErr(err, queue.ErrNotFound)
		f.crash()
	}
	// The mark never falls behind the clock, and grows when the clock does not.
	third := f.completion(reset.LaneHash, 1)
	third.AcceptTime = time.UnixMicro(5)
	f.accept(third, f.mark(1, mark, 3))
	if got := f.lease1(reset.LaneHash).Job.Sequence; got != mark+1 {
		f.t.Fatalf("sequence %d, want %d", got, mark+1)
	}
}

func replay(f *fixture) {
	want := f.accept(f.completion(reset.LaneHash, 1), f.mark(1, 0, 9))
	again := func(step string) {
		f.t.Helper()
		v := f.accept(f.completion(reset.LaneHash, 1), f.mark(1, 0, 9))
		if !v.Replayed || v.Ref != want.Ref {
			f.t.Fatalf("%s: %+v, want a replay of %+v", step, v, want)
		}
	}
	again("waiting")
	f.held(1)
	lease := f.lease1(reset.LaneHash)
	again("leased")
	f.finish(queue.Finish{Lease: lease, State: reset.StateDone})
	again("finished")
	f.crash()
	again("restarted")
	f.held(0)
	f.state(want.Ref, reset.StateDone, 0)
	v := f.enqueue(queue.Item{Job: f.completion(reset.LaneHash, 1), Mark: f.mark(1, 0, 8)})[0]
	f.wantErr(v.Err, queue.ErrMarkSpent)
	v = f.enqueue(queue.Item{Job: f.completion(reset.LaneHash, 1), Mark: f.mark(1, 0, 0)})[0]
	f.wantErr(v.Err, queue.ErrMarkSpent)
}

func markExpires(f *fixture) {
	f.accept(f.completion(reset.LaneHash, 1), f.mark(1, 0, 1))
	f.h.Clock.Advance(24 * time.Hour)
	if mark, err := f.q.Mark(f.ctx(), keyOf(1)); err != nil || mark != 0 {
		f.t.Fatalf("mark %d, %v; want none", mark, err)
	}
	v := f.accept(f.completion(reset.LaneHash, 1), f.mark(1, 0, 1))
	if v.Replayed {
		f.t.Fatal("an expired mark answered a repeat")
	}
}

func badItem(f *fixture) {
	f.accept(f.completion(reset.LaneApply, 5), f.mark(5, 0, 0))
	large := f.start(2)
	large.Payload = make([]byte, queue.MaxPayload+1)
	noLane := f.start(3)
	noLane.Lane = 77
	v := f.enqueue(
		queue.Item{Job: f.start(1)}, queue.Item{Job: large}, queue.Item{Job: noLane},
		queue.Item{Job: f.completion(reset.LaneApply, 5), Mark: f.mark(5, 0, 0)}, queue.Item{Job: f.start(4)})
	if v[0].Err != nil || v[2].Err == nil || v[4].Err != nil {
		f.t.Fatalf("%+v", v)
	}
	f.wantErr(v[1].Err, queue.ErrTooLarge)
	f.wantErr(v[3].Err, queue.ErrMarkSpent)
	f.crash()
	f.held(3)
	if n := len(f.lease(reset.LaneStart, 10)); n != 2 {
		f.t.Fatalf("%d starts, want 2", n)
	}
}

func supersede(f *fixture) {
	mark := func() uint64 {
		m, err := f.q.Mark(f.ctx(), keyOf(1))
		if err != nil {
			f.t.Fatal(err)
		}
		return m
	}
	waiting := f.accept(f.completion(reset.LaneHash, 1), f.mark(1, 0, 0))
	leased := f.accept(f.completion(reset.LaneHash, 1), f.mark(1, mark(), 0))
	f.state(waiting.Ref, reset.StateRejected, reset.ReasonSuperseded)
	f.held(1)
	old := f.lease1(reset.LaneHash)
	// Across lanes: the older one is in the apply lane, leased; the newer one waits for its hash.
	next := f.completion(reset.LaneApply, 1)
	next.Ticket, next.Sequence, next.AcceptTime = old.Job.Ticket, old.Job.Sequence, old.Job.AcceptTime
	f.finish(queue.Finish{Lease: old, FollowUps: []reset.Job{next}})
	f.state(leased.Ref, reset.StateAccepted, 0)
	old = f.lease1(reset.LaneApply)
	f.state(leased.Ref, reset.StateRunning, 0)
	newest := f.accept(f.completion(reset.LaneHash, 1), f.mark(1, mark(), 0))
	f.state(leased.Ref, reset.StateRejected, reset.ReasonSuperseded)
	f.wantErr(f.q.Finish(f.ctx(), []queue.Finish{{Lease: old, State: reset.StateDone, FollowUps: []reset.Job{f.start(9)}}})[0], queue.ErrLeaseLost)
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: old}})[0], queue.ErrLeaseLost)
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: old}})[0], queue.ErrLeaseLost)
	f.none(reset.LaneStart)
	f.crash()
	f.held(1)
	f.none(reset.LaneApply)
	l := f.lease1(reset.LaneHash)
	if l.Job.Ticket != newest.Ref.ID {
		f.t.Fatal("the newest completion is not the one that waits")
	}
	// Aside, too.
	f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: l, Cause: "test"}})[0], nil)
	f.accept(f.completion(reset.LaneHash, 1), f.mark(1, mark(), 0))
	f.state(newest.Ref, reset.StateRejected, reset.ReasonSuperseded)
	f.wantErr(f.q.GiveUp(f.ctx(), []reset.ID{l.Job.ID})[0], queue.ErrNotFound)
	f.held(1)
	f.crash()
	f.held(1)
}

func supersedeFollowUp(f *fixture) {
	// A start's follow-up must not displace the account's newer completion.
	v := f.accept(f.completion(reset.LaneApply, 1), f.mark(1, 0, 0))
	f.accept(f.start(1), nil)
	l := f.lease1(reset.LaneStart)
	older := f.completion(reset.LaneApply, 1)
	older.Sequence = 1
	f.finish(queue.Finish{Lease: l, FollowUps: []reset.Job{older}})
	f.state(reset.Ref{ID: older.Ticket, Lane: reset.LaneApply, Seq: 2}, reset.StateRejected, reset.ReasonSuperseded)
	f.state(v.Ref, reset.StateAccepted, 0)
	f.held(1)
}

func mailJoins(f *fixture) {
	for n := range uint64(3) {
		f.accept(f.start(10+n), nil)
	}
	starts := f.lease(reset.LaneStart, 3)
	mail := func(i int) { f.finish(queue.Finish{Lease: starts[i], FollowUps: []reset.Job{f.mail(1)}}) }
	mail(0)
	mail(1)
	f.held(2) // one start, one mail
	first := f.lease1(reset.LaneMail)
	mail(2)
	f.held(2)
	second := f.lease1(reset.LaneMail)
	f.finish(queue.Finish{Lease: first, State: reset.StateDone})
	f.finish(queue.Finish{Lease: second, State: reset.StateDone})
	f.accept(f.mail(1), nil)
	unique := f.mail(1)
	unique.Unique = true
	f.accept(unique, nil)
	f.held(2)
}

// classesApart checks that a start joins no open start of another class: a suspect's job comes late, and a job that
// joined it would come late too.
func classesApart(f *fixture) {
	suspect := f.start(1)
	suspect.Class = reset.ClassSuspect
	f.accept(suspect, nil)
	person := f.start(1)
	if v := f.accept(person, nil); v.Joined {
		f.t.Fatal("joined a suspect's start")
	}
	f.crash()
	work := func(lane reset.Lane, followUps ...reset.Job) {
		f.t.Helper()
		l, err := f.q.Lease(f.ctx(), queue.LeaseRequest{Lane: lane, Max: 10, Visibility: time.Minute})
		if err != nil || len(l) != 1 || l[0].Job.Class != reset.ClassInteractive {
			f.t.Fatalf("leased %+v, %v", l, err)
		}
		f.finish(queue.Finish{Lease: l[0], State: reset.StateDone, FollowUps: followUps})
	}
	slow := f.mail(2)
	slow.Class = reset.ClassSuspect
	f.accept(slow, nil)
	work(reset.LaneStart, f.mail(2))
	work(reset.LaneMail)
	f.held(2)
	// The suspect's own jobs still hold their keys.
	for _, j := range []reset.Job{f.start(1), f.mail(2)} {
		j.Class = reset.ClassSuspect
		if v := f.accept(j, nil); !v.Joined {
			f.t.Fatalf("%v: did not join", j.Lane)
		}
	}
	f.held(2)
}

// parkedBarsNobody checks that a parked job does not hold up a person who asks again.
func parkedBarsNobody(f *fixture) {
	park := func(l queue.Lease) {
		f.t.Helper()
		f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: l, Cause: "out of tries"}})[0], nil)
	}
	gone := func(id reset.ID) {
		f.t.Helper()
		f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{id})[0], queue.ErrNotFound)
		f.wantErr(f.q.GiveUp(f.ctx(), []reset.ID{id})[0], queue.ErrNotFound)
		if p, err := f.q.Parked(f.ctx(), 0, reset.ID{}, 10); err != nil || len(p) != 0 {
			f.t.Fatalf("still parked: %+v, %v", p, err)
		}
	}
	first := f.accept(f.start(1), nil)
	parked := f.lease1(reset.LaneStart)
	f.h.Clock.Advance(time.Second)
	f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: parked, UsedTry: true}})[0], nil)
	parked = f.lease1(reset.LaneStart)
	park(parked)
	done := f.ticket(first.Ref).DoneTime
	asks := []queue.Item{{Job: f.start(1)}, {Job: f.start(1)}}
	asks[0].Job.Payload = []byte("sealed anew")
	v := f.enqueue(asks...)
	if v[0].Err != nil || v[0].Joined || !v[1].Joined || v[0].Ref.Seq != first.Ref.Seq+1 || v[1].Ref.Seq != first.Ref.Seq+2 {
		f.t.Fatalf("%+v after %+v", v, first)
	}
	for range 2 {
		f.held(1)
		gone(parked.Job.ID)
		if s := f.ticket(first.Ref); !s.DoneTime.Equal(done) {
			f.t.Fatalf("done at %v, was %v", s.DoneTime, done)
		}
		f.crash()
	}
	l := f.lease1(reset.LaneStart)
	if l.Job.ID != asks[0].Job.ID || l.Job.Attempts != 0 || string(l.Job.Payload) != "sealed anew" {
		f.t.Fatalf("%+v", l.Job)
	}
	// What an operator has put back is in line: it is joined.
	park(l)
	f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{l.Job.ID})[0], nil)
	if v := f.accept(f.start(1), nil); !v.Joined {
		f.t.Fatal("did not join a requeued start")
	}
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneStart), State: reset.StateDone})
	f.none(reset.LaneStart)
	f.held(0)

	// A mail, as a follow-up and with a ticket.
	slow := f.mail(1)
	slow.Ticket = reset.NewID()
	held := f.accept(slow, nil)
	park(f.lease1(reset.LaneMail))
	f.accept(f.start(2), nil)
	next := f.mail(1)
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneStart), State: reset.StateDone, FollowUps: []reset.Job{next}})
	f.state(held.Ref, reset.StateRejected, reset.ReasonSuperseded)
	for range 2 {
		f.held(1)
		gone(slow.ID)
		f.crash()
	}
	if l = f.lease1(reset.LaneMail); l.Job.ID != next.ID {
		f.t.Fatal("not the later mail")
	}
	// One whose key a later mail has taken stays parked.
	later := f.mail(1)
	f.accept(later, nil)
	park(l)
	if v := f.accept(f.mail(1), nil); !v.Joined {
		f.t.Fatal("did not join the waiting mail")
	}
	f.held(2)
	f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{next.ID})[0], nil)
	for range 2 {
		f.finish(queue.Finish{Lease: f.lease1(reset.LaneMail), State: reset.StateDone})
	}
	f.held(0)
	if v := f.accept(f.mail(1), nil); v.Joined {
		f.t.Fatal("joined a mail that has ended")
	}
}

func keyReleased(f *fixture) {
	for range 3 {
		v := f.accept(f.start(1), nil)
		if v.Joined {
			f.t.Fatal("joined a job that has ended")
		}
		l := f.lease1(reset.LaneStart)
		if v := f.accept(f.start(1), nil); !v.Joined {
			f.t.Fatal("a leased start is open: it must be joined")
		}
		f.finish(queue.Finish{Lease: l, State: reset.StateDone})
		f.none(reset.LaneStart) // passes the joined place
	}
	f.held(0)
}
