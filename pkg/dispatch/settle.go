package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// settlement collects what becomes of a batch's jobs and tells the queue in one go.
type settlement struct {
	d      *Dispatch
	lane   *lane
	need   need // whose state says when a job is tried again
	leased time.Time
	span   tracing.Span

	mu      sync.Mutex // completions are admitted on all cores
	ends    []ending
	retries []queue.Retry
	parks   []queue.Park
}

// ending is a Finish and what follows its success.
type ending struct {
	queue.Finish
	// redo decides the Finish again when a record it was decided on has changed; nil: no records were read.
	redo func(context.Context) (ending, error)
	done func() // counts
}

func (d *Dispatch) settle(b *batch) *settlement {
	return &settlement{d: d, lane: b.lane, need: b.lane.needs()[0], leased: b.leased, span: b.span}
}

// end ends a job.
func (s *settlement) end(e ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, e)
}

func (s *settlement) retry(r queue.Retry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retries = append(s.retries, r)
}

// again puts a job back without a try used, because of the downstream. In an outage it stays out of the line for longer,
// so that the next probes are of other jobs.
func (s *settlement) again(l queue.Lease) {
	down := s.need.down
	wait := backoff(s.d.cfg.OverloadDelay, min(s.d.cfg.MaxDelay, decide.OverloadMost), max(0, down.Strained()-1))
	wait = max(wait, min(s.d.cfg.MaxDelay, down.ProbeDelay(s.need.kind)))
	s.retry(queue.Retry{Lease: l, NotBefore: s.d.clock.Now().Add(wait)})
}

// at puts a job back without a try used for that moment.
func (s *settlement) at(l queue.Lease, notBefore time.Time) {
	s.retry(queue.Retry{Lease: l, NotBefore: notBefore})
}

// fail uses up one of the job's tries; out of tries it is parked. The cause is in our words.
func (s *settlement) fail(l queue.Lease, cause string) {
	if l.Job.Attempts+1 >= s.d.cfg.MaxTries {
		s.park(l, "out of tries: "+cause)
		return
	}
	wait := backoff(s.d.cfg.TryDelay, s.d.cfg.MaxDelay, int(min(l.Job.Attempts, 30)))
	s.retry(queue.Retry{Lease: l, NotBefore: s.d.clock.Now().Add(wait), UsedTry: true})
}

// recipientPatience is how much longer a mailbox is waited for than a downstream's fault: with the defaults a minute at
// first and at most an hour. Greylisting lets through who comes back after 5 minutes or so; a mailbox that is full now may
// be emptied within hours, but then whoever asked has asked again.
const recipientPatience = 60

// patient puts a mail back whose recipient cannot take it now, with a try used; false when it is out of tries: it ends
// then, because nothing that an operator could do would mend a stranger's mailbox.
func (s *settlement) patient(l queue.Lease) bool {
	if l.Job.Attempts+1 >= s.d.cfg.MaxTries {
		return false
	}
	wait := backoff(recipientPatience*s.d.cfg.TryDelay, recipientPatience*s.d.cfg.MaxDelay, int(min(l.Job.Attempts, 30)))
	s.retry(queue.Retry{Lease: l, NotBefore: s.d.clock.Now().Add(wait), UsedTry: true})
	return true
}

// park sets a job aside for an operator.
func (s *settlement) park(l queue.Lease, cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parks = append(s.parks, queue.Park{Lease: l, Cause: cause})
}

// redoes bounds how often a Finish is decided again: each round one of those that race for a record wins, so only a
// fault could reach it.
const redoes = 16

// commit tells the queue. It goes on when ctx has ended: what was done must be written down.
func (s *settlement) commit(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	s.span.Settled(len(s.ends), len(s.retries), len(s.parks))
	s.finish(ctx)
	d, lane := s.d, s.lane.name
	if len(s.retries) > 0 {
		for i, err := range d.deps.Queue.Retry(ctx, s.retries) {
			if d.settled(ctx, err, lane, "retry") {
				d.metrics.retried(lane, s.retries[i].UsedTry)
			}
		}
	}
	if len(s.parks) > 0 {
		for i, err := range d.deps.Queue.Park(ctx, s.parks) {
			if d.settled(ctx, err, lane, "park") {
				d.metrics.parked(lane)
				if line := s.lane.parks; line.Due() {
					line.Write(ctx, slog.String("job", s.parks[i].Lease.Job.ID.String()), slog.String("why", s.parks[i].Cause))
				}
			}
		}
	}
}

func (s *settlement) finish(ctx context.Context) {
	d := s.d
	for round := 0; len(s.ends) > 0; round++ {
		finishes := make([]queue.Finish, len(s.ends))
		for i, e := range s.ends {
			finishes[i] = e.Finish
		}
		errs := d.deps.Queue.Finish(ctx, finishes)
		now := d.clock.Now()
		var again []ending
		for i, err := range errs {
			e := s.ends[i]
			if errors.Is(err, queue.ErrConflict) && e.redo != nil && round < redoes {
				fresh, err := e.redo(ctx)
				if err != nil {
					s.again(e.Lease)
					continue
				}
				again = append(again, fresh)
				continue
			}
			if errors.Is(err, queue.ErrTooLarge) {
				// Made of what the downstream answered, so it may be smaller the next time; never at once again.
				s.fail(e.Lease, "what follows it is too large for the queue")
				continue
			}
			if !d.settled(ctx, err, s.lane.name, "finish") {
				if err != nil && !errors.Is(err, queue.ErrLeaseLost) {
					s.again(e.Lease)
				}
				continue
			}
			s.lane.meter.Ended(now.Sub(s.leased))
			d.metrics.ended(s.lane.name, e.State, now.Sub(e.Lease.Job.AcceptTime), e.Lease.Job.Trace)
			if e.done != nil {
				e.done()
			}
		}
		s.ends = again
	}
}

// settled tells whether the queue took it, and logs what is not in the order of things.
func (d *Dispatch) settled(ctx context.Context, err error, lane reset.Lane, what string) bool {
	if err != nil && !errors.Is(err, queue.ErrLeaseLost) && !errors.Is(err, queue.ErrClosed) {
		d.log.ErrorContext(ctx, "the queue refused to settle a job", "lane", lane.String(), "what", what, "err", err)
	}
	return err == nil
}

// fate is what a call or a row of bisected calls made of one item.
type fate uint8

const (
	fateAgain  fate = iota // not the item's fault, or never sent
	fateDone               // answered
	fateFailed             // failed alone
)

// bisect calls f for the items [from, to) under the permit p, bisecting spans that fail whole for a reason that may be
// one item's fault. leases are the items', extended before each further call. Once the calls turn out to be in an outage
// no item is at fault, nor are those that have failed alone before that was known.
func (d *Dispatch) bisect(
	ctx context.Context, p *downstream.Permit, lane *lane, leases []queue.Lease, f func(ctx context.Context, from, to int) error,
) []fate {
	again := need{p.Downstream(), p.Kind()}
	fates := make([]fate, len(leases))
	type span struct{ from, to int }
	todo := []span{{0, len(leases)}}
	for calls := 4*bits.Len(uint(len(leases))) + 4; len(todo) > 0 && calls > 0; calls-- {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p == nil {
			var err error
			if p, err = d.another(ctx, again, lane, leases, s.to-s.from); err != nil {
				return fates
			}
		}
		if s.to-s.from > p.Items() {
			todo = append(todo, span{s.from + p.Items(), s.to})
			s.to = s.from + p.Items()
		}
		callCtx, called := d.deps.Tracer.Call(ctx, p.Downstream().Name(), s.to-s.from)
		c := p.DoFor(callCtx, leases[s.from].Job.ID, s.to-s.from, func(ctx context.Context) error { return f(ctx, s.from, s.to) })
		called.Outcome(c.String(), !c.Answered())
		p = nil
		switch {
		case c.Answered():
			for i := s.from; i < s.to; i++ {
				fates[i] = fateDone
			}
		case c == downstream.Outage:
			for i, fate := range fates {
				if fate == fateFailed {
					fates[i] = fateAgain
				}
			}
			return fates
		case !c.UsesTry():
			return fates
		case s.to-s.from == 1:
			fates[s.from] = fateFailed
		default:
			middle := (s.from + s.to) / 2
			todo = append(todo, span{middle, s.to}, span{s.from, middle})
		}
	}
	return fates
}

// another gets the permit for one more call of a bisected batch, in less than the time that its leases last.
func (d *Dispatch) another(
	ctx context.Context, n need, lane *lane, leases []queue.Lease, want int,
) (*downstream.Permit, error) {
	for _, err := range d.deps.Queue.Extend(ctx, leases, lane.visibility) {
		if err != nil && !errors.Is(err, queue.ErrLeaseLost) { // a superseded one may be sent: the store knows better
			return nil, err
		}
	}
	waitCtx, cancel := context.WithTimeout(ctx, lane.visibility-2*n.down.Timeout())
	defer cancel()
	return n.down.Acquire(waitCtx, downstream.Ask{Lane: lane.name, Kind: n.kind, Items: want})
}

// traced begins the span of a batch, if one of its jobs is traced.
func (d *Dispatch) traced(ctx context.Context, b *batch) (context.Context, tracing.Span) {
	if d.deps.Tracer == nil {
		return ctx, tracing.Span{}
	}
	var traces []reset.Trace
	for _, l := range b.leases {
		// Jobs of one call lie together, as a mail for each of its accounts does.
		if t := l.Job.Trace; !t.IsZero() && (len(traces) == 0 || traces[len(traces)-1] != t) {
			traces = append(traces, t)
		}
	}
	if len(traces) == 0 {
		return ctx, tracing.Span{}
	}
	return d.deps.Tracer.Batch(ctx, b.lane.name, traces, len(b.leases), b.leased.Sub(b.leases[0].Job.AcceptTime))
}

// pacedLeast is how long a lane must have waited for its turn for that to be worth a line: less is the way of any call that
// ends and lets the next one in.
const pacedLeast = 10 * time.Millisecond

// waited logs that a lane had to wait for its turn at a downstream, and what the downstream could do then.
func (d *Dispatch) waited(ctx context.Context, l *lane, down *downstream.Downstream, asked time.Time, backlog int) {
	if l.paced == nil {
		return
	}
	wait := d.clock.Now().Sub(asked)
	if wait < pacedLeast || !l.paced.Due() {
		return
	}
	s := down.Status()
	l.paced.Write(ctx, slog.String("waits_for", s.Name), slog.Duration("waited", wait.Round(time.Millisecond)), slog.Int("backlog", backlog),
		slog.Int("in_flight", s.Limits.InFlight), slog.Int("concurrency", s.Limits.Concurrency), slog.Float64("rate", s.Limits.Rate),
		slog.Float64("ramp", s.Limits.Ramp), slog.String("breaker", s.Breaker), slog.Int("strained", down.Strained()))
}

// onAllCores calls f for 0 to n-1. Verifying a token takes 50 µs, so a batch of 256 would keep its permit 13 ms before
// the store hears of it.
func onAllCores(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n/8) // a few are done before another goroutine has started
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	panics := make([]error, workers)
	for worker := range workers {
		wg.Go(func() {
			panics[worker] = downstream.Guard(func() error {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					f(int(i - 1))
				}
				return nil
			})
		})
	}
	wg.Wait()
	if err := errors.Join(panics...); err != nil {
		panic(err)
	}
}

type unmarshaler interface{ Unmarshal([]byte) error }

// open opens a job's payload into v. What cannot be opened is settled; false then.
func (d *Dispatch) open(ctx context.Context, s *settlement, l queue.Lease, v unmarshaler) bool {
	var plain []byte
	err := downstream.Guard(func() (err error) {
		plain, err = d.deps.Opener.Open(ctx, seal.BindingOf(l.Job), l.Job.Payload)
		return err
	})
	completion := l.Job.Lane == reset.LaneHash || l.Job.Lane == reset.LaneApply
	switch {
	case err == nil:
	case errors.Is(err, seal.ErrKeyGone) && completion:
		s.end(d.expired(l, nil))
		return false
	case errors.Is(err, seal.ErrKeyGone):
		s.park(l, "the payload's key is gone")
		return false
	case errors.Is(err, seal.ErrTampered):
		s.park(l, "the payload was tampered with")
		return false
	case errors.Is(err, downstream.ErrPanic):
		s.fail(l, "panic while opening the payload")
		return false
	default: // the key could not be read
		s.again(l)
		return false
	}
	if err = v.Unmarshal(plain); err != nil {
		s.park(l, "the payload is not readable")
		return false
	}
	return true
}

// follow makes a follow-up job of l's and seals its payload.
func (d *Dispatch) follow(ctx context.Context, a seal.Audience, j reset.Job, payload []byte) (reset.Job, error) {
	j.ID = reset.NewID()
	if j.AcceptTime.IsZero() {
		j.AcceptTime = d.clock.Now().Truncate(time.Microsecond)
	}
	err := downstream.Guard(func() (err error) {
		j.Payload, err = d.deps.Sealer.Seal(ctx, a, seal.BindingOf(j), payload)
		return err
	})
	return j, err
}
