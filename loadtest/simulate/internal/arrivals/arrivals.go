// Package arrivals makes a scenario's first attempts one by one, in time order, so that nobody has to be kept until they
// come. A shared iterator of loadtest/model is to take its place.
package arrivals

import (
	"time"

	"github.com/surgegate/surgegate/loadtest/draw"
	"github.com/surgegate/surgegate/loadtest/model"
)

// Lazy inverts the integral of each source's rate at the times of a unit Poisson process, as model.Arrivals does and with
// the same draws, a step at a time.
type Lazy struct {
	scenario model.Scenario
	window   model.Window
	step     time.Duration
	draw     draw.Source
	streams  [3]stream
	people   uint64
	bots     uint64
}

type stream struct {
	source    model.Source
	begin     time.Duration // of the present step
	add, mass float64       // of the step, and of all before it
	nth       uint64
	next      float64 // mass at which somebody comes
	at        time.Duration
	exhausted bool
}

// New checks scenario, which must have its defaults, and window.
func New(s model.Scenario, w model.Window, seed uint64) (*Lazy, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	// Fine enough for the fastest of λ's changes, the minute in which devices that were signed out come back.
	l := &Lazy{scenario: s, window: w, step: min(time.Second, w.Length/10_000+time.Millisecond), draw: draw.New(seed)}
	for i, source := range []model.Source{model.SourceMail, model.SourceRevoke, model.SourceAttack} {
		st := &l.streams[i]
		st.source, st.begin = source, -l.step
		st.next = l.draw.Exponential(0, draw.Number{Kind: uint32(source)})
		l.advance(st)
	}
	return l, nil
}

// advance finds the stream's next arrival.
func (l *Lazy) advance(s *stream) {
	for s.begin < 0 || s.mass+s.add < s.next {
		if s.begin >= 0 {
			s.mass += s.add
		}
		if s.begin += l.step; s.begin >= l.window.Length {
			s.exhausted = true
			return
		}
		s.add = l.rate(s.source, l.window.From+s.begin+l.step/2) / l.window.Thin * l.step.Seconds()
	}
	s.at = s.begin + time.Duration((s.next-s.mass)/s.add*float64(l.step))
	s.nth++
	s.next += l.draw.Exponential(s.nth, draw.Number{Kind: uint32(s.source)})
}

func (l *Lazy) rate(source model.Source, t time.Duration) float64 {
	r := l.scenario.At(t)
	switch source {
	case model.SourceMail:
		return r.Mail
	case model.SourceRevoke:
		return r.Revoke
	default:
		return r.Attack
	}
}

// Next is who comes next; false: nobody.
func (l *Lazy) Next() (model.Arrival, bool) {
	var first *stream
	for i := range l.streams {
		if s := &l.streams[i]; !s.exhausted && (first == nil || s.at < first.at) {
			first = s
		}
	}
	if first == nil || first.at >= l.window.Length {
		return model.Arrival{}, false
	}
	a := model.Arrival{At: first.at, Source: first.source}
	if first.source == model.SourceAttack {
		a.Person = l.bots
		l.bots++
	} else {
		a.Person = l.people
		l.people++
	}
	l.advance(first)
	return a, true
}
