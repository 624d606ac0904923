package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
)

// class is how a call ended.
type class uint8

const (
	classOK       class = iota
	classOverload       // it says that it cannot now
	classTimeout
	classError    // it answered, but not what was asked for
	classCanceled // ended by us
	classUnused   // the permit was given back without a call
)

func (c class) String() string {
	return [...]string{"ok", "overload", "timeout", "error", "canceled", "unused"}[c]
}

// usesTry tells whether the class says something about the items rather than about the downstream.
func (c class) usesTry() bool { return c == classError }

func (c class) outcome() pace.Outcome {
	switch c {
	case classOK:
		return pace.OutcomeOK
	case classOverload:
		return pace.OutcomeOverload
	case classTimeout:
		return pace.OutcomeTimeout
	case classError:
		return pace.OutcomeError
	default:
		return pace.OutcomeCanceled
	}
}

func (c class) result() breaker.Result {
	switch c {
	case classOK, classError: // an error that is not about load is an answer: one poisonous job must not stop a lane
		return breaker.Success
	case classOverload, classTimeout:
		return breaker.Failure
	default:
		return breaker.Ignored
	}
}

// classify sorts a downstream's error. Configuration errors count as overload: no retry of one job mends them, and
// using up every job's tries until somebody creates the missing table would park the whole queue.
func classify(err error) class {
	switch {
	case err == nil:
		return classOK
	case errors.Is(err, context.DeadlineExceeded):
		return classTimeout
	case errors.Is(err, credstore.ErrOverloaded), errors.Is(err, credstore.ErrConfig), errors.Is(err, mail.ErrOverloaded):
		return classOverload
	default:
		return classError
	}
}

// errPanic stands for a panic in a call or in the handling of one job.
var errPanic = errors.New("dispatch: panic")

// guard turns a panic into an error. The panic's value may quote what the job carries, so only its type is kept.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %T", errPanic, v)
		}
	}()
	return f()
}

// downstream is a thing with its own capacity. It serialises its pacer, hands permits out in the order of asking and
// wakes who waits for one.
type downstream struct {
	name    string
	timeout time.Duration
	most    int // calls in flight, whatever the pacer allows
	clock   clock.Clock
	breaker *breaker.Breaker // nil for the hash pool
	metrics downstreamMetrics

	// turn is held while waiting for a permit. Senders on a channel wait in order, which a mutex does not promise.
	turn chan struct{}

	mu     sync.Mutex
	pacer  pace.Pacer
	strain int // overloads and time-outs in a row

	// news is taken inside mu or alone: the breaker tells of its changes while mu is held.
	news    sync.Mutex
	changed chan struct{} // closed and replaced when a call ends or the breaker changes
	outage  time.Time     // since when the breaker is not closed
}

// mostCalls bounds the calls in flight, each a goroutine with a batch in hand, where the pacer has no limit of its own.
const mostCalls = 1024

// downstreamSpec is what makes a downstream.
type downstreamSpec struct {
	at      **downstream
	name    string
	timeout time.Duration
	pacer   pace.Pacer
	most    int
}

func newDownstream(s downstreamSpec, c clock.Clock, m downstreamMetrics) *downstream {
	d := &downstream{
		name: s.name, timeout: s.timeout, most: s.most, clock: c, pacer: s.pacer, metrics: m,
		turn: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	d.show()
	return d
}

// The kinds of calls that share a downstream's pacer.
const (
	kindMain   pace.Kind = iota // the downstream's own work: a write, a mail, a hash
	kindLookup                  // a read of the store
)

// need is a permit that a batch takes.
type need struct {
	down *downstream
	kind pace.Kind
}

// permit is the right to make one call. It is ended exactly once.
type permit struct {
	d        *downstream
	kind     pace.Kind
	granted  int // items
	start    time.Time
	deadline time.Time
	report   func(time.Time, breaker.Result)
}

// minWait keeps a controller that answers with a time just past from spinning.
const minWait = time.Millisecond

// acquire waits for a permit for a call of 1 to want items.
func (d *downstream) acquire(ctx context.Context, kind pace.Kind, want int) (*permit, error) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-d.turn }()
	for {
		p, wait, changed := d.try(kind, want)
		if p != nil {
			return p, nil
		}
		if err := d.pause(ctx, wait, changed); err != nil {
			return nil, err
		}
	}
}

// pause waits for a change, or until the wait (if positive) is over.
func (d *downstream) pause(ctx context.Context, wait time.Duration, changed <-chan struct{}) error {
	var fired <-chan time.Time
	if wait > 0 {
		t := d.clock.NewTimer(wait)
		defer t.Stop()
		fired = t.C()
	}
	select {
	case <-changed:
		return nil
	case <-fired:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try asks pacer and breaker once; without a permit it tells how long to wait at most (0: until changed).
func (d *downstream) try(kind pace.Kind, items int) (p *permit, wait time.Duration, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed = d.watch() // before the verdict, so that no change after it is missed
	now := d.clock.Now()
	if d.pacer.Limits().InFlight >= d.most {
		return nil, 0, changed
	}
	if d.breaker != nil && d.breaker.State() != breaker.Closed {
		items = 1 // a probe risks as little as it can
	}
	v := d.pacer.Ask(now, kind, items)
	if !v.Go {
		if v.RetryAt.IsZero() {
			return nil, 0, changed
		}
		return nil, max(minWait, v.RetryAt.Sub(now)), changed
	}
	p = &permit{d: d, kind: kind, granted: v.Items, start: now, deadline: now.Add(d.timeout), report: func(time.Time, breaker.Result) {}}
	if d.breaker != nil {
		done, err := d.breaker.Allow(now)
		if err != nil {
			d.pacer.Done(now, pace.Call{Kind: kind, Start: now, Unused: v.Items, Outcome: pace.OutcomeCanceled})
			var open *breaker.OpenError
			wait = time.Second
			if errors.As(err, &open) && !open.RetryAt.IsZero() {
				wait = max(minWait, open.RetryAt.Sub(now))
			}
			return nil, wait, changed
		}
		p.report = done
	}
	d.showLocked()
	return p, 0, nil
}

// begin starts the call's clock: the time between the permit and the lease is not the downstream's.
func (p *permit) begin() {
	p.start = p.d.clock.Now()
	p.deadline = p.start.Add(p.d.timeout)
}

// end gives the permit back.
func (p *permit) end(items int, c class) {
	d := p.d
	now := d.clock.Now()
	d.mu.Lock()
	// No probe is out while the breaker is open: the call began before, and says nothing more. To report it would
	// even end the wait, because gobreaker looks at its own, shorter one with each report.
	before := breaker.Closed
	if d.breaker != nil {
		before = d.breaker.State()
	}
	if before != breaker.Open {
		p.report(now, c.result())
	}
	d.pacer.Done(now, pace.Call{
		Kind: p.kind, Start: p.start, Items: items, Unused: p.granted - items, Outcome: c.outcome(),
	})
	if before != breaker.Closed && d.breaker.State() == breaker.Closed {
		d.pacer.Resume(now)
	}
	d.showLocked()
	d.mu.Unlock()
	d.wake()
}

// seen counts a call and its strain at the moment when it ends, which for an abandoned one is before its permit.
func (d *downstream) seen(c class, took time.Duration, items int) {
	d.metrics.calls[c].Inc()
	d.metrics.seconds.Observe(took.Seconds())
	d.metrics.items.Observe(float64(items))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c {
	case classOK, classError:
		d.strain = 0
	case classOverload, classTimeout:
		d.strain++
	}
}

// strained is how many overloads came in a row.
func (d *downstream) strained() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.strain
}

// watch returns a channel that is closed at the next change.
func (d *downstream) watch() <-chan struct{} {
	d.news.Lock()
	defer d.news.Unlock()
	return d.changed
}

func (d *downstream) wake() {
	d.news.Lock()
	defer d.news.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// breakerChanged notes since when the downstream is out and wakes those who wait. Changes may be told out of order, so
// it asks for the state that holds now.
func (d *downstream) breakerChanged() {
	now := d.clock.Now()
	d.news.Lock()
	switch {
	case d.breaker.State() == breaker.Closed:
		d.outage = time.Time{}
	case d.outage.IsZero():
		d.outage = now
	}
	d.news.Unlock()
	d.wake()
}

// out tells since when the downstream is not working; zero while it works.
func (d *downstream) out() time.Time {
	d.news.Lock()
	defer d.news.Unlock()
	return d.outage
}

func (d *downstream) show() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.showLocked()
}

func (d *downstream) showLocked() {
	l := d.pacer.Limits()
	d.metrics.inFlight.Set(float64(l.InFlight))
	d.metrics.concurrency.Set(float64(l.Concurrency))
	d.metrics.rate.Set(l.Rate)
	d.metrics.ramp.Set(l.Ramp)
}

// do makes one call under the permit and ends it, at once or, if the downstream may still be at work, at the deadline.
func (d *Dispatch) do(ctx context.Context, p *permit, items int, f func(context.Context) error) class {
	p.begin()
	callCtx, cancel := context.WithTimeout(ctx, p.d.timeout)
	defer cancel()
	err := guard(func() error { return f(callCtx) })
	c := classify(err)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		c = classCanceled
	case callCtx.Err() != nil:
		c = classTimeout
	}
	now := d.clock.Now()
	p.d.seen(c, now.Sub(p.start), items)
	if c != classOK && c != classCanceled {
		d.log.Debug("call failed", "downstream", p.d.name, "outcome", c.String(), "items", items)
	}
	if left := p.deadline.Sub(now); left > 0 && (c == classTimeout || c == classCanceled) {
		until := d.clock.NewTimer(left) // here: until the goroutine runs the clock may have moved on
		d.holds.Go(func() {
			defer until.Stop()
			select {
			case <-until.C():
			case <-ctx.Done(): // ours: nothing will ask for this permit again
			}
			p.end(items, c)
		})
		return c
	}
	p.end(items, c)
	return c
}
