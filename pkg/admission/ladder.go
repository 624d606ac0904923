package admission

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// MaxLevel is the highest brownout level.
const MaxLevel = 4

// Signals are the values from which the ladder decides. Fills are shares: 0 is empty, 1 is at the bound.
type Signals struct {
	OldestInteractiveWait time.Duration // how long the oldest job of the interactive lanes has waited
	WaitShare             float64       // that wait as a share of the lane's acceptance bound, the highest of the lanes
	QueueFill             float64       // queue bytes of its bound
	DiskFill              float64       // disk in use of what may be used before the reserve
	HeapFill              float64       // heap of the memory limit
	CPUDelay              time.Duration // how long a runnable goroutine waits for a processor, smoothed (pkg/starvation)
}

// Signal names the value that raised a brownout level. It is a closed set, for metrics.
type Signal uint8

// The signals.
const (
	SignalNone      Signal = iota // level 0, or not given
	SignalWait                    // the oldest interactive wait
	SignalWaitShare               // that wait as a share of the acceptance bound
	SignalQueue
	SignalDisk
	SignalHeap
	SignalCPU
	signals
)

// String returns the value of the metric label.
func (s Signal) String() string {
	if s >= signals {
		return "unknown"
	}
	return [signals]string{"none", "wait", "wait_share", "queue", "disk", "heap", "cpu"}[s]
}

// Cause says why the level is what it is. While the level eases, the signal is the one that raised it.
type Cause struct {
	Signal Signal
	Words  string
}

// Steps are the values from which on a signal asks for levels 1, 2, 3 and 4, in shares or seconds. 0: it never asks for that
// level.
type Steps [MaxLevel]float64

// LadderConfig is the configuration of a Ladder. A zero value works; zero Steps mean their default.
type LadderConfig struct {
	// Wait is the oldest interactive wait above which the level is at least 1. Default 5 s.
	Wait time.Duration
	// WaitShare: default 2 at 0.5, 3 at 0.8; never 4, because a long wait is no reason to refuse completions.
	WaitShare Steps
	// QueueFill: default 1 at 0.6, 2 at 0.75, 3 at 0.85, 4 at 0.95.
	QueueFill Steps
	// DiskFill: default 1 at 0.8, 2 at 0.9, 3 at 0.95, 4 at 0.99.
	DiskFill Steps
	// HeapFill: default 1 at 0.7, 2 at 0.8, 3 at 0.9, 4 at 0.97.
	HeapFill Steps
	// CPUDelay is in seconds. Default 1 at 0.005, 2 at 0.05, 3 at 0.25; never 4, because shedding starts makes room for
	// completions. From 5 ms on our measurements of others are not trusted, at 50 ms a call of several steps becomes
	// noticeably slow, at 250 ms callers begin to miss their deadlines.
	CPUDelay Steps
	// Release is the share of a level's threshold below which every signal must be before the level is left. Default 0.9.
	Release float64
	// Hold is how long all signals must have been below that before the level falls by one. Default 10 s.
	Hold time.Duration
}

// WithDefaults returns the config with its zero fields set to their defaults.
func (c LadderConfig) WithDefaults() LadderConfig {
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	for _, f := range []struct {
		field  *Steps
		preset Steps
	}{
		{&c.WaitShare, Steps{0, .5, .8, 0}},
		{&c.QueueFill, Steps{.6, .75, .85, .95}},
		{&c.DiskFill, Steps{.8, .9, .95, .99}},
		{&c.HeapFill, Steps{.7, .8, .9, .97}},
		{&c.CPUDelay, Steps{.005, .05, .25, 0}},
	} {
		if *f.field == (Steps{}) {
			*f.field = f.preset
		}
	}
	if c.Release == 0 {
		c.Release = .9
	}
	if c.Hold == 0 {
		c.Hold = 10 * time.Second
	}
	return c
}

// Validate returns an error that names every wrong field. Zero fields are valid.
func (c LadderConfig) Validate() error {
	c = c.WithDefaults()
	var errs []error
	if c.Wait < 0 {
		errs = append(errs, fmt.Errorf("wait: %v is negative", c.Wait))
	}
	for _, f := range []struct {
		field string
		steps Steps
	}{
		{"wait_share", c.WaitShare}, {"queue_fill", c.QueueFill}, {"disk_fill", c.DiskFill},
		{"heap_fill", c.HeapFill}, {"cpu_delay", c.CPUDelay},
	} {
		last := 0.0
		for i, at := range f.steps {
			if at == 0 {
				continue
			}
			if !(at > last) {
				errs = append(errs, fmt.Errorf("%s: %v for level %d is not over %v", f.field, at, i+1, last))
			}
			last = at
		}
	}
	if !(c.Release > 0 && c.Release <= 1) {
		errs = append(errs, fmt.Errorf("release: %v is not over 0 and at most 1", c.Release))
	}
	if c.Hold < 0 {
		errs = append(errs, fmt.Errorf("hold: %v is negative", c.Hold))
	}
	return errors.Join(errs...)
}

// Ladder turns signals into a brownout level: up at once, down by one level after each Hold. It is not safe for concurrent
// use. The caller passes the result to SetLevel. Make it with NewLadder.
type Ladder struct {
	config LadderConfig
	now    time.Time // the latest time given to Step
	level  int
	cause  Cause     // of the level, when a signal last asked for it
	calm   time.Time // since when no signal has asked for the level; zero: one does
}

// Shares are the signals as shares of their bounds, indexed by Signal. At 1 the wait and the processor delay ask for their
// first level, and the others are at their bound. That of SignalNone is 0.
type Shares [signals]float64

// Shares returns the shares of the signals.
func (l *Ladder) Shares(s Signals) Shares {
	return Shares{
		SignalWait: float64(s.OldestInteractiveWait) / float64(l.config.Wait), SignalWaitShare: s.WaitShare,
		SignalQueue: s.QueueFill, SignalDisk: s.DiskFill, SignalHeap: s.HeapFill,
		SignalCPU: s.CPUDelay.Seconds() / l.config.CPUDelay.first(),
	}
}

// first returns the lowest value that asks for a level; +Inf if none does.
func (s Steps) first() float64 {
	for _, at := range s {
		if at > 0 {
			return at
		}
	}
	return math.Inf(1)
}

// NewLadder returns a ladder at level 0. The config must be valid.
func NewLadder(config LadderConfig) *Ladder { return &Ladder{config: config.WithDefaults()} }

// Configure replaces the configuration, for the next Step on. It must be valid.
func (l *Ladder) Configure(config LadderConfig) { l.config = config.WithDefaults() }

// Step takes the signals at now and returns the level and its cause, which is empty for level 0.
func (l *Ladder) Step(now time.Time, s Signals) (level int, cause Cause) {
	if now.After(l.now) {
		l.now = now
	}
	// Up at once.
	asked, cause := l.highestAsked(s, 1)
	if asked >= l.level {
		l.level, l.cause, l.calm = asked, cause, time.Time{}
		return l.level, l.cause
	}
	// A signal that is still near the threshold keeps the level.
	if keeps, _ := l.highestAsked(s, l.config.Release); keeps >= l.level {
		l.calm = time.Time{}
		return l.level, l.easingCause()
	}
	// Down by one after Hold.
	switch {
	case l.calm.IsZero():
		l.calm = l.now
	case l.now.Sub(l.calm) >= l.config.Hold:
		l.level--
		l.calm = l.now
	}
	if asked >= l.level {
		l.cause = cause
		return l.level, l.cause
	}
	return l.level, l.easingCause()
}

func (l *Ladder) easingCause() Cause { return Cause{l.cause.Signal, "easing; was: " + l.cause.Words} }

// highestAsked returns the highest level that a signal asks for, with its cause. scale is multiplied with the thresholds.
func (l *Ladder) highestAsked(s Signals, scale float64) (level int, cause Cause) {
	if float64(s.OldestInteractiveWait) > float64(l.config.Wait)*scale {
		level = 1
		cause = Cause{SignalWait, fmt.Sprintf("the oldest interactive job has waited %v, over %v",
			s.OldestInteractiveWait.Round(100*time.Millisecond), l.config.Wait)}
	}
	const percent, milliseconds = 100, 1000
	for _, f := range [...]struct {
		signal Signal
		steps  Steps
		value  float64
		unit   float64 // what the words count in
		words  string
	}{
		{SignalWaitShare, l.config.WaitShare, s.WaitShare, percent, "the oldest interactive wait is at %.0f %% of its acceptance bound, level %d from %.0f %%"},
		{SignalQueue, l.config.QueueFill, s.QueueFill, percent, "the queue is %.0f %% full, level %d from %.0f %%"},
		{SignalDisk, l.config.DiskFill, s.DiskFill, percent, "the disk is %.0f %% full up to its reserve, level %d from %.0f %%"},
		{SignalHeap, l.config.HeapFill, s.HeapFill, percent, "the heap is at %.0f %% of the memory limit, level %d from %.0f %%"},
		{SignalCPU, l.config.CPUDelay, s.CPUDelay.Seconds(), milliseconds,
			"surgegate itself is short of processor time: it waits %.0f ms for a processor, level %d from %.0f ms"},
	} {
		for i := MaxLevel; i > level; i-- {
			if at := f.steps[i-1]; at > 0 && f.value >= at*scale {
				level = i
				cause = Cause{f.signal, fmt.Sprintf(f.words, f.unit*f.value, i, f.unit*at)}
			}
		}
	}
	return level, cause
}
