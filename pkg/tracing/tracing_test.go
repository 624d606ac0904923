package tracing_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
)

func call(t *testing.T, s sdktrace.Sampler) (context.Context, *tracing.Tracer) {
	t.Helper()
	p := sdktrace.NewTracerProvider(sdktrace.WithSampler(s))
	ctx, span := p.Tracer("edge").Start(t.Context(), "call")
	t.Cleanup(func() { span.End() })
	return ctx, tracing.New(p)
}

func TestOffLeavesEverythingAsItIs(t *testing.T) {
	t.Parallel()
	ctx, _ := call(t, sdktrace.AlwaysSample())
	off := tracing.New(nil)
	if off != nil || !off.Of(ctx).IsZero() {
		t.Error("off, and a trace")
	}
	for name, f := range map[string]func() (context.Context, tracing.Span){
		"enqueue": func() (context.Context, tracing.Span) { return off.Enqueue(ctx, reset.LaneStart) },
		"batch": func() (context.Context, tracing.Span) {
			return off.Batch(ctx, reset.LaneStart, []reset.Trace{{Flags: 1}}, 1, 0)
		},
		"call": func() (context.Context, tracing.Span) { return off.Call(ctx, "store", 1) },
	} {
		got, span := f()
		if got != ctx || span != (tracing.Span{}) {
			t.Errorf("%s: a span", name)
		}
		span.Settled(1, 2, 3)
		span.Verdict("accepted", false)
		span.Outcome("ok", false)
		span.End()
	}
}

// A job carries a trace, and a log line and an exemplar name one, only if it is kept.
func TestOnlyKeptTracesAreShown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sampler sdktrace.Sampler
		kept    bool
	}{"kept": {sdktrace.AlwaysSample(), true}, "not kept": {sdktrace.NeverSample(), false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tracer := call(t, c.sampler)
			var out bytes.Buffer
			log := slog.New(tracing.NewLogHandler(slog.NewTextHandler(&out, nil))).With("lane", "start").WithGroup("more")
			log.InfoContext(ctx, "something", "a", 1)
			log.Info("nothing of a call")
			if n := strings.Count(out.String(), "trace_id="); (n == 1) != c.kept || n > 1 {
				t.Errorf("%d trace ids in\n%s", n, out.String())
			}
			h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seconds", Buckets: []float64{1}})
			tracing.Observe(h, .5, tracer.Of(ctx))
			tracing.Observe(h, .5, reset.Trace{})
			var m dto.Metric
			if err := h.Write(&m); err != nil {
				t.Fatal(err)
			}
			if m.GetHistogram().GetSampleCount() != 2 || (m.GetHistogram().GetBucket()[0].GetExemplar() != nil) != c.kept || (tracing.Exemplar(ctx) != nil) != c.kept {
				t.Errorf("%v, %v", &m, tracing.Exemplar(ctx))
			}
		})
	}
}
