package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/surgegate/surgegate/pkg/reset"
)

// MaxLinks bounds the links of a batch's span. A batch may hold thousands of jobs; by 32 links the trace shows who was in it,
// and the rest are found from their own side by the span's time.
const MaxLinks = 32

// scope is the instrumentation scope of surgegate's own spans.
const scope = "github.com/surgegate/surgegate"

// The keys of attributes.
const (
	keyLane       attribute.Key = "surgegate.lane"
	keyVerdict    attribute.Key = "surgegate.verdict"
	keyDownstream attribute.Key = "surgegate.downstream"
	keyOutcome    attribute.Key = "surgegate.outcome"
	keyItems      attribute.Key = "surgegate.items"
	keyTraced     attribute.Key = "surgegate.items_traced"
	keyWait       attribute.Key = "surgegate.wait_seconds"
	keyEnded      attribute.Key = "surgegate.items_ended"
	keyRetried    attribute.Key = "surgegate.items_retried"
	keyParked     attribute.Key = "surgegate.items_parked"
)

// Keys are the attributes that a span may carry when it leaves the process: surgegate's own, and of the gRPC library's spans
// those whose values are the API's methods and codes.
func Keys() []attribute.Key {
	return []attribute.Key{
		keyLane, keyVerdict, keyDownstream, keyOutcome, keyItems, keyTraced, keyWait, keyEnded, keyRetried, keyParked,
		"rpc.system", "rpc.system.name", "rpc.service", "rpc.method", "rpc.response.status_code", "rpc.grpc.status_code",
	}
}

// Tracer makes surgegate's spans. Make it with New; nil is off. It is safe for concurrent use.
type Tracer struct{ t trace.Tracer }

// New returns a tracer whose spans go to the provider; nil where that is nil.
func New(p trace.TracerProvider) *Tracer {
	if p == nil {
		return nil
	}
	return &Tracer{t: p.Tracer(scope)}
}

// Span is one span under way; the zero value is none.
type Span struct{ s trace.Span }

// Of is what a job that is enqueued in ctx carries: the call's trace if that is kept, else none.
func (t *Tracer) Of(ctx context.Context) reset.Trace {
	if t == nil {
		return reset.Trace{}
	}
	return of(ctx)
}

func of(ctx context.Context) reset.Trace {
	c := trace.SpanContextFromContext(ctx)
	if !c.IsSampled() {
		return reset.Trace{}
	}
	return reset.Trace{TraceID: c.TraceID(), SpanID: c.SpanID(), Flags: byte(c.TraceFlags())}
}

// Enqueue begins the span of making a job durable.
func (t *Tracer) Enqueue(ctx context.Context, lane reset.Lane) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, s := t.t.Start(ctx, "enqueue", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(keyLane.String(lane.String())))
	return ctx, Span{s}
}

// Batch begins the span of a batch, linked to the calls of its jobs; without a traced job there is none. first is when the
// first of them was accepted.
func (t *Tracer) Batch(ctx context.Context, lane reset.Lane, jobs []reset.Trace, items int, waited time.Duration) (context.Context, Span) {
	if t == nil || len(jobs) == 0 {
		return ctx, Span{}
	}
	links := make([]trace.Link, 0, min(len(jobs), MaxLinks))
	for _, j := range jobs[:min(len(jobs), MaxLinks)] {
		links = append(links, trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: j.TraceID, SpanID: j.SpanID, TraceFlags: trace.TraceFlags(j.Flags), Remote: true,
		})})
	}
	ctx, s := t.t.Start(ctx, "batch "+lane.String(), trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(links...), trace.WithAttributes(keyLane.String(lane.String()), keyItems.Int(items),
			keyTraced.Int(len(jobs)), keyWait.Float64(waited.Seconds())))
	return ctx, Span{s}
}

// Call begins the span of one call to a downstream, within a batch that has one.
func (t *Tracer) Call(ctx context.Context, downstream string, items int) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, s := t.t.Start(ctx, "call "+downstream, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(keyDownstream.String(downstream), keyItems.Int(items)))
	return ctx, Span{s}
}

// Settled says what became of a batch's jobs.
func (s Span) Settled(ended, retried, parked int) {
	if s.s != nil {
		s.s.SetAttributes(keyEnded.Int(ended), keyRetried.Int(retried), keyParked.Int(parked))
	}
}

// Verdict ends the span of an enqueue. The verdict is one of the metrics' label values.
func (s Span) Verdict(verdict string, failed bool) { s.end(keyVerdict.String(verdict), failed) }

// Outcome ends the span of a call to a downstream. The outcome is one of the metrics' label values.
func (s Span) Outcome(outcome string, failed bool) { s.end(keyOutcome.String(outcome), failed) }

func (s Span) end(how attribute.KeyValue, failed bool) {
	if s.s == nil {
		return
	}
	s.s.SetAttributes(how)
	if failed {
		s.s.SetStatus(codes.Error, "") // words could quote somebody's data
	}
	s.s.End()
}

// End ends the span.
func (s Span) End() {
	if s.s != nil {
		s.s.End()
	}
}
