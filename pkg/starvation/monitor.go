package starvation

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
)

const (
	shortest, longest = 15 * time.Millisecond, 25 * time.Millisecond // between two looks at the timer's lateness
	quarter           = 250 * time.Millisecond                       // between two decisions
	usageEvery        = time.Second                                  // between two looks at the time used and throttled
)

// Deps are what a Monitor needs from outside.
type Deps struct {
	// Clock is the machine's where nil. What it shows must be real time: the Monitor measures the machine.
	Clock clock.Clock
	// Tell is called when starvation begins and ends, and at each decision while it lasts, so that what was made in between
	// knows too. It is called by Run's goroutine, and must not block; nil: nobody is told.
	Tell       func(starved bool)
	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil: silent
}

// Status is how the process fares.
type Status struct {
	// Starved says that the process waits too long for processor time, so that what it measures of others cannot be trusted.
	Starved bool
	// Since is when that was found; zero while it is not.
	Since time.Time
	// Delay is how long whatever is ready waits for a processor: the 90th percentile, smoothed over 5 s.
	Delay time.Duration
	// Throttled is the share of the last second in which a cgroup's quota held back at least a part of the process, 0 to 1.
	Throttled float64
	// Limit is how many processors the process may use, after the quota; Used is how many it used in the last second.
	Limit, Used float64
}

// Monitor measures. Make it with New and Run it once; Status may be called at any time, by anybody.
type Monitor struct {
	clock   clock.Clock
	tell    func(bool)
	log     *slog.Logger
	metrics *monitorMetrics
	groups  cgroups
	status  atomic.Pointer[Status]

	// The rest is Run's.
	late    latenesses
	samples []metrics.Sample
	counts  []uint64 // of the scheduler's histogram, as they were at the last decision
	decided time.Time
	judge   judge
	usage   usage
}

// New returns a Monitor that finds the process served. The error is that of the registration.
func New(d Deps) (*Monitor, error) {
	m := &Monitor{
		clock: d.Clock, tell: d.Tell, log: d.Logger, groups: findCgroups(os.DirFS("/")),
		samples: []metrics.Sample{{Name: "/sched/latencies:seconds"}},
	}
	if m.clock == nil {
		m.clock = clock.System{}
	}
	if m.tell == nil {
		m.tell = func(bool) {}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.status.Store(&Status{Limit: m.limit()})
	var err error
	m.metrics, err = newMetrics(d.Registerer, m.Status)
	return m, err
}

// Status returns the latest state.
func (m *Monitor) Status() Status { return *m.status.Load() }

// Run measures until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	m.decided = m.clock.Now()
	m.goroutineDelay() // what was before does not count
	m.usage.look(m.decided, m.groups.throttled())
	for {
		interval := shortest + rand.N(longest-shortest)
		due := m.clock.Now().Add(interval)
		if m.clock.Sleep(ctx, interval) != nil {
			return
		}
		now := m.clock.Now()
		m.late.add(now.Sub(due), interval)
		if now.Sub(m.decided) >= quarter {
			m.decide(now)
		}
	}
}

// decide ends a quarter of a second.
func (m *Monitor) decide(now time.Time) {
	was := m.judge
	delay := max(m.late.quantile(quantile), m.goroutineDelay())
	m.judge.step(now, delay)
	m.late, m.decided = m.late[:0], now
	before := m.status.Load()
	s := *before
	s.Starved, s.Since, s.Delay = m.judge.starved, m.judge.since, m.judge.smoothed
	if now.Sub(m.usage.at) >= usageEvery {
		throttled := m.usage.look(now, m.groups.throttled())
		m.metrics.throttled.Add(throttled.Seconds())
		s.Used, s.Throttled, s.Limit = m.usage.used, m.usage.share, m.limit()
	}
	m.status.Store(&s)
	switch {
	case s.Starved && !was.starved:
		m.log.Warn("surgegate itself is short of processor time: what it measures of others counts for less, and it may refuse more",
			"delay", delay.Round(time.Microsecond), "processors_used", s.Used, "processors", s.Limit, "throttled_share", s.Throttled)
	case !s.Starved && was.starved:
		m.log.Info("surgegate has enough processor time again", "after", now.Sub(was.since).Round(time.Millisecond))
	}
	if s.Starved || was.starved {
		m.tell(s.Starved)
	}
}

// goroutineDelay is the quantile of how long goroutines waited since the last call.
func (m *Monitor) goroutineDelay() time.Duration {
	metrics.Read(m.samples)
	if m.samples[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	h := m.samples[0].Value.Float64Histogram()
	delay := histogramQuantile(m.counts, h, quantile)
	m.counts = append(m.counts[:0], h.Counts...)
	return time.Duration(delay * float64(time.Second))
}

// limit is how many processors there are for this process.
func (m *Monitor) limit() float64 {
	n := float64(runtime.NumCPU())
	if quota, ok := m.groups.limit(); ok {
		return min(n, quota)
	}
	return n
}

// usage is what the process used, and was kept from using, between the last two looks.
type usage struct {
	at               time.Time
	taken, throttled time.Duration // since the process, and the cgroup, began
	used             float64       // processors
	share            float64       // of the time in which it was throttled, 0 to 1
}

// look takes what the cgroup has been throttled in all, and returns how much of that came since the last look.
func (u *usage) look(now time.Time, throttled time.Duration) time.Duration {
	taken, came := processorTime(), time.Duration(0)
	if span := now.Sub(u.at); !u.at.IsZero() && span > 0 {
		came = max(0, throttled-u.throttled)
		u.used = max(0, float64(taken-u.taken)/float64(span))
		// The kernel adds up the processors on which it held threads back: more than the span is no more than all of it.
		u.share = min(1, float64(came)/float64(span))
	}
	u.at, u.taken, u.throttled = now, taken, throttled
	return came
}

// processorTime is what this process has used; 0 where the system does not tell.
func processorTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
