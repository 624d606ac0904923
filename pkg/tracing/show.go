package tracing

import (
	"context"
	"encoding/hex"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/reset"
)

// The names of the ids in logs and exemplars. OpenTelemetry's log data model and Grafana use the same.
const (
	traceIDName = "trace_id"
	spanIDName  = "span_id"
)

// Observe adds an observation. The trace is its exemplar, unless the trace is zero.
func Observe(o prometheus.Observer, value float64, t reset.Trace) {
	if !t.IsZero() {
		if e, ok := o.(prometheus.ExemplarObserver); ok {
			e.ObserveWithExemplar(value, labels(t))
			return
		}
	}
	o.Observe(value)
}

// Exemplar returns the exemplar of the call that ctx belongs to; nil if its trace is not kept.
func Exemplar(ctx context.Context) prometheus.Labels {
	t := of(ctx)
	if t.IsZero() {
		return nil
	}
	return labels(t)
}

func labels(t reset.Trace) prometheus.Labels {
	return prometheus.Labels{traceIDName: hex.EncodeToString(t.TraceID[:])}
}

// NewLogHandler returns a handler that adds trace_id and span_id to lines that are logged with the context of a kept trace.
func NewLogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if t := of(ctx); !t.IsZero() {
		r.AddAttrs(slog.String(traceIDName, hex.EncodeToString(t.TraceID[:])), slog.String(spanIDName, hex.EncodeToString(t.SpanID[:])))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
