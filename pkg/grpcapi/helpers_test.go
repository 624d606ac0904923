package grpcapi

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stubGate answers as its fields say; nil ones accept.
type stubGate struct {
	start    func(context.Context, gate.StartRequest) (gate.Answer, error)
	check    func(context.Context, string, gate.Client) (time.Time, error)
	complete func(context.Context, gate.CompleteRequest) (gate.Answer, error)
	get      func(context.Context, string) (gate.Answer, error)
	watch    func(context.Context, string, func(reset.Ticket) error) error
}

func accepted() gate.Answer {
	return gate.Answer{PollAfter: 2 * time.Second, Ticket: reset.Ticket{
		ID: "ticket", State: reset.StateAccepted, AcceptTime: time.Unix(1, 0), UpdateTime: time.Unix(2, 0), Position: 7,
		ETA: &reset.ETA{Low: time.Second, High: 3 * time.Second},
	}}
}

func (g *stubGate) StartReset(ctx context.Context, r gate.StartRequest) (gate.Answer, error) {
	if g.start == nil {
		return accepted(), nil
	}
	return g.start(ctx, r)
}

func (g *stubGate) CheckToken(ctx context.Context, token string, c gate.Client) (time.Time, error) {
	if g.check == nil {
		return time.Unix(3, 0), nil
	}
	return g.check(ctx, token, c)
}

func (g *stubGate) CompleteReset(ctx context.Context, r gate.CompleteRequest) (gate.Answer, error) {
	if g.complete == nil {
		return accepted(), nil
	}
	return g.complete(ctx, r)
}

func (g *stubGate) GetTicket(ctx context.Context, id string) (gate.Answer, error) {
	if g.get == nil {
		return accepted(), nil
	}
	return g.get(ctx, id)
}

func (g *stubGate) WatchTicket(ctx context.Context, id string, send func(reset.Ticket) error) error {
	if g.watch == nil {
		return send(accepted().Ticket)
	}
	return g.watch(ctx, id, send)
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type fixture struct {
	*Server
	log *syncBuffer
	reg *prometheus.Registry
}

// serve starts a Server on free ports and stops it with the test.
func serve(t testing.TB, g *stubGate, cfg Config, change func(*Deps)) *fixture {
	t.Helper()
	f := &fixture{log: &syncBuffer{}, reg: prometheus.NewRegistry()}
	for _, l := range []*Listener{&cfg.GRPC, &cfg.Operator, &cfg.HTTP} {
		orDefault(&l.Address, "127.0.0.1:0")
	}
	d := Deps{Gate: g, Operator: caller{}, Registerer: f.reg, Gatherer: f.reg,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&d)
	}
	var err error
	if f.Server, err = New(cfg, d); err != nil {
		t.Fatal(err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		f.Stop(ctx)
	})
	return f
}

func dial(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	conn, err := grpc.NewClient(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func resetClient(t testing.TB, f *fixture, opts ...grpc.DialOption) resetv1.PasswordResetClient {
	t.Helper()
	return resetv1.NewPasswordResetClient(dial(t, f.Addrs().GRPC.String(), opts...))
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// person is a Client as a trusted caller sends it.
func person() *resetv1.Client { return &resetv1.Client{Ip: "192.0.2.7", Id: "device", Locale: "pt-BR"} }

func withHeader(ctx context.Context, key, value string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, key, value)
}

// value reads a counter or a gauge.
func value(m prometheus.Metric) float64 {
	var v dto.Metric
	if err := m.Write(&v); err != nil {
		panic(err)
	}
	return v.GetCounter().GetValue() + v.GetGauge().GetValue()
}
