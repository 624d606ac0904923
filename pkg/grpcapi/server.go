package grpcapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/tracing"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// otherConnections bounds the operator's and the HTTP listener: a few people, scrapers and probes.
const otherConnections = 64

// Deps are what a Server works with.
type Deps struct {
	// Gate serves the public calls; nil for a process without a front: then there is no public listener.
	Gate Gate
	// Operator serves operators; its calls find who calls with steer.OperatorOf.
	Operator operatorv1.OperatorServer
	// Ready tells why nothing can be accepted durably; nil error while anything can. A nil func means always ready.
	// It is asked once a second and by every /readyz: it must be cheap.
	Ready func() error

	// Trace gives public calls their spans; nil: they have none.
	Trace TraceCalls
	// Observe is told of each public call as it arrives, and must not wait; nil: nobody listens.
	Observe func(Observed)

	Registerer prometheus.Registerer
	// Gatherer is what /metrics shows.
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger
	// Clock defaults to the machine's.
	Clock clock.Clock
}

// TraceCalls makes what gives calls their spans. It is told whom to believe which trace a call belongs to, and which methods
// there are.
type TraceCalls func(trusted func(context.Context) bool, traced func(fullMethod string) bool) stats.Handler

// Server is the edge of one process. See the package comment for its states.
type Server struct {
	cfg      Config
	clock    clock.Clock
	log      *slog.Logger
	metrics  *metrics
	internal oncePerSecond
	ready    func() error

	public, operator *grpc.Server // public is nil without a gate
	http             *http.Server
	health           *health.Server
	unary            map[string]bool // full names of the unary methods; written by New only

	draining context.Context // done when Drain begins
	drain    context.CancelFunc

	mu    sync.Mutex
	addrs Addrs
	stop  context.CancelFunc // of the ticker
	tasks sync.WaitGroup
	fault chan error // one for each listener
}

// Addrs are the addresses that a started Server listens on.
type Addrs struct{ GRPC, Operator, HTTP net.Addr }

// New builds the servers; nothing listens yet. The error names the field or file at fault.
func New(cfg Config, d Deps) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("grpcapi: %w", err)
	}
	if d.Operator == nil || d.Registerer == nil || d.Gatherer == nil || d.Logger == nil {
		return nil, errors.New("grpcapi: Operator, Registerer, Gatherer and Logger are needed")
	}
	if os.Getenv("GRPC_BINARY_LOG_FILTER") != "" {
		return nil, errors.New("grpcapi: GRPC_BINARY_LOG_FILTER is set: it logs whole requests, passwords included; unset it")
	}
	// x/net/http2 logs every header: an operator's bearer token (seen with grpc-go 1.85).
	if strings.Contains(os.Getenv("GODEBUG"), "http2debug=") {
		return nil, errors.New("grpcapi: GODEBUG has http2debug: it logs the tokens of operators; leave it out")
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
		return nil, fmt.Errorf("grpcapi: %w", err)
	}
	for name, l := range map[string]Listener{"grpc": cfg.GRPC, "operator": cfg.Operator, "http": cfg.HTTP} {
		if !l.loopback() && !l.TLS.enabled() {
			s.log.Warn("listening off loopback without TLS", "listener", name, "address", l.Address)
		}
	}
	if d.Gate != nil {
		if err := s.buildPublic(d); err != nil {
			return nil, fmt.Errorf("grpcapi: GRPC: %w", err)
		}
	}
	if err := s.buildOperator(d); err != nil {
		return nil, fmt.Errorf("grpcapi: Operator: %w", err)
	}
	if err := s.buildHTTP(d.Gatherer); err != nil {
		return nil, fmt.Errorf("grpcapi: HTTP: %w", err)
	}
	return s, nil
}

func (s *Server) buildPublic(d Deps) error {
	t, err := newTrust(s.cfg.TrustedCallers)
	if err != nil {
		return err
	}
	if t.byAddress() {
		s.log.Warn("callers are trusted by address; use certificate identities outside development")
	}
	opts, err := s.options(s.cfg.GRPC, false)
	if err != nil {
		return err
	}
	var measured []grpcprom.Option
	if d.Trace != nil {
		opts = append(opts, grpc.StatsHandler(d.Trace(func(ctx context.Context) bool {
			_, trusted := t.caller(ctx)
			return trusted
		}, passwordResetMethod)))
		measured = append(measured, grpcprom.WithExemplarFromContext(tracing.Exemplar))
	}
	unary := []grpc.UnaryServerInterceptor{
		selector.UnaryServerInterceptor(s.metrics.grpc.UnaryServerInterceptor(measured...), selector.MatchFunc(ofPeople)), s.guardUnary,
	}
	if d.Observe != nil {
		unary = append(unary, observe(s.clock.Now, s.cfg.CallTimeout, d.Observe))
	}
	s.public = grpc.NewServer(append(opts,
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(
			selector.StreamServerInterceptor(s.metrics.grpc.StreamServerInterceptor(measured...), selector.MatchFunc(ofPeople)), s.guardStream))...)
	resetv1.RegisterPasswordResetServer(s.public, &passwordReset{
		gate: d.Gate, trust: t, metrics: s.metrics, watches: newWatches(s.cfg.MaxWatches),
	})
	s.complete(s.public)
	s.metrics.grpc.InitializeMetrics(peopleOnly{s.public})
	s.health.SetServingStatus(resetv1.PasswordReset_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	return nil
}

// passwordResetMethod tells the API's own methods from what a stranger may call.
func passwordResetMethod(fullMethod string) bool {
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	d := resetv1.PasswordReset_ServiceDesc
	return service == d.ServiceName && (slices.ContainsFunc(d.Methods, func(m grpc.MethodDesc) bool { return m.MethodName == method }) ||
		slices.ContainsFunc(d.Streams, func(m grpc.StreamDesc) bool { return m.StreamName == method }))
}

func (s *Server) buildOperator(d Deps) error {
	auth := &authenticator{mtls: s.cfg.Operator.TLS.ClientCAFile != ""}
	if file := s.cfg.OperatorTokensFile; file != "" {
		auth.tokens = &reloaded[[]operatorToken]{files: []string{file}, load: parseTokens, clock: s.clock, fail: s.reloadFailed}
		if err := auth.tokens.first(); err != nil {
			return err
		}
		if len(auth.tokens.value) == 0 {
			return fmt.Errorf("%s: names no operator", file)
		}
	}
	opts, err := s.options(s.cfg.Operator, auth.mtls && auth.tokens == nil)
	if err != nil {
		return err
	}
	s.operator = grpc.NewServer(append(opts,
		grpc.ChainUnaryInterceptor(s.metrics.countUnary, s.guardUnary, auth.unary),
		grpc.ChainStreamInterceptor(s.metrics.countStream, s.guardStream, auth.stream))...)
	operatorv1.RegisterOperatorServer(s.operator, d.Operator)
	s.complete(s.operator)
	return nil
}

// complete adds what every gRPC server has, and notes which methods are unary.
func (s *Server) complete(g *grpc.Server) {
	healthv1.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	for service, info := range g.GetServiceInfo() {
		for _, m := range info.Methods {
			if !m.IsClientStream && !m.IsServerStream {
				s.unary["/"+service+"/"+m.Name] = true
			}
		}
	}
}

func (s *Server) options(l Listener, clientCert bool) ([]grpc.ServerOption, error) {
	c := s.cfg
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(c.MaxMessageBytes),
		grpc.MaxHeaderListSize(uint32(c.MaxHeaderBytes)),
		grpc.MaxConcurrentStreams(uint32(c.MaxConcurrentStreams)),
		grpc.InTapHandle(s.bound),
		grpc.ConnectionTimeout(c.ConnectionTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: c.MaxConnectionIdle,
			// grpc-go spreads the age by ±10 %.
			MaxConnectionAge:      c.MaxConnectionAge,
			MaxConnectionAgeGrace: c.MaxConnectionAgeGrace,
			Time:                  c.KeepaliveTime,
			Timeout:               c.KeepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.KeepaliveMinTime, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
	if l.TLS.enabled() {
		t, err := tlsConfig(l.TLS, clientCert, s.clock, []string{"h2"}, s.reloadFailed)
		if err != nil {
			return nil, err
		}
		opts = append(opts, grpc.Creds(credentials.NewTLS(t)))
	}
	return opts, nil
}

func (s *Server) reloadFailed(err error) {
	s.metrics.reloadFailures.Inc()
	s.log.Error("cannot reload a file; the old one stays in use", "error", err)
}

// Start listens and serves. After an error nothing listens.
func (s *Server) Start() error {
	var opened []net.Listener
	listen := func(name string, l Listener, limit int) (net.Listener, error) {
		ln, err := net.Listen("tcp", l.Address)
		if err != nil {
			for _, o := range opened {
				_ = o.Close() // the error that counts is the one of listening
			}
			return nil, fmt.Errorf("grpcapi: %s: %w", name, err)
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
	s.tasks.Go(func() { s.tick(ctx) })
	return nil
}

func (s *Server) serve(name string, f func() error) {
	s.tasks.Go(func() {
		if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			s.fault <- fmt.Errorf("grpcapi: %s: %w", name, err)
		}
	})
}

// Faults tells of listeners that broke while serving.
func (s *Server) Faults() <-chan error { return s.fault }

// Addrs returns where the started Server listens.
func (s *Server) Addrs() Addrs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs
}

// tick asks once a second what health shall say.
func (s *Server) tick(ctx context.Context) {
	for {
		if s.draining.Err() == nil {
			status := healthv1.HealthCheckResponse_SERVING
			if s.ready() != nil {
				status = healthv1.HealthCheckResponse_NOT_SERVING
			}
			s.health.SetServingStatus("", status)
			if s.public != nil {
				s.health.SetServingStatus(resetv1.PasswordReset_ServiceDesc.ServiceName, status)
			}
		}
		if s.clock.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// Draining tells whether the public side has been told to end.
func (s *Server) Draining() bool { return s.draining.Err() != nil }

// Drain ends the public side: no new calls, watches end, calls under way finish or are cut when ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.drain()
	s.health.Shutdown()
	if s.public != nil {
		gracefully(ctx, s.public)
	}
}

// Stop drains, then ends operator and HTTP, and waits for all that Start began.
func (s *Server) Stop(ctx context.Context) {
	s.Drain(ctx)
	gracefully(ctx, s.operator)
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // what did not end in time is cut
	}
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.tasks.Wait()
}

func gracefully(ctx context.Context, g *grpc.Server) {
	defer context.AfterFunc(ctx, g.Stop)()
	g.GracefulStop()
}

// maxScrapes at once: Prometheus in twos, a person, and one more.
const maxScrapes = 4

func (s *Server) buildHTTP(g prometheus.Gatherer) error {
	mux := http.NewServeMux()
	// The scraper chooses: protobuf has native histograms, text has the classic buckets.
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes,
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // in a storm a part of the metrics is better than none
		EnableOpenMetrics:   true,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Err() != nil {
			answer(w, http.StatusServiceUnavailable, "draining\n")
			return
		}
		if err := s.ready(); err != nil {
			// The cause is for the log of whoever found it; here it would leave the process.
			answer(w, http.StatusServiceUnavailable, "nothing can be accepted durably\n")
			return
		}
		answer(w, http.StatusOK, "ready\n")
	})
	s.http = &http.Server{
		Handler:           http.MaxBytesHandler(mux, 1<<10), // nobody posts here
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the usual scrape interval
		MaxHeaderBytes:    s.cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if s.cfg.HTTP.TLS.enabled() {
		t, err := tlsConfig(s.cfg.HTTP.TLS, s.cfg.HTTP.TLS.ClientCAFile != "", s.clock, []string{"http/1.1"}, s.reloadFailed)
		if err != nil {
			return err
		}
		s.http.TLSConfig = t
	}
	return nil
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // a prober that has gone needs no answer
}

// ofPeople tells the calls that the gRPC server's metrics are for. A series for every method and code of the operator's
// service, of health checks and of reflection would be four times as many, and nobody asks how long a probe took.
func ofPeople(_ context.Context, m interceptors.CallMeta) bool {
	return m.Service == resetv1.PasswordReset_ServiceDesc.ServiceName
}

// peopleOnly is a server's service info for the same calls.
type peopleOnly struct{ reflection.ServiceInfoProvider }

func (p peopleOnly) GetServiceInfo() map[string]grpc.ServiceInfo {
	name := resetv1.PasswordReset_ServiceDesc.ServiceName
	return map[string]grpc.ServiceInfo{name: p.ServiceInfoProvider.GetServiceInfo()[name]}
}

// countUnary and countStream count the calls of the operator listener by their code alone: what matters of them is that
// somebody tries tokens, or that a call fails.
func (m *metrics) countUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	m.operatorCall(err)
	return resp, err
}

func (m *metrics) countStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	err := handler(srv, stream)
	m.operatorCall(err)
	return err
}

func (m *metrics) operatorCall(err error) {
	code := grpcprom.FromError(err).Code()
	if int(code) >= len(m.operatorCalls) {
		code = codes.Unknown // a handler's own number
	}
	m.operatorCalls[code].Inc()
}

// metrics are the edge's own and the gRPC server's.
type metrics struct {
	grpc                   *grpcprom.ServerMetrics
	openConns              map[string]prometheus.Gauge
	refusedConns           map[string]prometheus.Counter
	ignoredClients, panics prometheus.Counter
	reloadFailures         prometheus.Counter
	watches                prometheus.Gauge
	operatorCalls          [codes.Unauthenticated + 1]prometheus.Counter
}

const (
	listenerGRPC     = "grpc"
	listenerOperator = "operator"
	listenerHTTP     = "http"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		grpc: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(grpcprom.WithHistogramOpts(&prometheus.HistogramOpts{
			// Few: surgegate_gate_request_seconds is the dense one, and this has the time that answers are held in it.
			Buckets:                         []float64{.002, .005, .01, .1, 1, 10},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}))),
		openConns: map[string]prometheus.Gauge{}, refusedConns: map[string]prometheus.Counter{},
		ignoredClients: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_grpc_ignored_clients_total", Help: "Client messages ignored because their caller is not trusted."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_grpc_panics_total", Help: "Calls that panicked; each is in the log."}),
		reloadFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "surgegate_grpc_reload_failures_total", Help: "Certificates or operator tokens that could not be reloaded."}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "surgegate_grpc_watches", Help: "Tickets being watched now."}),
	}
	open := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_grpc_connections", Help: "Connections open now."}, []string{"listener"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_grpc_refused_connections_total", Help: "Connections closed because the listener was at its cap."}, []string{"listener"})
	for _, l := range []string{listenerGRPC, listenerOperator, listenerHTTP} {
		m.openConns[l], m.refusedConns[l] = open.WithLabelValues(l), refused.WithLabelValues(l)
	}
	operatorCalls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_grpc_operator_calls_total", Help: "Calls of the operator listener, probes and reflection included, by their gRPC code."}, []string{"code"})
	for code := range m.operatorCalls {
		m.operatorCalls[code] = operatorCalls.WithLabelValues(codes.Code(code).String())
	}
	for _, c := range []prometheus.Collector{operatorCalls, m.grpc, m.ignoredClients, m.panics, m.reloadFailures, m.watches, open, refused} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}
