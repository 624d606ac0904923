package otlptest

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
)

// Collector is a collector that runs until its test ends. Make it with New; it is safe for concurrent use.
type Collector struct {
	collectorv1.UnimplementedTraceServiceServer
	address string
	hold    <-chan struct{}

	mu      sync.Mutex
	spans   []Span
	text    strings.Builder
	arrived chan struct{} // closed and replaced with each export that comes in
}

// Span is a span as it came in, with the process that it came from.
type Span struct {
	*tracev1.Span
	Instance string // service.instance.id
}

// New starts a collector. It answers no export before hold is closed; nil: it answers at once.
func New(tb testing.TB, hold <-chan struct{}) *Collector {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &Collector{address: l.Addr().String(), hold: hold, arrived: make(chan struct{})}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // its end is asked for below
	tb.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return c
}

// Address is its host:port.
func (c *Collector) Address() string { return c.address }

// Export implements the collector's service.
func (c *Collector) Export(ctx context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.come()
	if c.hold != nil {
		select {
		case <-c.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.mu.Lock()
	c.text.WriteString(prototext.Format(r))
	for _, rs := range r.GetResourceSpans() {
		instance := ""
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "service.instance.id" {
				instance = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, Span{s, instance})
			}
		}
	}
	c.mu.Unlock()
	c.come()
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (c *Collector) come() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.arrived)
	c.arrived = make(chan struct{})
}

// Arrival is closed when something comes in next.
func (c *Collector) Arrival() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.arrived
}

// Spans are all that were taken so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Text is all that was taken, as text to search in.
func (c *Collector) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// Await waits until the spans so far meet the condition, and returns them; false if ctx ended before.
func (c *Collector) Await(ctx context.Context, ok func([]Span) bool) ([]Span, bool) {
	for {
		arrival := c.Arrival()
		if spans := c.Spans(); ok(spans) {
			return spans, true
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return c.Spans(), false
		}
	}
}
