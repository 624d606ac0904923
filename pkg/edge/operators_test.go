package edge_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	"github.com/surgegate/surgegate/pkg/operator"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// serveOperators starts an edge whose operators' service says who calls.
func serveOperators(t *testing.T, cfg edge.Config, c clock.Clock) *edgetest.Server {
	t.Helper()
	return edgetest.Serve(t, &edgetest.Gate{}, cfg, func(d *edge.Deps) { d.Operator, d.Clock = caller{}, c })
}

func operatorClient(t *testing.T, f *edgetest.Server, opts ...grpc.DialOption) operatorv1.OperatorClient {
	t.Helper()
	return operatorv1.NewOperatorClient(edgetest.Dial(t, f.Addrs().Operator.String(), opts...))
}

// caller is a service of operators that says who calls, and watches until it is told to end.
type caller struct {
	operatorv1.UnimplementedOperatorServer
}

func (caller) GetStatus(context.Context, *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	return &operatorv1.GetStatusResponse{}, nil
}

func (caller) PauseLane(ctx context.Context, _ *operatorv1.PauseLaneRequest) (*operatorv1.PauseLaneResponse, error) {
	o := operator.CallerOf(ctx)
	return &operatorv1.PauseLaneResponse{Change: &operatorv1.Change{Before: o.Who, After: o.From}}, nil
}

func (caller) WatchStatus(_ *operatorv1.WatchStatusRequest, stream grpc.ServerStreamingServer[operatorv1.WatchStatusResponse]) error {
	if err := stream.Send(&operatorv1.WatchStatusResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// who tells as whom a client calls.
func who(t *testing.T, c operatorv1.OperatorClient) (name, from string) {
	t.Helper()
	r, err := c.PauseLane(edgetest.Context(t), &operatorv1.PauseLaneRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetChange().GetBefore(), r.GetChange().GetAfter()
}

func TestOnLoopbackAnOperatorHasNoName(t *testing.T) {
	t.Parallel()
	f := serveOperators(t, edge.Config{}, clock.System{})
	if name, from := who(t, operatorClient(t, f)); name != "loopback" || !strings.HasPrefix(from, "127.0.0.1:") {
		t.Errorf("%q from %q", name, from)
	}
}

func TestAWatchEndsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	f := serveOperators(t, edge.Config{}, clock.System{})
	client := operatorClient(t, f)
	st, err := client.WatchStatus(edgetest.Context(t), &operatorv1.WatchStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil {
		t.Fatal(err)
	}
	f.Drain(edgetest.Context(t))
	if _, err := st.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("%v", err)
	}
	if _, err := client.GetStatus(edgetest.Context(t), &operatorv1.GetStatusRequest{}); err != nil || !f.Draining() {
		t.Errorf("a drain cannot be watched: %v", err)
	}
}

// wantRefused calls every method of the service, and reflection.
func wantRefused(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	desc := operatorv1.Operator_ServiceDesc
	if len(desc.Methods)+len(desc.Streams) < 15 {
		t.Fatal("the service has lost its methods")
	}
	for _, m := range desc.Methods {
		err := conn.Invoke(edgetest.Context(t), "/"+desc.ServiceName+"/"+m.MethodName, &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", m.MethodName, err)
		}
	}
	stream := func(method string) {
		st, err := conn.NewStream(edgetest.Context(t), &grpc.StreamDesc{ServerStreams: true}, method)
		if err == nil {
			err = st.SendMsg(&emptypb.Empty{})
		}
		if err == nil {
			err = st.CloseSend()
		}
		if err == nil {
			err = st.RecvMsg(&emptypb.Empty{})
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", method, err)
		}
	}
	for _, m := range desc.Streams {
		stream("/" + desc.ServiceName + "/" + m.StreamName)
	}
	stream(reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName)
}

// bearer is a token sent over a connection without TLS too.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return false }

func TestOperatorTokens(t *testing.T) {
	t.Parallel()
	const ada, bob = "ada-0123456789-0123456789-0123456789", "bob-0123456789-0123456789-0123456789"
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# operators\n\nada: " + ada + "\n")
	now := clock.NewManual(time.Now())
	f := serveOperators(t, edge.Config{OperatorTokensFile: file}, now)
	try := func(token string) codes.Code {
		var opts []grpc.DialOption
		if token != "" {
			opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
		}
		_, err := operatorClient(t, f, opts...).GetStatus(edgetest.Context(t), &operatorv1.GetStatusRequest{})
		return status.Code(err)
	}
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, ada: codes.OK, ada + "x": codes.Unauthenticated,
		bob: codes.Unauthenticated} {
		if got := try(token); got != want {
			t.Errorf("token %q: %s, want %s", token, got, want)
		}
	}
	wantRefused(t, edgetest.Dial(t, f.Addrs().Operator.String()))
	wantRefused(t, edgetest.Dial(t, f.Addrs().Operator.String(), grpc.WithPerRPCCredentials(bearer(bob))))
	if name, _ := who(t, operatorClient(t, f, grpc.WithPerRPCCredentials(bearer(ada)))); name != "ada" {
		t.Errorf("called as %q", name)
	}
	write("bob:" + bob + "\n")
	now.Advance(2 * time.Second)
	if try(ada) != codes.Unauthenticated || try(bob) != codes.OK {
		t.Error("a changed file is not read again")
	}
	write("carl:short\n")
	now.Advance(2 * time.Second)
	if try(bob) != codes.OK {
		t.Error("a broken file locks everybody out")
	}
	write("# bob has left\n")
	now.Advance(2 * time.Second)
	if try(bob) != codes.Unauthenticated {
		t.Error("the last operator cannot be taken out")
	}
	reg := prometheus.NewRegistry()
	_, err := edge.New(edge.Config{OperatorTokensFile: file}, edge.Deps{Operator: caller{}, Registerer: reg, Gatherer: reg,
		Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "names no operator") {
		t.Errorf("starting with nobody in the file: %v", err)
	}
	for _, token := range []string{ada, bob} {
		if strings.Contains(f.Log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

func TestOperatorCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server := ca.issue(t, "server", "server.example", 2)
	server.ClientCAFile = ca.file
	ada := ca.issue(t, "ada", "spiffe://example/ada", 3)
	f := serveOperators(t, edge.Config{Operator: edge.Listener{TLS: server}}, clock.System{})
	with := func(pair *edge.TLS) operatorv1.OperatorClient {
		return operatorClient(t, f, grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, pair))))
	}
	if _, err := with(nil).GetStatus(edgetest.Context(t), &operatorv1.GetStatusRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	if name, _ := who(t, with(&ada)); name != "spiffe://example/ada" {
		t.Errorf("called as %q", name)
	}
	nobody := ca.issue(t, "nobody", "", 4)
	wantRefused(t, edgetest.Dial(t, f.Addrs().Operator.String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, &nobody)))))
}

// A name goes into answers, whose strings must be UTF-8, and onto a terminal.
func TestAnOperatorsNameCanBeTold(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{"Latin-1": "Zo\xeb", "control characters": "ada\x1b[2J"} {
		if _, err := edge.CountOperators([]byte(line + ":0123456789-0123456789-0123456789-0123456789\n")); err == nil ||
			!strings.HasPrefix(err.Error(), "operator tokens, line 1: ") || strings.Contains(err.Error(), line) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := edge.CountOperators([]byte("Zoë:0123456789-0123456789-0123456789-0123456789\n")); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// Either is enough where both are asked for, and neither is none.
func TestOperatorTokenOrCertificate(t *testing.T) {
	t.Parallel()
	const bob = "bob-0123456789-0123456789-0123456789"
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("bob:"+bob+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	server := ca.issue(t, "server", "server.example", 2)
	server.ClientCAFile = ca.file
	ada := ca.issue(t, "ada", "spiffe://example/ada", 3)
	f := serveOperators(t, edge.Config{Operator: edge.Listener{TLS: server}, OperatorTokensFile: file}, clock.System{})
	with := func(pair *edge.TLS, opts ...grpc.DialOption) *grpc.ClientConn {
		opts = append(opts, grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, pair))))
		return edgetest.Dial(t, f.Addrs().Operator.String(), opts...)
	}
	wantRefused(t, with(nil))
	if name, _ := who(t, operatorv1.NewOperatorClient(with(&ada))); name != "spiffe://example/ada" {
		t.Errorf("with a certificate called as %q", name)
	}
	if name, _ := who(t, operatorv1.NewOperatorClient(with(nil, grpc.WithPerRPCCredentials(bearer(bob))))); name != "bob" {
		t.Errorf("with a token called as %q", name)
	}
}

func FuzzCountOperators(f *testing.F) {
	f.Add([]byte("ada:0123456789012345678901234567890123456789\n"))
	f.Add([]byte(":\n#\n"))
	f.Add([]byte(" ")) // names nobody, which is no error: then nobody is let in
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := edge.CountOperators(b)
		if err != nil {
			return
		}
		if lines := bytes.Count(b, []byte(":")); n > lines || n > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d operators in %q", n, b)
		}
	})
}
