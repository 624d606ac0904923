package queuetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func position(f *fixture) {
	const n = 6
	var refs []reset.Ref
	for i := range uint64(n) {
		lane := reset.LaneHash
		if i%2 == 1 {
			lane = reset.LaneApply // one line with hash
		}
		refs = append(refs, f.accept(f.completion(lane, i), nil).Ref)
	}
	last := make([]uint64, n)
	for i := range last {
		if last[i] = f.ticket(refs[i]).Ahead; i > 0 && last[i] <= last[i-1] {
			f.t.Fatalf("positions %v do not follow the order of arrival", last[:i+1])
		}
	}
	check := func(step string) {
		f.t.Helper()
		for i, ref := range refs {
			ahead := f.ticket(ref).Ahead
			if ahead > last[i] {
				f.t.Fatalf("%s: position of ticket %d grew from %d to %d", step, i, last[i], ahead)
			}
			last[i] = ahead
		}
	}
	hash := f.lease(reset.LaneHash, 2)
	check("hash leased")
	for _, l := range hash {
		next := f.completion(reset.LaneApply, 0)
		next.Key, next.Account, next.Ticket, next.AcceptTime = l.Job.Key, l.Job.Key, l.Job.Ticket, l.Job.AcceptTime
		f.finish(queue.Finish{Lease: l, FollowUps: []reset.Job{next}})
		check("hash done")
	}
	apply := f.lease(reset.LaneApply, 3)
	check("apply leased")
	if f.ticket(refs[1]).Ahead != 0 {
		f.t.Fatal("a running ticket has nobody ahead")
	}
	f.crash()
	check("crash")
	f.wantErr(f.q.Finish(f.ctx(), []queue.Finish{{Lease: apply[0], State: reset.StateDone}})[0], queue.ErrLeaseLost)
	for _, l := range f.lease(reset.LaneApply, 2) {
		f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: l, NotBefore: f.h.Clock.Now().Add(time.Second)}})[0], nil)
		check("retry")
	}
	f.reopen()
	check("reopen")
	f.h.Clock.Advance(time.Second)
	for _, l := range f.lease(reset.LaneApply, 10) {
		check("leased again")
		f.finish(queue.Finish{Lease: l, State: reset.StateDone})
		check("finished")
	}
	for _, l := range f.lease(reset.LaneHash, 10) {
		f.finish(queue.Finish{Lease: l, State: reset.StateFailed, Reason: reset.ReasonExpired})
		check("failed in hash")
	}
	f.held(0)
}

func passages(f *fixture) {
	var refs []reset.Ref
	for i := range uint64(5) {
		refs = append(refs, f.accept(f.start(i/2), nil).Ref) // keys 0 0 1 1 2: jobs, places and a job
	}
	done := make([]time.Time, len(refs))
	lease := func() []queue.Lease { f.h.Clock.Advance(time.Millisecond); return f.lease(reset.LaneStart, 1) }
	check := func(passed int) {
		f.t.Helper()
		for i, ref := range refs {
			s := f.ticket(ref)
			if got := !s.DoneTime.IsZero(); got != (i < passed) {
				f.t.Fatalf("ticket %d of %d passed: %+v", i, passed, s)
			}
			if i >= passed {
				continue
			}
			if done[i].IsZero() {
				done[i] = s.DoneTime
			}
			if s.Ahead != 0 || !s.DoneTime.Equal(done[i]) || (s.State == reset.StateDone) != !s.DoneTime.After(f.h.Clock.Now()) {
				f.t.Fatalf("ticket %d: %+v, first done at %v, now %v", i, s, done[i], f.h.Clock.Now())
			}
		}
	}
	check(0)
	for i := range refs {
		lease()
		check(i + 1)
	}
	f.crash()
	// Jobs whose lease died are leased again; that moves no DoneTime.
	if n := len(f.lease(reset.LaneStart, 10)); n != 3 {
		f.t.Fatalf("%d jobs, want 3", n)
	}
	check(len(refs))
	f.h.Clock.Advance(2 * time.Second)
	check(len(refs))
}

func watched(f *fixture) {
	ctx, cancel := context.WithTimeout(f.ctx(), 20*time.Second)
	defer cancel()
	signalled := func(step string, c <-chan struct{}) {
		f.t.Helper()
		select {
		case <-c:
		case <-ctx.Done():
			f.t.Fatalf("%s: no signal", step)
		}
	}
	start := f.accept(f.start(1), nil).Ref
	other := f.accept(f.start(2), nil).Ref
	changed, stop := f.q.Watch(start)
	defer stop()
	quiet, stopQuiet := f.q.Watch(other)
	f.lease1(reset.LaneStart)
	signalled("passed", changed)
	f.h.Clock.Advance(time.Second)
	signalled("done", changed)
	select {
	case <-quiet:
		f.t.Fatal("a ticket was signalled that did not change")
	default:
	}
	stopQuiet()
	late, stopLate := f.q.Watch(start)
	defer stopLate()
	if s := f.ticket(start); s.State != reset.StateDone {
		f.t.Fatalf("%+v", s)
	}
	_ = late
	ref := f.accept(f.completion(reset.LaneApply, 1), nil).Ref
	changed, stop = f.q.Watch(ref)
	defer stop()
	l := f.lease1(reset.LaneApply)
	signalled("running", changed)
	f.finish(queue.Finish{Lease: l, State: reset.StateRejected, Reason: reset.ReasonPasswordReused})
	signalled("final", changed)
	f.state(ref, reset.StateRejected, reset.ReasonPasswordReused)
}

func retention(f *fixture) {
	f.close()
	f.open(Limits{Retention: 2 * time.Hour})
	ref := f.accept(f.completion(reset.LaneApply, 1), f.mark(1, 0, 0)).Ref
	start := f.accept(f.start(1), nil).Ref
	open := f.accept(f.completion(reset.LaneHash, 2), nil).Ref
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneApply), State: reset.StateDone})
	f.finish(queue.Finish{Lease: f.lease1(reset.LaneStart)})
	f.h.Clock.Advance(2*time.Hour - time.Microsecond)
	f.state(ref, reset.StateDone, 0)
	f.state(start, reset.StateDone, 0)
	f.h.Clock.Advance(time.Second + time.Microsecond)
	for range 2 {
		_, err := f.q.Ticket(f.ctx(), ref)
		f.wantErr(err, queue.ErrNotFound)
		_, err = f.q.Ticket(f.ctx(), start)
		f.wantErr(err, queue.ErrNotFound)
		f.state(open, reset.StateAccepted, 0)
		f.h.Clock.Advance(2 * time.Hour) // whatever sweeps has swept
		f.crash()
	}
}

func bounds(f *fixture) {
	f.close()
	f.open(Limits{MaxJobs: 3})
	refs := make([]reset.Ref, 3)
	for i := range refs {
		refs[i] = f.accept(f.completion(reset.LaneApply, uint64(i)), f.mark(uint64(i), 0, 1)).Ref
	}
	v := f.enqueue(queue.Item{Job: f.completion(reset.LaneApply, 9), Mark: f.mark(9, 0, 0)}, queue.Item{Job: f.completion(reset.LaneApply, 0), Mark: f.mark(0, 0, 1)})
	f.wantErr(v[0].Err, queue.ErrFull)
	if v[1].Err != nil || !v[1].Replayed {
		f.t.Fatalf("a repeat is no new job: %+v", v[1])
	}
	if m, err := f.q.Mark(f.ctx(), keyOf(9)); err != nil || m != 0 {
		f.t.Fatalf("a refused completion raised its mark to %d, %v", m, err)
	}
	// What ends jobs is never refused, follow-ups included.
	l := f.lease1(reset.LaneApply)
	f.finish(queue.Finish{Lease: l, State: reset.StateDone, FollowUps: []reset.Job{f.start(1), f.start(2)}})
	f.held(4)
	f.close()
	f.open(Limits{MaxBytes: 1})
	f.wantErr(f.enqueue(queue.Item{Job: f.start(7)})[0].Err, queue.ErrFull)
	f.close()
	f.open(Limits{})
	f.held(4)
	for _, ref := range refs[1:] {
		f.state(ref, reset.StateAccepted, 0)
	}
	f.accept(f.start(7), nil)
}

func records(f *fixture) {
	put := func(key, value string, version uint64, expire time.Duration) error {
		w := queue.RecordWrite{Kind: queue.RecordAudit, Key: key, Value: []byte(value), Version: version}
		if expire > 0 {
			w.ExpireTime = f.h.Clock.Now().Add(expire)
		}
		return f.q.Put(f.ctx(), w)
	}
	for i := range 5 {
		f.wantErr(put(fmt.Sprintf("k%d", i), fmt.Sprint(i), 0, 0), nil)
	}
	f.wantErr(put("k1", "x", 0, 0), queue.ErrConflict)
	f.wantErr(put("k1", "x", 2, 0), queue.ErrConflict)
	f.wantErr(put("k1", "one", 1, time.Hour), nil)
	f.wantErr(put("k2", "two", queue.AnyVersion, 0), nil)
	f.wantErr(f.q.Put(f.ctx(), queue.RecordWrite{Kind: queue.RecordAudit, Key: "k3", Version: 1}), nil)
	f.wantErr(f.q.Put(f.ctx(), queue.RecordWrite{Kind: queue.RecordAudit, Key: "big", Value: make([]byte, 65<<10)}), queue.ErrTooLarge)
	f.crash()
	l, err := f.q.List(f.ctx(), queue.RecordAudit, "k0", 2)
	if err != nil || len(l) != 2 || l[0].Key != "k1" || string(l[0].Value) != "one" || l[0].Version != 2 || l[1].Key != "k2" || l[1].Version != 2 {
		f.t.Fatalf("%+v, %v", l, err)
	}
	if l, err = f.q.List(f.ctx(), queue.RecordAudit, "", 10); err != nil || len(l) != 4 {
		f.t.Fatalf("%+v, %v", l, err)
	}
	if l, err = f.q.List(f.ctx(), queue.RecordPace, "", 10); err != nil || len(l) != 0 {
		f.t.Fatalf("%+v, %v", l, err)
	}
	_, err = f.q.Get(f.ctx(), queue.RecordAudit, "k3")
	f.wantErr(err, queue.ErrNotFound)
	f.h.Clock.Advance(time.Hour)
	_, err = f.q.Get(f.ctx(), queue.RecordAudit, "k1")
	f.wantErr(err, queue.ErrNotFound)
	f.wantErr(put("k1", "new", 0, 0), nil) // an expired record is absent
}

func recordsTogether(f *fixture) {
	both := func(audit, override uint64) []queue.RecordWrite {
		return []queue.RecordWrite{
			{Kind: queue.RecordAudit, Key: "a", Value: []byte("done"), Version: audit},
			{Kind: queue.RecordOverride, Key: "o", Value: []byte("set"), Version: override},
		}
	}
	f.wantErr(f.q.PutAll(f.ctx(), both(0, 1)), queue.ErrConflict)
	_, err := f.q.Get(f.ctx(), queue.RecordAudit, "a")
	f.wantErr(err, queue.ErrNotFound) // none of them
	f.wantErr(f.q.PutAll(f.ctx(), both(0, 0)), nil)
	f.wantErr(f.q.PutAll(f.ctx(), make([]queue.RecordWrite, queue.MaxRecordWrites+1)), queue.ErrTooLarge)
	f.wantErr(f.q.PutAll(f.ctx(), nil), nil)
	for i := range 5 {
		f.wantErr(f.q.Put(f.ctx(), queue.RecordWrite{Kind: queue.RecordAudit, Key: fmt.Sprintf("b%d", i), Value: []byte("x")}), nil)
	}
	f.crash()
	if r, err := f.q.Get(f.ctx(), queue.RecordOverride, "o"); err != nil || string(r.Value) != "set" {
		f.t.Fatalf("%+v, %v", r, err)
	}
	for _, c := range []struct {
		before string
		limit  int
		want   string
	}{{"", 2, "b4 b3 "}, {"b3", 10, "b2 b1 b0 a "}, {"a", 10, ""}, {"b2x", 1, "b2 "}} {
		l, err := f.q.ListBack(f.ctx(), queue.RecordAudit, c.before, c.limit)
		got := ""
		for _, r := range l {
			got += r.Key + " "
		}
		if err != nil || got != c.want {
			f.t.Fatalf("before %q: %q, %v; want %q", c.before, got, err, c.want)
		}
	}
}

func closed(f *fixture) {
	f.accept(f.start(1), nil)
	l := f.lease1(reset.LaneStart)
	f.close()
	f.wantErr(f.q.Enqueue(f.ctx(), []queue.Item{{Job: f.start(2)}})[0].Err, queue.ErrClosed)
	_, err := f.q.Lease(f.ctx(), queue.LeaseRequest{Lane: reset.LaneStart, Max: 1, Visibility: time.Minute})
	f.wantErr(err, queue.ErrClosed)
	f.wantErr(f.q.Finish(f.ctx(), []queue.Finish{{Lease: l, State: reset.StateDone}})[0], queue.ErrClosed)
	_, err = f.q.Stats(f.ctx())
	f.wantErr(err, queue.ErrClosed)
	_, err = f.q.Get(f.ctx(), queue.RecordPace, "x")
	f.wantErr(err, queue.ErrClosed)
	if err := f.q.Wait(f.ctx(), reset.LaneMail, 0); !errors.Is(err, queue.ErrClosed) {
		f.t.Fatal(err)
	}
	f.wantErr(f.q.Close(), nil)
	f.open(Limits{})
	f.held(1)
}
