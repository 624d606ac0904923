package downstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/fair"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// MostCalls bounds the calls in flight, each a goroutine with a batch in hand, where the pacer has no limit of its own.
const MostCalls = 1024

// The kinds of calls that share a downstream's pacer.
const (
	KindMain   pace.Kind = iota // the downstream's own work: a write, a mail, a hash
	KindLookup                  // a read of the store
	KindRevoke                  // a revocation, where the revoker is the store
)

// callCost is what a call costs beside its items, in items written; lookupCost what a look-up costs of a write. See the
// package comment.
const (
	callCost   = 6
	lookupCost = .25
)

// Cost is the default of Spec.Cost.
func Cost(kind pace.Kind, items int) float64 {
	cost := float64(callCost + items)
	if kind == KindLookup {
		cost *= lookupCost
	}
	return cost
}

// Spec is what makes a Downstream.
type Spec struct {
	Name    string        // of metrics and logs
	Timeout time.Duration // of a call
	Most    int           // calls in flight, whatever the pacer allows. Default MostCalls
	// Pacer is called under the downstream's lock only. nil with a Host.
	Pacer pace.Pacer
	// Host is the downstream that this one's calls really load; nil: itself.
	Host *Downstream
	// Breaker is nil for what cannot break. Its Name, and ProbeTimeout and Window where they are zero, are set here.
	Breaker *breaker.Config
	// Weights are the lanes' shares; lanes that are not in it weigh 1. Lane 0 is what no lane asks for.
	Weights map[reset.Lane]float64
	// Lanes are those that ask; their costs are shown.
	Lanes []reset.Lane
	// Cost is what a call of so many items costs. Default Cost.
	Cost func(kind pace.Kind, items int) float64
	// OnClosed is called when the breaker closes; it must not block nor call the downstream.
	OnClosed func()
}

// Deps is what a Downstream needs.
type Deps struct {
	Clock    clock.Clock
	Metrics  *Metrics
	Register prometheus.Registerer // of the breaker's
	Logger   *slog.Logger
}

// Downstream is a thing with its own capacity. Make it with New; it is safe for concurrent use.
type Downstream struct {
	name     string
	timeout  time.Duration
	most     int
	host     *Downstream
	cost     func(pace.Kind, int) float64
	onClosed func()
	clock    clock.Clock
	log      *slog.Logger
	breaker  *breaker.Breaker
	metrics  series

	// holds are the goroutines that keep permits of abandoned calls.
	holds sync.WaitGroup

	mu     sync.Mutex
	pacer  pace.Pacer
	share  *fair.Scheduler
	lines  [][]*waiter // by lane, in the order of coming
	strain int         // overloads and time-outs in a row

	// state is taken inside mu or alone: the breaker tells of its changes while mu is held.
	state  sync.Mutex
	outage time.Time // since when the breaker is not closed
}

// New returns a downstream that works. Errors are those of the breaker, and of weights that are none.
func New(s Spec, deps Deps) (*Downstream, error) {
	lanes := len(reset.Lanes()) + 1
	weights := make([]float64, lanes)
	for l := range weights {
		weights[l] = 1
		if w, ok := s.Weights[reset.Lane(l)]; ok { //nolint:gosec // G115: 0 to 6
			weights[l] = w
		}
	}
	share, err := fair.New(weights...)
	if err != nil {
		return nil, fmt.Errorf("downstream %s: %w", s.Name, err)
	}
	d := &Downstream{
		name: s.Name, timeout: s.Timeout, most: s.Most, host: s.Host, cost: s.Cost, onClosed: s.OnClosed, pacer: s.Pacer,
		clock: deps.Clock, log: deps.Logger, metrics: deps.Metrics.of(s.Name, s.Lanes), share: share,
		lines: make([][]*waiter, lanes),
	}
	if d.most == 0 {
		d.most = MostCalls
	}
	if d.cost == nil {
		d.cost = Cost
	}
	if d.host != nil {
		if d.pacer, err = pace.NewFixed(pace.Config{Batch: unbounded}); err != nil {
			return nil, fmt.Errorf("downstream %s: %w", s.Name, err)
		}
	}
	if s.Breaker != nil {
		c := *s.Breaker
		c.Name = s.Name
		if c.ProbeTimeout == 0 {
			c.ProbeTimeout = s.Timeout + time.Second // the call's own deadline comes first
		}
		if c.Window == 0 {
			c.Window = max(c.WithDefaults().Window, 2*s.Timeout) // or calls that hang would not be in it
		}
		d.breaker, err = breaker.New(c, breaker.Deps{Registerer: deps.Register, Logger: deps.Logger, OnChange: d.breakerChanged})
		if err != nil {
			return nil, fmt.Errorf("breaker of %s: %w", s.Name, err)
		}
	}
	d.showLocked()
	return d, nil
}

// unbounded is a batch that no call reaches: the host's pacer bounds it.
const unbounded = 1 << 20

// Timeout is the deadline of a call.
func (d *Downstream) Timeout() time.Duration { return d.timeout }

// breakerChanged notes since when the downstream is out. Changes may be told out of order, so it asks for the state that
// holds now. Who waits for a permit need not be told: the breaker changes only while it is asked, or told of a call's
// end, and after both the lines are served.
func (d *Downstream) breakerChanged(_, _ breaker.State) {
	now := d.clock.Now()
	closed := d.breaker.State() == breaker.Closed
	d.state.Lock()
	switch {
	case closed:
		d.outage = time.Time{}
	case d.outage.IsZero():
		d.outage = now
	}
	d.state.Unlock()
	if closed && d.onClosed != nil {
		d.onClosed()
	}
}

// Out tells since when the downstream, or what it stands on, is not working; zero while both work.
func (d *Downstream) Out() time.Time {
	d.state.Lock()
	out := d.outage
	d.state.Unlock()
	if d.host != nil {
		if of := d.host.Out(); !of.IsZero() && (out.IsZero() || of.Before(out)) {
			return of
		}
	}
	return out
}

// Strained is how many overloads and time-outs came in a row.
func (d *Downstream) Strained() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.strain
}

// Wait returns when no abandoned call keeps a permit.
func (d *Downstream) Wait() { d.holds.Wait() }

// Status is what an operator sees.
type Status struct {
	Name        string
	Breaker     string // closed, open, half_open; none where there is none
	Limits      pace.Limits
	OutageSince time.Time // zero while it works
}

// Status tells how it fares.
func (d *Downstream) Status() Status {
	s := Status{Name: d.name, Breaker: "none", OutageSince: d.Out()}
	if d.breaker != nil {
		s.Breaker = d.breaker.State().String()
	}
	s.Limits = d.Limits()
	if d.host != nil { // what it may is the host's to say; what it has under way is its own
		own := s.Limits.InFlight
		s.Limits = d.host.Limits()
		s.Limits.InFlight = own
	}
	return s
}

// Limits is what the pacer presently allows.
func (d *Downstream) Limits() pace.Limits {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pacer.Limits()
}

// Free is how many calls could begin now; 0 where there is no bound, and so no number.
func (d *Downstream) Free() int {
	if d.host != nil {
		return d.host.Free()
	}
	l := d.Limits()
	return max(0, l.Concurrency-l.InFlight)
}

func (d *Downstream) showLocked() {
	l := d.pacer.Limits()
	d.metrics.inFlight.Set(float64(l.InFlight))
	d.metrics.concurrency.Set(float64(l.Concurrency))
	d.metrics.rate.Set(l.Rate)
	d.metrics.ramp.Set(l.Ramp)
}

// Ask is what a permit is asked for.
type Ask struct {
	Lane  reset.Lane // whose share pays; 0: nobody's in particular
	Kind  pace.Kind
	Items int // 1 to as many as the call could carry
}

// waiter is one Acquire; its fields below wake are guarded by Downstream.mu.
type waiter struct {
	ask  Ask
	wake chan struct{} // has a value when one of the fields below has changed

	permit *Permit
	retry  time.Time // when the lines must be served again; zero: when a call ends
}

func (w *waiter) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // it has not looked since the last one
	}
}

// Acquire waits for a permit. The error is only ever ctx's.
func (d *Downstream) Acquire(ctx context.Context, a Ask) (*Permit, error) {
	if d.host == nil {
		return d.acquire(ctx, a)
	}
	onHost := a
	onHost.Kind = KindRevoke
	for {
		look, err := d.acquire(ctx, a)
		if err != nil {
			return nil, err
		}
		look.Release()
		host, err := d.host.acquire(ctx, onHost)
		if err != nil {
			return nil, err
		}
		if p := d.now(a); p != nil {
			p.host = host
			return p, nil
		}
		host.Release() // its breaker has opened meanwhile, or another probe is out
	}
}

// now is a permit without waiting, nil if there is none to be had.
func (d *Downstream) now(a Ask) *Permit {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, _ := d.try(a)
	return p
}

func (d *Downstream) acquire(ctx context.Context, a Ask) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{ask: a, wake: make(chan struct{}, 1)}
	d.mu.Lock()
	d.lines[a.Lane] = append(d.lines[a.Lane], w)
	d.share.Wait(int(a.Lane))
	d.serve()
	d.mu.Unlock()
	for {
		d.mu.Lock()
		p, retry := w.permit, w.retry
		d.mu.Unlock()
		if p != nil {
			return p, nil
		}
		if err := d.pause(ctx, w, retry); err != nil {
			d.leave(w)
			return nil, err
		}
	}
}

// pause waits until the waiter is told something, or serves the lines once its time has come.
func (d *Downstream) pause(ctx context.Context, w *waiter, retry time.Time) error {
	var fired <-chan time.Time
	if !retry.IsZero() {
		t := d.clock.NewTimer(retry.Sub(d.clock.Now()))
		defer t.Stop()
		fired = t.C()
	}
	select {
	case <-w.wake:
		return nil
	case <-fired:
		d.mu.Lock()
		defer d.mu.Unlock()
		w.retry = time.Time{} // should another be next by now, this one has no time any more
		d.serve()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave takes a waiter out of its line, or gives back what it was handed meanwhile.
func (d *Downstream) leave(w *waiter) {
	d.mu.Lock()
	if w.permit != nil {
		d.mu.Unlock()
		w.permit.Release()
		return
	}
	defer d.mu.Unlock()
	line := d.lines[w.ask.Lane]
	d.lines[w.ask.Lane] = slices.DeleteFunc(line, func(o *waiter) bool { return o == w })
	d.share.Leave(int(w.ask.Lane))
	d.serve() // it may have been the one with the timer
}

// serve hands out what there is to those who wait, in the order of the share. Called under mu, after everything that may
// have changed what there is or who waits.
func (d *Downstream) serve() {
	for {
		lane, ok := d.share.Next()
		if !ok {
			return
		}
		w := d.lines[lane][0]
		p, retry := d.try(w.ask)
		if p == nil {
			// Nobody overtakes: a lane that asks for little would keep one that asks for much from ever getting it.
			if !retry.Equal(w.retry) {
				w.retry = retry
				w.poke()
			}
			return
		}
		d.lines[lane] = d.lines[lane][1:]
		p.charged = d.cost(p.kind, p.granted)
		d.share.Serve(lane, p.charged)
		w.permit = p
		w.poke()
	}
}

// minWait keeps a controller that answers with a time just past from spinning.
const minWait = time.Millisecond

// try asks pacer and breaker once, under mu; without a permit it tells when to ask again (zero: when a call ends).
func (d *Downstream) try(a Ask) (p *Permit, retry time.Time) {
	now := d.clock.Now()
	if d.pacer.Limits().InFlight >= d.most {
		return nil, time.Time{}
	}
	items := max(1, a.Items)
	if d.breaker != nil && d.breaker.State() != breaker.Closed {
		items = 1 // a probe risks as little as it can
	}
	v := d.pacer.Ask(now, a.Kind, items)
	if !v.Go {
		return nil, later(now, v.RetryAt)
	}
	p = &Permit{d: d, lane: a.Lane, kind: a.Kind, granted: v.Items, report: func(time.Time, breaker.Result) {}}
	p.begin()
	if d.breaker != nil {
		done, err := d.breaker.Allow(now)
		if err != nil {
			d.pacer.Done(now, pace.Call{Kind: a.Kind, Start: now, Unused: v.Items, Outcome: pace.OutcomeCanceled})
			at := now.Add(time.Second)
			var open *breaker.OpenError
			if errors.As(err, &open) && !open.RetryAt.IsZero() {
				at = open.RetryAt
			}
			return nil, later(now, at)
		}
		p.report = done
	}
	d.showLocked()
	return p, time.Time{}
}

func later(now, at time.Time) time.Time {
	if least := now.Add(minWait); !at.IsZero() && at.Before(least) {
		return least
	}
	return at
}
