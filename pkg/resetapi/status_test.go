package resetapi_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/resetapi"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

const secret = "pq: relation accounts of alice@example.com"

// TestReadmeNamesEveryRefusal holds the error table of proto/README.md to the code: each reason that ErrorInfo can carry to a
// front end has a row with its gRPC code, and the row promises RetryInfo where the answer has it.
func TestReadmeNamesEveryRefusal(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../proto/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind := range reset.KindCanceled {
		got := status.Convert(resetapi.Status(context.Background(), time.Now(), &reset.Error{Kind: kind, Reason: "PASSWORD_COMMON"}))
		var reason string
		var retry bool
		for _, d := range got.Details() {
			switch d := d.(type) {
			case *errdetails.ErrorInfo:
				reason = d.GetReason()
			case *errdetails.RetryInfo:
				retry = true
			}
		}
		if reason == "" {
			continue
		}
		if kind == reset.KindShed {
			reason = "SHED_LEVEL_n"
		}
		var line string
		for l := range strings.Lines(string(text)) {
			if strings.HasPrefix(l, "|") && strings.Contains(l, "`"+reason+"`") {
				line = l
			}
		}
		if line == "" {
			t.Errorf("%s has no row in proto/README.md", reason)
			continue
		}
		if name := code.Code(got.Code()).String(); !strings.Contains(line, "| "+name+" |") {
			t.Errorf("%s is %s, but its row in proto/README.md is %s", reason, name, line)
		}
		if strings.Contains(line, "RetryInfo") != retry {
			t.Errorf("%s: RetryInfo is %t, but its row in proto/README.md is %s", reason, retry, line)
		}
	}
}

// TestEveryKind holds the whole error table of proto/README.md against what a client gets over the wire.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	const after = 1500 * time.Millisecond
	tests := map[reset.Kind]struct {
		code  codes.Code
		info  string
		field string
		retry bool
	}{
		reset.KindInternal:     {code: codes.Internal},
		reset.KindInvalid:      {code: codes.InvalidArgument, field: "f"},
		reset.KindWeakPassword: {code: codes.InvalidArgument, field: "f", info: "PASSWORD_COMMON"},
		reset.KindTokenInvalid: {code: codes.FailedPrecondition, info: "TOKEN_INVALID"},
		reset.KindTokenExpired: {code: codes.FailedPrecondition, info: "TOKEN_EXPIRED"},
		reset.KindTokenUsed:    {code: codes.FailedPrecondition, info: "TOKEN_USED"},
		reset.KindLimitGlobal:  {code: codes.ResourceExhausted, info: "LIMIT_GLOBAL", retry: true},
		reset.KindLimitClient:  {code: codes.ResourceExhausted, info: "LIMIT_CLIENT", retry: true},
		reset.KindShed:         {code: codes.ResourceExhausted, info: "SHED_LEVEL_3", retry: true},
		reset.KindQueueFull:    {code: codes.ResourceExhausted, info: "QUEUE_FULL", retry: true},
		reset.KindNotDurable:   {code: codes.Unavailable, info: "NOT_DURABLE", retry: true},
		reset.KindDraining:     {code: codes.Unavailable, info: "DRAINING", retry: true},
		reset.KindKeyUnknown:   {code: codes.Unavailable, info: "KEY_UNKNOWN", retry: true},
		reset.KindStoreUnknown: {code: codes.Unavailable, info: "STORE_UNKNOWN", retry: true},
		reset.KindNotFound:     {code: codes.NotFound},
		reset.KindCanceled:     {code: codes.Canceled},
		reset.KindPrecondition: {code: codes.FailedPrecondition, info: "PRECONDITION"},
	}
	var kind atomic.Int32
	f := edgetest.Serve(t, &edgetest.Gate{Start: func(context.Context, gate.StartRequest) (gate.Answer, error) {
		return gate.Answer{}, fmt.Errorf("wrapped: %w", &reset.Error{Kind: reset.Kind(kind.Load()), Reason: "PASSWORD_COMMON",
			Field: "f", Level: 3, RetryAfter: after, Cause: errors.New(secret)})
	}}, edge.Config{}, nil)
	client := f.Client(grpc.WithDisableRetry())
	// KindPrecondition is the last one: a new kind must be put into the table, here and there.
	for k := range reset.KindPrecondition + 1 {
		want, ok := tests[k]
		if !ok {
			t.Fatalf("kind %d is not in the table", k)
		}
		kind.Store(int32(k))
		var trailer metadata.MD
		_, err := client.StartReset(edgetest.Context(t), &resetv1.StartResetRequest{Identifier: "a", Client: edgetest.Person()}, grpc.Trailer(&trailer))
		s := status.Convert(err)
		if s.Code() != want.code {
			t.Errorf("kind %d: code %s, want %s", k, s.Code(), want.code)
		}
		if strings.Contains(fmt.Sprint(s.Proto()), "alice") || strings.Contains(fmt.Sprint(s.Proto()), "wrapped") {
			t.Errorf("kind %d: the cause got out: %v", k, s.Proto())
		}
		var info, field string
		var retry time.Duration
		for _, d := range s.Details() {
			switch d := d.(type) {
			case *errdetails.ErrorInfo:
				info = d.GetReason()
				if d.GetDomain() != "surgegate" {
					t.Errorf("kind %d: domain %q", k, d.GetDomain())
				}
			case *errdetails.BadRequest:
				field = d.GetFieldViolations()[0].GetField()
			case *errdetails.RetryInfo:
				retry = d.GetRetryDelay().AsDuration()
			}
		}
		if info != want.info || field != want.field || (retry == after) != want.retry {
			t.Errorf("kind %d: info %q field %q retry %s, want %+v", k, info, field, retry, want)
		}
		if got := trailer.Get("grpc-retry-pushback-ms"); want.retry != (len(got) == 1 && got[0] == "1500") {
			t.Errorf("kind %d: pushback %v, want one: %v", k, got, want.retry)
		}
	}
}

// serverCall is a call as its handler sees it, and keeps the trailer.
type serverCall struct{ trailer metadata.MD }

func (*serverCall) Method() string               { return resetv1.PasswordReset_StartReset_FullMethodName }
func (*serverCall) SetHeader(metadata.MD) error  { return nil }
func (*serverCall) SendHeader(metadata.MD) error { return nil }
func (c *serverCall) SetTrailer(md metadata.MD) error {
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

func TestPushback(t *testing.T) {
	t.Parallel()
	now := time.Now()
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(d))
		t.Cleanup(cancel)
		return ctx
	}
	tests := []struct {
		name  string
		ctx   context.Context
		after time.Duration
		want  string
	}{
		{"no deadline", context.Background(), 1500 * time.Millisecond, "1500"},
		{"rounded up", context.Background(), time.Millisecond + 1, "2"},
		{"just under 30 s", context.Background(), 30*time.Second - time.Millisecond, "29999"},
		{"30 s", context.Background(), 30 * time.Second, "-1"},
		{"under the deadline", within(2 * time.Second), time.Second, "1000"},
		{"at the deadline", within(time.Second), time.Second, "-1"},
		{"past the deadline", within(time.Second), 2 * time.Second, "-1"},
	}
	for _, tt := range tests {
		call := &serverCall{}
		_ = resetapi.Status(grpc.NewContextWithServerTransportStream(tt.ctx, call), now, &reset.Error{Kind: reset.KindShed, RetryAfter: tt.after})
		if got := call.trailer.Get("grpc-retry-pushback-ms"); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %v ms, want %s", tt.name, got, tt.want)
		}
	}
}

const retryPolicy = `{"methodConfig": [{"name": [{"service": "surgegate.reset.v1.PasswordReset"}], "retryPolicy": {
	"maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
	"retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "INVALID_ARGUMENT", "INTERNAL"]}}]}`

// TestClientHonoursPushback uses grpc-go's own retries, whose backoff of 1 ms is replaced by what the server says.
func TestClientHonoursPushback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		after        time.Duration
		deadline     time.Duration
		wantAttempts int32
	}{
		{"waits as told", 150 * time.Millisecond, 10 * time.Second, 2},
		{"not past 30 s", 31 * time.Second, 60 * time.Second, 1},
		{"not past the deadline", 20 * time.Second, 10 * time.Second, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int32
			f := edgetest.Serve(t, &edgetest.Gate{Start: func(context.Context, gate.StartRequest) (gate.Answer, error) {
				if attempts.Add(1) == 1 {
					return gate.Answer{}, &reset.Error{Kind: reset.KindShed, Level: 2, RetryAfter: tt.after}
				}
				return edgetest.Accepted(), nil
			}}, edge.Config{}, nil)
			client := f.Client(grpc.WithDefaultServiceConfig(retryPolicy))
			ctx, cancel := context.WithTimeout(context.Background(), tt.deadline)
			defer cancel()
			begin := time.Now()
			_, err := client.StartReset(ctx, &resetv1.StartResetRequest{Identifier: "a", Client: edgetest.Person()})
			took := time.Since(begin)
			if attempts.Load() != tt.wantAttempts {
				t.Errorf("%d attempts, want %d", attempts.Load(), tt.wantAttempts)
			}
			if tt.wantAttempts == 2 && (err != nil || took < tt.after) {
				t.Errorf("error %v after %s, want success after %s", err, took, tt.after)
			}
			if tt.wantAttempts == 1 && (status.Code(err) != codes.ResourceExhausted || took > tt.deadline/2) {
				t.Errorf("error %v after %s, want the refusal at once", err, took)
			}
		})
	}
}

func TestMadeUpRetryTimeIsJittered(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 20 {
		s := status.Convert(resetapi.Status(context.Background(), time.Now(), &reset.Error{Kind: reset.KindDraining}))
		for _, d := range s.Details() {
			if r, ok := d.(*errdetails.RetryInfo); ok {
				after := r.GetRetryDelay().AsDuration()
				if after < 500*time.Millisecond || after > 1500*time.Millisecond {
					t.Errorf("retry after %s", after)
				}
				seen[after] = true
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d different times of 20", len(seen))
	}
}

func TestDeadlinePassedIsDeadlineExceeded(t *testing.T) {
	t.Parallel()
	for _, err := range []error{context.DeadlineExceeded, &reset.Error{Kind: reset.KindCanceled, Cause: context.DeadlineExceeded}} {
		if c := status.Code(resetapi.Status(context.Background(), time.Now(), err)); c != codes.DeadlineExceeded {
			t.Errorf("%v: %s", err, c)
		}
	}
}
