package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/wire"
	"github.com/surgegate/surgegate/pkg/clock"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Config of a crowd. Zero fields mean the defaults.
type Config struct {
	People people.Config
	Start  time.Time // of the schedule; default: when Run begins
	// Limit is when the run is cut off, after its start. Default 0: when everybody has ended.
	Limit time.Duration
	// Patience is how long nothing may happen to anybody, once nobody comes any more, before the run ends: people whose mails
	// are lost would wait for ever. Default 5 min.
	Patience time.Duration
	// MaxLag bounds how late arrivals may be at p99 for the run to say anything. Default 50 ms.
	MaxLag time.Duration
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	c.People = c.People.WithDefaults()
	if c.MaxLag == 0 {
		c.MaxLag = 50 * time.Millisecond
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Minute
	}
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Limit < 0 || c.MaxLag <= 0 || c.Patience <= 0 {
		return fmt.Errorf("crowd: Limit is %v, MaxLag %v and Patience %v; none may be below 0", c.Limit, c.MaxLag, c.Patience)
	}
	return c.People.Validate()
}

// Who comes.
type Who uint8

// The kinds of those who come.
const (
	Human    Who = iota // with all that follows
	Attacker            // once, for an address that is not there
	Lone                // one call Op, with nobody behind it
)

// Arrival is somebody who comes.
type Arrival struct {
	At       time.Duration // since the start
	Number   uint64        // of the person; attackers have numbers of their own
	Who      Who
	Op       people.Op     // of a Lone call
	Office   uint64        // people of one office share its address; 0: none
	Client   string        // id of a Lone call's client; empty: one of its own
	Deadline time.Duration // of the first call; 0: as configured
}

// Arrivals come in the order of their times. The error io.EOF ends them.
type Arrivals interface {
	Next() (Arrival, error)
}

// Caller makes calls without waiting for them: a *wire.Client.
type Caller interface {
	Call(m *wire.Method, message []byte, deadline time.Duration, done wire.Done)
}

// Deps of a Crowd.
type Deps struct {
	Arrivals Arrivals
	Caller   Caller
	Recorder *measure.Recorder
	Clock    clock.Clock
	// Identifier is what a person types, and where the mail goes.
	Identifier func(person uint64) string
	// Mails runs until its context ends and delivers the mails of the run. Nil: nobody gets any.
	Mails func(ctx context.Context, deliver testbed.Deliverer) error
}

// Crowd is everybody. Make it with New and let it loose with Run, once.
type Crowd struct {
	cfg       Config
	deps      Deps
	behaviour *people.Behaviour
	loop      *schedule.Loop
	methods   [people.Ops]*wire.Method

	// What follows belongs to the loop.
	inside           map[*entry]struct{}
	byMail           map[string]*entry // who may get a mail, by identifier
	oldest, youngest *entry            // of people inside
	out              int               // calls with nobody behind them
	over             bool              // nobody comes any more
	moved            time.Duration     // when something last happened to somebody
	end              context.CancelFunc
	report           Report
	failed           error // of Arrivals
}

// Report is what the generator itself did.
type Report struct {
	schedule.Report      // of the arrivals
	Attackers, Lone int  // of Sent
	Cut             bool // the run ended with people inside
	Idle            bool // because nothing had happened to any of them for Patience
}

// New checks the configuration.
func New(cfg Config, deps Deps) (*Crowd, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Arrivals == nil || deps.Caller == nil || deps.Recorder == nil || deps.Identifier == nil {
		return nil, errors.New("crowd: Arrivals, Caller, Recorder and Identifier are required")
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	behaviour, err := people.New(cfg.People)
	if err != nil {
		return nil, err
	}
	loop, err := schedule.New(schedule.Config{Start: cfg.Start, MaxLag: cfg.MaxLag, Quantum: time.Millisecond}, schedule.Deps{Clock: deps.Clock})
	if err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	c := &Crowd{
		cfg: cfg, deps: deps, behaviour: behaviour, loop: loop, inside: map[*entry]struct{}{}, byMail: map[string]*entry{},
	}
	for op, path := range [people.Ops]string{
		people.OpStart: resetv1.PasswordReset_StartReset_FullMethodName, people.OpCheck: resetv1.PasswordReset_CheckToken_FullMethodName,
		people.OpComplete: resetv1.PasswordReset_CompleteReset_FullMethodName, people.OpTicket: resetv1.PasswordReset_GetTicket_FullMethodName,
	} {
		if c.methods[op], err = wire.NewMethod(path); err != nil {
			return nil, fmt.Errorf("crowd: %w", err)
		}
	}
	return c, nil
}

// Behaviour is that of its people.
func (c *Crowd) Behaviour() *people.Behaviour { return c.behaviour }

// Run returns when everybody has ended, the limit has come or ctx ends; the recorder has everybody's outcome then.
func (c *Crowd) Run(ctx context.Context) (Report, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.cfg.Limit > 0 {
		c.loop.At(c.cfg.Limit, schedule.Func(func(*schedule.Loop, time.Duration) { cancel() }))
	}
	c.end = cancel
	mails := make(chan error, 1) // has room for the one value
	go func() { mails <- c.watchMails(limited) }()
	done, err := c.loop.Run(limited, c)
	cancel()
	c.report.Report, c.report.Cut = done, len(c.inside) > 0
	for e := range c.inside {
		c.owe(e, false)
		if !e.person.Attacker() {
			outcome := e.person.Outcome(c.loop.Now())
			outcome.Inside = true
			c.deps.Recorder.Ended(outcome)
		}
	}
	return c.report, errors.Join(err, c.failed, <-mails)
}

// watchMails ends the run when mails cannot be read: nobody could go on.
func (c *Crowd) watchMails(ctx context.Context) error {
	if c.deps.Mails == nil {
		return nil
	}
	err := c.deps.Mails(ctx, func(to, token string) {
		came := c.deps.Clock.Now()
		c.loop.Post(schedule.Func(func(l *schedule.Loop, now time.Duration) { c.mailed(to, token, min(now, came.Sub(l.Start()))) }))
	})
	if err != nil {
		c.loop.Post(schedule.Func(func(*schedule.Loop, time.Duration) { c.end() }))
	}
	return err
}

// Next implements schedule.Source.
func (c *Crowd) Next() (time.Duration, schedule.Event, bool) {
	a, err := c.deps.Arrivals.Next()
	if err != nil {
		c.over = true
		if !errors.Is(err, io.EOF) {
			c.failed = err
		}
		c.loop.At(c.loop.Now(), schedule.Func(func(*schedule.Loop, time.Duration) { c.endIfOver() }))
		c.moved = c.loop.Now()
		c.watchIdle(c.moved + c.cfg.Patience)
		return 0, nil, false
	}
	return a.At, &arrival{crowd: c, Arrival: a}, true
}

// watchIdle looks at a time whether anything has happened lately. It also keeps the loop alive for those who wait for a mail.
func (c *Crowd) watchIdle(at time.Duration) {
	c.loop.At(at, schedule.Func(func(*schedule.Loop, time.Duration) {
		if due := c.moved + c.cfg.Patience; due > at {
			c.watchIdle(due)
			return
		}
		c.report.Idle = true
		c.end()
	}))
}

// endIfOver ends the run when nobody comes any more and nobody is inside.
func (c *Crowd) endIfOver() {
	if c.over && len(c.inside) == 0 && c.out == 0 {
		c.end()
	}
}
