package starvation

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type monitorMetrics struct{ throttled prometheus.Counter }

// newMetrics registers the metrics, unless r is nil.
func newMetrics(r prometheus.Registerer, status func() Status) (*monitorMetrics, error) {
	m := &monitorMetrics{throttled: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "surgegate_cpu_throttled_seconds_total",
		Help: "Seconds for which a cgroup's quota held threads back since the start, summed over processors; 0 without a quota.",
	})}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.throttled,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "surgegate_cpu_starved",
			Help: "1 while surgegate itself waits too long for processor time to trust what it measures of others, else 0.",
		}, func() float64 {
			if status().Starved {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "surgegate_scheduling_delay_seconds",
			Help: "Seconds that whatever is ready waits for a processor: 90th percentile, smoothed over 5 s.",
		}, func() float64 { return status().Delay.Seconds() }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("starvation: %w", err)
		}
	}
	return m, nil
}
