package edge

import (
	"context"
	"fmt"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// metrics are the edge's own and the gRPC server's.
type metrics struct {
	grpc           *grpcprom.ServerMetrics
	openConns      map[string]prometheus.Gauge
	refusedConns   map[string]prometheus.Counter
	panics         prometheus.Counter
	reloadFailures prometheus.Counter
	operatorCalls  [codes.Unauthenticated + 1]prometheus.Counter
}

const (
	listenerGRPC     = "grpc"
	listenerOperator = "operator"
	listenerHTTP     = "http"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		grpc: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(grpcprom.WithHistogramOpts(&prometheus.HistogramOpts{
			// Few buckets: this time includes how long answers are held. surgegate_gate_request_seconds has the dense ones.
			Buckets:                         []float64{.002, .005, .01, .1, 1, 10},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}))),
		openConns: map[string]prometheus.Gauge{}, refusedConns: map[string]prometheus.Counter{},
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_grpc_panics_total", Help: "Calls that panicked; each is in the log."}),
		reloadFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_grpc_reload_failures_total", Help: "Certificates or operator tokens that could not be reloaded."}),
	}
	open := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_grpc_connections", Help: "Connections open now."}, []string{"listener"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_grpc_refused_connections_total", Help: "Connections closed because the listener was at its cap."}, []string{"listener"})
	for _, l := range []string{listenerGRPC, listenerOperator, listenerHTTP} {
		m.openConns[l], m.refusedConns[l] = open.WithLabelValues(l), refused.WithLabelValues(l)
	}
	operatorCalls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_grpc_operator_calls_total", Help: "Calls of the operator listener, probes and reflection included, by their gRPC code."}, []string{"code"})
	for code := range m.operatorCalls {
		m.operatorCalls[code] = operatorCalls.WithLabelValues(codes.Code(code).String())
	}
	for _, c := range []prometheus.Collector{operatorCalls, m.grpc, m.panics, m.reloadFailures, open, refused} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

// countOperatorUnary and countOperatorStream count the calls of the operator listener by their code alone. That shows when somebody
// tries tokens, and when calls fail.
func (m *metrics) countOperatorUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	m.countOperatorCall(err)
	return resp, err
}

func (m *metrics) countOperatorStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	err := handler(srv, stream)
	m.countOperatorCall(err)
	return err
}

func (m *metrics) countOperatorCall(err error) {
	code := grpcprom.FromError(err).Code()
	if int(code) >= len(m.operatorCalls) {
		code = codes.Unknown // not one of gRPC's codes
	}
	m.operatorCalls[code].Inc()
}
