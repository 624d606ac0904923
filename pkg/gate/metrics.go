package gate

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/reset"
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
	verdictOK        = "ok"        // told, nothing accepted
	verdictAccepted  = "accepted"  // a new job
	verdictCoalesced = "coalesced" // joined an open job, with a ticket of its own
	verdictReplayed  = "replayed"  // the ticket of an earlier call
)

// kinds are all kinds of refusal: with the verdicts above, the closed set of the verdict label.
func kinds() []reset.Kind {
	return []reset.Kind{reset.KindInternal, reset.KindInvalid, reset.KindWeakPassword, reset.KindTokenInvalid,
		reset.KindTokenExpired, reset.KindTokenUsed, reset.KindLimitGlobal, reset.KindLimitClient, reset.KindShed,
		reset.KindQueueFull, reset.KindNotDurable, reset.KindDraining, reset.KindKeyUnknown, reset.KindStoreUnknown,
		reset.KindNotFound, reset.KindCanceled}
}

// kindVerdict is a refusal's verdict: its ErrorInfo reason in lower case, without what varies.
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

type metrics struct {
	requests [calls]map[string]prometheus.Counter
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
		Help: "Time from a call to its verdict, what a caller asked to wait for its ticket left out.",
		// Dense around the promise: durable in about a millisecond, refused in under five.
		Buckets: []float64{.0001, .00025, .0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .025, .05, .1,
			.25, 1, 5},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, []string{"call"})
	eta := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                        "surgegate_gate_eta_seconds",
		Help:                        "High end of the ETA as told at acceptance.",
		Buckets:                     []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200},
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
	verdicts := []string{verdictOK, verdictAccepted, verdictCoalesced, verdictReplayed}
	for _, k := range kinds() {
		verdicts = append(verdicts, kindVerdict(k))
	}
	for c := range calls {
		m.seconds[c] = latency.WithLabelValues(c.String())
		m.requests[c] = make(map[string]prometheus.Counter, len(verdicts))
		for _, v := range verdicts {
			m.requests[c][v] = requests.WithLabelValues(c.String(), v)
		}
	}
	return m, nil
}

// count records a call's verdict and what it took.
func (m *metrics) count(c call, verdict string, err error, took time.Duration) {
	if err != nil {
		var e *reset.Error
		if !errors.As(err, &e) {
			e = &reset.Error{}
		}
		verdict = kindVerdict(e.Kind)
	}
	m.requests[c][verdict].Inc()
	m.seconds[c].Observe(took.Seconds())
}

func (m *metrics) told(lane reset.Lane, eta reset.ETA) {
	if lane == reset.LaneStart {
		m.etaStart.Observe(eta.High.Seconds())
		return
	}
	m.etaApply.Observe(eta.High.Seconds())
}
