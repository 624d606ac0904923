package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/surgegate/surgegate/loadtest/draw"
)

// Source says why somebody comes.
type Source uint8

// The sources that make calls.
const (
	SourceMail   Source = iota + 1 // the mailing
	SourceRevoke                   // a device was signed out
	SourceAttack                   // somebody tries addresses
)

// String names the source as traces do.
func (s Source) String() string {
	switch s {
	case SourceMail:
		return "mail"
	case SourceRevoke:
		return "revoke"
	case SourceAttack:
		return "attack"
	default:
		return fmt.Sprintf("source(%d)", uint8(s))
	}
}

// Arrival is one first attempt.
type Arrival struct {
	At     time.Duration // since the window began
	Person uint64        // 0, 1, … among people; attackers have their own numbers
	Source Source
}

// Window is a part of a storm.
type Window struct {
	From   time.Duration // since the first mail; may be negative: nobody comes before it
	Length time.Duration
	Thin   float64 // sample one person in Thin; 0 means everybody
}

// Arrivals returns who comes in the window, sorted by time.
func (s Scenario) Arrivals(w Window, seed uint64) ([]Arrival, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if w.Thin == 0 {
		w.Thin = 1
	}
	if w.Length <= 0 || w.Thin < 1 {
		return nil, fmt.Errorf("model: Window has length %v and thin %v; they must be above 0 and at least 1", w.Length, w.Thin)
	}
	d := draw.New(seed)
	var all []Arrival
	for _, source := range []struct {
		source Source
		rate   func(Rate) float64
	}{
		{SourceMail, func(r Rate) float64 { return r.Mail }},
		{SourceRevoke, func(r Rate) float64 { return r.Revoke }},
		{SourceAttack, func(r Rate) float64 { return r.Attack }},
	} {
		times := poisson(d, uint32(source.source), w, func(t time.Duration) float64 { return source.rate(s.At(t)) / w.Thin })
		for _, at := range times {
			all = append(all, Arrival{At: at, Source: source.source})
		}
	}
	slices.SortStableFunc(all, func(a, b Arrival) int { return int(a.At - b.At) })
	var people, attackers uint64
	for i := range all {
		if all[i].Source == SourceAttack {
			all[i].Person = attackers
			attackers++
		} else {
			all[i].Person = people
			people++
		}
	}
	return all, nil
}

// poisson inverts the integral of rate at the times of a unit Poisson process. A step of 1 ms is far below the time in
// which any λ here changes; inside a step the rate counts as constant.
func poisson(d draw.Source, stream uint32, w Window, rate func(time.Duration) float64) []time.Duration {
	const step = time.Millisecond
	var (
		times []time.Duration
		mass  float64
		nth   uint64
		next  = d.Exponential(nth, draw.Number{Kind: stream})
	)
	for t := time.Duration(0); t < w.Length; t += step {
		add := rate(w.From+t) * step.Seconds()
		for mass+add >= next {
			times = append(times, t+time.Duration((next-mass)/add*float64(step)))
			nth++
			next += d.Exponential(nth, draw.Number{Kind: stream})
		}
		mass += add
	}
	return times
}
