package breakermodel

import (
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
)

// Model is pkg/breaker in time that is passed in, counted from a run's start. Make it with New.
type Model struct {
	config breaker.Config
	random func() float64

	state      breaker.State
	generation int           // counts changes of state: results of calls from before the last one say nothing
	since      time.Duration // of the generation
	failures   window
	failed     int // closed: in a row
	successes  int // half open: in a row
	probing    bool
	probeEnds  time.Duration
	until      time.Duration // open: when a probe may go out
	closedAt   time.Duration
	reopens    int // openings since it was last closed for Calm
	trips      int // closed → open
}

// Ticket is a call that was let through.
type Ticket struct {
	generation int
	age        int // which second of the generation it began in, for the default window
	probe      bool
}

// New returns a closed one. random gives the jitter of waits, in [0, 1).
func New(config breaker.Config, random func() float64) *Model {
	return &Model{config: config.WithDefaults(), random: random}
}

// State is the state as of the last call that passed a time in.
func (b *Model) State() breaker.State { return b.state }

// Trips is how often it opened after it was closed.
func (b *Model) Trips() int { return b.trips }

// Allow lets a call through, or says when to ask again.
func (b *Model) Allow(now time.Duration) (t Ticket, retryAt time.Duration, ok bool) {
	b.expire(now)
	switch {
	case b.state == breaker.Open && now < b.until:
		return Ticket{}, b.until, false
	case b.probing:
		return Ticket{}, b.probeEnds, false
	case b.state == breaker.Open:
		b.enter(breaker.HalfOpen, now)
	case b.state == breaker.Closed:
		b.failures.grow(b.age(now))
	}
	t = Ticket{b.generation, b.failures.age, b.state == breaker.HalfOpen}
	if t.probe {
		b.probing, b.probeEnds = true, now+b.config.ProbeTimeout
	}
	return t, 0, true
}

// Report tells of the call's end.
func (b *Model) Report(now time.Duration, t Ticket, r breaker.Result) {
	b.expire(now)
	if t.generation != b.generation {
		return
	}
	if t.probe {
		b.probing = false
	}
	if b.state == breaker.Closed {
		b.failures.grow(b.age(now))
	}
	switch {
	case r == breaker.Ignored:
	case t.probe && r == breaker.Success:
		if b.successes++; b.successes == b.config.Probes {
			b.enter(breaker.Closed, now)
		}
	case t.probe:
		b.enter(breaker.Open, now)
	case r == breaker.Success:
		b.failed = 0
		b.failures.count(t.age, false)
	default:
		b.failed++
		b.failures.count(t.age, true)
		if b.tripped() {
			b.trips++
			b.enter(breaker.Open, now)
		}
	}
}

// expire fails a probe that is overdue.
func (b *Model) expire(now time.Duration) {
	if b.probing && now >= b.probeEnds {
		b.enter(breaker.Open, now)
	}
}

func (b *Model) age(now time.Duration) int {
	return int((now - b.since) / (b.config.Window / buckets))
}

func (b *Model) tripped() bool {
	all := float64(b.failures.total)
	return b.failed >= b.config.Consecutive ||
		b.failures.total >= b.config.MinVolume && float64(b.failures.failed) >= b.config.FailureShare*all
}

func (b *Model) enter(state breaker.State, now time.Duration) {
	if b.state == breaker.Closed && now-b.closedAt >= b.config.Calm {
		b.reopens = 0
	}
	b.state, b.since, b.failures, b.failed, b.successes, b.probing = state, now, window{}, 0, 0, false
	b.generation++
	switch state {
	case breaker.Open:
		wait := b.config.OpenWait
		for i := 0; i < b.reopens && wait < b.config.MaxOpenWait; i++ {
			wait *= 2
		}
		wait = min(wait, b.config.MaxOpenWait)
		const jitter = .2 // pkg/breaker's
		b.until = now + time.Duration(float64(wait)*(1-jitter+2*jitter*b.random()))
		b.reopens++
	case breaker.Closed:
		b.closedAt = now
	case breaker.HalfOpen:
	}
}

// buckets of a window, as pkg/breaker tells gobreaker.
const buckets = 10

// window is gobreaker's rolling count of results. A result counts in the bucket in which its call began.
type window struct {
	tally       // of all buckets
	age     int // of the latest bucket
	buckets [buckets]tally
}

// tally counts results.
type tally struct{ total, failed int }

func (t *tally) count(failed bool) {
	t.total++
	if failed {
		t.failed++
	}
}

func (w *window) count(age int, failed bool) {
	if w.age-age < buckets {
		w.tally.count(failed)
		w.buckets[age%buckets].count(failed)
	}
}

// grow drops the buckets that a later age has left behind.
func (w *window) grow(age int) {
	if age-w.age >= buckets {
		*w = window{age: age}
		return
	}
	for w.age < age {
		w.age++
		old := &w.buckets[w.age%buckets]
		w.total -= old.total
		w.failed -= old.failed
		*old = tally{}
	}
}
