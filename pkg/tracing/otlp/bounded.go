package otlp

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/surgegate/surgegate/pkg/clock"
)

// bounded lets no more than most spans be on their way, so that the SDK's processor, whose queue is as long and which tells
// nobody what it drops, never has to drop one.
type bounded struct {
	sdktrace.SpanProcessor
	most    int64
	under   atomic.Int64 // on their way
	dropped prometheus.Counter
}

// OnEnd implements sdktrace.SpanProcessor.
func (b *bounded) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if b.under.Add(1) > b.most {
		b.under.Add(-1)
		b.dropped.Inc()
		return
	}
	b.SpanProcessor.OnEnd(s)
}

// exporter cleans spans, sends them and counts what is lost. The SDK calls it from one goroutine.
type exporter struct {
	next    sdktrace.SpanExporter
	exports context.Context // ends when the exports under way shall
	bound   *bounded
	keys    map[attribute.Key]bool
	clock   clock.Clock
	log     *slog.Logger

	told int64 // unix seconds of the last line
	lost int   // spans since then
}

// ExportSpans implements sdktrace.SpanExporter. It never fails: the SDK would tell the process's global error handler.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	defer e.bound.under.Add(-int64(len(spans)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.exports, cancel)()
	out := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		out[i] = e.clean(s)
	}
	err := e.next.ExportSpans(ctx, out)
	if err == nil {
		return nil
	}
	e.bound.dropped.Add(float64(len(spans)))
	e.lost += len(spans)
	if now := e.clock.Now().Unix(); e.told == 0 || now-e.told >= int64(logEvery.Seconds()) {
		e.log.Warn("the trace collector takes no spans: they are dropped, nothing else suffers", "dropped", e.lost, "error", err.Error())
		e.told, e.lost = now, 0
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error { return e.next.Shutdown(e.exports) }

// cleaned is a span without what may not leave the process.
type cleaned struct {
	sdktrace.ReadOnlySpan
	attributes []attribute.KeyValue
}

func (e *exporter) clean(s sdktrace.ReadOnlySpan) sdktrace.ReadOnlySpan {
	all := s.Attributes()
	kept := make([]attribute.KeyValue, 0, len(all))
	for _, a := range all {
		if e.keys[a.Key] {
			kept = append(kept, a)
		}
	}
	return cleaned{s, kept}
}

// Attributes implements sdktrace.ReadOnlySpan.
func (c cleaned) Attributes() []attribute.KeyValue { return c.attributes }

// Events implements sdktrace.ReadOnlySpan: a library's event may quote an error's text.
func (c cleaned) Events() []sdktrace.Event { return nil }

// Status implements sdktrace.ReadOnlySpan.
func (c cleaned) Status() sdktrace.Status { return sdktrace.Status{Code: c.ReadOnlySpan.Status().Code} }
