package replica

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
)

// Leader decides for all replicas of one downstream. It is pure, and the caller serialises.
type Leader struct {
	config  Config
	chart   pace.ChartConfig
	term    uint64
	clamp   clock.Clamp
	began   time.Time
	decides *pace.Chart // nil while it listens
	members map[string]*follower
	resumed uint64 // look that the last resumption began
	dealt   uint64 // look whose shares are dealt, what was left of C/k, and who is the first to get of it
	left    int
	turn    int
}

// follower is what is known of a Member.
type follower struct {
	last  Report
	heard time.Time
}

// NewLeader returns the Leader of a term, which must be over any before. Errors are those of the configs' Validate.
func NewLeader(config Config, chart pace.ChartConfig, term uint64) (*Leader, error) {
	if err := errors.Join(config.Validate(), chart.Validate()); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	if term == 0 {
		return nil, errors.New("replica: terms begin at 1")
	}
	return &Leader{config: config.WithDefaults(), chart: chart.WithDefaults(), term: term, members: make(map[string]*follower)}, nil
}

// Hear takes a Report, and tells whether there are new Orders to send at once.
func (l *Leader) Hear(now time.Time, r Report) bool {
	now = l.tick(now)
	f, known := l.members[r.Member]
	if known && r.Number <= f.last.Number {
		return false
	}
	if r.Leaving {
		delete(l.members, r.Member)
		if known && l.decides != nil {
			l.decides.Repeat(now)
		}
		return known
	}
	if !known {
		f = &follower{}
		l.members[r.Member] = f
	}
	last := f.last
	if !known { // what it did before is no news, but what it has in flight is
		last = r
	}
	f.last, f.heard = r, now
	if l.decides == nil {
		return false
	}
	before := l.decides.Look().Number
	if !known {
		l.decides.Repeat(now)
	}
	l.decides.Count(now, l.sum(last, r))
	if r.Resumed > last.Resumed && r.Term == l.term && r.ResumedAt >= l.resumed {
		l.decides.Resume(now)
		l.resumed = l.decides.Look().Number
	}
	return l.decides.Look().Number != before
}

// tick takes note of the time: who is silent, and whether it has listened for long enough.
func (l *Leader) tick(t time.Time) time.Time {
	t = l.clamp.Now(t)
	if l.began.IsZero() {
		l.began = t
	}
	was := len(l.members)
	maps.DeleteFunc(l.members, func(_ string, f *follower) bool { return t.Sub(f.heard) >= l.config.Patience })
	if l.decides != nil {
		if len(l.members) != was {
			l.decides.Repeat(t)
		}
		return t
	}
	if t.Sub(l.began) < l.config.Patience || len(l.members) == 0 {
		return t
	}
	shares := 0
	for _, f := range l.members {
		shares += f.last.Share
	}
	c := l.chart
	c.Start = max(c.Start, shares)
	l.decides, _ = pace.NewChart(c) // validated in NewLeader, and Start grew
	return t
}

// sum is what is news in a Report, and what all have counted at the present look.
func (l *Leader) sum(last, r Report) pace.Sum {
	look := l.decides.Look()
	s := pace.Sum{Look: look.Number, Good: less(r.Good, last.Good), Errors: r.Errors - last.Errors}
	if r.Term == l.term && r.Look >= look.Cut {
		s.Overloads, s.Timeouts = r.Overloads-last.Overloads, r.Timeouts-last.Timeouts
	}
	least := 0.0
	for _, f := range l.members {
		m := f.last
		s.InFlight += m.InFlight
		if m.Term != l.term || m.Look != look.Number || m.Seconds <= 0 {
			s.Look = 0
			continue
		}
		if least == 0 || m.Seconds < least {
			least = m.Seconds
		}
		// Each has counted for another time: what is added is what they do in a second.
		s.Area += m.Area / m.Seconds
		for kind, t := range m.Counted {
			s.Counted[kind].Calls += t.Calls / m.Seconds
			s.Counted[kind].Items += t.Items / m.Seconds
			s.Counted[kind].Latency += t.Latency / m.Seconds
		}
		s.Wanting, s.Bigger = s.Wanting || m.Wanting, s.Bigger || m.Bigger
	}
	s.Seconds = least
	s.Area *= least
	for kind := range s.Counted {
		s.Counted[kind].Calls *= least
		s.Counted[kind].Items *= least
		s.Counted[kind].Latency *= least
	}
	return s
}

// Orders are what to tell each Member now, by its id.
func (l *Leader) Orders(now time.Time) map[string]Order {
	l.tick(now)
	if l.decides == nil || len(l.members) == 0 {
		return nil
	}
	look := l.decides.Look()
	o := Order{Term: l.term, Look: look.Number, Cut: look.Cut, Batch: look.Batch, Settle: look.Settle}
	ids := slices.Sorted(maps.Keys(l.members))
	orders := make(map[string]Order, len(ids))
	if look.Number != l.dealt { // as with cards: the next look's begin where these end, or looks of one role would favour some
		l.dealt, l.turn = look.Number, (l.turn+l.left)%len(ids)
		l.left = look.Calls % len(ids)
	}
	for i := range ids {
		o.Share = look.Calls / len(ids)
		if i < l.left {
			o.Share++
		}
		orders[ids[(l.turn+i)%len(ids)]] = o
	}
	return orders
}

// Limits are those of all Members together.
func (l *Leader) Limits() pace.Limits {
	if l.decides == nil {
		return pace.Limits{}
	}
	return l.decides.Limits()
}
