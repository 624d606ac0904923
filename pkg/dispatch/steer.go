package dispatch

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// What cannot be steered.
var (
	// ErrUnknown is a lane or a downstream that is not worked here.
	ErrUnknown = errors.New("dispatch: is not worked here")
	// ErrNotHot is a change of the configuration that needs a restart.
	ErrNotHot = errors.New("cannot change while it runs")
	// ErrNoBreaker is a downstream without one.
	ErrNoBreaker = downstream.ErrNoBreaker
	// ErrNoPace is a downstream whose calls are another's.
	ErrNoPace = downstream.ErrNoPace
)

// knobs are what operators and reloads have set.
type knobs struct {
	mu         sync.Mutex // one change at a time
	configured Config
	weights    map[reset.Lane]float64 // overrides
	identifier Budget                 // override; zero: none

	budgets atomic.Pointer[budgets] // in force
	logText atomic.Bool             // what downstreams say may be logged
}

// budgets are those of link mails.
type budgets struct{ identifier, account, recipient Budget }

func (c Config) budgets() *budgets { return &budgets{c.Identifier, c.Account, c.Recipient} }

func (d *Dispatch) lane(name reset.Lane) (*lane, error) {
	i := slices.IndexFunc(d.lanes, func(l *lane) bool { return l.name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: lane %s", ErrUnknown, name)
	}
	return d.lanes[i], nil
}

func (d *Dispatch) downstream(name string) (*downstream.Downstream, error) {
	for _, s := range d.downstreams() {
		if s.Name() == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: downstream %.40q", ErrUnknown, name)
}

// PauseLane stops leasing jobs of a lane, or begins again. Once it has returned no more are leased; those that were go on,
// and sealed passwords still expire.
func (d *Dispatch) PauseLane(name reset.Lane, paused bool) error {
	l, err := d.lane(name)
	if err != nil {
		return err
	}
	d.setPaused(l, paused)
	// Waits for a lease that was under way; without knobs.mu, or a disk that hangs would hide the state from who looks for it.
	l.leasing.Lock()
	defer l.leasing.Unlock()
	return nil
}

func (d *Dispatch) setPaused(l *lane, paused bool) {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	defer d.showLanes() // after the lanes' own lock is released
	d.mu.Lock()
	defer d.mu.Unlock()
	if paused != l.paused.IsZero() {
		return
	}
	l.paused = time.Time{}
	if paused {
		l.paused = d.clock.Now()
	}
	d.announceLocked()
}

// pausedSince is since when the lane is paused; zero while it is not.
func (d *Dispatch) pausedSince(l *lane) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.paused
}

// SetLaneWeight overrides a lane's share; 0 lifts that.
func (d *Dispatch) SetLaneWeight(name reset.Lane, weight float64) error {
	if _, err := d.lane(name); err != nil {
		return err
	}
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	weights := maps.Clone(d.knobs.weights)
	if weights == nil {
		weights = make(map[reset.Lane]float64)
	}
	if weight == 0 {
		delete(weights, name)
	} else {
		weights[name] = weight
	}
	if err := d.reweigh(d.knobs.configured, weights); err != nil {
		return err
	}
	d.knobs.weights = weights
	d.showLanes()
	return nil
}

// reweigh puts weights into force.
func (d *Dispatch) reweigh(c Config, overrides map[reset.Lane]float64) error {
	weights := maps.Clone(c.Weights)
	maps.Copy(weights, overrides)
	c.Weights = weights
	if err := c.Validate(); err != nil {
		return err
	}
	for _, s := range d.downstreams() {
		for l, w := range weights {
			if err := s.SetWeight(l, w); err != nil {
				return fmt.Errorf("dispatch: %w", err)
			}
		}
	}
	return nil
}

// SetPace overrides how fast a downstream is fed; the zero Override lifts that.
func (d *Dispatch) SetPace(name string, o pace.Override) error {
	s, err := d.downstream(name)
	if err != nil {
		return err
	}
	if err := s.SetPace(o); err != nil {
		return fmt.Errorf("dispatch: %w", err)
	}
	return nil
}

// ForceBreaker holds a downstream's breaker open or closed; breaker.ForceNone lets go of it.
func (d *Dispatch) ForceBreaker(name string, f breaker.Force) error {
	s, err := d.downstream(name)
	if err != nil {
		return err
	}
	if err := s.ForceBreaker(f); err != nil {
		return fmt.Errorf("dispatch: %w", err)
	}
	return nil
}

// SetStarved says whether this process is short of processor time: no pace is raised then on what was measured. It may be called
// again with the same value, and is to be while it lasts: a pacer that a reload brought knows it from the next call on.
func (d *Dispatch) SetStarved(starved bool) {
	for _, s := range d.downstreams() {
		s.SetStarved(starved)
	}
}

// SetIdentifierBudget overrides how many link mails one identifier gets; the zero Budget lifts that. What was mailed counts
// on: who has used up the old budget has used up as much time of the new one.
func (d *Dispatch) SetIdentifierBudget(b Budget) error {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	c := d.knobs.configured
	c.Identifier = b.or(c.Identifier)
	if err := c.Validate(); err != nil {
		return err
	}
	d.knobs.identifier = b
	d.knobs.budgets.Store(c.budgets())
	return nil
}

// IdentifierBudget returns the budget in force and the one that is configured.
func (d *Dispatch) IdentifierBudget() (inForce, configured Budget) {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	return d.knobs.budgets.Load().identifier, d.knobs.configured.Identifier
}

// hot are the fields of Config that may change while it runs.
func hot(field string) bool {
	switch field {
	case "Identifier", "Account", "Recipient", "MailBudget", "Weights", "LogDownstreamText":
		return true
	default:
		return false
	}
}

// CanReconfigure tells whether Reconfigure would do; the error names the field that needs a restart (ErrNotHot), or that is
// wrong.
func (d *Dispatch) CanReconfigure(c Config) error {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	return d.canReconfigure(c.WithDefaults())
}

func (d *Dispatch) canReconfigure(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	before, after := reflect.ValueOf(d.knobs.configured), reflect.ValueOf(c)
	for i := range before.NumField() {
		name := before.Type().Field(i).Name
		if !hot(name) && !reflect.DeepEqual(before.Field(i).Interface(), after.Field(i).Interface()) {
			return fmt.Errorf("dispatch: %s %w", name, ErrNotHot)
		}
	}
	return nil
}

// Reconfigure takes another configuration over: lanes' weights, mail budgets, those of identifiers, accounts and recipients,
// and whether downstreams' words are logged; overrides stay in force. With an error, which is CanReconfigure's, nothing has changed.
func (d *Dispatch) Reconfigure(c Config) error {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	c = c.WithDefaults()
	if err := d.canReconfigure(c); err != nil {
		return err
	}
	if err := d.reweigh(c, d.knobs.weights); err != nil {
		return err
	}
	d.knobs.configured = c
	c.Identifier = d.knobs.identifier.or(c.Identifier)
	d.knobs.budgets.Store(c.budgets())
	d.knobs.logText.Store(c.LogDownstreamText)
	for _, l := range d.lanes {
		if l.budget != nil {
			l.budget.Configure(d.clock.Now(), c.MailBudget)
		}
	}
	d.showLanes()
	return nil
}

// ReconfigurePacers takes over what is configured of pacers that have not been asked yet, each nil for no change; overrides
// stay in force, and what was measured stays. The errors are ErrNoPace, where the revoker is the store, and
// pace.ErrNotSteerable; then nothing has changed.
func (d *Dispatch) ReconfigurePacers(p Pacers) error {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	if p.Revoker != nil && d.deps.Pacers.Revoker == nil {
		return fmt.Errorf("dispatch: revoker: %w", ErrNoPace)
	}
	of := map[*downstream.Downstream]pace.Pacer{d.store: p.Store, d.mail: p.Mail, d.revoker: p.Revoker, d.hashPool: p.HashPool}
	for s, p := range of {
		if p != nil && (!pace.Steerable(p) || !s.Steerable()) {
			return fmt.Errorf("dispatch: %s: %w", s.Name(), pace.ErrNotSteerable)
		}
	}
	for s, p := range of {
		if p == nil {
			continue
		}
		if err := s.Repace(p); err != nil {
			return fmt.Errorf("dispatch: %w", err)
		}
	}
	return nil
}

// outage is since when any downstream of the lane is out, or the lane is paused; zero while all work. A pause is as long as
// it has been so far, like any outage: nobody knows its end, and an operator may lift it at any time.
func (d *Dispatch) outage(l *lane) time.Time {
	since := d.pausedSince(l)
	if l.name != reset.LaneMail {
		if out := d.book.UnknownSince(); !out.IsZero() && (since.IsZero() || out.Before(since)) {
			since = out
		}
	}
	for _, n := range l.needs() {
		if out := n.down.OutOf(n.kind); !out.IsZero() && (since.IsZero() || out.Before(since)) {
			since = out
		}
	}
	return since
}

// Downstream is what an operator sees of one.
type Downstream = downstream.Status

// Failure is one class of a downstream's failures, over the last 5 minutes.
type Failure = downstream.Failure

// Status tells how the downstreams fare.
func (d *Dispatch) Status() []Downstream {
	var all []Downstream
	for _, s := range d.downstreams() {
		status := s.Status()
		if s == d.store {
			status.Misconfiguration = cmp.Or(d.book.Misconfiguration(), status.Misconfiguration)
		}
		all = append(all, status)
	}
	return all
}

// LaneStatus is what an operator has set of one lane.
type LaneStatus struct {
	Lane reset.Lane
	// PausedSince is when it was paused; zero while it is not.
	PausedSince time.Time
	// Weight is its share in force, Configured the one without an override.
	Weight, Configured float64
}

// Lanes tells how the lanes are steered.
func (d *Dispatch) Lanes() []LaneStatus {
	d.knobs.mu.Lock()
	defer d.knobs.mu.Unlock()
	return d.lanesLocked()
}

func (d *Dispatch) lanesLocked() []LaneStatus {
	all := make([]LaneStatus, 0, len(d.lanes))
	for _, l := range d.lanes {
		s := LaneStatus{Lane: l.name, PausedSince: d.pausedSince(l), Configured: d.knobs.configured.Weights[l.name]}
		s.Weight = s.Configured
		if w, ok := d.knobs.weights[l.name]; ok {
			s.Weight = w
		}
		all = append(all, s)
	}
	return all
}

// showLanes sets the metrics of the lanes; called under knobs.mu.
func (d *Dispatch) showLanes() {
	for _, s := range d.lanesLocked() {
		paused := 0.
		if !s.PausedSince.IsZero() {
			paused = 1
		}
		d.metrics.paused.WithLabelValues(s.Lane.String()).Set(paused)
		d.metrics.weight.WithLabelValues(s.Lane.String()).Set(s.Weight)
	}
}
