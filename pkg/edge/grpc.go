package edge

import (
	"context"
	"fmt"
	"slices"
	"strings"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/surgegate/surgegate/pkg/resetapi"
	"github.com/surgegate/surgegate/pkg/tracing"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// buildPublic makes the server of the front ends.
func (s *Server) buildPublic(d Deps) error {
	t, err := newTrust(s.cfg.TrustedCallers)
	if err != nil {
		return err
	}
	if t.trustsRemoteAddresses() {
		s.log.Warn("callers are trusted by address; use certificate identities outside development")
	}
	service, err := resetapi.New(resetapi.Deps{Gate: d.Gate, Caller: t.caller, MaxWatches: s.cfg.MaxWatches, Registerer: d.Registerer})
	if err != nil {
		return err
	}
	opts, err := s.serverOptions(s.cfg.GRPC, false)
	if err != nil {
		return err
	}
	var measured []grpcprom.Option
	if d.Trace != nil {
		isTrusted := func(ctx context.Context) bool { return t.caller(ctx).IsTrusted }
		opts = append(opts, grpc.StatsHandler(d.Trace(isTrusted, isResetMethod)))
		measured = append(measured, grpcprom.WithExemplarFromContext(tracing.Exemplar))
	}
	// The interceptors of a call, from the outside to the inside.
	unary := []grpc.UnaryServerInterceptor{
		selector.UnaryServerInterceptor(s.metrics.grpc.UnaryServerInterceptor(measured...), selector.MatchFunc(isResetCall)),
		s.guardUnary,
	}
	stream := []grpc.StreamServerInterceptor{
		selector.StreamServerInterceptor(s.metrics.grpc.StreamServerInterceptor(measured...), selector.MatchFunc(isResetCall)),
		s.guardStream,
	}
	if d.Observe != nil {
		unary = append(unary, resetapi.Observe(s.clock.Now, s.cfg.CallTimeout, d.Observe))
	}
	s.public = grpc.NewServer(append(opts, grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...))...)
	resetv1.RegisterPasswordResetServer(s.public, service)
	s.addCommonServices(s.public)
	s.metrics.grpc.InitializeMetrics(resetServiceOnly{s.public})
	s.health.SetServingStatus(resetv1.PasswordReset_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	return nil
}

// buildOperator makes the server of the operators.
func (s *Server) buildOperator(d Deps) error {
	auth := &authenticator{clientCerts: s.cfg.Operator.TLS.ClientCAFile != ""}
	if file := s.cfg.OperatorTokensFile; file != "" {
		auth.tokens = &reloadable[[]operatorToken]{files: []string{file}, parse: parseTokens, clock: s.clock, fail: s.reloadFailed}
		if err := auth.tokens.load(); err != nil {
			return err
		}
		if len(auth.tokens.value) == 0 {
			return fmt.Errorf("%s: names no operator", file)
		}
	}
	opts, err := s.serverOptions(s.cfg.Operator, auth.clientCerts && auth.tokens == nil)
	if err != nil {
		return err
	}
	s.operator = grpc.NewServer(append(opts,
		grpc.ChainUnaryInterceptor(s.metrics.countOperatorUnary, s.guardUnary, auth.authenticateUnary),
		grpc.ChainStreamInterceptor(s.metrics.countOperatorStream, s.guardStream, auth.authenticateStream))...)
	operatorv1.RegisterOperatorServer(s.operator, d.Operator)
	s.addCommonServices(s.operator)
	return nil
}

// addCommonServices registers the services that every gRPC server has, and notes which methods of all its services are unary.
func (s *Server) addCommonServices(g *grpc.Server) {
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

// serverOptions returns the limits and the TLS of a gRPC server. With needsClientCert every client must present a certificate.
func (s *Server) serverOptions(l Listener, needsClientCert bool) ([]grpc.ServerOption, error) {
	c := s.cfg
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(uint32(c.MaxConcurrentStreams)),
		grpc.InTapHandle(s.boundCall),
		grpc.ConnectionTimeout(c.ConnectionTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: maxConnectionIdle,
			// grpc-go spreads the age by ±10 %.
			MaxConnectionAge:      c.MaxConnectionAge,
			MaxConnectionAgeGrace: maxConnectionAgeGrace,
			Time:                  keepaliveTime,
			Timeout:               keepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinTime, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
	if l.TLS.isEnabled() {
		t, err := tlsConfig(l.TLS, needsClientCert, s.clock, []string{"h2"}, s.reloadFailed)
		if err != nil {
			return nil, err
		}
		opts = append(opts, grpc.Creds(credentials.NewTLS(t)))
	}
	return opts, nil
}

// reloadFailed counts and logs that a file could not be reloaded.
func (s *Server) reloadFailed(err error) {
	s.metrics.reloadFailures.Inc()
	s.log.Error("cannot reload a file; the old one stays in use", "error", err)
}

// isResetCall says whether a call has metrics of its own. Those of operators, health checks and reflection have none: a series for each
// of their methods and codes would be four times as many, and nobody asks how long a probe took.
func isResetCall(_ context.Context, m interceptors.CallMeta) bool {
	return m.Service == resetv1.PasswordReset_ServiceDesc.ServiceName
}

// resetServiceOnly is the service info of a server without its other services.
type resetServiceOnly struct{ reflection.ServiceInfoProvider }

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (p resetServiceOnly) GetServiceInfo() map[string]grpc.ServiceInfo {
	name := resetv1.PasswordReset_ServiceDesc.ServiceName
	return map[string]grpc.ServiceInfo{name: p.ServiceInfoProvider.GetServiceInfo()[name]}
}

// isResetMethod says whether the API has this method. A stranger can call names that it does not have.
func isResetMethod(fullMethod string) bool {
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	d := resetv1.PasswordReset_ServiceDesc
	return service == d.ServiceName && (slices.ContainsFunc(d.Methods, func(m grpc.MethodDesc) bool { return m.MethodName == method }) ||
		slices.ContainsFunc(d.Streams, func(m grpc.StreamDesc) bool { return m.StreamName == method }))
}
