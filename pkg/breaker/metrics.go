package breaker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the series of one breaker; several breakers share the names and differ in the label downstream.
type metrics struct {
	transitions map[State]prometheus.Counter // by the state that was entered
	collectors  []prometheus.Collector
}

func newMetrics(b *Breaker) *metrics {
	m := &metrics{transitions: make(map[State]prometheus.Counter)}
	for _, s := range []State{Closed, HalfOpen, Open} {
		labels := prometheus.Labels{"downstream": b.config.Name, "state": s.String()}
		m.transitions[s] = prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_breaker_transitions_total", Help: "Times that the breaker entered the state.",
			ConstLabels: labels,
		})
		m.collectors = append(m.collectors, m.transitions[s], prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "surgegate_breaker_state", Help: "1 for the state that the breaker is in, 0 for the others.",
			ConstLabels: labels,
		}, func() float64 {
			if b.State() == s {
				return 1
			}
			return 0
		}))
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	var errs []error
	for _, c := range m.collectors {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}
