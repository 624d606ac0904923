package queuetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// acked is what the queue has acknowledged about one ticket.
type acked struct {
	ref   reset.Ref
	mark  uint64 // the account's number; 0 for a start
	final bool
	state reset.State
}

// ledger is everything that the queue has acknowledged. Producers and workers write it under mu.
type ledger struct {
	mu      sync.Mutex
	tickets map[reset.ID]*acked
	jobs    map[reset.ID]reset.ID // job to ticket
	ended   map[reset.ID]bool     // jobs whose Finish was acknowledged
}

// powerCuts runs producers and workers, cuts the power at random moments, reopens the queue and compares it with the
// ledger.
func powerCuts(f *fixture) {
	seed := rand.Uint64()
	f.t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	l := &ledger{tickets: make(map[reset.ID]*acked), jobs: make(map[reset.ID]reset.ID), ended: make(map[reset.ID]bool)}
	var account atomic.Uint64
	for round := range Rounds() {
		ctx, stop := context.WithCancel(f.ctx())
		var wg sync.WaitGroup
		target := int64(50 + rng.IntN(400))
		var acks atomic.Int64
		reached := make(chan struct{})
		ack := func(n int) {
			if v := acks.Add(int64(n)); v >= target && v-int64(n) < target {
				close(reached)
			}
		}
		for range 6 {
			wg.Go(func() {
				for ctx.Err() == nil {
					produce(ctx, f, l, &account, ack)
				}
			})
		}
		for _, lane := range []reset.Lane{reset.LaneHash, reset.LaneApply, reset.LaneStart} {
			r := rand.New(rand.NewPCG(rng.Uint64(), 1))
			wg.Go(func() {
				for ctx.Err() == nil {
					if f.q.Wait(ctx, lane, reset.ClassDeferrable) == nil {
						work(ctx, f, l, lane, r, ack)
					}
				}
			})
		}
		<-reached
		// Hold the ledger's lock, so that no acknowledgement is noted between the cut and the copy.
		l.mu.Lock()
		f.h.Crash(f.t)
		frozen := l.freeze()
		l.mu.Unlock()
		stop()
		wg.Wait()
		f.close()
		f.open(f.l)
		frozen.compare(f, fmt.Sprintf("round %d", round))
		// What was acknowledged after the cut is lost with it: go on from the copy.
		l.tickets, l.jobs, l.ended = frozen.tickets, frozen.jobs, frozen.ended
	}
	f.drain()
}

func (l *ledger) freeze() *ledger {
	c := &ledger{tickets: make(map[reset.ID]*acked, len(l.tickets)), jobs: make(map[reset.ID]reset.ID, len(l.jobs)), ended: make(map[reset.ID]bool, len(l.ended))}
	for k, v := range l.tickets {
		a := *v
		c.tickets[k] = &a
	}
	for k, v := range l.jobs {
		c.jobs[k] = v
	}
	for k, v := range l.ended {
		c.ended[k] = v
	}
	return c
}

func produce(ctx context.Context, f *fixture, l *ledger, account *atomic.Uint64, ack func(int)) {
	n := account.Add(1)
	items := []queue.Item{{Job: f.start(n)}, {Job: f.completion(reset.LaneHash, n), Mark: f.mark(n, 0, 0)}}
	items[1].Mark.Request = keyOf(n)
	verdicts := f.q.Enqueue(ctx, items)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, v := range verdicts {
		if v.Err != nil {
			continue
		}
		a := &acked{ref: v.Ref}
		if items[i].Mark != nil {
			a.mark = n
		}
		l.tickets[v.Ref.ID] = a
		l.jobs[items[i].Job.ID] = v.Ref.ID
		ack(1)
	}
}

func work(ctx context.Context, f *fixture, l *ledger, lane reset.Lane, r *rand.Rand, ack func(int)) {
	leases, err := f.q.Lease(ctx, queue.LeaseRequest{Lane: lane, UpTo: reset.ClassDeferrable, Max: 1 + r.IntN(8), Visibility: time.Minute, DoneAfter: time.Second})
	if err != nil {
		return
	}
	for _, le := range leases {
		switch r.IntN(4) {
		case 0:
			f.q.Retry(ctx, []queue.Retry{{Lease: le, UsedTry: true}})
			continue
		case 1:
			if f.q.Park(ctx, []queue.Park{{Lease: le, Cause: "random"}})[0] == nil {
				f.q.Requeue(ctx, []reset.ID{le.Job.ID})
			}
			continue
		}
		end := queue.Finish{Lease: le, State: reset.StateDone}
		if lane == reset.LaneHash {
			next := le.Job
			next.ID, next.Lane, next.Attempts = reset.NewID(), reset.LaneApply, 0
			end.State, end.FollowUps = 0, []reset.Job{next}
		}
		err := f.q.Finish(ctx, []queue.Finish{end})[0]
		if err != nil {
			continue
		}
		l.mu.Lock()
		l.ended[le.Job.ID] = true
		if t := l.tickets[le.Job.Ticket]; t != nil && end.State != 0 {
			t.final, t.state = true, end.State
		}
		l.mu.Unlock()
		ack(1)
	}
}

// compare checks a reopened queue against the ledger.
func (l *ledger) compare(f *fixture, when string) {
	f.t.Helper()
	f.conserved()
	for id, a := range l.tickets {
		s, err := f.q.Ticket(f.ctx(), a.ref)
		if err != nil {
			f.t.Fatalf("%s: acknowledged ticket %v: %v", when, id, err)
		}
		if a.final && a.ref.Lane != reset.LaneStart && s.State != a.state {
			f.t.Fatalf("%s: ticket %v was %v and is %v", when, id, a.state, s.State)
		}
		if a.mark == 0 {
			continue
		}
		// Mark and job are one item: neither without the other.
		m, err := f.q.Mark(f.ctx(), keyOf(a.mark))
		if err != nil || m == 0 {
			f.t.Fatalf("%s: account %d of an acknowledged completion has mark %d, %v", when, a.mark, m, err)
		}
		v := f.q.Enqueue(f.ctx(), []queue.Item{{Job: f.completion(reset.LaneHash, a.mark), Mark: &queue.MarkRaise{Account: keyOf(a.mark), Request: keyOf(a.mark)}}})[0]
		if v.Err != nil || !v.Replayed || v.Ref != a.ref {
			f.t.Fatalf("%s: repeat of an acknowledged completion: %+v, want %+v", when, v, a.ref)
		}
	}
	for _, lane := range []reset.Lane{reset.LaneStart, reset.LaneHash, reset.LaneApply} {
		leases := f.lease(lane, 1<<20)
		retries := make([]queue.Retry, 0, len(leases))
		for _, le := range leases {
			if l.ended[le.Job.ID] {
				f.t.Fatalf("%s: job %v is back after its Finish was acknowledged", when, le.Job.ID)
			}
			if m, err := f.q.Mark(f.ctx(), le.Job.Key); lane != reset.LaneStart && (err != nil || m != le.Job.Sequence) {
				f.t.Fatalf("%s: half an item: job with sequence %d, mark %d, %v", when, le.Job.Sequence, m, err)
			}
			if len(le.Job.Payload) == 0 {
				f.t.Fatalf("%s: half an item: job without its payload", when)
			}
			retries = append(retries, queue.Retry{Lease: le})
		}
		for _, err := range f.q.Retry(f.ctx(), retries) {
			if err != nil {
				f.t.Fatalf("%s: %v", when, err)
			}
		}
	}
	f.conserved()
}

// drain ends everything that is open.
func (f *fixture) drain() {
	f.t.Helper()
	parked, err := f.q.Parked(f.ctx(), 0, reset.ID{}, 1<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range parked {
		f.wantErr(f.q.GiveUp(f.ctx(), []reset.ID{p.Job.ID})[0], nil)
	}
	f.h.Clock.Advance(time.Hour)
	for _, lane := range reset.Lanes() {
		for leases := f.lease(lane, 1000); len(leases) > 0; leases = f.lease(lane, 1000) {
			for _, le := range leases {
				f.finish(queue.Finish{Lease: le, State: reset.StateDone})
			}
		}
	}
	if s := f.conserved(); s.Held != 0 || s.Bytes != 0 {
		f.t.Fatalf("drained, and still held: %+v", s)
	}
}

// machine compares a queue with a simple model of it: the set of open jobs.
type machine struct {
	f      *fixture
	open   map[reset.ID]reset.Job
	leased map[reset.ID]queue.Lease
	parked map[reset.ID]bool
	ended  uint64
	all    uint64
	marks  map[uint64]uint64
	mails  map[held]reset.ID // who holds a mail key
}

// held is a key that a start or a link mail holds in its class.
type held struct {
	key   reset.Key
	class reset.Class
}

func heldBy(j reset.Job) held { return held{j.Key, j.Class} }

func model(f *fixture) {
	outer := f.t
	rapid.Check(outer, func(t *rapid.T) {
		m := &machine{f: f, open: make(map[reset.ID]reset.Job), leased: make(map[reset.ID]queue.Lease), parked: make(map[reset.ID]bool), marks: make(map[uint64]uint64), mails: make(map[held]reset.ID)}
		f.drain()
		s := f.conserved()
		m.all, m.ended = s.Enqueued, s.Ended
		base := rand.Uint64() >> 1
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				j := f.start(base + rapid.Uint64Range(0, 3).Draw(t, "key"))
				j.Class = rapid.SampledFrom(reset.Classes()).Draw(t, "class")
				v := f.accept(j, nil)
				if m.endParked(j); v.Joined != m.hasKey(j) {
					t.Fatalf("joined: %v", v.Joined)
				} else if !v.Joined {
					m.add(t, j)
				}
			},
			"complete": func(t *rapid.T) {
				account := base + rapid.Uint64Range(0, 3).Draw(t, "account")
				stale := rapid.Bool().Draw(t, "stale")
				mark := m.marks[account]
				if stale {
					mark += 5
				}
				j := f.completion(rapid.SampledFrom([]reset.Lane{reset.LaneHash, reset.LaneApply}).Draw(t, "lane"), account)
				v := f.enqueue(queue.Item{Job: j, Mark: f.mark(account, mark, 0)})[0]
				if m.marks[account] != 0 && stale {
					f.wantErr(v.Err, queue.ErrMarkSpent)
					return
				}
				f.wantErr(v.Err, nil)
				now, err := f.q.Mark(f.ctx(), keyOf(account))
				if err != nil || now <= m.marks[account] {
					t.Fatalf("mark %d after %d, %v", now, m.marks[account], err)
				}
				m.marks[account] = now
				for id, o := range m.open { // superseded
					if o.Key == j.Key && groupLane(o.Lane) {
						m.end(id)
					}
				}
				m.add(t, j)
			},
			"lease": func(t *rapid.T) {
				for _, l := range f.lease(rapid.SampledFrom(reset.Lanes()).Draw(t, "lane"), rapid.IntRange(1, 4).Draw(t, "max")) {
					if _, ok := m.open[l.Job.ID]; !ok {
						t.Fatalf("leased a job that is not open: %+v", l.Job)
					}
					if _, ok := m.leased[l.Job.ID]; ok || m.parked[l.Job.ID] {
						t.Fatal("leased a job that is leased or parked")
					}
					m.leased[l.Job.ID] = l
				}
			},
			"end": func(t *rapid.T) {
				for id, l := range m.leased {
					delete(m.leased, id)
					switch rapid.IntRange(0, 3).Draw(t, "how") {
					case 0:
						f.finish(queue.Finish{Lease: l, State: reset.StateDone})
						m.end(id)
					case 1:
						f.wantErr(f.q.Retry(f.ctx(), []queue.Retry{{Lease: l}})[0], nil)
						m.setAside(l.Job)
					case 2:
						f.wantErr(f.q.Park(f.ctx(), []queue.Park{{Lease: l}})[0], nil)
						m.parked[id] = true
						m.setAside(l.Job)
					default:
						next := f.mail(base)
						next.Class = l.Job.Class
						f.finish(queue.Finish{Lease: l, State: reset.StateDone, FollowUps: []reset.Job{next}})
						m.end(id)
						if m.endParked(next); !m.waitingMail(next) {
							m.add(t, next)
						}
					}
					return
				}
			},
			"unpark": func(t *rapid.T) {
				for id := range m.parked {
					delete(m.parked, id)
					if rapid.Bool().Draw(t, "requeue") {
						f.wantErr(f.q.Requeue(f.ctx(), []reset.ID{id})[0], nil)
					} else {
						f.wantErr(f.q.GiveUp(f.ctx(), []reset.ID{id})[0], nil)
						m.end(id)
					}
					return
				}
			},
			"time": func(*rapid.T) { f.h.Clock.Advance(time.Minute); m.leased = make(map[reset.ID]queue.Lease) },
			"crash": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "rarely") == 0 { // a restart costs as much as all other steps together
					f.crash()
					m.leased = make(map[reset.ID]queue.Lease)
				}
			},
			"": func(t *rapid.T) {
				s := f.conserved()
				if s.Held != uint64(len(m.open)) || s.Enqueued != m.all || s.Ended != m.ended {
					t.Fatalf("held %d of %d, %d ended; the model has %d of %d, %d ended", s.Held, s.Enqueued, s.Ended, len(m.open), m.all, m.ended)
				}
			},
		})
	})
}

func groupLane(l reset.Lane) bool { return l == reset.LaneHash || l == reset.LaneApply }

func (m *machine) add(t *rapid.T, j reset.Job) {
	if !groupLane(j.Lane) && j.Lane != reset.LaneMail && m.hasKey(j) {
		t.Fatalf("a second open job with the key of %+v", j)
	}
	m.open[j.ID] = j
	if j.Lane == reset.LaneMail {
		m.mails[heldBy(j)] = j.ID
	}
	m.all++
}

func (m *machine) end(id reset.ID) {
	if j := m.open[id]; j.Lane == reset.LaneMail && m.mails[heldBy(j)] == id {
		delete(m.mails, heldBy(j))
	}
	delete(m.open, id)
	delete(m.leased, id)
	delete(m.parked, id)
	m.ended++
}

func (m *machine) hasKey(j reset.Job) bool {
	for _, o := range m.open {
		if o.Lane == j.Lane && heldBy(o) == heldBy(j) {
			return true
		}
	}
	return false
}

// endParked ends the parked job whose key the new job j has taken.
func (m *machine) endParked(j reset.Job) {
	for id := range m.parked {
		if o := m.open[id]; o.Lane == j.Lane && heldBy(o) == heldBy(j) && (j.Lane != reset.LaneMail || m.mails[heldBy(j)] == id) {
			m.end(id)
		}
	}
}

// waitingMail reports whether link mail j would join another: the one that holds its key, unless that one is leased.
func (m *machine) waitingMail(j reset.Job) bool {
	id, ok := m.mails[heldBy(j)]
	_, leased := m.leased[id]
	return ok && !leased
}

// setAside records that a mail was retried or parked: it takes its key back if no later mail has it.
func (m *machine) setAside(j reset.Job) {
	if _, ok := m.mails[heldBy(j)]; j.Lane == reset.LaneMail && !ok {
		m.mails[heldBy(j)] = j.ID
	}
}
