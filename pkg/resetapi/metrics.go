package resetapi

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	ignoredClients prometheus.Counter
	watches        prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		ignoredClients: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_grpc_ignored_clients_total", Help: "Client messages ignored because their caller is not trusted."}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "surgegate_grpc_watches", Help: "Tickets being watched now."}),
	}
	for _, c := range []prometheus.Collector{m.ignoredClients, m.watches} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("resetapi: metrics: %w", err)
		}
	}
	return m, nil
}
