package resetapi

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Gate is the request side of the gateway as the API calls it; *gate.Gate is one.
type Gate interface {
	StartReset(ctx context.Context, r gate.StartRequest) (gate.Answer, error)
	CheckToken(ctx context.Context, token string, c gate.Client) (time.Time, error)
	CompleteReset(ctx context.Context, r gate.CompleteRequest) (gate.Answer, error)
	GetTicket(ctx context.Context, id string) (gate.Answer, error)
	WatchTicket(ctx context.Context, id string, send func(reset.Ticket) error) error
}

// Caller is the other end of a call's connection.
type Caller struct {
	// Addr is its address. Address and port together name the connection.
	Addr netip.AddrPort
	// IsTrusted says whether its Client messages are believed.
	IsTrusted bool
}

// Deps are what a Service works with. All must be set.
type Deps struct {
	Gate Gate
	// Caller returns who makes the call that ctx belongs to.
	Caller func(ctx context.Context) Caller
	// MaxWatches bounds the tickets that one connection may watch at once.
	MaxWatches int
	Registerer prometheus.Registerer
}

// Service implements surgegate.reset.v1.PasswordReset. Its methods may be called concurrently. Their errors are the gate's, or
// reset.Violations: Status turns them into what the caller sees.
type Service struct {
	resetv1.UnimplementedPasswordResetServer
	gate    Gate
	caller  func(context.Context) Caller
	watches *watchLimit
	metrics *metrics
}

// New returns a Service. Its only errors are those of registering its metrics, and a missing dependency.
func New(d Deps) (*Service, error) {
	if d.Gate == nil || d.Caller == nil || d.MaxWatches < 1 || d.Registerer == nil {
		return nil, errors.New("resetapi: Deps: all must be set")
	}
	m, err := newMetrics(d.Registerer)
	if err != nil {
		return nil, err
	}
	return &Service{gate: d.Gate, caller: d.Caller, watches: newWatchLimit(d.MaxWatches), metrics: m}, nil
}

// StartReset implements the call.
func (s *Service) StartReset(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	a, err := s.gate.StartReset(ctx, gate.StartRequest{
		Identifier: r.GetIdentifier(), Client: s.client(ctx, r.GetClient()), Wait: waitOf(r.GetWait()),
	})
	if err != nil {
		return nil, err
	}
	return &resetv1.StartResetResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a)}, nil
}

// CheckToken implements the call.
func (s *Service) CheckToken(ctx context.Context, r *resetv1.CheckTokenRequest) (*resetv1.CheckTokenResponse, error) {
	expire, err := s.gate.CheckToken(ctx, r.GetToken(), s.client(ctx, r.GetClient()))
	if err != nil {
		return nil, err
	}
	return &resetv1.CheckTokenResponse{ExpireTime: timestamppb.New(expire)}, nil
}

// CompleteReset implements the call.
func (s *Service) CompleteReset(ctx context.Context, r *resetv1.CompleteResetRequest) (*resetv1.CompleteResetResponse, error) {
	a, err := s.gate.CompleteReset(ctx, gate.CompleteRequest{
		Token: r.GetToken(), NewPassword: r.GetNewPassword(), SignOut: enumOf[reset.SignOut](r.GetSignOut()),
		Client: s.client(ctx, r.GetClient()), Wait: waitOf(r.GetWait()), RequestID: r.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	return &resetv1.CompleteResetResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a), Replayed: a.Replayed}, nil
}

// GetTicket implements the call.
func (s *Service) GetTicket(ctx context.Context, r *resetv1.GetTicketRequest) (*resetv1.GetTicketResponse, error) {
	a, err := s.gate.GetTicket(ctx, r.GetTicketId())
	if err != nil {
		return nil, err
	}
	return &resetv1.GetTicketResponse{Ticket: protoTicket(a.Ticket), PollAfter: protoPoll(a)}, nil
}

// WatchTicket implements the call. A caller that does not read blocks only its own Send. It is gone at the latest when its
// connection has reached its age limit.
func (s *Service) WatchTicket(r *resetv1.WatchTicketRequest, stream grpc.ServerStreamingServer[resetv1.WatchTicketResponse]) error {
	ctx := stream.Context()
	release, ok := s.watches.acquire(s.caller(ctx).Addr)
	if !ok {
		return &reset.Error{Kind: reset.KindLimitClient, Detail: "too many tickets are watched on this connection; poll them instead"}
	}
	s.metrics.watches.Inc()
	defer func() {
		release()
		s.metrics.watches.Dec()
	}()
	return s.gate.WatchTicket(ctx, r.GetTicketId(), func(t reset.Ticket) error {
		if err := stream.Send(&resetv1.WatchTicketResponse{Ticket: protoTicket(t)}); err != nil {
			return &reset.Error{Kind: reset.KindCanceled, Cause: err} // Send fails only when the caller is gone
		}
		return nil
	})
}
