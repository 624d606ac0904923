package gate_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// instant is a queue that accepts for nothing, so that what is left is the gate's own work.
type instant struct {
	queue.Queue
	seq atomic.Uint64
}

func (q *instant) Enqueue(_ context.Context, items []queue.Item) []queue.Verdict {
	j := items[0].Job
	seq := q.seq.Add(1)
	return []queue.Verdict{{Ref: reset.Ref{ID: j.Ticket, Lane: j.Lane, Class: j.Class, Seq: seq, AcceptTime: j.AcceptTime}, Ahead: seq}}
}

func caller(i uint64) gate.Client {
	return gate.Client{IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Locale: "en"}
}

// BenchmarkStartReset: the gate's own work (instant), then with 64 callers each the gate over the engine, and for
// reference the engine alone with jobs of the same size.
func BenchmarkStartReset(b *testing.B) {
	start := func(b *testing.B, w *world, i uint64) {
		_, err := w.gate.StartReset(b.Context(), gate.StartRequest{Identifier: fmt.Sprintf("person%d@example.com", i), Client: caller(i)})
		if err != nil {
			b.Error(err)
		}
	}
	b.Run("instant", func(b *testing.B) {
		w := newWorld(b, options{system: true, unlimited: true, instant: true})
		b.ReportAllocs()
		var i uint64
		for b.Loop() {
			i++
			start(b, w, i)
		}
	})
	var n atomic.Uint64
	b.Run("embedded", func(b *testing.B) {
		w := newWorld(b, options{system: true, unlimited: true})
		b.ReportAllocs()
		b.SetParallelism(32)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				start(b, w, n.Add(1))
			}
		})
	})
	b.Run("engine", func(b *testing.B) {
		w := newWorld(b, options{system: true, unlimited: true})
		b.ReportAllocs()
		b.SetParallelism(32)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				j := reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: reset.Key(reset.NewID()),
					AcceptTime: time.Now(), Payload: make([]byte, 80)}
				if err := w.queue.Enqueue(b.Context(), []queue.Item{{Job: j}})[0].Err; err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkTraced: a start over a queue that accepts for nothing with tracing off (nil, as wired without trace.endpoint), on
// while the trace is not kept, and on while it is. Off allocates what a gate without tracing did: 14 times. The spans go
// nowhere: what an exporter costs is not the caller's.
func BenchmarkTraced(b *testing.B) {
	for _, c := range []struct {
		name   string
		tracer func() (trace.Tracer, *tracing.Tracer)
	}{
		{"off", func() (trace.Tracer, *tracing.Tracer) { return nil, nil }},
		{"not kept", func() (trace.Tracer, *tracing.Tracer) { return tracers(sdktrace.NeverSample()) }},
		{"kept", func() (trace.Tracer, *tracing.Tracer) { return tracers(sdktrace.AlwaysSample()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			edge, tracer := c.tracer()
			w := newWorld(b, options{system: true, unlimited: true, instant: true, tracer: tracer})
			b.ReportAllocs()
			var i uint64
			for b.Loop() {
				i++
				ctx := b.Context()
				var span trace.Span
				if edge != nil {
					ctx, span = edge.Start(ctx, "call")
				}
				if _, err := w.gate.StartReset(ctx, gate.StartRequest{Identifier: fmt.Sprintf("person%d@example.com", i), Client: caller(i)}); err != nil {
					b.Fatal(err)
				}
				if span != nil {
					span.End()
				}
			}
		})
	}
}

// tracers are the edge's and the gate's.
func tracers(s sdktrace.Sampler) (trace.Tracer, *tracing.Tracer) {
	p := sdktrace.NewTracerProvider(sdktrace.WithSampler(s))
	return p.Tracer("edge"), tracing.New(p)
}

// BenchmarkCompleteReset is the gate's own work: most of it is the token's signature.
func BenchmarkCompleteReset(b *testing.B) {
	w := newWorld(b, options{system: true, unlimited: true, instant: true})
	w.now = time.Now
	tok := w.token("acc-1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.gate.CompleteReset(b.Context(), w.completion(tok)); err != nil {
			b.Fatal(err)
		}
	}
}
