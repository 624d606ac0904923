// Package edgetest starts an edge for tests, with a stub where the gate and the operators' service would be.
package edgetest

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/resetapi"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Gate is a resetapi.Gate that answers as its fields say. Methods whose field is nil accept.
type Gate struct {
	Start    func(context.Context, gate.StartRequest) (gate.Answer, error)
	Check    func(context.Context, string, gate.Client) (time.Time, error)
	Complete func(context.Context, gate.CompleteRequest) (gate.Answer, error)
	Get      func(context.Context, string) (gate.Answer, error)
	Watch    func(context.Context, string, func(reset.Ticket) error) error
}

// Accepted is the answer of a Gate that accepts.
func Accepted() gate.Answer {
	return gate.Answer{PollAfter: 2 * time.Second, Ticket: reset.Ticket{
		ID: "ticket", State: reset.StateAccepted, AcceptTime: time.Unix(1, 0), UpdateTime: time.Unix(2, 0), Position: 7,
		ETA: &reset.ETA{Low: time.Second, High: 3 * time.Second},
	}}
}

// StartReset implements resetapi.Gate.
func (g *Gate) StartReset(ctx context.Context, r gate.StartRequest) (gate.Answer, error) {
	if g.Start == nil {
		return Accepted(), nil
	}
	return g.Start(ctx, r)
}

// CheckToken implements resetapi.Gate.
func (g *Gate) CheckToken(ctx context.Context, token string, c gate.Client) (time.Time, error) {
	if g.Check == nil {
		return time.Unix(3, 0), nil
	}
	return g.Check(ctx, token, c)
}

// CompleteReset implements resetapi.Gate.
func (g *Gate) CompleteReset(ctx context.Context, r gate.CompleteRequest) (gate.Answer, error) {
	if g.Complete == nil {
		return Accepted(), nil
	}
	return g.Complete(ctx, r)
}

// GetTicket implements resetapi.Gate.
func (g *Gate) GetTicket(ctx context.Context, id string) (gate.Answer, error) {
	if g.Get == nil {
		return Accepted(), nil
	}
	return g.Get(ctx, id)
}

// WatchTicket implements resetapi.Gate.
func (g *Gate) WatchTicket(ctx context.Context, id string, send func(reset.Ticket) error) error {
	if g.Watch == nil {
		return send(Accepted().Ticket)
	}
	return g.Watch(ctx, id, send)
}

// Log is a log that can be read while it is written.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what has been logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Server is an edge that serves on free ports of loopback until its test ends.
type Server struct {
	*edge.Server
	Log      *Log
	Registry *prometheus.Registry
	t        testing.TB
}

// Serve starts an edge over a gate. change may replace its dependencies; nil changes nothing.
func Serve(t testing.TB, g resetapi.Gate, cfg edge.Config, change func(*edge.Deps)) *Server {
	t.Helper()
	s := &Server{Log: &Log{}, Registry: prometheus.NewRegistry(), t: t}
	for _, l := range []*edge.Listener{&cfg.GRPC, &cfg.Operator, &cfg.HTTP} {
		if l.Address == "" {
			l.Address = "127.0.0.1:0"
		}
	}
	d := edge.Deps{Gate: g, Operator: operatorv1.UnimplementedOperatorServer{}, Registerer: s.Registry, Gatherer: s.Registry,
		Logger: slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&d)
	}
	var err error
	if s.Server, err = edge.New(cfg, d); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Stop(ctx)
	})
	return s
}

// Client returns a client of the public API over a connection of its own.
func (s *Server) Client(opts ...grpc.DialOption) resetv1.PasswordResetClient {
	s.t.Helper()
	return resetv1.NewPasswordResetClient(Dial(s.t, s.Addrs().GRPC.String(), opts...))
}

// Metric returns the value of a counter or gauge; labels are name and value in turn. It fails the test if there is no such series.
func (s *Server) Metric(name string, labels ...string) float64 {
	s.t.Helper()
	families, err := s.Registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			matches := 0
			for _, l := range m.GetLabel() {
				for i := 0; i+1 < len(labels); i += 2 {
					if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
						matches++
					}
				}
			}
			if matches == len(labels)/2 {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	s.t.Fatalf("no metric %s%v", name, labels)
	return 0
}

// Dial returns a connection without TLS, if opts do not say otherwise, that is closed with the test.
func Dial(t testing.TB, address string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	conn, err := grpc.NewClient(address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Context returns a context that is long enough for any call of a test.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Person returns a Client as a trusted caller sends it.
func Person() *resetv1.Client { return &resetv1.Client{Ip: "192.0.2.7", Id: "device", Locale: "pt-BR"} }
