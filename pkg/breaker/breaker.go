package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Result is how a call ended, as far as the downstream's health is concerned.
type Result uint8

// The results.
const (
	Success Result = iota // the downstream answered, also with faults of single items
	Failure               // it could not take the call: overload, time-out, connection refused
	Ignored               // the call says nothing about it: the caller gave up, nothing was sent
)

// State is the state of a Breaker.
type State uint8

// The states.
const (
	Closed State = iota
	HalfOpen
	Open
)

// String returns the value of the metric label.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case HalfOpen:
		return "half_open"
	case Open:
		return "open"
	default:
		return "unknown"
	}
}

// OpenError says that a call must not be made now.
type OpenError struct {
	Name string
	// RetryAt is when to ask again; a probe that is out now may end before.
	RetryAt time.Time
}

// Error implements error.
func (e *OpenError) Error() string {
	return fmt.Sprintf("breaker: %s is not taking calls until %s", e.Name, e.RetryAt.Format(time.RFC3339Nano))
}

// The window's resolution, and what gobreaker is told of a call.
const buckets = 10

var (
	errFailure = errors.New("failure")
	errIgnored = errors.New("ignored")
)

// jitter is the spread of the wait around its nominal length.
const jitter = .2

// Breaker guards one downstream. Make it with New; it is safe for concurrent use.
type Breaker struct {
	config   Config
	log      *slog.Logger
	random   func() float64
	onChange func(from, to State)
	cause    func() []any
	metrics  *metrics

	mu      sync.Mutex
	inner   *gobreaker.TwoStepCircuitBreaker[struct{}] // replaced where counting begins anew
	forced  Force
	told    time.Time // when it was last logged that a breaker held closed would have opened
	now     time.Time // the latest that was passed in
	state   State
	probe   *call     // the one that is out, while HalfOpen
	reopens int       // times it opened since it was last closed for Calm
	until   time.Time // Open: when a probe may go out
	opened  time.Time // when it was last logged as a warning that it opened
	closed  time.Time // when it closed last; zero before its first opening
	epoch   int       // changes of state
	failed  int       // failures in a row since the last one
	changes []change  // made under mu, told after it
}

type change struct {
	from, to State
	by       Force // what it was held at
	quiet    bool  // a probe went out, or failed again within reopenEvery
}

// call is one call that was let through; guarded by Breaker.mu.
type call struct {
	report   func(error) // nil once it has reported
	inner    *gobreaker.TwoStepCircuitBreaker[struct{}]
	epoch    int       // when it was let through
	deadline time.Time // probes only
}

// New returns a closed breaker. Errors are those of Config.Validate, or of registering the metrics.
func New(config Config, deps Deps) (*Breaker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("breaker: %w", err)
	}
	b := &Breaker{
		config: config.WithDefaults(), log: deps.Logger, random: deps.Random, onChange: deps.OnChange,
		cause: deps.Cause,
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.random == nil {
		b.random = rand.Float64
	}
	b.renew()
	b.metrics = newMetrics(b)
	if deps.Registerer != nil {
		if err := b.metrics.register(deps.Registerer); err != nil {
			return nil, fmt.Errorf("breaker: register metrics of %s: %w", b.config.Name, err)
		}
	}
	return b, nil
}

// renew makes counting begin anew, closed. What calls let through before it come to is no longer counted.
func (b *Breaker) renew() {
	b.inner = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         b.config.Name,
		MaxRequests:  uint32(b.config.Probes), // Validate bounds it
		Interval:     b.config.Window,
		BucketPeriod: b.config.Window / buckets,
		// It is asked again only at `until`; its own wait must have passed by then.
		Timeout:       time.Nanosecond,
		ReadyToTrip:   b.readyToTrip,
		OnStateChange: b.changed,
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return errors.Is(err, errIgnored) },
	})
}

// Allow asks to make a call at now. The error is an *OpenError. Otherwise done reports the call's end, once; later
// calls of done do nothing, and neither does a probe's after its deadline.
func (b *Breaker) Allow(now time.Time) (done func(now time.Time, r Result), err error) {
	b.mu.Lock()
	defer b.unlock()
	b.advance(now)
	if b.forced == ForceOpen {
		return nil, &OpenError{Name: b.config.Name, RetryAt: b.now.Add(forcedRetry)}
	}
	if b.state == Open && b.now.Before(b.until) {
		return nil, &OpenError{Name: b.config.Name, RetryAt: b.until}
	}
	if b.probe != nil {
		return nil, &OpenError{Name: b.config.Name, RetryAt: b.probe.deadline}
	}
	report, err := b.inner.Allow() // Open turns HalfOpen here
	if err != nil {
		// Only where gobreaker's clock stands still or goes back: it still sees its wait of a nanosecond.
		return nil, &OpenError{Name: b.config.Name, RetryAt: b.now.Add(b.config.OpenWait)}
	}
	c := &call{report: report, inner: b.inner, epoch: b.epoch}
	if b.state == HalfOpen {
		c.deadline = b.now.Add(b.config.ProbeTimeout)
		b.probe = c
	}
	return func(now time.Time, r Result) {
		b.mu.Lock()
		defer b.unlock()
		b.advance(now) // first: a probe that reports after its deadline has failed
		b.end(c, r)
	}, nil
}

// State returns the state as of the last call that passed a time in.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// advance takes note of the time: an overdue probe has failed, a calm time forgives the reopens.
func (b *Breaker) advance(now time.Time) {
	if now.After(b.now) {
		b.now = now
	}
	if b.probe != nil && !b.now.Before(b.probe.deadline) {
		b.log.Warn("probe did not report in time", "downstream", b.config.Name, "timeout", b.config.ProbeTimeout)
		b.end(b.probe, Failure)
	}
	if b.state == Closed && b.now.Sub(b.closed) >= b.config.Calm {
		b.reopens = 0
	}
}

func (b *Breaker) end(c *call, r Result) {
	if c.report == nil {
		return
	}
	report := c.report
	c.report = nil
	if b.probe == c {
		b.probe = nil
	}
	if c.inner != b.inner { // counting has begun anew since
		return
	}
	// A call that began before the opening: gobreaker would take it for the end of its wait of a nanosecond.
	if c.deadline.IsZero() && b.state != Closed {
		return
	}
	current := c.epoch == b.epoch
	switch r {
	case Success:
		if current {
			b.failed = 0
		}
		report(nil)
	case Failure:
		if current {
			b.failed++
		}
		report(errFailure)
	default:
		report(errIgnored)
	}
}

// readyToTrip is called by gobreaker after a failure while Closed.
func (b *Breaker) readyToTrip(counts gobreaker.Counts) bool {
	if b.forced == ForceOpen {
		return true
	}
	trips := b.trips(counts)
	if trips && b.forced == ForceClosed {
		b.endure()
		return false
	}
	return trips
}

func (b *Breaker) trips(counts gobreaker.Counts) bool {
	// Not gobreaker's own count, which forgets with its window: calls that hang for longer than that would never trip it.
	if b.failed >= b.config.Consecutive {
		return true
	}
	// Requests also counts calls that have not ended.
	ended := float64(counts.TotalFailures) + float64(counts.TotalSuccesses)
	return ended >= float64(b.config.MinVolume) && float64(counts.TotalFailures) >= b.config.FailureShare*ended
}

// changed is called by gobreaker, always within one of this package's calls, so under mu.
func (b *Breaker) changed(_ string, _, to gobreaker.State) { b.enter(stateOf(to)) }

func (b *Breaker) enter(to State) {
	from := b.state
	b.state = to
	b.epoch++
	b.failed = 0
	switch to {
	case Open:
		b.until = b.now.Add(b.openWait())
		b.reopens++
	case Closed:
		b.closed = b.now
	case HalfOpen:
	}
	if to != HalfOpen {
		b.probe = nil
	}
	quiet := to == HalfOpen || from == HalfOpen && to == Open && b.now.Sub(b.opened) < reopenEvery
	if to == Open && !quiet {
		b.opened = b.now
	}
	b.changes = append(b.changes, change{from, to, b.forced, quiet})
}

// openWait doubles with every opening since it was last closed for long.
func (b *Breaker) openWait() time.Duration {
	wait := b.config.OpenWait
	for i := 0; i < b.reopens && wait < b.config.MaxOpenWait; i++ {
		wait *= 2
	}
	wait = min(wait, b.config.MaxOpenWait)
	return time.Duration(float64(wait) * (1 - jitter + 2*jitter*b.random()))
}

// unlock releases mu and then tells of the changes made under it.
func (b *Breaker) unlock() {
	changes, until := b.changes, b.until
	b.changes = nil
	b.mu.Unlock()
	for _, c := range changes {
		b.metrics.transitions[c.to].Inc()
		b.logChange(c, until)
		if b.onChange != nil {
			b.onChange(c.from, c.to)
		}
	}
}

// reopenEvery is the least time between two warnings that it is open again: while a downstream is away every probe opens it.
const reopenEvery = time.Minute

// logChange logs a change, and what opened it.
func (b *Breaker) logChange(c change, until time.Time) {
	line := []any{"reason", "breaker", "downstream", b.config.Name, "from", c.from.String(), "to", c.to.String(), "probe_after", until}
	if c.to == Open && c.by == ForceNone && b.cause != nil {
		line = append(line, b.cause()...)
	}
	level := slog.LevelWarn
	if c.quiet {
		level = slog.LevelDebug
	}
	b.log.Log(context.Background(), level, "breaker changed", line...)
}

func stateOf(s gobreaker.State) State {
	switch s {
	case gobreaker.StateClosed:
		return Closed
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Open
	}
}
