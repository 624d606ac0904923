package downstream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/failure"
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
	// Codes are the failure codes that have a series of their own; a code that begins with one of them is counted there.
	Codes []string
	// OnClosed is called when the breaker closes; it must not block nor call the downstream.
	OnClosed func()
}

// Deps is what a Downstream needs.
type Deps struct {
	Clock    clock.Clock
	Metrics  *Metrics
	Register prometheus.Registerer // of the breaker's
	Logger   *slog.Logger
	// LogText tells whether what a downstream says may be logged; nil: never.
	LogText func() bool
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
	failures *failures
	// probeWaits has the waits between probes of a kind of calls that is out.
	probeWaits breaker.Config

	// holds are the goroutines that keep permits of abandoned calls.
	holds sync.WaitGroup

	mu     sync.Mutex
	pacer  *pace.Steered
	share  *fair.Scheduler
	lines  [][]*waiter // by lane, in the order of coming
	strain int         // overloads, time-outs and outages in a row
	// evidence is by kind.
	evidence [KindRevoke + 1]*evidence
	// heldOut tells that the outage began with an operator's hold.
	heldOut bool

	// state is taken inside mu or alone: the breaker tells of its changes while mu is held.
	state  sync.Mutex
	outage time.Time // since when the breaker is not closed, or something failed after a hold

	counts counter // guarded by mu
}

// New returns a downstream that works. Errors are those of the breaker, and of weights that are none.
func New(s Spec, deps Deps) (*Downstream, error) {
	lanes := len(reset.Lanes()) + 1
	weights := make([]float64, lanes)
	for l := range weights {
		weights[l] = 1
		if w, ok := s.Weights[reset.Lane(l)]; ok {
			weights[l] = w
		}
	}
	share, err := fair.New(weights...)
	if err != nil {
		return nil, fmt.Errorf("downstream %s: %w", s.Name, err)
	}
	d := &Downstream{
		name: s.Name, timeout: s.Timeout, most: s.Most, host: s.Host, cost: s.Cost, onClosed: s.OnClosed,
		clock: deps.Clock, log: deps.Logger, metrics: deps.Metrics.of(s.Name, s.Lanes), share: share,
		lines: make([][]*waiter, lanes), failures: newFailures(s, deps),
	}
	for kind := range d.evidence {
		d.evidence[kind] = newEvidence()
	}
	d.probeWaits = breaker.Config{}.WithDefaults()
	if d.most == 0 {
		d.most = MostCalls
	}
	if d.cost == nil {
		d.cost = Cost
	}
	if d.host != nil {
		if s.Pacer, err = pace.NewFixed(pace.Config{Batch: unbounded}); err != nil {
			return nil, fmt.Errorf("downstream %s: %w", s.Name, err)
		}
	}
	d.pacer = pace.NewSteered(s.Pacer)
	if s.Breaker != nil {
		c := *s.Breaker
		c.Name = s.Name
		if c.ProbeTimeout == 0 {
			c.ProbeTimeout = s.Timeout + time.Second // the call's own deadline comes first
		}
		if c.Window == 0 {
			c.Window = max(c.WithDefaults().Window, 2*s.Timeout) // or calls that hang would not be in it
		}
		d.probeWaits = c.WithDefaults()
		d.breaker, err = breaker.New(c, breaker.Deps{
			Registerer: deps.Register, Logger: deps.Logger, OnChange: d.breakerChanged,
			Cause: func() []any { return d.failures.cause(d.clock.Now()) },
		})
		if err != nil {
			return nil, fmt.Errorf("breaker of %s: %w", s.Name, err)
		}
	}
	d.showLocked()
	return d, nil
}

// unbounded is a batch that no call reaches: the host's pacer bounds it.
const unbounded = 1 << 20

// Name is that of metrics and logs.
func (d *Downstream) Name() string { return d.name }

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
	out := d.ownOut()
	if d.host != nil {
		if of := d.host.Out(); !of.IsZero() && (out.IsZero() || of.Before(out)) {
			return of
		}
	}
	return out
}

func (d *Downstream) ownOut() time.Time {
	d.state.Lock()
	defer d.state.Unlock()
	return d.outage
}

// Strained is how many overloads and time-outs came in a row.
func (d *Downstream) Strained() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.strain
}

// LogFailures logs what has failed since the last line of each class, once that is a minute ago: else the last failures of
// a row would be told with the next row only.
func (d *Downstream) LogFailures(ctx context.Context) { d.failures.flush(ctx, d.clock.Now()) }

// Wait returns when no abandoned call keeps a permit.
func (d *Downstream) Wait() { d.holds.Wait() }

// Status is what an operator sees.
type Status struct {
	Name        string
	Counts      Counts // of its calls
	Breaker     string // closed, open, half_open; none where there is none
	Forced      breaker.Force
	Limits      pace.Limits
	Mode        pace.Mode
	Override    pace.Override // of the pace, in force
	Configured  pace.Override // what is configured of it
	OutageSince time.Time     // zero while it works, and every kind of its calls
	Failures    []Failure     // of the last 5 minutes, most first
	// Misconfiguration is what must be changed before it can be used, in our words; empty while it can.
	Misconfiguration string
}

// Status tells how it fares.
func (d *Downstream) Status() Status {
	s := Status{Name: d.name, Breaker: "none", OutageSince: d.Out()}
	s.Failures = d.failures.list(d.clock.Now())
	d.mu.Lock()
	for _, e := range d.evidence {
		s.OutageSince = earlier(e.outSince(d.clock.Now()), s.OutageSince)
		if e.last.Class == failure.Config && !e.since.IsZero() && s.Misconfiguration == "" {
			s.Misconfiguration = cmp.Or(e.last.Advice, failure.Meaning(d.name, e.last.Code))
		}
	}
	d.mu.Unlock()
	if d.breaker != nil {
		s.Breaker, s.Forced = d.breaker.State().String(), d.breaker.Forced()
	}
	paced := d
	if d.host != nil { // what it may is the host's to say; what it has under way is its own
		paced = d.host
	}
	paced.mu.Lock()
	s.Limits, s.Mode, s.Override, s.Configured = paced.pacer.Limits(), paced.pacer.Mode(), paced.pacer.Override(), paced.pacer.Configured()
	paced.mu.Unlock()
	if d.host != nil {
		s.Limits.InFlight = d.Limits().InFlight
	}
	s.Counts = d.readCounts()
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
