package operator

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
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
}

// sample is what counters said at one moment.
type sample struct {
	at          time.Time
	lanes       map[reset.Lane]laneCount
	downstreams map[string]dispatch.Counts
	counts      map[series]float64
}

type laneCount struct{ ended, held uint64 }

// series is one counter: its family and the values of its labels in the order of watched.
type series struct{ family, first, second string }

// The families that are looked at, with the labels that tell their series apart.
const (
	familyDecisions = "surgegate_admission_decisions_total"
	familyDryRuns   = "surgegate_admission_dry_run_total"
	familyTokens    = "surgegate_admission_tokens"
	familyGate      = "surgegate_gate_requests_total"
	familyMails     = "surgegate_mails_total"
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
	case familyMails:
		return "purpose", "outcome", true
	default:
		return "", "", false
	}
}

func newRates(g prometheus.Gatherer) *rates { return &rates{gather: g} }

// sample takes a sample: about 1 ms and 600 KB of garbage for the whole registry of a gateway, once a second. What cannot be
// read leaves a gap; the ends of the window bridge it.
func (r *rates) sample(now time.Time, stats queue.Stats, downstreams []dispatch.Downstream) {
	families, err := r.gather.Gather()
	if err != nil && len(families) == 0 {
		return
	}
	s := sample{
		at: now, lanes: make(map[reset.Lane]laneCount, len(stats.Lanes)), downstreams: make(map[string]dispatch.Counts, len(downstreams)),
		counts: map[series]float64{},
	}
	for _, d := range downstreams {
		s.downstreams[d.Name] = d.Counts
	}
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
	kinds             []*operatorv1.CallKindStatus
}

// calls of a downstream. An overload is the downstream saying that it cannot: it counts as failed. What we ended does not.
func (w span) calls(name string) (c calls) {
	if w.seconds <= 0 {
		return c
	}
	a, z := w.first.downstreams[name], w.last.downstreams[name]
	c.ok = float64(z.Calls.Count-a.Calls.Count) / w.seconds
	c.items = float64(z.Calls.Items-a.Calls.Items) / w.seconds
	c.failed = float64(z.Failed-a.Failed) / w.seconds
	if n := z.Ended - a.Ended; n > 0 {
		c.mean = (z.EndedTime - a.EndedTime) / time.Duration(n)
	}
	for _, k := range z.Kinds {
		var before dispatch.Calls
		if i := slices.IndexFunc(a.Kinds, func(b dispatch.KindCounts) bool { return b.Kind == k.Kind }); i >= 0 {
			before = a.Kinds[i].Calls
		}
		st := &operatorv1.CallKindStatus{
			Kind: k.Kind, CallRate: float64(k.Count-before.Count) / w.seconds, ItemRate: float64(k.Items-before.Items) / w.seconds,
		}
		if n := k.Count - before.Count; n > 0 {
			st.CallTime = duration((k.Time - before.Time) / time.Duration(n))
		}
		c.kinds = append(c.kinds, st)
	}
	return c
}
