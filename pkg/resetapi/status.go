package resetapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/reset"
)

// errorDomain is ErrorInfo.domain of all errors of surgegate.
const errorDomain = "surgegate"

// pushbackKey is the trailer that tells a gRPC library when to retry (gRFC A6).
const pushbackKey = "grpc-retry-pushback-ms"

// maxPushback is the longest time for which a client library is asked to hold a call until its retry.
const maxPushback = 30 * time.Second

// row is a line of the error table in proto/README.md.
type row struct {
	code    codes.Code
	message string // for errors without a Detail
	info    bool   // ErrorInfo
	bad     bool   // BadRequest
	retry   bool   // RetryInfo and pushback
}

// rowOf returns the line of a kind.
func rowOf(k reset.Kind) row {
	switch k {
	case reset.KindInvalid:
		return row{code: codes.InvalidArgument, message: "a field is invalid", bad: true}
	case reset.KindWeakPassword:
		return row{code: codes.InvalidArgument, message: "choose another password", bad: true, info: true}
	case reset.KindTokenInvalid:
		return row{code: codes.FailedPrecondition, message: "the link is not valid; ask for a new one", info: true}
	case reset.KindTokenExpired:
		return row{code: codes.FailedPrecondition, message: "the link has expired; ask for a new one", info: true}
	case reset.KindTokenUsed:
		return row{code: codes.FailedPrecondition, message: "the link has been used; ask for a new one", info: true}
	case reset.KindLimitGlobal:
		return row{code: codes.ResourceExhausted, message: "too many requests; come back later", info: true, retry: true}
	case reset.KindLimitClient:
		return row{code: codes.ResourceExhausted, message: "too many requests from this client; come back later", info: true, retry: true}
	case reset.KindShed:
		return row{code: codes.ResourceExhausted, message: "not taking this kind of request now; come back later", info: true, retry: true}
	case reset.KindQueueFull:
		return row{code: codes.ResourceExhausted, message: "the line is full; come back later", info: true, retry: true}
	case reset.KindNotDurable:
		return row{code: codes.Unavailable, message: "cannot be made durable now; come back later", info: true, retry: true}
	case reset.KindDraining:
		return row{code: codes.Unavailable, message: "shutting down; another replica takes it", info: true, retry: true}
	case reset.KindKeyUnknown:
		return row{code: codes.Unavailable, message: "a key has not arrived here yet; come back later", info: true, retry: true}
	case reset.KindStoreUnknown:
		return row{code: codes.Unavailable, message: "the store has not been reached yet; come back later", info: true, retry: true}
	case reset.KindNotFound:
		return row{code: codes.NotFound, message: "no such ticket"}
	case reset.KindCanceled:
		return row{code: codes.Canceled, message: "the caller went away"}
	case reset.KindPrecondition:
		return row{code: codes.FailedPrecondition, message: "not as things are now", info: true}
	default:
		return row{code: codes.Internal, message: "internal error"}
	}
}

// Status returns any error of a call as the status that its caller sees, and sets the pushback trailer of the call that ctx belongs
// to. Only the public part of a *reset.Error and field violations get through. A nil error is nil.
func Status(ctx context.Context, now time.Time, err error) error {
	if err == nil {
		return nil
	}
	var bad reset.Violations
	if errors.As(err, &bad) {
		return invalidStatus(bad).Err()
	}
	var e *reset.Error
	if !errors.As(err, &e) {
		e = &reset.Error{Kind: reset.KindInternal, Cause: err}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			e.Kind = reset.KindCanceled
		}
	}
	r := rowOf(e.Kind)
	if e.Kind == reset.KindCanceled && (errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
		r.code, r.message = codes.DeadlineExceeded, "the deadline has passed"
	}
	message := r.message
	if e.Detail != "" && e.Kind != reset.KindInternal {
		message = e.Detail
	}
	var details []protoadapt.MessageV1
	if r.info {
		details = append(details, &errdetails.ErrorInfo{Reason: e.Info(), Domain: errorDomain})
	}
	if r.bad {
		field := e.Field
		if field == "" {
			field = defaultField(e.Kind)
		}
		details = append(details, badRequest(reset.Violation{Field: field, Detail: message}))
	}
	if r.retry {
		retryAfter := e.RetryAfter
		if retryAfter <= 0 {
			retryAfter = 500*time.Millisecond + rand.N(time.Second)
		}
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
		setPushback(ctx, pushback(ctx, now, retryAfter))
	}
	return withDetails(r.code, message, details).Err()
}

// pushback returns how long the caller's gRPC library shall hold the call before it retries; −1 ms means that it shall not retry. Libraries
// hold a call even past its deadline, so a time beyond the deadline becomes −1 ms.
func pushback(ctx context.Context, now time.Time, retryAfter time.Duration) time.Duration {
	if retryAfter >= maxPushback {
		return -time.Millisecond
	}
	if deadline, ok := ctx.Deadline(); ok && retryAfter >= deadline.Sub(now) {
		return -time.Millisecond
	}
	// It is rounded up, so that the retry never comes earlier than RetryInfo says.
	return (retryAfter + time.Millisecond - 1).Truncate(time.Millisecond)
}

func setPushback(ctx context.Context, d time.Duration) {
	// The only error is that ctx belongs to no server call; then nobody reads trailers either.
	_ = grpc.SetTrailer(ctx, metadata.MD{pushbackKey: {strconv.FormatInt(d.Milliseconds(), 10)}})
}

// defaultField returns which field an error is about that names none.
func defaultField(k reset.Kind) string {
	if k == reset.KindWeakPassword {
		return "new_password"
	}
	return "request"
}

// invalidStatus returns the status of bad fields.
func invalidStatus(bad reset.Violations) *status.Status {
	return withDetails(codes.InvalidArgument, bad.Error(), []protoadapt.MessageV1{badRequest(bad...)})
}

func badRequest(bad ...reset.Violation) *errdetails.BadRequest {
	b := &errdetails.BadRequest{}
	for _, v := range bad {
		b.FieldViolations = append(b.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Detail})
	}
	return b
}

func withDetails(code codes.Code, message string, details []protoadapt.MessageV1) *status.Status {
	s := status.New(code, message)
	if len(details) == 0 {
		return s
	}
	with, err := s.WithDetails(details...)
	if err != nil {
		panic(fmt.Sprintf("resetapi: details of a %s status: %v", code, err)) // it fails only for the code OK and for details that cannot be marshalled
	}
	return with
}
