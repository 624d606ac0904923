package dispatch

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/reset"
)

// What became of a mail.
const (
	mailSent     = "sent"
	mailWithheld = "withheld"
	mailRefused  = "refused"
)

// metrics are the work side's series; every one is there from the start.
type metrics struct {
	age       *prometheus.HistogramVec
	retries   *prometheus.CounterVec
	parks     *prometheus.CounterVec
	expiries  *prometheus.CounterVec
	mailed    *prometheus.CounterVec
	described prometheus.Gauge
	paused    *prometheus.GaugeVec
	weight    *prometheus.GaugeVec
}

// newMetrics registers everything.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	const native = 1.1 // bucket growth: 5 % error at most
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: native,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, labels)
	}
	m := &metrics{
		// Dense around the promise of a few seconds, and out to the longest sealed wait.
		age: histogram("surgegate_ticket_age_seconds", "Age of jobs at their end, from acceptance.",
			[]float64{.01, .025, .05, .1, .25, .5, 1, 2, 3, 4, 5, 7.5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800,
				3600, 4 * 3600, 12 * 3600, 24 * 3600}, "lane", "state"),
		retries: counter("surgegate_jobs_retried_total",
			"Jobs put back in line, by whether that used up one of their tries.", "lane", "tries"),
		parks:    counter("surgegate_jobs_parked_total", "Jobs set aside for an operator.", "lane"),
		expiries: counter("surgegate_jobs_expired_total", "Completions whose sealed password waited too long.", "lane"),
		mailed:   counter("surgegate_mails_total", "Mails by what became of them.", "purpose", "outcome"),
		described: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "surgegate_store_described",
			Help: "1 if the store's last description was had and can be met.",
		}),
	}
	m.paused = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_lane_paused", Help: "1 while an operator keeps the lane's jobs from being leased; they are accepted and wait.",
	}, []string{"lane"})
	m.weight = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_lane_weight", Help: "The lane's share beside those of the lanes at the same downstream, as it is in force.",
	}, []string{"lane"})
	for _, l := range workedLanes() {
		m.paused.WithLabelValues(l.String())
		m.weight.WithLabelValues(l.String())
		for _, s := range []reset.State{reset.StateDone, reset.StateRejected, reset.StateFailed} {
			m.age.WithLabelValues(l.String(), s.String())
		}
		m.retries.WithLabelValues(l.String(), "kept")
		m.retries.WithLabelValues(l.String(), "used")
		m.parks.WithLabelValues(l.String())
		m.expiries.WithLabelValues(l.String())
	}
	for _, p := range []reset.Purpose{reset.PurposeLink, reset.PurposeConfirmation, reset.PurposeReplacement} {
		for _, o := range []string{mailSent, mailWithheld, mailRefused} {
			m.mailed.WithLabelValues(p.String(), o)
		}
	}
	for _, c := range []prometheus.Collector{
		m.age, m.retries, m.parks, m.expiries, m.mailed, m.described, m.paused, m.weight,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
	}
	return m, nil
}

// retried counts a job that was put back.
func (m *metrics) retried(l reset.Lane, usedTry bool) {
	tries := "kept"
	if usedTry {
		tries = "used"
	}
	m.retries.WithLabelValues(l.String(), tries).Inc()
}

// parked counts a job that was set aside.
func (m *metrics) parked(l reset.Lane) { m.parks.WithLabelValues(l.String()).Inc() }

// expired counts a completion that waited too long.
func (m *metrics) expired(l reset.Lane) { m.expiries.WithLabelValues(l.String()).Inc() }

// mails counts mails.
func (m *metrics) mails(purpose, outcome string, n int) {
	m.mailed.WithLabelValues(purpose, outcome).Add(float64(n))
}

// ended counts a final state; a job whose ticket lives on in a follow-up has not ended for anybody.
func (m *metrics) ended(l reset.Lane, s reset.State, age time.Duration) {
	if s.Final() {
		m.age.WithLabelValues(l.String(), s.String()).Observe(age.Seconds())
	}
}
