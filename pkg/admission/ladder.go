package admission

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// MaxLevel is the highest brownout level.
const MaxLevel = 4

// Signals is what the ladder decides from. Fills are shares: 0 empty, 1 at the bound.
type Signals struct {
	OldestInteractiveWait time.Duration // how long the oldest job of the interactive lanes has waited
	WaitShare             float64       // that wait as a share of the lane's acceptance bound, the highest of the lanes
	QueueFill             float64       // queue bytes of its bound
	DiskFill              float64       // disk in use of what may be used before the reserve
	HeapFill              float64       // heap of the memory limit
	CPUDelay              time.Duration // how long whatever is ready waits for a processor, smoothed (pkg/starvation)
}

// Signal is what a brownout level comes from: a closed set, for metrics.
type Signal uint8

// The signals.
const (
	SignalNone      Signal = iota // level 0, or nobody said
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

// Cause is why the level is what it is. While it eases, the signal is the one that had raised it.
type Cause struct {
	Signal Signal
	Words  string
}

// Steps are the values from which a signal asks for levels 1, 2, 3 and 4: shares, or seconds. 0: it never asks for that level.
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
	// completions. At 5 ms measurements of others are no longer trusted, at 50 ms a call of several steps takes a noticeable time,
	// at 250 ms callers begin to run into their deadlines.
	CPUDelay Steps
	// Release: a level is left only when every signal is under this share of what asks for it. Default 0.9.
	Release float64
	// Hold is how long it must have been calm before the level goes down by one. Default 10 s.
	Hold time.Duration
}

// WithDefaults returns the config with its zero fields filled in.
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

// Validate names the fields that are wrong. Zero fields are right.
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

// Ladder turns signals into a brownout level: up at once, down by one level after each Hold of calm. It is pure; the
// caller serialises and gives the result to SetLevel. Make it with NewLadder.
type Ladder struct {
	config LadderConfig
	now    time.Time // the latest seen
	level  int
	cause  Cause     // of the level, when it was last asked for
	calm   time.Time // since when nothing has asked for the level; zero: something does
}

// Shares are the signals as shares of their bounds, by Signal: at 1 the wait and the processors' delay ask for their first
// level, and the others are at what must not be passed. SignalNone's is 0.
type Shares [signals]float64

// Shares tells the shares of the signals.
func (l *Ladder) Shares(s Signals) Shares {
	return Shares{
		SignalWait: float64(s.OldestInteractiveWait) / float64(l.config.Wait), SignalWaitShare: s.WaitShare,
		SignalQueue: s.QueueFill, SignalDisk: s.DiskFill, SignalHeap: s.HeapFill,
		SignalCPU: s.CPUDelay.Seconds() / l.config.CPUDelay.first(),
	}
}

// first is the lowest value that asks for a level; infinite where none does.
func (s Steps) first() float64 {
	for _, at := range s {
		if at > 0 {
			return at
		}
	}
	return math.Inf(1)
}

// NewLadder returns a ladder at level 0. What Validate finds wrong with the config makes it behave oddly, so call
// that first.
func NewLadder(config LadderConfig) *Ladder { return &Ladder{config: config.WithDefaults()} }

// Configure takes another configuration over; the level stays until the next Step. What Validate finds wrong with it makes the
// ladder behave oddly, so call that first.
func (l *Ladder) Configure(config LadderConfig) { l.config = config.WithDefaults() }

// Step takes the signals at now and returns the level and its cause; that of level 0 is empty.
func (l *Ladder) Step(now time.Time, s Signals) (level int, cause Cause) {
	if now.After(l.now) {
		l.now = now
	}
	asked, cause := l.ask(s, 1)
	if asked >= l.level {
		l.level, l.cause, l.calm = asked, cause, time.Time{}
		return l.level, l.cause
	}
	if keeps, _ := l.ask(s, l.config.Release); keeps >= l.level {
		l.calm = time.Time{}
		return l.level, l.easing()
	}
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
	return l.level, l.easing()
}

func (l *Ladder) easing() Cause { return Cause{l.cause.Signal, "easing; was: " + l.cause.Words} }

// ask returns the highest level that a signal asks for, and which. The scale lowers what is asked for.
func (l *Ladder) ask(s Signals, scale float64) (level int, cause Cause) {
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
