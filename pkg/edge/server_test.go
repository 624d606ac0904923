package edge_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	"github.com/surgegate/surgegate/pkg/gate"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReflection(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, nil)
	for addr, want := range map[string]string{
		f.Addrs().GRPC.String():     "surgegate.reset.v1.PasswordReset",
		f.Addrs().Operator.String(): "surgegate.operator.v1.Operator",
	} {
		st, err := reflectionv1.NewServerReflectionClient(edgetest.Dial(t, addr)).ServerReflectionInfo(edgetest.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		resp, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(resp.String(), want) {
			t.Errorf("%s is not listed", want)
		}
		if strings.Contains(resp.String(), "Operator") && strings.Contains(resp.String(), "PasswordReset") {
			t.Error("operator and public calls on one port")
		}
		if err := st.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrickledRequest: a request that never arrives whole is ended by CallTimeout, deadline or not.
func TestTrickledRequest(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{CallTimeout: 200 * time.Millisecond}, nil)
	conn := edgetest.Dial(t, f.Addrs().GRPC.String())
	// A client stream sends no end, so the request never becomes whole.
	st, err := conn.NewStream(edgetest.Context(t), &grpc.StreamDesc{ClientStreams: true}, resetv1.PasswordReset_StartReset_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SendMsg(&resetv1.StartResetRequest{Identifier: "a", Client: edgetest.Person()}); err != nil {
		t.Fatal(err)
	}
	if err := st.RecvMsg(&resetv1.StartResetResponse{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{}, nil)
	cfg := edge.Config{GRPC: edge.Listener{Address: f.Addrs().GRPC.String()}, Operator: edge.Listener{Address: "127.0.0.1:0"}, HTTP: edge.Listener{Address: "127.0.0.1:0"}}
	reg := prometheus.NewRegistry()
	s, err := edge.New(cfg, edge.Deps{Gate: &edgetest.Gate{}, Operator: caller{}, Registerer: reg, Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "grpc") {
		t.Errorf("start on a taken address: %v", err)
	}
	s.Stop(edgetest.Context(t))
}

// TestBinaryLoggingRefused: grpc-go would hand whole requests, passwords included, to whatever sink is set.
func TestBinaryLoggingRefused(t *testing.T) {
	t.Setenv("GRPC_BINARY_LOG_FILTER", "*")
	reg := prometheus.NewRegistry()
	_, err := edge.New(edge.Config{}, edge.Deps{Gate: &edgetest.Gate{}, Operator: caller{}, Registerer: reg, Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "GRPC_BINARY_LOG_FILTER") {
		t.Errorf("%v", err)
	}
}

// TestFrameLoggingRefused: x/net/http2 would log every header, the bearer tokens of operators among them.
func TestFrameLoggingRefused(t *testing.T) {
	t.Setenv("GODEBUG", "madvdontneed=1,http2debug=2")
	reg := prometheus.NewRegistry()
	_, err := edge.New(edge.Config{}, edge.Deps{Gate: &edgetest.Gate{}, Operator: caller{}, Registerer: reg, Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "http2debug") {
		t.Errorf("%v", err)
	}
}

// TestNothingSubmittedIsLogged sends a canary through every call, accepted and failed, with all of the log on.
func TestNothingSubmittedIsLogged(t *testing.T) {
	t.Parallel()
	const canary = "canary-3f9a"
	var fail atomic.Bool
	answer := func() (gate.Answer, error) {
		if fail.Load() {
			return gate.Answer{}, errors.New("the store is broken")
		}
		return edgetest.Accepted(), nil
	}
	f := edgetest.Serve(t, &edgetest.Gate{
		Start:    func(context.Context, gate.StartRequest) (gate.Answer, error) { return answer() },
		Complete: func(context.Context, gate.CompleteRequest) (gate.Answer, error) { return answer() },
		Get:      func(context.Context, string) (gate.Answer, error) { return answer() },
	}, edge.Config{}, nil)
	client := f.Client()
	for _, failing := range []bool{false, true} {
		fail.Store(failing)
		ctx := metadata.AppendToOutgoingContext(edgetest.Context(t), "x-secret", canary)
		c := &resetv1.Client{Ip: "192.0.2.7", Id: canary}
		_, _ = client.StartReset(ctx, &resetv1.StartResetRequest{Identifier: canary, Client: c})
		_, _ = client.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: canary, NewPassword: canary, Client: c})
		_, _ = client.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: canary, NewPassword: canary, Client: c, RequestId: canary})
		_, _ = client.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: canary, Client: c})
		_, _ = client.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: canary})
	}
	if !strings.Contains(f.Log.String(), "the store is broken") {
		t.Error("the failure is not in the log")
	}
	_, metrics := fetch(t, "http://"+f.Addrs().HTTP.String()+"/metrics")
	if strings.Contains(f.Log.String(), canary) || strings.Contains(metrics, canary) {
		t.Error("what was submitted is in the log or the metrics")
	}
}
