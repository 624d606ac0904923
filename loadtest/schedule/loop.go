package schedule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Event is what a Loop runs. Events of pointer type cost no allocation.
type Event interface {
	// Fire runs on the loop's goroutine and must not block. at is the time for which it was planned; for a posted event,
	// the loop's time.
	Fire(l *Loop, at time.Duration)
}

// Func is a function as an Event, for events that are rare enough to allocate.
type Func func(l *Loop, at time.Duration)

// Fire implements Event.
func (f Func) Fire(l *Loop, at time.Duration) { f(l, at) }

// Source gives the planned events in order of time.
type Source interface {
	// Next returns the next event and the time for which it is planned, since Config.Start; false when there is none.
	// It runs on the loop's goroutine and must not block.
	Next() (at time.Duration, e Event, ok bool)
}

// Config of a Loop. Zero fields mean the defaults.
type Config struct {
	Start  time.Time     // time 0; default: when Run starts
	MaxLag time.Duration // bound of the 99th percentile of the planned events' lag; default 5 ms
	// Quantum is the least time that the loop sleeps after it has run something, while more than BusyRate happens; default 0.
	// At 1 ms what has become due or was posted runs in batches, and a wire.Client sends it in batches: at 20,000 calls/s for
	// half of the processor time, and half a millisecond of lag more. Below that rate it would only blur latencies.
	Quantum time.Duration
}

// WithDefaults returns the Config with its zero fields set.
func (c Config) WithDefaults() Config {
	if c.MaxLag == 0 {
		c.MaxLag = 5 * time.Millisecond
	}
	return c
}

// Validate returns an error that names the field that is wrong.
func (c Config) Validate() error {
	if c.MaxLag < 0 {
		return fmt.Errorf("schedule: MaxLag is %v: it must be positive", c.MaxLag)
	}
	if c.Quantum < 0 {
		return fmt.Errorf("schedule: Quantum is %v: it must not be negative", c.Quantum)
	}
	return nil
}

// Deps of a Loop. A zero field means the system's.
type Deps struct{ Clock clock.Clock }

const (
	// round bounds the due events that run before the posted ones get their turn: about 50 µs of small events.
	round = 256
	never = time.Duration(math.MaxInt64)
	// keepPosted is the capacity that survives a burst of posts: 64 KiB.
	keepPosted = 4096
)

// Loop runs events. Make it with New.
type Loop struct {
	cfg   Config
	clock clock.Clock
	start time.Time

	now     time.Duration
	timers  heap
	held    int
	lag     *hdrhistogram.Histogram
	sent    int64
	fired   int64 // events of all kinds
	pulse   pulse
	planned planned

	// mu guards what Post shares with the loop. posted is bounded by what was asked for: one answer for each call.
	mu     sync.Mutex
	posted []Event
	asleep bool
	ended  bool
	wake   chan struct{} // holds one: that there is something posted
}

// planned is the next of the Source, read ahead.
type planned struct {
	source Source
	at     time.Duration
	event  Event
	ok     bool
}

// New returns a Loop; Run runs it.
func New(cfg Config, deps Deps) (*Loop, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	return &Loop{
		cfg: cfg.WithDefaults(), clock: deps.Clock, wake: make(chan struct{}, 1),
		lag: hdrhistogram.New(1, lagMax.Microseconds(), 3),
	}, nil
}

// Now is the time since Config.Start, as last read. Only events may ask.
func (l *Loop) Now() time.Duration { return l.now }

// Start is time 0. Only events may ask.
func (l *Loop) Start() time.Time { return l.start }

// At runs e at a time since Config.Start, as soon as possible when it has passed. Only events may call it, and the caller of Run
// before. There is no way to take it back: let the event find out that it is not wanted any more.
func (l *Loop) At(at time.Duration, e Event) { l.timers.push(at, e) }

// After runs e so long after Now. Only events may call it.
func (l *Loop) After(d time.Duration, e Event) { l.timers.push(l.now+d, e) }

// Waiting is how many timed events wait. Only events may ask.
func (l *Loop) Waiting() int { return len(l.timers.items) }

// Hold keeps Run from returning until as many Releases: a Post is to come. Only events may call it.
func (l *Loop) Hold() { l.held++ }

// Release ends a Hold. Only events may call it.
func (l *Loop) Release() { l.held-- }

// Post runs e as soon as possible. Any goroutine may call it, it does not block. It returns false, and e will not run, when Run
// has ended.
func (l *Loop) Post(e Event) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, e)
	wake := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{} // has room: asleep is set once for each receive
	}
	return true
}

// Run runs the Source's events and all that follow from them; nil: only what At and Post bring. It may be called once.
func (l *Loop) Run(ctx context.Context, source Source) (Report, error) {
	l.start = l.cfg.Start
	if l.start.IsZero() {
		l.start = l.clock.Now()
	}
	defer l.end()
	l.planned.source = source
	if err := l.planned.advance(); err != nil {
		return l.report(0), err
	}
	timer := l.clock.NewTimer(time.Hour)
	timer.Stop() // sleep sets it
	var batch []Event
	for ctx.Err() == nil {
		l.now = l.clock.Now().Sub(l.start)
		batch = l.take(batch)
		ran := len(batch) > 0 || min(l.timers.next(), l.planned.next()) <= l.now
		l.fired += int64(len(batch))
		for i, e := range batch {
			e.Fire(l, l.now)
			batch[i] = nil // the loop must not keep a finished call alive
		}
		if err := l.due(); err != nil {
			return l.report(0), err
		}
		next := min(l.timers.next(), l.planned.next())
		if next <= l.now {
			continue
		}
		if next == never && l.held <= 0 && !l.hasPosted() {
			return l.report(0), nil
		}
		if ran && l.cfg.Quantum > 0 && l.busy() {
			l.rest(ctx, timer)
			continue
		}
		l.sleep(ctx, timer, next)
	}
	dropped, err := l.planned.rest()
	return l.report(dropped), err
}

// due runs what is due, at most a round of it.
func (l *Loop) due() error {
	for range round {
		timed := l.timers.next()
		at := l.planned.next()
		if min(timed, at) > l.now {
			return nil
		}
		l.fired++
		if timed < at {
			l.timers.pop().Fire(l, timed)
			continue
		}
		l.now = l.clock.Now().Sub(l.start)
		_ = l.lag.RecordValue(min(max(1, (l.now-at).Microseconds()), lagMax.Microseconds())) // in range by construction
		l.sent++
		l.planned.event.Fire(l, at)
		if err := l.planned.advance(); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits for the next event, a post or the end.
func (l *Loop) sleep(ctx context.Context, timer clock.Timer, next time.Duration) {
	l.mu.Lock()
	if len(l.posted) > 0 {
		l.mu.Unlock()
		return
	}
	l.asleep = true
	l.mu.Unlock()
	wait := time.Hour
	if next != never {
		wait = min(wait, next-l.clock.Now().Sub(l.start))
	}
	if wait > 0 {
		timer.Reset(wait)
		select {
		case <-l.wake:
			timer.Stop()
			return
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
		}
	}
	l.mu.Lock()
	asleep := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if !asleep {
		<-l.wake // a Post that has seen the loop asleep has sent, or will at once
	}
}

// BusyRate is events a second, all kinds together, above which a Quantum is kept: two a call make it 10,000 calls/s.
const BusyRate = 20_000

// pulse is how much happened lately.
type pulse struct {
	from  time.Duration
	fired int64
	busy  bool
}

// pulseTime is long enough to tell 20,000 a second from noise: 200 events, a standard deviation of 14.
const pulseTime = 10 * time.Millisecond

func (l *Loop) busy() bool {
	if since := l.now - l.pulse.from; since >= pulseTime {
		l.pulse = pulse{from: l.now, fired: l.fired, busy: float64(l.fired-l.pulse.fired) > BusyRate*since.Seconds()}
	}
	return l.pulse.busy
}

// rest sleeps for the Quantum; posts do not wake it.
func (l *Loop) rest(ctx context.Context, timer clock.Timer) {
	timer.Reset(l.cfg.Quantum)
	select {
	case <-timer.C():
	case <-ctx.Done():
		timer.Stop()
	}
}

// take returns what was posted and leaves the old batch's memory for the next posts.
func (l *Loop) take(old []Event) []Event {
	if cap(old) > keepPosted {
		old = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.posted
	l.posted = old[:0]
	return batch
}

func (l *Loop) hasPosted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.posted) > 0
}

func (l *Loop) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.posted = nil
}

var errBack = errors.New("schedule: the Source goes back in time")

func (p *planned) next() time.Duration {
	if !p.ok {
		return never
	}
	return p.at
}

func (p *planned) advance() error {
	if p.source == nil {
		return nil
	}
	last := p.at
	first := p.event == nil
	p.at, p.event, p.ok = p.source.Next()
	if p.ok && !first && p.at < last {
		return fmt.Errorf("%w: from %v to %v", errBack, last, p.at)
	}
	return nil
}

// rest counts what was planned and did not run.
func (p *planned) rest() (n int64, err error) {
	for p.ok {
		n++
		if err := p.advance(); err != nil {
			return n, err
		}
	}
	return n, nil
}
