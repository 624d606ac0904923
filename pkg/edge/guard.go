package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/resetapi"
)

// edgeError carries a status past the error table: one that grpc-go made (a message that cannot be read), or the edge's own
// (authentication).
type edgeError struct{ status error }

// Error implements error.
func (e *edgeError) Error() string { return e.status.Error() }

// guardUnary turns panics and errors into statuses.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.recordPanic(ctx, info.FullMethod, p)
		}
	}()
	resp, err = handler(ctx, req)
	if err != nil {
		return nil, s.statusOf(ctx, info.FullMethod, err)
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
			err = s.recordPanic(ctx, info.FullMethod, p)
		}
	}()
	err = handler(srv, guardedStream{stream, ctx})
	if s.draining.Err() != nil && stream.Context().Err() == nil && err != nil {
		err = &reset.Error{Kind: reset.KindDraining, Cause: err}
	}
	return s.statusOf(stream.Context(), info.FullMethod, err)
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

// statusOf returns the status of a call that ended with err, and logs err if it is a fault of surgegate.
func (s *Server) statusOf(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*edgeError)(nil); errors.As(err, &e) {
		return e.status
	}
	if reset.KindOf(err) == reset.KindInternal && ctx.Err() == nil {
		s.internal.write(ctx, s, "call failed", "method", method, "error", err)
	}
	return resetapi.Status(ctx, s.clock.Now(), err)
}

// recordPanic counts and logs a panic, and returns the status of its call.
func (s *Server) recordPanic(ctx context.Context, method string, p any) error {
	s.metrics.panics.Inc()
	// Only the type and the stack: the value may hold what was submitted.
	s.log.ErrorContext(ctx, "panic in a call", "method", method, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return resetapi.Status(ctx, s.clock.Now(), &reset.Error{Kind: reset.KindInternal})
}

// errorLog writes at most one line a second, so that a storm of errors does not fill the log.
type errorLog struct {
	last       atomic.Int64 // when the last line was written, in Unix seconds
	suppressed atomic.Int64 // lines left out since
}

func (o *errorLog) write(ctx context.Context, s *Server, msg string, args ...any) {
	now := s.clock.Now().Unix()
	if last := o.last.Load(); last == now || !o.last.CompareAndSwap(last, now) {
		o.suppressed.Add(1)
		return
	}
	s.log.ErrorContext(ctx, msg, append(args, "suppressed", o.suppressed.Swap(0))...)
}
