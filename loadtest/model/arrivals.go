package model

import (
	"fmt"
	"math"
	"time"
)

// Source says why somebody comes.
type Source uint8

// The sources.
const (
	SourceMail   Source = iota + 1 // the mailing
	SourceRevoke                   // a device was signed out
	SourceAttack                   // somebody tries addresses
	SourceScan                     // a mail scanner fetches a link; makes no call
	SourceUsual                    // somebody who would have come on any day
	SourceLoop                     // a client gone wrong
)

// String names the source.
func (s Source) String() string {
	names := [...]string{SourceMail: "mail", SourceRevoke: "revoke", SourceAttack: "attack", SourceScan: "scan", SourceUsual: "usual", SourceLoop: "loop"}
	if int(s) < len(names) && names[s] != "" {
		return names[s]
	}
	return fmt.Sprintf("source(%d)", uint8(s))
}

// Human tells whether a person comes.
func (s Source) Human() bool { return s == SourceMail || s == SourceRevoke || s == SourceUsual }

// Arrival is one first attempt.
type Arrival struct {
	At     time.Duration // since the window began
	Person uint64        // 0, 1, … among people; attackers, scanners and a loop's calls have their own numbers
	Source Source
	Office uint64 // of a person behind one address with others; 0: none
}

// Window is a part of a storm.
type Window struct {
	From   time.Duration // since the first mail; may be negative: nobody comes before it
	Length time.Duration
	Thin   float64 // sample one person in Thin; 0 means everybody
}

// Arrivals are those who come in a window, in the order of their coming, made as they are asked for: 80 bytes, whatever
// the number of people. The same seed gives the same ones.
type Arrivals struct {
	scenario Scenario
	window   Window
	draw     Random
	offices  uint64
	streams  [sources]stream
	numbers  [3]uint64 // people, attackers, scanners
}

const sources = int(SourceLoop)

// Arrivals returns who comes in the window.
func (s Scenario) Arrivals(w Window, seed uint64) (*Arrivals, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if w.Thin == 0 {
		w.Thin = 1
	}
	if w.Length <= 0 || !(w.Thin >= 1) {
		return nil, fmt.Errorf("model: Window has length %v and thin %v; they must be above 0 and at least 1", w.Length, w.Thin)
	}
	a := &Arrivals{scenario: s, window: w, draw: NewRandom(seed)}
	a.offices = max(1, uint64(s.People*s.ResetShare*s.OfficeShare/float64(max(1, s.OfficeSize))/w.Thin))
	for i := range a.streams {
		a.streams[i] = stream{source: Source(i + 1), stepEnd: w.From}
		a.advance(&a.streams[i])
	}
	return a, nil
}

// Next returns the next arrival; false: nobody comes any more.
func (a *Arrivals) Next() (Arrival, bool) {
	first := &a.streams[0]
	for i := range a.streams[1:] {
		if s := &a.streams[i+1]; s.next < first.next {
			first = s
		}
	}
	if first.next == never {
		return Arrival{}, false
	}
	out := Arrival{At: first.next - a.window.From, Source: first.source}
	switch {
	case first.source.Human():
		out.Person = a.number(0)
		out.Office = a.office(out.Person)
	case first.source == SourceScan:
		out.Person = a.number(2)
	case first.source == SourceAttack:
		out.Person = a.number(1)
	}
	a.advance(first)
	return out, true
}

func (a *Arrivals) number(of int) uint64 {
	a.numbers[of]++
	return a.numbers[of] - 1
}

// office is where a person sits. Draws of arrivals are numbered below those of people, which begin at 100.
func (a *Arrivals) office(person uint64) uint64 {
	if a.scenario.OfficeShare == 0 || a.draw.Uniform(person, Draw{Kind: drawOffice}) >= a.scenario.OfficeShare {
		return 0
	}
	return 1 + a.draw.Bits(person, Draw{Kind: drawWhich})%a.offices
}

const (
	drawOffice uint32 = iota + 20
	drawWhich
)

const never = time.Duration(math.MaxInt64)

// stream is one source's Poisson process: the integral of its rate is inverted at the times of a unit process.
type stream struct {
	source Source
	next   time.Duration // since the first mail

	stepFrom, stepEnd time.Duration // the piece in which the rate counts as constant
	rate              float64       // in it, a second
	mass              float64       // of the integral at stepFrom
	due               float64       // the unit process' next time
	nth               uint64
}

// step is the longest piece. With the rate of its middle, the integral of an exponential with τ = 60 s is off by
// (1/60)²/24, 12 in a million; every other rate here changes more slowly.
const step = time.Second

// advance finds the stream's next arrival.
func (a *Arrivals) advance(s *stream) {
	end := a.window.From + a.window.Length
	if s.source == SourceLoop {
		s.next = a.scenario.Loop.at(s.nth, a.window)
		s.nth++
		return
	}
	s.due += a.draw.Exponential(s.nth, Draw{Kind: uint32(s.source)})
	s.nth++
	for {
		add := s.rate * (s.stepEnd - s.stepFrom).Seconds()
		if s.mass+add >= s.due {
			s.next = s.stepFrom + time.Duration((s.due-s.mass)/s.rate*float64(time.Second))
			if s.next >= end {
				s.next = never
			}
			return
		}
		s.mass += add
		s.stepFrom = s.stepEnd
		if s.stepFrom >= end {
			s.next = never
			return
		}
		// Pieces end at whole steps since the first mail, where rates jump.
		s.stepEnd = min(end, s.stepFrom.Truncate(step)+step)
		if s.stepFrom < 0 {
			s.stepEnd = min(end, 0)
		}
		s.rate = a.scenario.of(s.source, s.stepFrom+(s.stepEnd-s.stepFrom)/2) / a.window.Thin
	}
}

// of is a source's rate at t.
func (s Scenario) of(source Source, t time.Duration) float64 {
	r := s.At(t)
	switch source {
	case SourceMail:
		return r.Mail
	case SourceRevoke:
		return r.Revoke
	case SourceAttack:
		return r.Attack
	case SourceScan:
		return r.Scan
	default:
		return r.Usual
	}
}

// at is when the loop's next call is due, evenly spaced; a thinned window has one loop with fewer calls.
func (l Loop) at(nth uint64, w Window) time.Duration {
	if float64(nth) >= float64(l.Calls)/w.Thin {
		return never
	}
	at := l.From + time.Duration(float64(nth)*w.Thin/l.Rate*float64(time.Second))
	if at >= w.From+w.Length {
		return never
	}
	return max(at, w.From)
}
