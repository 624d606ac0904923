package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/surgegate/surgegate/pkg/reset"
)

// MaxLinks bounds the links of a batch's span. A batch may hold thousands of jobs; the calls without a link can be found by the time of
// the span.
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

// Keys returns the attributes that a span may carry when it leaves the process: surgegate's own, and those of the gRPC library's spans
// whose values are the API's methods and codes.
func Keys() []attribute.Key {
	return []attribute.Key{
		keyLane, keyVerdict, keyDownstream, keyOutcome, keyItems, keyTraced, keyWait, keyEnded, keyRetried, keyParked,
		"rpc.system", "rpc.system.name", "rpc.service", "rpc.method", "rpc.response.status_code", "rpc.grpc.status_code",
	}
}

// Tracer makes surgegate's spans. A nil Tracer makes none. It is safe for concurrent use.
type Tracer struct{ t trace.Tracer }

// New returns a tracer whose spans go to the provider. If that is nil, the tracer is nil.
func New(p trace.TracerProvider) *Tracer {
	if p == nil {
		return nil
	}
	return &Tracer{t: p.Tracer(scope)}
}

// Span is one span that has begun. The methods of a zero Span do nothing.
type Span struct{ s trace.Span }

// Of returns the trace that a job carries which is enqueued in ctx: that of the call. It is zero if the trace is not kept.
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

// Batch begins the span of a batch, linked to the calls of its jobs. jobs are the traces of the jobs that carry one; if there is none, the
// batch has no span. items is the number of all jobs, waited how long the first of them has waited.
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

// Call begins the span of one call to a downstream. There is none if the batch has no span.
func (t *Tracer) Call(ctx context.Context, downstream string, items int) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, s := t.t.Start(ctx, "call "+downstream, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(keyDownstream.String(downstream), keyItems.Int(items)))
	return ctx, Span{s}
}

// Settled records what became of a batch's jobs.
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
		s.s.SetStatus(codes.Error, "") // a description could quote somebody's data
	}
	s.s.End()
}

// End ends the span.
func (s Span) End() {
	if s.s != nil {
		s.s.End()
	}
}
