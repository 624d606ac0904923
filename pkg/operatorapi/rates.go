package operatorapi

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// rateWindow is how long back rates look.
const rateWindow = 10 * time.Second

// maxSamples bounds what is kept: one a second of the window, and one on either side.
const maxSamples = 12

// rates tells what went on a second over the last rateWindow.
type rates struct {
	gather prometheus.Gatherer

	mu      sync.Mutex
	samples []sample // oldest first
	best    map[string]*best
}

// sample is what counters said at one moment.
type sample struct {
	at     time.Time
	lanes  map[reset.Lane]laneCount
	counts map[series]float64
}

type laneCount struct{ ended, held uint64 }

// series is one counter: its family and the values of its labels in the order of watched.
type series struct{ family, first, second string }

// The families that are looked at, with the labels that tell their series apart. Sum and count of a histogram are series too.
const (
	familyDecisions = "surgegate_admission_decisions_total"
	familyDryRuns   = "surgegate_admission_dry_run_total"
	familyTokens    = "surgegate_admission_tokens"
	familyGate      = "surgegate_gate_requests_total"
	familyCalls     = "surgegate_downstream_calls_total"
	familySeconds   = "surgegate_downstream_call_seconds"
	familyItems     = "surgegate_downstream_items_total"
	familyMails     = "surgegate_mails_total"

	histogramSum, histogramCount = "sum", "count"
)

func watched(family string) (first, second string, ok bool) {
	switch family {
	case familyDecisions:
		return "decision", "reason", true
	case familyDryRuns:
		return "reason", "", true
	case familyTokens:
		return "", "", true
	case familyGate:
		return "call", "verdict", true
	case familyCalls, familyItems:
		return "downstream", "outcome", true
	case familySeconds:
		return "downstream", "", true
	case familyMails:
		return "purpose", "outcome", true
	default:
		return "", "", false
	}
}

func newRates(g prometheus.Gatherer) *rates { return &rates{gather: g, best: map[string]*best{}} }

// look takes a sample: about 1 ms and 600 KB of garbage for the whole registry of a gateway, once a second. What cannot be
// read leaves a gap; the ends of the window bridge it.
func (r *rates) look(now time.Time, stats queue.Stats) {
	families, err := r.gather.Gather()
	if err != nil && len(families) == 0 {
		return
	}
	s := sample{at: now, lanes: make(map[reset.Lane]laneCount, len(stats.Lanes)), counts: map[series]float64{}}
	for lane, l := range stats.Lanes {
		s.lanes[lane] = laneCount{ended: l.Ended, held: held(l)}
	}
	for _, f := range families {
		first, second, ok := watched(f.GetName())
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			s.take(f.GetName(), first, second, m)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.samples); n > 0 && !now.After(r.samples[n-1].at) {
		r.samples = nil // the clock was set back
	}
	for len(r.samples) > 1 && (now.Sub(r.samples[1].at) >= rateWindow || len(r.samples) >= maxSamples) {
		r.samples = r.samples[1:]
	}
	r.samples = append(r.samples, s)
	r.remember(now)
}

func (s *sample) take(family, first, second string, m *dto.Metric) {
	key := series{family: family}
	for _, l := range m.GetLabel() {
		switch l.GetName() {
		case first:
			key.first = l.GetValue()
		case second:
			key.second = l.GetValue()
		}
	}
	if h := m.GetHistogram(); h != nil {
		key.second = histogramSum
		s.counts[key] = h.GetSampleSum()
		key.second = histogramCount
		s.counts[key] = float64(h.GetSampleCount())
		return
	}
	s.counts[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

func held(l queue.LaneStats) (n uint64) {
	for _, w := range l.Waiting {
		n += w
	}
	return n + l.Leased + l.Retrying + l.Parked
}

// span is the window's ends.
type span struct {
	first, last sample
	seconds     float64 // 0: there is no window yet
}

// span is the window that ends now. Of samples that are older there is none: where counters cannot be read, because the disk
// stalls the engine, what went on before would be told as going on.
func (r *rates) span(now time.Time) span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spanLocked(now)
}

func (r *rates) spanLocked(now time.Time) span {
	n := len(r.samples)
	if n == 0 {
		return span{}
	}
	w := span{first: r.samples[0], last: r.samples[n-1]}
	if now.Sub(w.last.at) <= rateWindow {
		w.seconds = w.last.at.Sub(w.first.at).Seconds()
	}
	return w
}

// lane tells jobs that came and that ended, a second.
func (w span) lane(l reset.Lane) (arrived, ended float64) {
	if w.seconds <= 0 {
		return 0, 0
	}
	a, z := w.first.lanes[l], w.last.lanes[l]
	gone := float64(z.ended) - float64(a.ended)
	came := gone + float64(z.held) - float64(a.held)
	return max(0, came) / w.seconds, max(0, gone) / w.seconds
}

// rate is what a counter grew by a second.
func (w span) rate(s series) float64 {
	if w.seconds <= 0 {
		return 0
	}
	return max(0, w.last.counts[s]-w.first.counts[s]) / w.seconds
}

// sum adds the rates of the series of a family that a test lets pass.
func (w span) sum(family string, pass func(series) bool) (total float64) {
	for s := range w.last.counts {
		if s.family == family && pass(s) {
			total += w.rate(s)
		}
	}
	return total
}

// reasonRate is one reason of refusals.
type reasonRate struct {
	reason string
	rate   float64
}

// refusals of the request side that admission has let in before: no room, no time, no durability.
func lateRefusals() []reset.Kind {
	return []reset.Kind{reset.KindQueueFull, reset.KindNotDurable, reset.KindDraining, reset.KindKeyUnknown, reset.KindStoreUnknown}
}

// intake is what came in.
type intake struct {
	admitted, limited, shed, refused, tokens float64
	reasons                                  []reasonRate // most first; only what is over 0
}

func (w span) intake() (in intake) {
	late := map[string]bool{}
	for _, k := range lateRefusals() {
		late[strings.ToLower((&reset.Error{Kind: k}).Info())] = true
	}
	reasons := map[string]float64{}
	for s := range w.last.counts {
		switch {
		case s.family == familyDecisions:
			rate := w.rate(s)
			switch s.first {
			case "admitted":
				in.admitted += rate
				continue
			case "limited":
				in.limited += rate
			case "shed":
				in.shed += rate
			}
			reasons[s.second] += rate
		case s.family == familyGate && late[s.second]:
			in.refused += w.rate(s)
			reasons[s.second] += w.rate(s)
		case s.family == familyTokens:
			in.tokens = w.last.counts[s]
		}
	}
	for reason, rate := range reasons {
		if rate > 0 {
			in.reasons = append(in.reasons, reasonRate{reason, rate})
		}
	}
	slices.SortFunc(in.reasons, func(a, b reasonRate) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.reason, b.reason))
	})
	return in
}

// calls is what a downstream did.
type calls struct {
	ok, failed, items float64
	mean              time.Duration // of a call; 0 where there was none
}

// calls of a downstream. An overload is the downstream saying that it cannot: it counts as failed. What we ended does not.
func (w span) calls(name string) (c calls) {
	for _, outcome := range []string{"overload", "timeout", "error"} {
		c.failed += w.rate(series{familyCalls, name, outcome})
	}
	c.ok = w.rate(series{familyCalls, name, "ok"})
	c.items = w.rate(series{familyItems, name, "ok"})
	if n := w.rate(series{familySeconds, name, histogramCount}); n > 0 {
		c.mean = time.Duration(w.rate(series{familySeconds, name, histogramSum}) / n * float64(time.Second))
	}
	return c
}
