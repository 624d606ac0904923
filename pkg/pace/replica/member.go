package replica

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
)

// Member is the Pacer of one replica. Like every Pacer it is pure, and the caller serialises.
type Member struct {
	config Config
	clamp  clock.Clamp
	now    time.Time

	share, batch int
	told         int    // the share of the last Order
	term, look   uint64 // of the last Order
	quiet        bool   // no Order was heard for too long: nothing is counted
	heard        time.Time
	halved       int // times since then

	inFlight int
	area     float64 // ∫ in flight dt in s
	report   Report  // what has been summed so far
	cut      uint64
	cutAt    time.Time

	since, from time.Time // of the look, and of its counting
	settle      time.Duration
	old, oldWas int
	reached     bool
	counting    bool
	areaFrom    float64
	goodFrom    [pace.MaxKinds]pace.Tally
}

var _ pace.Pacer = (*Member)(nil)

// NewMember returns a Pacer with a share of one call until it is told another. The id is the Reports'. Errors are those of
// Config.Validate, or that the id is missing.
func NewMember(config Config, id string) (*Member, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	if id == "" {
		return nil, errors.New("replica: a member needs an id")
	}
	return &Member{config: config.WithDefaults(), share: 1, batch: 1, quiet: true, report: Report{Member: id}}, nil
}

// tick takes note of the time, and of how long nothing was heard.
func (m *Member) tick(t time.Time) {
	t = m.clamp.Now(t)
	if m.now.IsZero() {
		m.now, m.heard = t, t
	}
	m.area += float64(m.inFlight) * t.Sub(m.now).Seconds()
	m.now = t
	for m.share != 1 && t.Sub(m.heard) >= time.Duration(m.halved+1)*m.config.Patience {
		m.share = max(1, m.share/2)
		m.halved++
		m.quiet, m.counting = true, false
	}
	if t.Sub(m.heard) >= m.config.Patience {
		m.quiet, m.counting = true, false
	}
	m.settled()
}

// settled begins to count when new calls are like old ones: as pace.Chart's looks do.
func (m *Member) settled() {
	if m.quiet || m.counting {
		return
	}
	passed := m.now.Sub(m.since)
	still := passed >= m.settle && float64(m.old) <= .3*float64(m.oldWas) && m.reached && m.inFlight <= m.share
	if !still && passed < 4*m.settle {
		return
	}
	m.counting, m.from, m.areaFrom, m.goodFrom = true, m.now, m.area, m.report.Good
	m.report.Wanting, m.report.Bigger = false, false
}

// Hear takes an Order. An older one than was heard is dropped.
func (m *Member) Hear(now time.Time, o Order) {
	m.tick(now)
	if (Order{Term: m.term, Look: m.look}).after(o.Term, o.Look) {
		return
	}
	m.heard, m.halved = m.now, 0
	if !o.after(m.term, m.look) && !m.quiet {
		return
	}
	if o.Cut > m.cut || o.Term > m.term {
		m.cut, m.cutAt = o.Cut, m.now
	}
	m.term, m.look, m.share, m.batch, m.settle = o.Term, o.Look, o.Share, max(1, o.Batch), max(o.Settle, time.Millisecond)
	m.told, m.quiet, m.counting = o.Share, false, false
	m.since, m.old, m.oldWas, m.reached = m.now, m.inFlight, m.inFlight, m.inFlight >= m.share
}

// Ask implements pace.Pacer.
func (m *Member) Ask(now time.Time, kind pace.Kind, items int) pace.Verdict {
	if items < 1 || kind >= pace.MaxKinds {
		panic(fmt.Sprintf("replica: Ask for %d items of kind %d", items, kind))
	}
	m.tick(now)
	m.report.Bigger = m.report.Bigger || items > m.batch
	if m.inFlight >= m.share {
		m.report.Wanting = true
		return pace.Verdict{RetryAt: m.now.Add(m.config.Period)} // an Order may have come
	}
	m.inFlight++
	m.reached = m.reached || m.inFlight >= m.share
	return pace.Verdict{Go: true, Items: min(items, m.batch)}
}

// Done implements pace.Pacer.
func (m *Member) Done(now time.Time, call pace.Call) {
	if m.inFlight == 0 {
		panic("replica: Done without an Ask that was told Go")
	}
	m.tick(now)
	m.inFlight--
	if call.Start.Before(m.since) {
		m.old = max(0, m.old-1)
	}
	recent := !call.Start.Before(m.cutAt)
	switch call.Outcome {
	case pace.OutcomeCanceled:
	case pace.OutcomeOverload:
		if recent {
			m.report.Overloads++
		}
	case pace.OutcomeTimeout:
		if recent {
			m.report.Timeouts++
		}
	case pace.OutcomeError:
		m.report.Errors++
	default:
		latency := math.Max(m.now.Sub(call.Start).Seconds(), 1e-6)
		t := &m.report.Good[call.Kind]
		t.Calls++
		t.Items += float64(call.Items)
		t.Latency += latency
		t.Square += latency * latency
	}
	m.settled()
}

// Resume implements pace.Pacer: the Leader hears of it with the next Report, and all begin low.
func (m *Member) Resume(now time.Time) {
	m.tick(now)
	m.report.Resumed++
	m.report.ResumedAt = m.look
}

// Limits implements pace.Pacer.
func (m *Member) Limits() pace.Limits {
	return pace.Limits{Concurrency: m.share, InFlight: m.inFlight, Batch: m.batch, Ramp: 1}
}

// Leave is the last Report of a Member that asks for no more calls: the others get its share at once.
func (m *Member) Leave(now time.Time) Report {
	r := m.Report(now)
	r.Leaving = true
	return r
}

// Report is what to tell the Leader now.
func (m *Member) Report(now time.Time) Report {
	m.tick(now)
	m.report.Number++
	r := m.report
	r.Share, r.InFlight = m.told, m.inFlight
	if m.quiet {
		return r
	}
	r.Term, r.Look = m.term, m.look
	if m.counting {
		r.Seconds, r.Area, r.Counted = m.now.Sub(m.from).Seconds(), m.area-m.areaFrom, less(m.report.Good, m.goodFrom)
	}
	return r
}
