package meter

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Snapshot is what the engine holds at one moment.
type Snapshot struct {
	queue.Stats
	Accepting     bool
	DiskAvailable float64 // bytes; NaN while it is not known
}

// Deps of a Meter. All are needed.
type Deps struct {
	Registerer  prometheus.Registerer
	Clock       clock.Clock
	Snapshot    func() Snapshot
	DiskReserve uint64 // bytes
}

// Meter is the engine's metrics. Make it with New.
type Meter struct {
	Requests      prometheus.Histogram // that shared one fsync
	Commit, Fsync prometheus.Histogram // seconds
	FsyncErrors   prometheus.Counter

	verdicts   [verdicts]prometheus.Counter // children found once: a look-up costs more than the count
	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

// Indices of verdicts.
const (
	accepted = iota
	coalesced
	replayed
	full
	markSpent
	tooLarge
	notDurable
	other
	verdicts
)

// New registers the series; Close takes them back, so that the same registry can take a reopened engine's.
func New(d Deps) (*Meter, error) {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		})
	}
	items := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "surgegate_queue_enqueues_total",
		Help: "Jobs that requests offered to the queue, by its verdict."}, []string{"verdict"})
	m := &Meter{
		Requests: histogram("surgegate_queue_commit_requests", "Requests that shared one fsync.", prometheus.ExponentialBuckets(1, 2, 10)),
		Commit: histogram("surgegate_queue_commit_seconds",
			"Seconds from the first request of a group until the group is durable.", prometheus.ExponentialBuckets(0.0001, 2, 16)),
		Fsync: histogram("surgegate_queue_fsync_seconds", "Seconds that a group waited for its fsync.", prometheus.ExponentialBuckets(0.0001, 2, 16)),
		FsyncErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "surgegate_queue_fsync_errors_total",
			Help: "Losses of durability; the process ends with the first."}),
		registerer: d.Registerer,
	}
	for i, name := range [verdicts]string{"accepted", "coalesced", "replayed", "full", "mark_spent", "too_large", "not_durable", "other"} {
		m.verdicts[i] = items.WithLabelValues(name)
	}
	for _, c := range []prometheus.Collector{m.Requests, m.Commit, m.Fsync, items, m.FsyncErrors, newHeld(d)} {
		if err := d.Registerer.Register(c); err != nil {
			m.Close()
			return nil, fmt.Errorf("metrics: %w", err)
		}
		m.collectors = append(m.collectors, c)
	}
	return m, nil
}

// Close takes the series back.
func (m *Meter) Close() {
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

// Verdict counts what became of one item.
func (m *Meter) Verdict(v queue.Verdict) {
	what := accepted
	switch {
	case v.Err == nil && v.Replayed:
		what = replayed
	case v.Err == nil && v.Joined:
		what = coalesced
	case v.Err == nil:
	case errors.Is(v.Err, queue.ErrFull):
		what = full
	case errors.Is(v.Err, queue.ErrMarkSpent):
		what = markSpent
	case errors.Is(v.Err, queue.ErrTooLarge):
		what = tooLarge
	case errors.Is(v.Err, queue.ErrNotDurable):
		what = notDurable
	default:
		what = other
	}
	m.verdicts[what].Inc()
}

// held is read from one snapshot at each scrape.
type held struct {
	Deps
	jobs, in, out, oldest, bytes, maxBytes, conservation, accepting, disk, reserve *prometheus.Desc
}

func newHeld(d Deps) *held {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &held{
		Deps: d,
		jobs: desc("surgegate_queue_jobs", "Jobs held, by lane and state.", "lane", "state"),
		in:   desc("surgegate_queue_in_total", "Jobs that came into the lane since the process began.", "lane"),
		out:  desc("surgegate_queue_out_total", "Jobs that left the lane for good since the process began.", "lane"),
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
func (h *held) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{h.jobs, h.in, h.out, h.oldest, h.bytes, h.maxBytes, h.conservation, h.accepting, h.disk, h.reserve} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (h *held) Collect(ch chan<- prometheus.Metric) {
	s := h.Snapshot()
	now := h.Clock.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	for _, lane := range reset.Lanes() {
		l, name := s.Lanes[lane], lane.String()
		gauge(h.jobs, float64(l.Waiting[0]+l.Waiting[1]+l.Waiting[2]), name, "waiting")
		gauge(h.jobs, float64(l.Leased), name, "leased")
		gauge(h.jobs, float64(l.Retrying), name, "retrying")
		gauge(h.jobs, float64(l.Parked), name, "parked")
		counter(h.in, l.Entered, name)
		counter(h.out, l.Ended, name)
		wait := 0.0
		if oldest := l.Oldest(); !oldest.IsZero() {
			wait = max(0, now.Sub(oldest).Seconds())
		}
		gauge(h.oldest, wait, name)
	}
	gauge(h.bytes, float64(s.Bytes))
	gauge(h.maxBytes, float64(s.MaxBytes))
	gauge(h.conservation, float64(s.Conservation()))
	accepting := 0.0
	if s.Accepting {
		accepting = 1
	}
	gauge(h.accepting, accepting)
	gauge(h.disk, s.DiskAvailable)
	gauge(h.reserve, float64(h.DiskReserve))
}
