package pace

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Override is what an operator sets of a pace. The zero value overrides nothing. Its JSON is on disk.
type Override struct {
	// Fixed means Concurrency calls at once, Rate items a second (0: no bound) and Batch items in a call (0: as configured);
	// nothing is measured. Without Fixed the pace is found by measuring, within Min, Max and Rate (each 0: as configured).
	Fixed       bool    `json:"fixed,omitempty"`
	Concurrency int     `json:"concurrency,omitempty"`
	Min         int     `json:"min,omitempty"`
	Max         int     `json:"max,omitempty"`
	Rate        float64 `json:"rate,omitempty"`
	Batch       int     `json:"batch,omitempty"`
}

// Bounds of what a person may set, by configuration or override.
const (
	// MaxConcurrency bounds the calls at once. It is far more than any downstream gets (dispatch stops at 1024).
	MaxConcurrency = 10_000
	// MaxBatch bounds the items in a call.
	MaxBatch = 4096
	// maxRate bounds the items a second.
	maxRate = 1e9
)

// Violations returns what is wrong with the override, with the field names of the operator API. It is the only check of what an
// operator sets.
func (o Override) Violations() (bad reset.Violations) {
	if o.Fixed {
		if o.Concurrency < 1 || o.Concurrency > MaxConcurrency {
			bad.Add("fixed.concurrency", fmt.Sprintf("must be calls at once, 1 to %d", MaxConcurrency))
		}
		if o.Batch < 0 || o.Batch > MaxBatch {
			bad.Add("fixed.batch", fmt.Sprintf("must be items in a call, 1 to %d; 0 for as many as the downstream takes", MaxBatch))
		}
		if o.Min != 0 || o.Max != 0 {
			bad.Add("bounds", "a fixed pace has none")
		}
		checkRate("fixed.rate", o.Rate, &bad)
		return bad
	}
	for _, f := range []struct {
		field string
		n     int
	}{{"bounds.min_concurrency", o.Min}, {"bounds.max_concurrency", o.Max}} {
		if f.n < 0 || f.n > MaxConcurrency {
			bad.Add(f.field, fmt.Sprintf("must be calls at once, 1 to %d; 0 for the configured", MaxConcurrency))
		}
	}
	if o.Max > 0 && o.Max < o.Min {
		bad.Add("bounds.max_concurrency", "must not be under min_concurrency")
	}
	if o.Concurrency != 0 || o.Batch != 0 {
		bad.Add("fixed", "only a fixed pace has a concurrency and a batch")
	}
	checkRate("bounds.rate", o.Rate, &bad)
	return bad
}

func checkRate(field string, perSecond float64, bad *reset.Violations) {
	if !(perSecond >= 0 && perSecond <= maxRate) {
		bad.Add(field, "must be items a second, 0 or more; 0 for no bound")
	}
}

// Mode is how a pace comes about.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // found by measuring
	ModeBounded Mode = "bounded" // found by measuring, within an operator's bounds
	ModeFixed   Mode = "fixed"   // constant, by configuration or by an operator
)

// ErrNotSteerable says that a Pacer is neither a Chart nor a Fixed.
var ErrNotSteerable = errors.New("pace: this pacer cannot be steered")

// steerable is a Pacer whose calls in flight and tokens another can take over.
type steerable interface {
	Pacer
	// bounded obeys what an Override that is not fixed says, beside what is configured.
	bounded(now time.Time, o Override)
	// settings is what is configured, put as an Override.
	settings() Override
	// leave hands over the calls in flight and the bucket; no call is told until the return.
	leave(now time.Time) (out flight, tokens *bucket)
	// enter takes them over, from where there were at most so many calls at once; 0: anew.
	enter(now time.Time, out flight, tokens *bucket, most int)
}

// Steered is a Pacer that obeys an operator, and the Pacer that it wraps while there is none. Make it with NewSteered; as
// with every Pacer the caller serialises.
type Steered struct {
	now      Pacer     // what decides at present: auto, or fixed
	auto     steerable // nil: not steerable
	override Override
}

var _ Pacer = (*Steered)(nil)

// NewSteered wraps a Chart or a Fixed, which is the Steered's alone from then on. Any other Pacer works, but is not
// steerable; a Steered is returned as it is.
func NewSteered(p Pacer) *Steered {
	if s, ok := p.(*Steered); ok {
		return s
	}
	s := &Steered{now: p}
	s.auto, _ = p.(steerable)
	return s
}

// Steerable tells whether a Steered of this Pacer can be steered.
func Steerable(p Pacer) bool {
	_, ok := p.(steerable)
	return ok
}

// Steerable tells whether it can be steered.
func (s *Steered) Steerable() bool { return s.auto != nil }

// Steer puts an override in force in place of the one before; the zero Override lifts it. The errors are those of
// Override.Violations, and ErrNotSteerable.
func (s *Steered) Steer(now time.Time, o Override) error {
	if err := o.Violations().Err(); err != nil {
		return fmt.Errorf("pace: %w", err)
	}
	if s.auto == nil {
		return ErrNotSteerable
	}
	if o == s.override {
		return nil
	}
	fixed, was := s.now.(*Fixed)
	was = was && s.override.Fixed
	switch {
	case o.Fixed && was:
		fixed.configure(now, o.config(s.auto.settings().Batch))
	case o.Fixed:
		f := &Fixed{share: 1}
		out, tokens := s.auto.leave(now)
		f.enter(now, out, tokens, 0)
		f.configure(now, o.config(s.auto.settings().Batch))
		s.now = f
	default:
		if was {
			out, tokens := fixed.leave(now)
			s.auto.enter(now, out, tokens, fixed.full(now))
			s.now = s.auto
		}
		s.auto.bounded(now, o)
	}
	s.override = o
	return nil
}

// Configure takes another configuration over while it runs: that of a Chart or a Fixed that has not been asked yet. What
// was measured stays where both are Charts; an override stays in force. The error is ErrNotSteerable.
func (s *Steered) Configure(now time.Time, p Pacer) error {
	next, ok := p.(steerable)
	if !ok || s.auto == nil {
		return ErrNotSteerable
	}
	before := s.auto
	switch b := before.(type) {
	case *Chart:
		if c, ok := next.(*Chart); ok {
			b.configured, next = c.configured, b
		}
	case *Fixed:
		if c, ok := next.(*Fixed); ok {
			b.configured, next = c.configured, b
		}
	}
	if s.override.Fixed {
		s.auto = next
		s.now.(*Fixed).configure(now, s.override.config(next.settings().Batch))
		return nil
	}
	if next != before {
		most := before.Limits().Concurrency
		out, tokens := before.leave(now)
		next.enter(now, out, tokens, most)
		s.now, s.auto = next, next
	}
	next.bounded(now, s.override)
	return nil
}

// Configured returns what is configured, put as an Override: a measured pace has Min, Max and perhaps a Rate, a constant one
// is Fixed. In both Batch is the most items of a call.
func (s *Steered) Configured() Override {
	if s.auto == nil {
		return Override{}
	}
	return s.auto.settings()
}

// Override returns what is in force.
func (s *Steered) Override() Override { return s.override }

// Mode returns how the pace comes about.
func (s *Steered) Mode() Mode {
	_, fixed := s.now.(*Fixed)
	switch {
	case fixed:
		return ModeFixed
	case s.override != Override{}:
		return ModeBounded
	default:
		return ModeAuto
	}
}

// Ask implements Pacer.
func (s *Steered) Ask(now time.Time, kind Kind, items int) Verdict {
	return s.now.Ask(now, kind, items)
}

// Done implements Pacer.
func (s *Steered) Done(now time.Time, c Call) { s.now.Done(now, c) }

// Resume implements Pacer.
func (s *Steered) Resume(now time.Time) { s.now.Resume(now) }

// SetStarved says whether the caller is short of processor time. A Chart does not raise its limits on what it measured
// meanwhile: the caller's own delay is in it.
func (s *Steered) SetStarved(now time.Time, starved bool) {
	if c, ok := s.auto.(*Chart); ok {
		c.SetStarved(now, starved)
	}
}

// Limits implements Pacer.
func (s *Steered) Limits() Limits { return s.now.Limits() }

// config is that of the Fixed that an override asks for; batch is the most items that are configured.
func (o Override) config(batch int) Config {
	c := Config{Concurrency: o.Concurrency, Rate: o.Rate, Batch: o.Batch}
	if c.Batch == 0 {
		c.Batch = batch
		if o.Rate > 0 { // the rate is what was asked for: no batch may make it coarser than a tenth of a second
			c.Batch = min(batch, burstOf(o.Rate))
		}
	}
	return c.WithDefaults()
}

// bounds are the least and the most within an override's bounds and the configured ones. Where they exclude each other the
// override goes before: it is what somebody wants now. A most of 0 is none.
func (o Override) bounds(least, most int) (int, int) {
	if o.Min > 0 {
		least = o.Min
	}
	if o.Max > 0 {
		most = o.Max
	}
	switch {
	case most == 0 || least <= most:
	case o.Max > 0:
		least = most
	default:
		most = least
	}
	return least, most
}

// bucket is a rate of items that can change, or be none.
type bucket struct {
	limiter *clock.Limiter // nil: no bound
	// epoch counts the times that the bound came or went. Calls that were let through under no bound have taken nothing, so
	// that they must not give back to the bound which came after.
	epoch uint64
}

func newBucket(perSecond float64, burst int) *bucket {
	b := &bucket{}
	if perSecond > 0 {
		b.limiter = clock.NewLimiter(rate.Limit(perSecond), burst)
	}
	return b
}

// burstOf is what may pass at once by default: a tenth of a second's items, at least one.
func burstOf(perSecond float64) int { return int(min(max(1, math.Ceil(perSecond/10)), maxBurst)) }

// set changes the bound; 0 takes it away. One that was there keeps what its bucket holds, one that comes begins full.
func (b *bucket) set(now time.Time, perSecond float64, burst int) {
	switch {
	case perSecond > 0 && b.limiter != nil:
		b.limiter.Set(now, rate.Limit(perSecond), burst)
	case perSecond > 0:
		b.limiter = clock.NewLimiter(rate.Limit(perSecond), burst)
		b.epoch++
	case b.limiter != nil:
		b.limiter = nil
		b.epoch++
	}
}

func (b *bucket) take(now time.Time, items int) bool {
	return b.limiter == nil || b.limiter.AllowN(now, items)
}

// when is when take of so many will do.
func (b *bucket) when(now time.Time, items int) time.Time {
	return now.Add(b.limiter.WaitFor(now, items))
}

func (b *bucket) giveBack(now time.Time, c Call) {
	if b.limiter != nil && c.Grant == b.epoch {
		b.limiter.GiveBack(now, c.Unused)
	}
}
