package downstream

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Metrics are the series of all downstreams. Make it with NewMetrics.
type Metrics struct {
	calls       *prometheus.CounterVec
	handled     *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	items       *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	concurrency *prometheus.GaugeVec
	rate        *prometheus.GaugeVec
	ramp        *prometheus.GaugeVec
	cost        *prometheus.CounterVec
	failures    *prometheus.CounterVec
}

// series are one downstream's.
type series struct {
	calls, handled                    []prometheus.Counter // by class
	seconds, items                    prometheus.Observer
	inFlight, concurrency, rate, ramp prometheus.Gauge
	cost                              map[reset.Lane]prometheus.Counter
}

// NewMetrics registers the series of all downstreams.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	const native = 1.1 // bucket growth: 5 % error at most
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"downstream"})
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: native,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"downstream"})
	}
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surgegate_downstream_calls_total", Help: "Calls of downstreams by how they ended.",
		}, []string{"downstream", "outcome"}),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surgegate_downstream_items_total",
			Help: "Items in calls of downstreams (look-ups, mails, hashes, writes) by how the call ended; each try counts.",
		}, []string{"downstream", "outcome"}),
		seconds: histogram("surgegate_downstream_call_seconds", "Seconds that calls of downstreams took.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 30}),
		items: histogram("surgegate_downstream_batch_items", "Items in one call of a downstream.",
			[]float64{1, 4, 16, 64, 256, 1024}),
		inFlight: gauge("surgegate_downstream_in_flight", "Calls that occupy the downstream now."),
		concurrency: gauge("surgegate_downstream_concurrency_limit",
			"Calls that the downstream's pacer allows at once; 0 for no limit."),
		rate: gauge("surgegate_downstream_rate_limit",
			"Items a second that the downstream's pacer allows; 0 for no limit."),
		ramp: gauge("surgegate_downstream_ramp_ratio",
			"Share of full speed that the downstream's pacer allows while it comes back after an outage; else 1."),
		cost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surgegate_downstream_cost_total",
			Help: "What lanes were charged for their calls of the downstream that they share, in items written.",
		}, []string{"downstream", "lane"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surgegate_downstream_failures_total",
			Help: "Items that failed, by the code that the downstream gave or that stands for it; each try counts. other: a code without a series.",
		}, []string{"downstream", "code"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.calls, m.handled, m.seconds, m.items, m.inFlight, m.concurrency, m.rate, m.ramp, m.cost, m.failures} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *Metrics) of(name string, lanes []reset.Lane) series {
	s := series{
		seconds: m.seconds.WithLabelValues(name), items: m.items.WithLabelValues(name),
		inFlight: m.inFlight.WithLabelValues(name), concurrency: m.concurrency.WithLabelValues(name),
		rate: m.rate.WithLabelValues(name), ramp: m.ramp.WithLabelValues(name), cost: make(map[reset.Lane]prometheus.Counter),
	}
	for c := OK; c < unused; c++ {
		s.calls = append(s.calls, m.calls.WithLabelValues(name, c.String()))
		s.handled = append(s.handled, m.handled.WithLabelValues(name, c.String()))
	}
	for _, l := range lanes {
		s.cost[l] = m.cost.WithLabelValues(name, l.String())
	}
	return s
}
