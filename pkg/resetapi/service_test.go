package resetapi_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// violatedFields returns the fields that an error's BadRequest names, sorted and each once.
func violatedFields(err error) []string {
	fields := map[string]bool{}
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.GetFieldViolations() {
				fields[v.GetField()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(fields))
}

// closedDoor is an admission that lets nobody in.
type closedDoor struct{}

func (closedDoor) Admit(time.Time, admission.Request) (admission.Permit, error) {
	return admission.Permit{}, &reset.Error{Kind: reset.KindShed, Level: 2}
}
func (closedDoor) Level() (int, string) { return 2, "a test" }

// noTickets knows no ticket.
type noTickets struct{ gate.Tickets }

func (noTickets) Open(string) (reset.Ref, error) { return reset.Ref{}, errors.New("unknown") }

// newClosedGate returns a real gate that judges the fields of a call and then refuses it.
func newClosedGate(t *testing.T) *gate.Gate {
	t.Helper()
	g, err := gate.New(gate.Config{}, gate.Deps{
		Queue: struct{ gate.Queue }{}, Admission: closedDoor{}, Tokens: struct{ gate.Verifier }{}, Sealer: struct{ gate.Sealer }{},
		Tickets: noTickets{}, Index: struct{ gate.Index }{}, Policy: struct{ gate.Policy }{}, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestFields sends good and bad fields over the wire to a real gate.
func TestFields(t *testing.T) {
	t.Parallel()
	client := edgetest.Serve(t, newClosedGate(t), edge.Config{}, nil).Client()
	long := func(n int) string { return strings.Repeat("x", n) }
	start := func(change func(*resetv1.StartResetRequest)) func(context.Context) error {
		r := &resetv1.StartResetRequest{Identifier: "alice@example.com", Client: edgetest.Person()}
		change(r)
		return func(ctx context.Context) error { _, err := client.StartReset(ctx, r); return err }
	}
	complete := func(change func(*resetv1.CompleteResetRequest)) func(context.Context) error {
		r := &resetv1.CompleteResetRequest{Token: "t", NewPassword: "p", Client: edgetest.Person()}
		change(r)
		return func(ctx context.Context) error { _, err := client.CompleteReset(ctx, r); return err }
	}
	tests := []struct {
		name string
		call func(context.Context) error
		want string // the fields at fault; empty: none is
	}{
		{"plain start", start(func(*resetv1.StartResetRequest) {}), ""},
		{"identifier missing", start(func(r *resetv1.StartResetRequest) { r.Identifier = "" }), "identifier"},
		{"identifier blank", start(func(r *resetv1.StartResetRequest) { r.Identifier = " \t " }), "identifier"},
		{"identifier of 320 bytes", start(func(r *resetv1.StartResetRequest) { r.Identifier = long(320) }), ""},
		{"identifier of 321 bytes", start(func(r *resetv1.StartResetRequest) { r.Identifier = long(321) }), "identifier"},
		{"identifier of 60 KiB", start(func(r *resetv1.StartResetRequest) { r.Identifier = long(60 << 10) }), "identifier"},
		{"identifier with NUL", start(func(r *resetv1.StartResetRequest) { r.Identifier = "a\x00b" }), "identifier"},
		{"no client", start(func(r *resetv1.StartResetRequest) { r.Client = nil }), "client.ip"},
		{"no ip", start(func(r *resetv1.StartResetRequest) { r.Client.Ip = "" }), "client.ip"},
		{"ip is a name", start(func(r *resetv1.StartResetRequest) { r.Client.Ip = "localhost" }), "client.ip"},
		{"ip with zone", start(func(r *resetv1.StartResetRequest) { r.Client.Ip = "fe80::1%eth0" }), "client.ip"},
		{"ip 0.0.0.0", start(func(r *resetv1.StartResetRequest) { r.Client.Ip = "0.0.0.0" }), "client.ip"},
		{"client id of 129 bytes", start(func(r *resetv1.StartResetRequest) { r.Client.Id = long(129) }), "client.id"},
		{"locale with space", start(func(r *resetv1.StartResetRequest) { r.Client.Locale = "pt BR" }), "client.locale"},
		{"locale too long", start(func(r *resetv1.StartResetRequest) { r.Client.Locale = long(36) }), "client.locale"},
		{"verdict unknown", start(func(r *resetv1.StartResetRequest) { r.Client.Verdict = 9 }), "client.verdict"},
		{"wait 30 s", start(func(r *resetv1.StartResetRequest) { r.Wait = durationpb.New(30 * time.Second) }), ""},
		{"wait over 30 s", start(func(r *resetv1.StartResetRequest) { r.Wait = durationpb.New(30*time.Second + 1) }), "wait"},
		{"wait negative", start(func(r *resetv1.StartResetRequest) { r.Wait = durationpb.New(-1) }), "wait"},
		{"wait not a duration", start(func(r *resetv1.StartResetRequest) { r.Wait = &durationpb.Duration{Seconds: 1, Nanos: -1} }), "wait"},
		{"empty start", func(ctx context.Context) error {
			_, err := client.StartReset(ctx, &resetv1.StartResetRequest{})
			return err
		}, "client.ip identifier"},
		{"empty completion", func(ctx context.Context) error {
			_, err := client.CompleteReset(ctx, &resetv1.CompleteResetRequest{})
			return err
		}, "client.ip new_password token"},
		{"two at once", start(func(r *resetv1.StartResetRequest) { r.Identifier, r.Client = "", nil }), "client.ip identifier"},
		{"plain completion", complete(func(*resetv1.CompleteResetRequest) {}), ""},
		{"token and password missing", complete(func(r *resetv1.CompleteResetRequest) { r.Token, r.NewPassword = "", "" }), "new_password token"},
		{"token over 2 KiB", complete(func(r *resetv1.CompleteResetRequest) { r.Token = long(2049) }), "token"},
		{"password of 4 KiB", complete(func(r *resetv1.CompleteResetRequest) { r.NewPassword = long(4096) }), ""},
		{"password over 4 KiB", complete(func(r *resetv1.CompleteResetRequest) { r.NewPassword = long(4097) }), "new_password"},
		{"sign-out unknown", complete(func(r *resetv1.CompleteResetRequest) { r.SignOut = 7 }), "sign_out"},
		{"request id", complete(func(r *resetv1.CompleteResetRequest) { r.RequestId = "123E4567-e89b-12d3-a456-426614174000" }), ""},
		{"request id in braces", complete(func(r *resetv1.CompleteResetRequest) { r.RequestId = "{123e4567-e89b-12d3-a456-426614174000}" }), "request_id"},
		{"request id no uuid", complete(func(r *resetv1.CompleteResetRequest) { r.RequestId = "again" }), "request_id"},
		{"check without token", func(ctx context.Context) error {
			_, err := client.CheckToken(ctx, &resetv1.CheckTokenRequest{Client: edgetest.Person()})
			return err
		}, "token"},
		{"ticket id missing", func(ctx context.Context) error {
			_, err := client.GetTicket(ctx, &resetv1.GetTicketRequest{})
			return err
		}, "ticket_id"},
		{"watch of a long id", func(ctx context.Context) error {
			st, err := client.WatchTicket(ctx, &resetv1.WatchTicketRequest{TicketId: long(257)})
			if err != nil {
				return err
			}
			_, err = st.Recv()
			return err
		}, "ticket_id"},
	}
	for _, tt := range tests {
		err := tt.call(edgetest.Context(t))
		if tt.want == "" {
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if got := strings.Join(violatedFields(err), " "); status.Code(err) != codes.InvalidArgument || got != tt.want {
			t.Errorf("%s: %s with violations %q, want %q", tt.name, status.Code(err), got, tt.want)
		}
		if strings.Contains(err.Error(), "xxx") {
			t.Errorf("%s: the answer repeats what was submitted", tt.name)
		}
	}
}

func TestWhatTheGateGets(t *testing.T) {
	t.Parallel()
	var start gate.StartRequest
	var complete gate.CompleteRequest
	g := &edgetest.Gate{
		Start: func(_ context.Context, r gate.StartRequest) (gate.Answer, error) {
			start = r
			return edgetest.Accepted(), nil
		},
		Complete: func(_ context.Context, r gate.CompleteRequest) (gate.Answer, error) {
			complete = r
			a := edgetest.Accepted()
			a.Ticket.State, a.Ticket.Reason, a.Ticket.ETA, a.Replayed = reset.StateRejected, reset.ReasonSuperseded, nil, true
			return a, nil
		},
	}
	client := edgetest.Serve(t, g, edge.Config{}, nil).Client()
	c := &resetv1.Client{Ip: "::ffff:192.0.2.7", Id: "device", Locale: "pt-BR", Verdict: resetv1.Verdict_VERDICT_SUSPECT}
	sr, err := client.StartReset(edgetest.Context(t), &resetv1.StartResetRequest{Identifier: "alice", Client: c, Wait: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	wantClient := gate.Client{IP: netip.MustParseAddr("192.0.2.7"), ID: "device", Locale: "pt-BR", Verdict: gate.VerdictSuspect}
	if want := (gate.StartRequest{Identifier: "alice", Client: wantClient, Wait: time.Second}); start != want {
		t.Errorf("start request %+v, want %+v", start, want)
	}
	wantTicket := &resetv1.Ticket{Id: "ticket", State: resetv1.State_STATE_ACCEPTED, Position: 7,
		AcceptTime: &timestamppb.Timestamp{Seconds: 1}, UpdateTime: &timestamppb.Timestamp{Seconds: 2},
		Eta: &resetv1.Eta{Low: durationpb.New(time.Second), High: durationpb.New(3 * time.Second)}}
	if !proto.Equal(sr.GetTicket(), wantTicket) || sr.GetPollAfter().AsDuration() != 2*time.Second {
		t.Errorf("answer %v", sr)
	}
	cr, err := client.CompleteReset(edgetest.Context(t), &resetv1.CompleteResetRequest{Token: "t", NewPassword: "p", Client: c,
		SignOut: resetv1.SignOut_SIGN_OUT_EVERYWHERE, RequestId: "123E4567-E89B-12D3-A456-426614174000"})
	if err != nil {
		t.Fatal(err)
	}
	want := gate.CompleteRequest{Token: "t", NewPassword: "p", Client: wantClient, SignOut: reset.SignOutEverywhere,
		RequestID: "123E4567-E89B-12D3-A456-426614174000"}
	if complete != want {
		t.Error("the completion request is not what was sent")
	}
	if !cr.GetReplayed() || cr.GetTicket().GetReason() != resetv1.Reason_REASON_SUPERSEDED || cr.GetPollAfter() != nil {
		t.Errorf("answer %v", cr)
	}
}

func TestUntrustedCaller(t *testing.T) {
	t.Parallel()
	var got gate.Client
	g := &edgetest.Gate{Start: func(_ context.Context, r gate.StartRequest) (gate.Answer, error) {
		got = r.Client
		return edgetest.Accepted(), nil
	}}
	f := edgetest.Serve(t, g, edge.Config{TrustedCallers: []string{"192.0.2.0/24"}}, nil)
	client := f.Client()
	for _, c := range []*resetv1.Client{edgetest.Person(), nil, {Ip: "rubbish", Id: strings.Repeat("x", 500)}} {
		if _, err := client.StartReset(edgetest.Context(t), &resetv1.StartResetRequest{Identifier: "a", Client: c}); err != nil {
			t.Fatal(err)
		}
		if want := (gate.Client{IP: netip.MustParseAddr("127.0.0.1")}); got != want {
			t.Errorf("client %+v, want %+v", got, want)
		}
	}
	if n := f.Metric("surgegate_grpc_ignored_clients_total"); n != 2 {
		t.Errorf("%v ignored, want 2", n)
	}
}

func TestWatchEndsWithTheTicketAndWithTheServer(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{})
	g := &edgetest.Gate{Watch: func(ctx context.Context, id string, send func(reset.Ticket) error) error {
		if err := send(edgetest.Accepted().Ticket); err != nil || id == "short" {
			return err
		}
		close(sent)
		<-ctx.Done()
		return ctx.Err()
	}}
	f := edgetest.Serve(t, g, edge.Config{}, nil)
	client := f.Client()
	short, err := client.WatchTicket(edgetest.Context(t), &resetv1.WatchTicketRequest{TicketId: "short"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := short.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := short.Recv(); err != io.EOF { //nolint:errorlint // gRPC's contract is io.EOF itself
		t.Fatalf("after the last: %v", err)
	}
	long, err := client.WatchTicket(edgetest.Context(t), &resetv1.WatchTicketRequest{TicketId: "long"})
	if err != nil {
		t.Fatal(err)
	}
	<-sent
	begin := time.Now()
	f.Drain(edgetest.Context(t))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a watch held the drain up for %s", took)
	}
	_, err = long.Recv()
	if err == nil {
		_, err = long.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	if n := f.Metric("surgegate_grpc_watches"); n != 0 {
		t.Errorf("%v watches left", n)
	}
	// Operators can still look.
	h := healthv1.NewHealthClient(edgetest.Dial(t, f.Addrs().Operator.String()))
	resp, err := h.Check(edgetest.Context(t), &healthv1.HealthCheckRequest{})
	if err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %v, %v", resp, err)
	}
}

func TestPanicIsInternalAndSilent(t *testing.T) {
	t.Parallel()
	f := edgetest.Serve(t, &edgetest.Gate{
		Start: func(context.Context, gate.StartRequest) (gate.Answer, error) { panic("hunter2 is the password") },
		Watch: func(context.Context, string, func(reset.Ticket) error) error { panic("hunter2 is the password") },
	}, edge.Config{}, nil)
	client := f.Client()
	_, err := client.StartReset(edgetest.Context(t), &resetv1.StartResetRequest{Identifier: "canary-id", Client: edgetest.Person()})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("start: %v", err)
	}
	st, err := client.WatchTicket(edgetest.Context(t), &resetv1.WatchTicketRequest{TicketId: "canary-ticket"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("watch: %v", err)
	}
	if n := f.Metric("surgegate_grpc_panics_total"); n != 2 {
		t.Errorf("%v panics counted", n)
	}
	for _, word := range []string{"hunter2", "canary"} {
		if strings.Contains(f.Log.String(), word) {
			t.Errorf("the log has %s", word)
		}
	}
	if !strings.Contains(f.Log.String(), "panic in a call") {
		t.Error("the panic was not logged")
	}
}
