package queuetest

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Limits are the bounds that a test opens a queue with; zero fields mean the engine's defaults.
type Limits struct {
	MaxBytes  uint64
	MaxJobs   uint64
	Retention time.Duration
}

// Harness is one storage under test.
type Harness struct {
	// Clock is used by every queue that Open returns.
	Clock *clock.Manual
	// Open opens the storage. At most one queue is open at a time.
	Open func(tb testing.TB, l Limits) queue.Queue
	// Crash cuts the power: the open queue may go on running, but none of its writes reach what the next Open opens.
	Crash func(tb testing.TB)
}

// Rounds returns how many power cuts to make: SURGEGATE_CRASH_ROUNDS, or 5.
func Rounds() int {
	if n, err := strconv.Atoi(os.Getenv("SURGEGATE_CRASH_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 5
}

// Run runs the whole suite; each test gets a harness of its own.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*fixture)
	}{
		{"same key, many callers: one job, every ticket resolves", sameKeyConcurrent},
		{"a refused mark leaves nothing", markRefused},
		{"same request, same ticket, over finish and restart", replay},
		{"an expired mark is absent", markExpires},
		{"a bad item harms no other", badItem},
		{"a newer completion supersedes a waiting and a leased one", supersede},
		{"a late follow-up of an older completion ends superseded", supersedeFollowUp},
		{"a link mail joins until leased", mailJoins},
		{"nobody waits for a suspect who asked first", classesApart},
		{"a parked start or link mail bars nobody", parkedBarsNobody},
		{"expired and leased again: the old lease is lost", leaseLost},
		{"expired, not leased again, finished: not returned again", lateFinish},
		{"extend keeps a lease", extend},
		{"finish twice has one effect", finishTwice},
		{"finish with a stale record is refused and keeps the lease", finishConflict},
		{"the same key is accepted after finish", keyReleased},
		{"retry not before its time", retryTime},
		{"classes and order", order},
		{"a wait wakes", waits},
		{"the backlog is what waits", backlog},
		{"park, requeue, give up, with a crash at each step", parkSteps},
		{"a job keeps its trace, and one without has none", traces},
		{"expired jobs are found in every state but leased", expiredJobs},
		{"position never grows", position},
		{"start tickets are done by passage", passages},
		{"a ticket is watched", watched},
		{"retention", retention},
		{"bounds are typed and lose nothing", bounds},
		{"records", records},
		{"records together", recordsTogether},
		{"after close", closed},
		{"power cuts at random moments", powerCuts},
		{"model", model},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := &fixture{t: t, h: newHarness(t)}
			f.open(Limits{})
			tc.run(f)
			f.conserved()
			f.close()
		})
	}
}

// fixture is a queue under test, with helpers that fail the test when a step does not succeed.
type fixture struct {
	t *testing.T
	h Harness
	l Limits
	q queue.Queue
}

func (f *fixture) ctx() context.Context { return f.t.Context() }

func (f *fixture) open(l Limits) {
	f.t.Helper()
	f.l = l
	f.q = f.h.Open(f.t, l)
}

func (f *fixture) close() {
	f.t.Helper()
	if err := f.q.Close(); err != nil {
		f.t.Fatalf("close: %v", err)
	}
}

func (f *fixture) reopen() {
	f.t.Helper()
	f.close()
	f.open(f.l)
}

// crash cuts the power and opens again.
func (f *fixture) crash() {
	f.t.Helper()
	f.h.Crash(f.t)
	f.close()
	f.open(f.l)
}

func (f *fixture) conserved() queue.Stats {
	f.t.Helper()
	s, err := f.q.Stats(f.ctx())
	if err != nil {
		f.t.Fatalf("stats: %v", err)
	}
	if s.Conservation() != 0 {
		f.t.Fatalf("enqueued %d, ended %d, held %d: conservation is %d", s.Enqueued, s.Ended, s.Held, s.Conservation())
	}
	var held uint64
	for _, l := range s.Lanes {
		held += l.Waiting[0] + l.Waiting[1] + l.Waiting[2] + l.Leased + l.Retrying + l.Parked
	}
	if held != s.Held {
		f.t.Fatalf("lanes hold %d, the queue %d", held, s.Held)
	}
	return s
}

func (f *fixture) held(want uint64) {
	f.t.Helper()
	if s := f.conserved(); s.Held != want {
		f.t.Fatalf("held %d, want %d: %+v", s.Held, want, s)
	}
}

func keyOf(n uint64) (k reset.Key) {
	k[0] = 0xA5
	binary.BigEndian.PutUint64(k[8:], n)
	return k
}

func (f *fixture) start(key uint64) reset.Job {
	return reset.Job{
		ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: keyOf(key),
		AcceptTime: f.h.Clock.Now().UTC().Truncate(time.Microsecond), Payload: []byte("sealed start"),
	}
}

func (f *fixture) completion(lane reset.Lane, account uint64) reset.Job {
	j := f.start(account)
	j.Lane, j.Account, j.Payload = lane, j.Key, []byte("sealed password")
	j.ExpireTime = j.AcceptTime.Add(time.Hour)
	return j
}

func (f *fixture) mail(account uint64) reset.Job {
	j := f.start(account)
	j.Lane, j.Ticket, j.Account = reset.LaneMail, reset.ID{}, j.Key
	return j
}

func (f *fixture) mark(account, tokenMark uint64, request byte) *queue.MarkRaise {
	m := &queue.MarkRaise{Account: keyOf(account), TokenMark: tokenMark, ExpireTime: f.h.Clock.Now().Add(24 * time.Hour)}
	if request != 0 {
		m.Request = reset.Key{request}
	}
	return m
}

func (f *fixture) enqueue(items ...queue.Item) []queue.Verdict {
	f.t.Helper()
	v := f.q.Enqueue(f.ctx(), items)
	if len(v) != len(items) {
		f.t.Fatalf("%d verdicts for %d items", len(v), len(items))
	}
	return v
}

// accept enqueues one item that must be accepted.
func (f *fixture) accept(j reset.Job, mark *queue.MarkRaise) queue.Verdict {
	f.t.Helper()
	v := f.enqueue(queue.Item{Job: j, Mark: mark})[0]
	if v.Err != nil {
		f.t.Fatalf("enqueue: %v", v.Err)
	}
	return v
}

func (f *fixture) lease(lane reset.Lane, limit int) []queue.Lease {
	f.t.Helper()
	l, err := f.q.Lease(f.ctx(), queue.LeaseRequest{Lane: lane, UpTo: reset.ClassDeferrable, Max: limit, Visibility: time.Minute, DoneAfter: time.Second})
	if err != nil {
		f.t.Fatalf("lease: %v", err)
	}
	return l
}

func (f *fixture) lease1(lane reset.Lane) queue.Lease {
	f.t.Helper()
	l := f.lease(lane, 1)
	if len(l) != 1 {
		f.t.Fatalf("%d jobs to lease in %v, want 1", len(l), lane)
	}
	return l[0]
}

func (f *fixture) none(lane reset.Lane) {
	f.t.Helper()
	if l := f.lease(lane, 10); len(l) != 0 {
		f.t.Fatalf("leased %d jobs in %v, want none", len(l), lane)
	}
}

func (f *fixture) finish(ends ...queue.Finish) {
	f.t.Helper()
	for _, err := range f.q.Finish(f.ctx(), ends) {
		if err != nil {
			f.t.Fatalf("finish: %v", err)
		}
	}
}

func (f *fixture) wantErr(err, want error) {
	f.t.Helper()
	if !errors.Is(err, want) {
		f.t.Fatalf("got %v, want %v", err, want)
	}
}

func (f *fixture) ticket(ref reset.Ref) queue.Status {
	f.t.Helper()
	s, err := f.q.Ticket(f.ctx(), ref)
	if err != nil {
		f.t.Fatalf("ticket %v: %v", ref.ID, err)
	}
	return s
}

func (f *fixture) state(ref reset.Ref, want reset.State, reason reset.Reason) {
	f.t.Helper()
	if s := f.ticket(ref); s.State != want || s.Reason != reason {
		f.t.Fatalf("ticket is %v, %v; want %v, %v", s.State, s.Reason, want, reason)
	}
}
