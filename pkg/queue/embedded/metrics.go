package embedded

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// metricsSnapshot is what one scrape shows.
type metricsSnapshot struct {
	queue.Stats
	Accepting     bool
	DiskAvailable float64 // bytes; NaN while it is not known
}

// metricsDeps are what metrics need. All are required.
type metricsDeps struct {
	Registerer  prometheus.Registerer
	Clock       clock.Clock
	Snapshot    func() metricsSnapshot
	DiskReserve uint64 // bytes
}

// metrics are the engine's series.
type metrics struct {
	requests      prometheus.Histogram // that shared one fsync
	commit, fsync prometheus.Histogram // seconds
	fsyncErrors   prometheus.Counter

	verdicts   [verdictCount]prometheus.Counter // looked up once, because a look-up costs more than the count
	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

func (e *Engine) openMetrics() (err error) {
	e.metrics, err = newMetrics(metricsDeps{
		Registerer: e.deps.Registerer, Clock: e.deps.Clock, Snapshot: e.takeSnapshot, DiskReserve: e.cfg.DiskReserve,
	})
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

// takeSnapshot reads what a scrape shows. It holds Engine.mu, for reading, as long as Stats does: microseconds.
func (e *Engine) takeSnapshot() metricsSnapshot {
	s := metricsSnapshot{Stats: e.stats(), DiskAvailable: math.NaN()}
	s.Accepting = s.NotAccepting == nil && e.failureErr() == nil
	if free := e.freeDisk.Load(); free != nil {
		s.DiskAvailable = float64(*free)
	}
	return s
}

// The indices of metrics.verdicts.
const (
	verdictAccepted = iota
	verdictCoalesced
	verdictReplayed
	verdictFull
	verdictMarkSpent
	verdictTooLarge
	verdictNotDurable
	verdictOther
	verdictCount
)

// newMetrics makes the series and registers them.
func newMetrics(d metricsDeps) (*metrics, error) {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		})
	}
	items := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "surgegate_queue_enqueues_total",
		Help: "Jobs that requests offered to the queue, by its verdict."}, []string{"verdict"})
	m := &metrics{
		requests: histogram("surgegate_queue_commit_requests", "Requests that shared one fsync.", prometheus.ExponentialBuckets(1, 2, 10)),
		commit: histogram("surgegate_queue_commit_seconds",
			"Seconds from the first request of a group until the group is durable.", prometheus.ExponentialBuckets(0.0001, 2, 16)),
		fsync: histogram("surgegate_queue_fsync_seconds", "Seconds that a group waited for its fsync.", prometheus.ExponentialBuckets(0.0001, 2, 16)),
		fsyncErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "surgegate_queue_fsync_errors_total",
			Help: "Losses of durability; the process ends with the first."}),
		registerer: d.Registerer,
	}
	for i, name := range [verdictCount]string{"accepted", "coalesced", "replayed", "full", "mark_spent", "too_large", "not_durable", "other"} {
		m.verdicts[i] = items.WithLabelValues(name)
	}
	for _, c := range []prometheus.Collector{m.requests, m.commit, m.fsync, items, m.fsyncErrors, newJobsCollector(d)} {
		if err := d.Registerer.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("metrics: %w", err)
		}
		m.collectors = append(m.collectors, c)
	}
	return m, nil
}

// unregister removes the series, so that the registry can take those of an engine that is opened again.
func (m *metrics) unregister() {
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

// countVerdict counts what became of one item.
func (m *metrics) countVerdict(v queue.Verdict) {
	what := verdictAccepted
	switch {
	case v.Err == nil && v.Replayed:
		what = verdictReplayed
	case v.Err == nil && v.Joined:
		what = verdictCoalesced
	case v.Err == nil:
	case errors.Is(v.Err, queue.ErrFull):
		what = verdictFull
	case errors.Is(v.Err, queue.ErrMarkSpent):
		what = verdictMarkSpent
	case errors.Is(v.Err, queue.ErrTooLarge):
		what = verdictTooLarge
	case errors.Is(v.Err, queue.ErrNotDurable):
		what = verdictNotDurable
	default:
		what = verdictOther
	}
	m.verdicts[what].Inc()
}

// jobsCollector shows the jobs held; each scrape takes one snapshot.
type jobsCollector struct {
	metricsDeps
	jobs, in, out, oldest, bytes, maxBytes, conservation, accepting, disk, reserve *prometheus.Desc
}

func newJobsCollector(d metricsDeps) *jobsCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &jobsCollector{
		metricsDeps: d,
		jobs:        desc("surgegate_queue_jobs", "Jobs held, by lane and state.", "lane", "state"),
		in:          desc("surgegate_queue_in_total", "Jobs that came into the lane since the process began.", "lane"),
		out:         desc("surgegate_queue_out_total", "Jobs that left the lane for good since the process began.", "lane"),
		oldest: desc("surgegate_queue_oldest_wait_seconds",
			"Seconds that the lane's oldest interactive job has waited, in line or between tries; parked ones do not count.", "lane"),
		bytes:        desc("surgegate_queue_bytes", "Bytes of the jobs held."),
		maxBytes:     desc("surgegate_queue_max_bytes", "Bytes of jobs at which new work is refused (queue.max_bytes)."),
		conservation: desc("surgegate_queue_conservation", "Jobs enqueued less ended less held: 0, or the engine is at fault."),
		accepting:    desc("surgegate_queue_accepting", "1 while the queue takes new work, 0 while it does not (disk reserve, or a fault)."),
		disk:         desc("surgegate_disk_available_bytes", "Bytes free on the queue's disk, read once a second."),
		reserve:      desc("surgegate_disk_reserve_bytes", "Free bytes below which new work is refused (queue.disk_reserve)."),
	}
}

// Describe implements prometheus.Collector.
func (c *jobsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.jobs, c.in, c.out, c.oldest, c.bytes, c.maxBytes, c.conservation, c.accepting, c.disk, c.reserve} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *jobsCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.Snapshot()
	now := c.Clock.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	for _, lane := range reset.Lanes() {
		l, name := s.Lanes[lane], lane.String()
		gauge(c.jobs, float64(l.Waiting[0]+l.Waiting[1]+l.Waiting[2]), name, "waiting")
		gauge(c.jobs, float64(l.Leased), name, "leased")
		gauge(c.jobs, float64(l.Retrying), name, "retrying")
		gauge(c.jobs, float64(l.Parked), name, "parked")
		counter(c.in, l.Entered, name)
		counter(c.out, l.Ended, name)
		wait := 0.0
		if oldest := l.Oldest(); !oldest.IsZero() {
			wait = max(0, now.Sub(oldest).Seconds())
		}
		gauge(c.oldest, wait, name)
	}
	gauge(c.bytes, float64(s.Bytes))
	gauge(c.maxBytes, float64(s.MaxBytes))
	gauge(c.conservation, float64(s.Conservation()))
	accepting := 0.0
	if s.Accepting {
		accepting = 1
	}
	gauge(c.accepting, accepting)
	gauge(c.disk, s.DiskAvailable)
	gauge(c.reserve, float64(c.DiskReserve))
}
