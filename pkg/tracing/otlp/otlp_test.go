package otlp_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
	"github.com/surgegate/surgegate/pkg/tracing/otlp"
	"github.com/surgegate/surgegate/pkg/tracing/otlp/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newExporter(t *testing.T, cfg otlp.Config, log *bytes.Buffer) (*otlp.Exporter, prometheus.Counter) {
	t.Helper()
	dropped, err := otlp.NewDropped(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Insecure = true
	x, err := otlp.New(t.Context(), cfg, otlp.Deps{Dropped: dropped, Logger: slog.New(slog.NewTextHandler(log, nil)), Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close(context.Background()) })
	return x, dropped
}

func ratio(r float64) *float64 { return &r }

func TestOnlyClosedAttributesLeaveTheProcess(t *testing.T) {
	t.Parallel()
	c := otlptest.New(t, nil)
	x, _ := newExporter(t, otlp.Config{Endpoint: c.Address(), Ratio: ratio(1)}, &bytes.Buffer{})
	_, s := x.Provider().Tracer("a library").Start(t.Context(), "a call", trace.WithAttributes(
		attribute.String("client.address", "192.0.2.1"), attribute.String("rpc.method", "StartReset")))
	s.AddEvent("a secret event")
	s.SetStatus(codes.Error, "a secret status")
	s.End()
	if err := x.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	if len(spans) != 1 {
		t.Fatalf("%d spans", len(spans))
	}
	got := spans[0]
	if a := got.GetAttributes(); len(a) != 1 || a[0].GetKey() != "rpc.method" {
		t.Errorf("attributes %v", a)
	}
	if len(got.GetEvents()) != 0 || got.GetStatus().GetMessage() != "" || got.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("events %v, status %v", got.GetEvents(), got.GetStatus())
	}
}

// A batch is kept because of the call that it works for, at any ratio; a call that nobody asked to keep is not.
func TestABatchIsKeptWithItsCall(t *testing.T) {
	t.Parallel()
	c := otlptest.New(t, nil)
	x, _ := newExporter(t, otlp.Config{Endpoint: c.Address(), Ratio: ratio(0)}, &bytes.Buffer{})
	tracer := tracing.New(x.Provider())
	_, call := x.Provider().Tracer("edge").Start(t.Context(), "a call")
	call.End()
	jobs := make([]reset.Trace, tracing.MaxLinks+8)
	for i := range jobs {
		jobs[i] = reset.Trace{TraceID: [16]byte{1, byte(i)}, SpanID: [8]byte{2}, Flags: 1}
	}
	ctx, batch := tracer.Batch(t.Context(), reset.LaneApply, jobs, 64, 90*time.Minute)
	_, inner := tracer.Call(ctx, "store", 64)
	inner.Outcome("ok", false)
	batch.End()
	if _, none := tracer.Batch(t.Context(), reset.LaneApply, nil, 64, 0); none != (tracing.Span{}) {
		t.Error("a batch without a traced job has a span")
	}
	if err := x.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range c.Spans() {
		names = append(names, s.GetName())
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"batch apply", "call store"}) {
		t.Fatalf("%v", names)
	}
	for _, s := range c.Spans() {
		if s.GetName() == "batch apply" && (len(s.GetLinks()) != tracing.MaxLinks || len(s.GetParentSpanId()) != 0) {
			t.Errorf("%d links, parent %x", len(s.GetLinks()), s.GetParentSpanId())
		}
	}
}

// While the collector does not answer, nobody waits: what is more than the bound is dropped and counted, and Close gives up
// what is left in its time.
func TestAStuckCollectorCostsNothing(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	c := otlptest.New(t, hold)
	defer close(hold)
	var log bytes.Buffer
	x, dropped := newExporter(t, otlp.Config{Endpoint: c.Address(), Ratio: ratio(1), QueueSpans: 512, FlushTime: 100 * time.Millisecond}, &log)
	tracer := x.Provider().Tracer("edge")
	const spans = 5000
	arrival := c.Arrival()
	begin := time.Now()
	for range spans {
		_, s := tracer.Start(t.Context(), "a call")
		s.End()
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("%d spans took %v", spans, took)
	}
	<-arrival
	if got := testutil.ToFloat64(dropped); got != spans-512 {
		t.Errorf("dropped %v, want %d: all over the bound", got, spans-512)
	}
	begin = time.Now()
	_ = x.Close(t.Context()) // that it was cut is no error of ours
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
	if got := testutil.ToFloat64(dropped); got != spans {
		t.Errorf("dropped %v of %d in the end", got, spans)
	}
	if n := strings.Count(log.String(), "takes no spans"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]otlp.Config{
		"endpoint":    {Endpoint: "collector"},
		"insecure":    {Endpoint: "collector:4317", Insecure: true, CAFile: "ca.pem"},
		"sample":      {Endpoint: "collector:4317", Ratio: ratio(1.5)},
		"queue_spans": {Endpoint: "collector:4317", QueueSpans: 1},
		"timeout":     {Endpoint: "collector:4317", Timeout: -1},
		"flush_time":  {Endpoint: "collector:4317", FlushTime: -1},
	} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := otlp.New(t.Context(), otlp.Config{Endpoint: "collector:4317", CAFile: "/does/not/exist"}, otlp.Deps{}); err == nil {
		t.Error("an authorities' file that is not there is taken")
	}
}
