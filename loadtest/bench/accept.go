package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/stormlog"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

const (
	callers     = 256
	connections = 4 // one would serialise on its HTTP/2 writer, in both arms
	roundTime   = 4 * time.Second
	latencyTime = 10 * time.Second
)

// caller makes StartReset calls that differ in identifier and client.
type caller struct {
	clients []resetv1.PasswordResetClient
	conns   []*grpc.ClientConn
	next    atomic.Uint64
	failed  atomic.Uint64
	failure atomic.Pointer[error]
}

func newCaller(address string) (*caller, error) {
	c := &caller{}
	for range connections {
		conn, err := dial(address)
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, conn)
		c.clients = append(c.clients, resetv1.NewPasswordResetClient(conn))
	}
	return c, nil
}

func (c *caller) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *caller) call(ctx context.Context) {
	n := c.next.Add(1)
	_, err := c.clients[n%connections].StartReset(ctx, &resetv1.StartResetRequest{
		Identifier: fmt.Sprintf("person-%d@example.com", n),
		Client:     &resetv1.Client{Ip: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)},
	})
	if err != nil && ctx.Err() == nil {
		c.failed.Add(1)
		c.failure.Store(&err)
	}
}

// closed calls with 256 callers for a round and returns calls a second.
func (c *caller) closed(ctx context.Context, s *suite) float64 {
	begin := s.Clock.Now()
	end := begin.Add(roundTime)
	before := c.next.Load()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for ctx.Err() == nil && s.Clock.Now().Before(end) {
				c.call(ctx)
			}
		})
	}
	group.Wait()
	return float64(c.next.Load()-before) / s.Clock.Now().Sub(begin).Seconds()
}

func (s *suite) accept(ctx context.Context) ([]report.Figure, error) {
	echoAddress, err := testbed.FreeAddress()
	if err != nil {
		return nil, err
	}
	bare, err := s.start(ctx, echoAddress, s.Self, "bench-serve", "echo", echoAddress)
	if err != nil {
		return nil, err
	}
	defer bare.Stop()
	gateway, err := s.gateway(ctx, "accept", "{sqlite: {sample: true}, pace: {rate: 200}}", "")
	if err != nil {
		return nil, err
	}
	defer gateway.Stop()
	toEcho, err := newCaller(bare.Address)
	if err != nil {
		return nil, err
	}
	defer toEcho.close()
	toGateway, err := newCaller(gateway.Address)
	if err != nil {
		return nil, err
	}
	defer toGateway.close()
	toEcho.closed(ctx, s) // warm-up
	toGateway.closed(ctx, s)
	var ratios, accepts, echoes []float64
	for range s.Rounds {
		e, a := toEcho.closed(ctx, s), toGateway.closed(ctx, s)
		ratios, accepts, echoes = append(ratios, a/e), append(accepts, a), append(echoes, e)
		fmt.Fprintf(s.Output, "  echo %.0f/s, accepts %.0f/s, ratio %.3f\n", e, a, a/e)
	}
	ratio, rate := report.Median(ratios), report.Median(accepts)
	rows := []report.Figure{{
		Name: "durable StartReset accepts ÷ bare gRPC echo, 256 callers, 200 look-ups/s behind", Value: rate, Unit: "calls/s",
		Reference: report.Median(echoes), Ratio: ratio, Goal: "ratio ≥ 0.50 (aim 0.70)", OK: ratio >= 0.5,
	}}
	echo99, err := toEcho.open(ctx, s, rate/2)
	if err != nil {
		return rows, err
	}
	p99, err := toGateway.open(ctx, s, rate/2)
	if err != nil {
		return rows, err
	}
	rows = append(rows,
		report.Figure{Name: "accept latency p99 at half of that rate", Value: p99, Unit: "ms", Reference: echo99, Goal: "≤ 15 (aim 5)", OK: p99 <= 15})
	for name, c := range map[string]*caller{"echo": toEcho, "surgegate": toGateway} {
		if n := c.failed.Load(); n > 0 {
			return rows, fmt.Errorf("%d calls to %s failed, the last with %w", n, name, *c.failure.Load())
		}
	}
	return rows, nil
}

// open calls at a fixed rate from an absolute schedule, and returns the 99th percentile of the latencies from the intended times, in ms.
func (c *caller) open(ctx context.Context, s *suite, rate float64) (p99 float64, err error) {
	items := make([]schedule.Item[struct{}], int(rate*latencyTime.Seconds()))
	for i := range items {
		items[i].At = time.Duration(float64(i) / rate * float64(time.Second))
	}
	h := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	var mu sync.Mutex
	_, err = schedule.RunItems(ctx, schedule.ItemsConfig{Start: s.Clock.Now().Add(100 * time.Millisecond)}, schedule.ItemsDeps{Clock: s.Clock}, items,
		func(ctx context.Context, _ struct{}, intended time.Time) {
			c.call(ctx)
			took := s.Clock.Now().Sub(intended)
			mu.Lock()
			defer mu.Unlock()
			_ = h.RecordValue(max(1, took.Microseconds())) // over a minute: the errors tell
		})
	return float64(h.ValueAtQuantile(99)) / 1000, err
}

// recording measures what serve --record costs: the same accepts with and without it, in turns.
func (s *suite) recording(ctx context.Context) ([]report.Figure, error) {
	const store = "{sqlite: {sample: true}, pace: {rate: 200}}"
	plain, err := s.gateway(ctx, "not-recorded", store, "")
	if err != nil {
		return nil, err
	}
	defer plain.Stop()
	recorded, err := s.gateway(ctx, "recorded", store, "", "--record", filepath.Join(s.dir, "trace.zst"))
	if err != nil {
		return nil, err
	}
	defer recorded.Stop()
	without, err := newCaller(plain.Address)
	if err != nil {
		return nil, err
	}
	defer without.close()
	with, err := newCaller(recorded.Address)
	if err != nil {
		return nil, err
	}
	defer with.close()
	without.closed(ctx, s) // warm-up
	with.closed(ctx, s)
	var ratios, rates, references []float64
	for range s.Rounds {
		reference, rate := without.closed(ctx, s), with.closed(ctx, s)
		ratios, rates, references = append(ratios, rate/reference), append(rates, rate), append(references, reference)
	}
	ratio := report.Median(ratios)
	events, err := recordedEvents(ctx, filepath.Join(s.dir, "trace.zst"))
	if err != nil {
		return nil, err
	}
	calls := float64(with.next.Load())
	return []report.Figure{{
		Name: "calls in the trace ÷ calls made, less the last second's", Value: events, Unit: "calls", Reference: calls, Ratio: events / calls,
		Goal: "ratio ≥ 0.90", OK: events/calls >= .9,
	}, {
		Name: "accepts while recording ÷ accepts", Value: report.Median(rates), Unit: "calls/s", Reference: report.Median(references), Ratio: ratio,
		Goal: "ratio ≥ 0.98", OK: ratio >= .98,
	}}, nil
}

// overloaded is a store so slow, in look-ups a second, that 256 callers offer more than a hundred times what it takes even on
// a machine that is busy with other things.
const overloaded = 10

// metrics measures the size and the time of a scrape, and the time of an operator's GetStatus, while 256 callers offer more than
// a hundred times what the store takes.
func (s *suite) metrics(ctx context.Context) ([]report.Figure, error) {
	gateway, err := s.program(ctx, "watched", fmt.Sprintf("{sqlite: {sample: true}, pace: {rate: %d}}", overloaded), "")
	if err != nil {
		return nil, err
	}
	defer gateway.Stop()
	callers, err := newCaller(gateway.Address)
	if err != nil {
		return nil, err
	}
	defer callers.close()
	watch := scrapeConfig{HTTP: gateway.HTTP, Operator: gateway.Operator}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var f scrapeFigures
	var group sync.WaitGroup
	group.Go(func() { f, err = watchScrapes(watching, watch, s.Clock) })
	var offered []float64
	for range 3 {
		offered = append(offered, callers.closed(ctx, s))
	}
	stop()
	group.Wait()
	if err != nil {
		return nil, err
	}
	idle, err := idleScrapes(ctx, watch, s.Clock, 100)
	if err != nil {
		return nil, err
	}
	storm := fmt.Sprintf("in a storm of %.0f times what the store takes", report.Median(offered)/overloaded)
	kilobytes := func(format scrapeFormat) float64 { return float64(f.Bytes[format]) / 1000 }
	p99 := milliseconds(f.Quantile(.99))
	return []report.Figure{
		{Name: "/metrics as text, uncompressed, " + storm, Value: kilobytes(asText), Unit: "kB", Goal: "≤ 100", OK: kilobytes(asText) <= 100},
		{Name: "the same as OpenMetrics", Value: kilobytes(asOpenMetrics), Unit: "kB", Goal: "≤ 100", OK: kilobytes(asOpenMetrics) <= 100},
		{Name: "the same as protobuf, native histograms in it", Value: kilobytes(asProtobuf), Unit: "kB", Goal: "≤ 100", OK: kilobytes(asProtobuf) <= 100},
		{
			Name: "a scrape as text " + storm + ", p50; beside it when that is over", Value: milliseconds(f.Scrape[asText]), Unit: "ms",
			Reference: milliseconds(idle[asText]), Goal: "≤ 10", OK: f.Scrape[asText] <= 10*time.Millisecond,
		},
		{
			Name: "the same as protobuf", Value: milliseconds(f.Scrape[asProtobuf]), Unit: "ms",
			Reference: milliseconds(idle[asProtobuf]), Goal: "≤ 10", OK: f.Scrape[asProtobuf] <= 10*time.Millisecond,
		},
		{
			Name: fmt.Sprintf("an operator's GetStatus %s, p99 of %d", storm, len(f.Status)), Value: p99, Unit: "ms",
			Reference: milliseconds(f.Quantile(.5)), Goal: "≤ 200", OK: p99 <= 200,
		},
	}, nil
}

// recordedEvents is how many calls are in a trace that is still being written.
func recordedEvents(ctx context.Context, path string) (n float64, err error) {
	r, err := stormlog.Open(path)
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // read only
	for ctx.Err() == nil {
		if _, err := r.Next(); err != nil {
			return n, nil // it is cut off where the writer is
		}
		n++
	}
	return n, ctx.Err()
}
