package otlp

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"
)

// Handler makes the spans of a gRPC server's calls. trusted tells whether the traceparent of ctx's peer is believed; traced
// tells which methods have spans: a stranger names any method that he likes, and its name would be the span's.
func (x *Exporter) Handler(trusted func(ctx context.Context) bool, traced func(fullMethod string) bool) stats.Handler {
	return otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(x.provider),
		otelgrpc.WithMeterProvider(noop.NewMeterProvider()), // the server has metrics already
		otelgrpc.WithPropagators(trusting{trusted: trusted}),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return traced(info.FullMethodName) }),
	)
}

// trusting reads a W3C traceparent of trusted peers, and nothing else of anybody.
type trusting struct {
	propagation.TraceContext
	trusted func(ctx context.Context) bool
}

// Extract implements propagation.TextMapPropagator.
func (t trusting) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	if carrier.Get("traceparent") == "" || !t.trusted(ctx) {
		return ctx
	}
	ctx = t.TraceContext.Extract(ctx, carrier)
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc.WithTraceState(trace.TraceState{}))
}
