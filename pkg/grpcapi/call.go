package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/token"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// bound gives every unary call a deadline before its request is read; a request that trickles in would else hold its
// stream as long as the connection lives. The one place that can is the tap: the transport takes its context.
func (s *Server) bound(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !s.unary[info.FullMethodName] {
		return ctx, nil
	}
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(s.clock.Now()) <= s.cfg.CallTimeout {
		return ctx, nil
	}
	// ctx is the stream's and ends with it, which stops this timer too; to cancel it besides cost a goroutine a call.
	bounded, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	_ = cancel // see above
	return bounded, nil
}

// edgeError carries a status past the error table: one that grpc-go made (a message that cannot be read), or the edge's own
// (authentication).
type edgeError struct{ status error }

// Error implements error.
func (e *edgeError) Error() string { return e.status.Error() }

// guardUnary turns panics and errors into statuses.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.panicked(ctx, info.FullMethod, p)
		}
	}()
	resp, err = handler(ctx, req)
	if err != nil {
		return nil, s.refuse(ctx, info.FullMethod, err)
	}
	return resp, nil
}

// guardStream turns panics and errors into statuses, and ends streams when the server drains.
func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(ctx, info.FullMethod, p)
		}
	}()
	err = handler(srv, guardedStream{stream, ctx})
	if s.draining.Err() != nil && stream.Context().Err() == nil && err != nil {
		err = &reset.Error{Kind: reset.KindDraining, Cause: err}
	}
	return s.refuse(stream.Context(), info.FullMethod, err)
}

type guardedStream struct {
	grpc.ServerStream
	ctx context.Context // a stream is its context
}

// Context implements grpc.ServerStream.
func (g guardedStream) Context() context.Context { return g.ctx }

// RecvMsg implements grpc.ServerStream. What grpc-go says of a message that it cannot read is for the caller.
func (g guardedStream) RecvMsg(m any) error {
	err := g.ServerStream.RecvMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err // io.EOF is the end of what the caller streams
	}
	return &edgeError{err}
}

func (s *Server) refuse(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*edgeError)(nil); errors.As(err, &e) {
		return e.status
	}
	var bad reset.Violations
	if !errors.As(err, &bad) && reset.KindOf(err) == reset.KindInternal && ctx.Err() == nil {
		s.internal.log(ctx, s, "call failed", "method", method, "error", err)
	}
	return statusError(ctx, s.clock.Now(), err)
}

func (s *Server) panicked(ctx context.Context, method string, p any) error {
	s.metrics.panics.Inc()
	// The type only: a value may hold what was submitted.
	s.log.ErrorContext(ctx, "panic in a call", "method", method, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return statusError(ctx, s.clock.Now(), &reset.Error{Kind: reset.KindInternal})
}

// oncePerSecond keeps a storm out of the log.
type oncePerSecond struct {
	last       atomic.Int64 // unix seconds
	suppressed atomic.Int64
}

func (o *oncePerSecond) log(ctx context.Context, s *Server, msg string, args ...any) {
	now := s.clock.Now().Unix()
	if last := o.last.Load(); last == now || !o.last.CompareAndSwap(last, now) {
		o.suppressed.Add(1)
		return
	}
	s.log.ErrorContext(ctx, msg, append(args, "suppressed", o.suppressed.Swap(0))...)
}

// Observed is a public call that has arrived, before anything was decided about it.
type Observed struct {
	At       time.Time
	Method   string        // such as "StartReset"
	Key      string        // whom it names: an identifier, an account, or a ticket's id
	Attempt  uint32        // attempts before this one, as the caller's gRPC library says
	Deadline time.Duration // that is left; 0: none, or one longer than this server's own
}

// attemptsHeader is gRFC A6's.
const attemptsHeader = "grpc-previous-rpc-attempts"

// observe tells of each unary public call. The observer must not wait. own is the deadline that bound gives to calls without:
// what is about as long is not the caller's.
func observe(now func() time.Time, own time.Duration, tell func(Observed)) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		o := Observed{At: now()}
		switch r := req.(type) {
		case *resetv1.StartResetRequest:
			o.Method, o.Key = "StartReset", r.GetIdentifier()
		case *resetv1.CheckTokenRequest:
			o.Method, o.Key = "CheckToken", accountOr(r.GetToken(), r.GetClient().GetIp())
		case *resetv1.CompleteResetRequest:
			o.Method, o.Key = "CompleteReset", accountOr(r.GetToken(), r.GetClient().GetIp())
		case *resetv1.GetTicketRequest:
			o.Method, o.Key = "GetTicket", r.GetTicketId()
		default:
			return handler(ctx, req)
		}
		if deadline, ok := ctx.Deadline(); ok {
			if left := deadline.Sub(o.At); left < own-time.Second {
				o.Deadline = left
			}
		}
		if values := metadata.ValueFromIncomingContext(ctx, attemptsHeader); len(values) > 0 {
			n, _ := strconv.ParseUint(values[0], 10, 16) // what cannot be read is a first attempt
			o.Attempt = uint32(n)
		}
		tell(o)
		return handler(ctx, req)
	}
}

// accountOr keeps calls with one account's tokens together; what is no token is kept by address.
func accountOr(tok, address string) string {
	if account, ok := token.AccountOf(tok); ok {
		return account
	}
	return address
}
