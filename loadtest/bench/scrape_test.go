package bench

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/pkg/clock"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// operator answers the status, and calls seen with each.
type operator struct {
	operatorv1.UnimplementedOperatorServer
	seen func()
}

func (o operator) GetStatus(context.Context, *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	o.seen()
	return &operatorv1.GetStatusResponse{}, nil
}

func serveOperator(t *testing.T, s operatorv1.OperatorServer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	operatorv1.RegisterOperatorServer(g, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() { g.Stop(); serving.Wait() })
	return l.Addr().String()
}

// metrics serves a registry, and calls seen with each scrape.
func metrics(t *testing.T, seen func()) string {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "up", Help: strings.Repeat("x", 1000)}, func() float64 { seen(); return 1 }))
	server := httptest.NewServer(promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestWatchSeesEveryFormatAndTheStatus(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var scrapes, asks atomic.Int32
	enough := func() {
		if scrapes.Load() > 9 && asks.Load() > 9 {
			cancel()
		}
	}
	c := scrapeConfig{Every: time.Millisecond, Ask: time.Millisecond}
	c.HTTP = metrics(t, func() { scrapes.Add(1); enough() })
	c.Operator = serveOperator(t, operator{seen: func() { asks.Add(1); enough() }})
	f, err := watchScrapes(ctx, c, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range scrapeFormats() {
		if f.Bytes[format] < 1000 || f.Scrape[format] <= 0 {
			t.Errorf("%s: %d bytes in %v", format, f.Bytes[format], f.Scrape[format])
		}
	}
	if f.Bytes[asText] == f.Bytes[asProtobuf] {
		t.Error("text and protobuf are the same")
	}
	if len(f.Status) < 9 || f.Quantile(.99) < f.Quantile(.5) || f.Quantile(.5) <= 0 {
		t.Errorf("status: %v", f.Status)
	}
	idle, err := idleScrapes(t.Context(), c, clock.System{}, 3)
	if err != nil || len(idle) != 3 {
		t.Errorf("%v, %v", idle, err)
	}
}

func TestWhatCannotBeWatchedIsAnError(t *testing.T) {
	t.Parallel()
	good := scrapeConfig{
		HTTP: metrics(t, func() {}), Operator: serveOperator(t, operator{seen: func() {}}), Every: time.Millisecond, Ask: time.Millisecond,
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(broken.Close)
	for want, change := range map[string]func(*scrapeConfig){
		"500":           func(c *scrapeConfig) { c.HTTP = strings.TrimPrefix(broken.URL, "http://") },
		"Unimplemented": func(c *scrapeConfig) { c.Operator = serveOperator(t, operatorv1.UnimplementedOperatorServer{}) },
		"http: ":        func(c *scrapeConfig) { c.HTTP = "" },
		"operator: ":    func(c *scrapeConfig) { c.Operator = "" },
		"every and ask": func(c *scrapeConfig) { c.Ask = -1 },
	} {
		c := good
		change(&c)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if _, err := watchScrapes(ctx, c, clock.System{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		cancel()
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
