package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/stats"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/resetapi"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// otherConnections bounds the operator's and the HTTP listener: a few people, scrapers and probes.
const otherConnections = 64

// Deps are what a Server works with.
type Deps struct {
	// Gate serves the public calls; nil for a process without a front: then there is no public listener.
	Gate resetapi.Gate
	// Operator serves operators. Its methods learn who calls from operator.CallerOf.
	Operator operatorv1.OperatorServer
	// Ready returns why nothing can be accepted durably, nil while something can. It is called once a second and by each /readyz, so
	// it must be cheap. A nil func means always ready.
	Ready func() error

	// Trace gives the public calls their spans; nil: they have none.
	Trace TraceCalls
	// Observe is called with each public call when it arrives, and must not block; nil: nobody listens.
	Observe func(resetapi.Observed)

	Registerer prometheus.Registerer
	// Gatherer is what /metrics shows.
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger
	// Clock defaults to the machine's.
	Clock clock.Clock
}

// TraceCalls makes the handler that gives calls their spans. trusted says whether the caller may say which trace its call belongs to,
// traced whether a method gets a span.
type TraceCalls func(trusted func(context.Context) bool, traced func(fullMethod string) bool) stats.Handler

// Server is the edge of one process. See the package comment for its states.
type Server struct {
	cfg      Config
	clock    clock.Clock
	log      *slog.Logger
	metrics  *metrics
	internal errorLog
	ready    func() error

	public, operator *grpc.Server // public is nil without a gate
	http             *http.Server
	health           *health.Server
	unary            map[string]bool // full names of the unary methods; written by New only

	draining context.Context // done when Drain begins
	drain    context.CancelFunc

	mu    sync.Mutex
	addrs Addrs
	stop  context.CancelFunc // ends updateHealth
	tasks sync.WaitGroup
	fault chan error // one for each listener
}

// Addrs are the addresses that a started Server listens on; GRPC is nil without a gate.
type Addrs struct{ GRPC, Operator, HTTP net.Addr }

// New builds the servers; nothing listens yet. The error names the field or file at fault.
func New(cfg Config, d Deps) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if d.Operator == nil || d.Registerer == nil || d.Gatherer == nil || d.Logger == nil {
		return nil, errors.New("edge: Operator, Registerer, Gatherer and Logger are needed")
	}
	if os.Getenv("GRPC_BINARY_LOG_FILTER") != "" {
		return nil, errors.New("edge: GRPC_BINARY_LOG_FILTER is set: it logs whole requests, passwords included; unset it")
	}
	// x/net/http2 logs every header: an operator's bearer token (seen with grpc-go 1.85).
	if strings.Contains(os.Getenv("GODEBUG"), "http2debug=") {
		return nil, errors.New("edge: GODEBUG has http2debug: it logs the tokens of operators; leave it out")
	}
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.Ready == nil {
		d.Ready = func() error { return nil }
	}
	s := &Server{
		cfg: cfg, clock: d.Clock, log: d.Logger, ready: d.Ready,
		health: health.NewServer(), unary: map[string]bool{}, fault: make(chan error, 3),
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	var err error
	if s.metrics, err = newMetrics(d.Registerer); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	for name, l := range map[string]Listener{"grpc": cfg.GRPC, "operator": cfg.Operator, "http": cfg.HTTP} {
		if !l.isLoopback() && !l.TLS.isEnabled() {
			s.log.Warn("listening off loopback without TLS", "listener", name, "address", l.Address)
		}
	}
	if d.Gate != nil {
		if err := s.buildPublic(d); err != nil {
			return nil, fmt.Errorf("edge: GRPC: %w", err)
		}
	}
	if err := s.buildOperator(d); err != nil {
		return nil, fmt.Errorf("edge: Operator: %w", err)
	}
	if err := s.buildHTTP(d.Gatherer); err != nil {
		return nil, fmt.Errorf("edge: HTTP: %w", err)
	}
	return s, nil
}

// Start listens and serves. If it returns an error, nothing listens.
func (s *Server) Start() error {
	var opened []net.Listener
	listen := func(name string, l Listener, limit int) (net.Listener, error) {
		ln, err := net.Listen("tcp", l.Address)
		if err != nil {
			for _, o := range opened {
				_ = o.Close() // the error that counts is the one of listening
			}
			return nil, fmt.Errorf("edge: %s: %w", name, err)
		}
		capped := &cappedListener{Listener: ln, slots: make(chan struct{}, limit),
			open: s.metrics.openConns[name], refused: s.metrics.refusedConns[name]}
		opened = append(opened, capped)
		return capped, nil
	}
	op, err := listen(listenerOperator, s.cfg.Operator, otherConnections)
	if err != nil {
		return err
	}
	web, err := listen(listenerHTTP, s.cfg.HTTP, otherConnections)
	if err != nil {
		return err
	}
	addrs := Addrs{Operator: op.Addr(), HTTP: web.Addr()}
	var pub net.Listener
	if s.public != nil {
		if pub, err = listen(listenerGRPC, s.cfg.GRPC, s.cfg.MaxConnections); err != nil {
			return err
		}
		addrs.GRPC = pub.Addr()
	}
	ctx, stop := context.WithCancel(context.Background())
	s.mu.Lock()
	s.addrs, s.stop = addrs, stop
	s.mu.Unlock()
	if pub != nil {
		s.serve(listenerGRPC, func() error { return s.public.Serve(pub) })
	}
	s.serve(listenerOperator, func() error { return s.operator.Serve(op) })
	if s.http.TLSConfig != nil {
		web = tls.NewListener(web, s.http.TLSConfig)
	}
	s.serve(listenerHTTP, func() error { return s.http.Serve(web) })
	s.tasks.Go(func() { s.updateHealth(ctx) })
	return nil
}

func (s *Server) serve(name string, f func() error) {
	s.tasks.Go(func() {
		if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			s.fault <- fmt.Errorf("edge: %s: %w", name, err)
		}
	})
}

// Faults returns the channel of the errors of listeners that broke while serving.
func (s *Server) Faults() <-chan error { return s.fault }

// Addrs returns where the started Server listens.
func (s *Server) Addrs() Addrs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs
}

// Draining says whether Drain has been called.
func (s *Server) Draining() bool { return s.draining.Err() != nil }

// Drain ends the public side. New calls are refused, watches end, and calls under way finish; when ctx ends they are cut off. It
// blocks until then.
func (s *Server) Drain(ctx context.Context) {
	s.drain()
	s.health.Shutdown()
	if s.public != nil {
		stopGracefully(ctx, s.public)
	}
}

// Stop drains, then ends the operator and HTTP servers, and waits for every goroutine that Start began.
func (s *Server) Stop(ctx context.Context) {
	s.Drain(ctx)
	stopGracefully(ctx, s.operator)
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // requests that did not end in time are cut off
	}
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.tasks.Wait()
}

// stopGracefully lets calls finish until ctx ends, then cuts them off.
func stopGracefully(ctx context.Context, g *grpc.Server) {
	defer context.AfterFunc(ctx, g.Stop)()
	g.GracefulStop()
}
