package simulate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
)

// The kinds of events; a kind is the upper 4 bits of Event.Who, what it is about the lower 28.
const (
	eventWake uint32 = iota // a person's Due
	eventHeld               // the first held completion's wait is over
	eventMail               // a mail is in the inbox
	eventCall               // a call has ended, or its deadline has come
	eventBack               // jobs of a call are tried again
	eventAsk                // pacer or breaker said to ask again
	eventLook               // the ladder's and the gate's
	eventPublish
	eventSample
	eventFault
	eventOp // and the Op: a person's client calls again
)

const (
	numberBits = 28
	numberMask = 1<<numberBits - 1
)

// lookEvery is pkg/app's for the ladder and pkg/gate's for its view; publishEvery is pkg/dispatch's.
const (
	lookEvery    = 500 * time.Millisecond
	publishEvery = time.Second
)

// Progress is told now and then.
type Progress struct {
	At, Of  time.Duration // of the run
	Events  uint64
	Came    int
	Waiting int // people
}

// Deps of a run.
type Deps struct {
	Progress func(Progress) // nil: nobody is told
}

// arriving are first attempts in time order.
type arriving interface {
	Next() (model.Arrival, bool)
}

// Simulation is one run. Make it with New.
type Simulation struct {
	cfg  Config
	deps Deps

	wheel     *wheel
	arrivals  arriving
	now       int64
	time      time.Time // now, for the code under test
	events    uint64
	periodic  int // events that come again whatever happens
	rand      *rand.Rand
	behaviour *people.Behaviour

	crowd   slab[record]
	holds   fifo[hold]
	awaited bool // an event stands for the first of them
	gateway *gateway
	lanes   [laneCount]*lane
	calls   slab[call]
	down    [downstreams]*downstream
	touched [downstreams]bool
	store   *station
	mail    *provider
	state   state
	result  recorder
}

// state is what faults have changed.
type state struct {
	mailEach    int64 // ns
	mailRefuses int
	mailDelay   time.Duration
}

// New checks the configuration. The Scenario must have its defaults.
func New(cfg Config, deps Deps) (*Simulation, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Simulation{
		cfg: cfg, deps: deps, wheel: newWheel(),
		rand: rand.New(rand.NewPCG(cfg.Seed, 1)), // a simulation's draw, no secret
	}
	all, err := cfg.Scenario.Arrivals(cfg.Window, cfg.Seed)
	if err != nil {
		return nil, err
	}
	s.arrivals = callers{all}
	if s.behaviour, err = people.New(cfg.People); err != nil {
		return nil, err
	}
	var slow []span
	for _, f := range cfg.Faults {
		from, to := int64(f.At), int64(f.At+f.For)
		switch f.What {
		case StoreSpeed:
			slow = append(slow, span{From: from, To: to, Factor: f.Factor})
		case StoreDark:
			slow = append(slow, span{From: from, To: to})
			if cfg.Store.ColdFor > 0 {
				slow = append(slow, span{From: to, To: to + int64(cfg.Store.ColdFor), Factor: .5})
			}
		default:
		}
	}
	s.store, s.mail = newStation(cfg.Store.Workers, slow), newProvider(cfg.Mail.Rate)
	s.state = state{mailEach: s.mail.Each, mailDelay: cfg.Mail.Delay}
	if s.gateway, err = newGateway(s); err != nil {
		return nil, err
	}
	if err := s.makeWork(); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	s.result = newRecorder(cfg)
	return s, nil
}

// Run simulates until everybody has ended and nothing is left to do. The only error is ctx's.
func (s *Simulation) Run(ctx context.Context) (Result, error) {
	for i, f := range s.cfg.Faults {
		s.wheel.Add(int64(f.At), s.event(eventFault, 2*int32(i)))
		s.wheel.Add(int64(f.At+f.For), s.event(eventFault, 2*int32(i)+1))
	}
	for _, kind := range []uint32{eventLook, eventPublish, eventSample} {
		s.wheel.Add(0, kind<<numberBits)
		s.periodic++
	}
	next, more := s.arrivals.Next()
	for until := int64(s.cfg.Until); ; {
		at := until
		if more {
			at = min(at, int64(next.At))
		}
		if e, ok := s.wheel.Next(at); ok {
			s.set(e.At)
			s.events++
			if e.Who>>numberBits == eventLook && (ctx.Err() != nil || !more && s.idle()) {
				break
			}
			s.turn(e)
		} else if more && int64(next.At) < until {
			s.set(int64(next.At))
			s.events++
			s.come(next)
			next, more = s.arrivals.Next()
		} else {
			s.set(until)
			break
		}
		s.serve()
	}
	s.sample()
	return s.sumUp(), ctx.Err()
}

func (s *Simulation) set(now int64) { s.now, s.time = now, at(now) }

// idle tells whether nothing will happen any more but what happens whatever is.
func (s *Simulation) idle() bool {
	return s.wheel.Len() < s.periodic && s.gateway.held() == 0
}

func (s *Simulation) event(kind uint32, number int32) uint32 {
	return kind<<numberBits | uint32(number)
}

// turn is one event.
func (s *Simulation) turn(e event) {
	number := int32(e.Who & numberMask)
	switch kind := e.Who >> numberBits; kind {
	case eventWake:
		s.wake(number)
	case eventHeld:
		s.heldLongEnough()
	case eventMail:
		s.inbox(number)
	case eventCall:
		s.callEvent(number)
	case eventBack:
		s.back(number)
	case eventAsk:
		if d := s.down[number]; d.askAt == s.now {
			d.askAt = 0
			s.touched[number] = true
		}
	case eventLook:
		s.gateway.look()
		s.again(e, lookEvery)
	case eventPublish:
		s.gateway.publish()
		s.again(e, publishEvery)
	case eventSample:
		s.sample()
		s.again(e, s.result.every)
	case eventFault:
		s.fault(s.cfg.Faults[number/2], number%2 == 0)
	default:
		s.repeat(number, people.Op(kind-eventOp))
	}
}

func (s *Simulation) again(e event, every time.Duration) {
	s.wheel.Add(e.At+int64(every), e.Who)
}

// fault begins or ends.
func (s *Simulation) fault(f Fault, begins bool) {
	switch f.What {
	case StoreCrash:
		if begins {
			s.crash(f.For)
		}
	case StoreWorkers:
		workers := s.cfg.Store.Workers
		if begins {
			workers = max(1, int(f.Factor*float64(workers)))
		}
		s.store.Resize(s.now, workers)
	case MailRate:
		s.state.mailEach = s.mail.Each
		if begins {
			s.state.mailEach = int64(float64(s.mail.Each) / f.Factor)
		}
	case MailRefuses:
		if begins {
			s.state.mailRefuses++
		} else {
			s.state.mailRefuses--
		}
	case MailSlow:
		s.state.mailDelay = s.cfg.Mail.Delay
		if begins {
			s.state.mailDelay = f.Delay
		}
	case StoreSpeed, StoreDark: // the station knows them beforehand
	}
}

// at is a moment of the run for the code under test; every run begins at the same one.
func at(ns int64) time.Time { return time.Unix(epoch, ns) }

const epoch = 1_600_000_000
