package dispatch

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
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
	ages      [lanes][states]prometheus.Observer // children found once; nil for what cannot be
	retries   *prometheus.CounterVec
	parks     *prometheus.CounterVec
	expiries  *prometheus.CounterVec
	mailed    map[[2]string]prometheus.Counter // by purpose and outcome: every look-up is counted here
	withheld  atomic.Uint64                    // mails of all purposes
	described prometheus.Gauge
	paused    *prometheus.GaugeVec
	weight    *prometheus.GaugeVec
}

// The sizes of arrays by lane and by state.
const (
	lanes  = int(reset.LaneCampaign) + 1
	states = int(reset.StateFailed) + 1
)

// endsOf are the states in which jobs of a lane end: with the others the histogram would have twice the series, all of
// them 0 for ever. A hash that is made ends nothing, because its ticket goes on in the apply lane.
func endsOf(l reset.Lane) []reset.State {
	switch l {
	case reset.LaneHash:
		return []reset.State{reset.StateRejected, reset.StateFailed}
	case reset.LaneApply:
		return []reset.State{reset.StateDone, reset.StateRejected, reset.StateFailed}
	default:
		return []reset.State{reset.StateDone}
	}
}

// ageBounds are the classic bounds of ages: the promise itself is one, so that the share that kept it is exact, and around
// it they are dense, so that a quantile near it is not off by much; elsewhere they grow by two to ten times, out to
// the longest sealed wait.
func ageBounds(promise time.Duration) []float64 {
	p := promise.Seconds()
	var bounds []float64
	for _, near := range []float64{.25, .5, .75, .9, 1, 1.1, 1.25, 1.5, 2, 4} {
		bounds = append(bounds, math.Round(near*p*1000)/1000) // 1.1 times 300 is 330.00000000000006
	}
	for _, far := range []float64{.01, .1, 1, 5, 30, 60, 120, 300, 600, 3600, 4 * 3600, 24 * 3600} {
		if far < .2*p || far > 5*p {
			bounds = append(bounds, far)
		}
	}
	slices.Sort(bounds)
	return bounds
}

// newMetrics registers everything.
func newMetrics(r prometheus.Registerer, promise time.Duration) (*metrics, error) {
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
	mailed := counter("surgegate_mails_total", "Mails by what became of them.", "purpose", "outcome")
	m := &metrics{
		age: histogram("surgegate_ticket_age_seconds",
			"Seconds from a job's acceptance to its end by a worker; a mail's from when its account was found.",
			ageBounds(promise), "lane", "state"),
		retries: counter("surgegate_jobs_retried_total",
			"Jobs put back in line, by whether that used up one of their tries.", "lane", "tries"),
		parks:    counter("surgegate_jobs_parked_total", "Jobs set aside for an operator, because their tries are used up or they cannot be worked on.", "lane"),
		expiries: counter("surgegate_jobs_expired_total", "Completions whose sealed password waited too long.", "lane"),
		mailed:   map[[2]string]prometheus.Counter{},
		described: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "surgegate_store_described",
			Help: "1 while the store has told what it needs and that can be met, 0 before and while it cannot.",
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
		for _, s := range endsOf(l) {
			m.ages[l][s] = m.age.WithLabelValues(l.String(), s.String())
		}
		m.retries.WithLabelValues(l.String(), "kept")
		m.retries.WithLabelValues(l.String(), "used")
		m.parks.WithLabelValues(l.String())
		m.expiries.WithLabelValues(l.String())
	}
	for _, p := range []reset.Purpose{reset.PurposeLink, reset.PurposeConfirmation, reset.PurposeReplacement} {
		for _, o := range []string{mailSent, mailWithheld, mailRefused} {
			m.mailed[[2]string{p.String(), o}] = mailed.WithLabelValues(p.String(), o)
		}
	}
	for _, c := range []prometheus.Collector{
		m.age, m.retries, m.parks, m.expiries, mailed, m.described, m.paused, m.weight,
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
	if n <= 0 {
		return
	}
	if outcome == mailWithheld {
		m.withheld.Add(uint64(n))
	}
	m.mailed[[2]string{purpose, outcome}].Add(float64(n))
}

// MailsWithheld returns how many mails were not sent since the start because they were over a budget.
func (d *Dispatch) MailsWithheld() uint64 { return d.metrics.withheld.Load() }

// ended counts a final state, with the trace of the job's call as the exemplar; a job whose ticket lives on in a follow-up
// has not ended for anybody.
func (m *metrics) ended(l reset.Lane, s reset.State, age time.Duration, trace reset.Trace) {
	if !s.Final() {
		return
	}
	o := m.ages[l][s]
	if o == nil { // endsOf is wrong: better a series too many than an end that is not seen
		o = m.age.WithLabelValues(l.String(), s.String())
	}
	tracing.Observe(o, age.Seconds(), trace)
}
