package gate

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// call names a method in metrics.
type call int

const (
	callStart call = iota
	callCheckToken
	callComplete
	callGetTicket
	callWatchTicket
	calls
)

func (c call) String() string {
	return [calls]string{"start", "check_token", "complete", "get_ticket", "watch_ticket"}[c]
}

// Verdicts of calls that were not refused.
const (
	verdictOK        = "ok"        // answered; the call asks for no work
	verdictAccepted  = "accepted"  // a new job
	verdictCoalesced = "coalesced" // joined an open job, with a ticket of its own
	verdictReplayed  = "replayed"  // the ticket of an earlier call
)

// kinds returns all kinds of refusal. With the verdicts above they are the closed set of the verdict label.
func kinds() []reset.Kind {
	return []reset.Kind{reset.KindInternal, reset.KindInvalid, reset.KindWeakPassword, reset.KindTokenInvalid,
		reset.KindTokenExpired, reset.KindTokenUsed, reset.KindLimitGlobal, reset.KindLimitClient, reset.KindShed,
		reset.KindQueueFull, reset.KindNotDurable, reset.KindDraining, reset.KindKeyUnknown, reset.KindStoreUnknown,
		reset.KindNotFound, reset.KindCanceled}
}

// kindVerdict returns the verdict of a refusal: its ErrorInfo reason in lower case, without what varies.
func kindVerdict(k reset.Kind) string {
	switch k {
	case reset.KindWeakPassword:
		return "weak_password"
	case reset.KindShed:
		return "shed"
	default:
		return strings.ToLower((&reset.Error{Kind: k}).Info())
	}
}

// verdictsOf returns the verdicts that a call can have. Reads of tickets are neither admitted nor accepted.
func verdictsOf(c call) []string {
	if c == callGetTicket || c == callWatchTicket {
		verdicts := []string{verdictOK}
		for _, k := range []reset.Kind{reset.KindInternal, reset.KindInvalid, reset.KindNotDurable, reset.KindDraining,
			reset.KindNotFound, reset.KindCanceled} {
			verdicts = append(verdicts, kindVerdict(k))
		}
		return verdicts
	}
	verdicts := []string{verdictOK, verdictAccepted, verdictCoalesced, verdictReplayed}
	for _, k := range kinds() {
		verdicts = append(verdicts, kindVerdict(k))
	}
	return verdicts
}

type metrics struct {
	all      *prometheus.CounterVec
	requests [calls]map[string]prometheus.Counter
	refused  map[reset.Kind]*atomic.Uint64 // of all calls
	seconds  [calls]prometheus.Observer
	etaStart prometheus.Observer
	etaApply prometheus.Observer
	watched  prometheus.Gauge
	waited   prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_gate_requests_total",
		Help: "Calls of the request side by what became of them.",
	}, []string{"call", "verdict"})
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "surgegate_gate_request_seconds",
		Help: "Seconds from a call to its verdict, what a caller asked to wait for its ticket left out.",
		// Dense around the promise: durable in about a millisecond, refused in under five.
		Buckets:                     []float64{.00025, .0005, .001, .002, .005, .01, .025, .1, .5, 5},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, []string{"call"})
	eta := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                        "surgegate_gate_eta_seconds",
		Help:                        "Seconds until done as told at acceptance: the high end of the ETA.",
		Buckets:                     []float64{.25, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 43200},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, []string{"line"})
	watchers := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_gate_tickets_watched",
		Help: "Tickets that somebody follows now, by a watch stream or by an answer that is held.",
	}, []string{"by"})
	for _, c := range []prometheus.Collector{requests, latency, eta, watchers} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	m := &metrics{etaStart: eta.WithLabelValues("start"), etaApply: eta.WithLabelValues("completion"),
		watched: watchers.WithLabelValues("watch"), waited: watchers.WithLabelValues("wait")}
	m.all = requests
	m.refused = map[reset.Kind]*atomic.Uint64{}
	for _, k := range kinds() {
		m.refused[k] = &atomic.Uint64{}
	}
	for c := range calls {
		m.seconds[c] = latency.WithLabelValues(c.String())
		verdicts := verdictsOf(c)
		m.requests[c] = make(map[string]prometheus.Counter, len(verdicts))
		for _, v := range verdicts {
			m.requests[c][v] = requests.WithLabelValues(c.String(), v)
		}
	}
	return m, nil
}

// Refusals returns how many calls were refused since the start, by the kind of refusal.
func (g *Gate) Refusals() map[reset.Kind]uint64 {
	counts := make(map[reset.Kind]uint64, len(g.metrics.refused))
	for kind, n := range g.metrics.refused {
		counts[kind] = n.Load()
	}
	return counts
}

// verdictOf returns the verdict of a call that was accepted.
func verdictOf(v queue.Verdict) string {
	switch {
	case v.Replayed:
		return verdictReplayed
	case v.Joined:
		return verdictCoalesced
	default:
		return verdictAccepted
	}
}

// count records the verdict of a call and how long it took, with its trace as the exemplar. verdict is ignored if err is not nil.
func (m *metrics) count(c call, verdict string, err error, took time.Duration, trace reset.Trace) {
	if err != nil {
		kind := reset.KindOf(err)
		verdict = kindVerdict(kind)
		if n := m.refused[kind]; n != nil {
			n.Add(1)
		}
	}
	counter, ok := m.requests[c][verdict]
	if !ok { // verdictsOf lacks it: one series too many is better than a call that is not counted
		counter = m.all.WithLabelValues(c.String(), verdict)
	}
	counter.Inc()
	tracing.Observe(m.seconds[c], took.Seconds(), trace)
}

// observeETA records the ETA that an accepted call was told.
func (m *metrics) observeETA(lane reset.Lane, eta reset.ETA) {
	if lane == reset.LaneStart {
		m.etaStart.Observe(eta.High.Seconds())
		return
	}
	m.etaApply.Observe(eta.High.Seconds())
}
