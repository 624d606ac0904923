package wire_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/wire"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func Example() {
	client, err := wire.New(wire.Config{Targets: []string{"127.0.0.1:1"}}, wire.Deps{}) // nobody listens there
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- client.Run(ctx) }()
	method, err := wire.NewMethod("/surgegate.reset.v1.PasswordReset/StartReset")
	if err != nil {
		fmt.Println(err)
	}
	replied := make(chan struct{})
	client.Call(method, nil, 3*time.Second, wire.DoneFunc(func(r *wire.Reply) {
		fmt.Println(r.Code, r.Local)
		close(replied)
	}))
	<-replied
	cancel()
	fmt.Println(<-ended)
	// Output:
	// Unavailable true
	// <nil>
}

func TestEveryCallGetsItsOwnResponse(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := authority(t, "gateway.example")
	named := clientTLS.Clone()
	named.ServerName = "gateway.example"
	for name, c := range map[string]struct {
		server, client *tls.Config
		authority      string
	}{"plaintext": {}, "TLS": {serverTLS, clientTLS, ""}, "TLS by name": {serverTLS, named, "gateway.example"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var opts []grpc.ServerOption
			if c.server != nil {
				opts = append(opts, grpc.Creds(credentials.NewTLS(c.server)))
			}
			l := listen(t, "127.0.0.1:0")
			want := c.authority
			if want == "" {
				want = l.Addr().String()
			}
			serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
				md, _ := metadata.FromIncomingContext(ctx)
				if got := strings.Join(md.Get(":authority"), ","); got != want {
					return nil, status.Errorf(codes.InvalidArgument, "authority %q, want %q", got, want)
				}
				if got := strings.Join(md.Get("user-agent"), ","); got != "surgegate-storm" {
					return nil, status.Errorf(codes.InvalidArgument, "user-agent %q", got)
				}
				return echo(ctx, r)
			}, opts...)
			client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, TLS: c.client})
			if got := many(t, client, 3000, patience); got[codes.OK] != 3000 {
				t.Fatalf("3000 calls ended with %v; one with %+v", got, call(t, client, "one"))
			}
			if n := client.InFlight(); n != 0 {
				t.Errorf("%d calls in flight after all replies", n)
			}
		})
	}
}

func TestUnknownCAIsNotTrusted(t *testing.T) {
	t.Parallel()
	serverTLS, _ := authority(t, "gateway.example")
	_, otherCA := authority(t, "gateway.example")
	l := listen(t, "127.0.0.1:0")
	serve(t, l, echo, grpc.Creds(credentials.NewTLS(serverTLS)))
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, TLS: otherCA})
	a := call(t, client, "x")
	if a.code != codes.Unavailable || !a.local || !strings.Contains(a.text, "certificate") && a.text != "no connection" {
		t.Errorf("%+v", a)
	}
}

func TestStatusOfTheServer(t *testing.T) {
	t.Parallel()
	rich, err := status.New(codes.ResourceExhausted, "später: 100 %\nzweite Zeile").WithDetails(
		&errdetails.ErrorInfo{Reason: "STORM"}, &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "127.0.0.1:0")
	serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		if trailer, ok := strings.CutPrefix(r.GetIdentifier(), "pushback "); ok {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", trailer)) // fails outside of a call only
			return nil, status.Error(codes.Unavailable, "later")
		}
		switch r.GetIdentifier() {
		case "rich":
			return nil, rich.Err()
		case "headers first": // not trailers-only
			_ = grpc.SendHeader(ctx, metadata.Pairs("some", "header")) // as above
			return nil, status.Error(codes.NotFound, "not here")
		}
		return echo(ctx, r)
	})
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}})
	for identifier, want := range map[string]answer{
		"rich":             {code: codes.ResourceExhausted, text: "später: 100 %\nzweite Zeile", reason: "STORM", retryDelay: 1500 * time.Millisecond},
		"headers first":    {code: codes.NotFound, text: "not here"},
		"pushback 1500":    {code: codes.Unavailable, text: "later", pushed: true, pushback: 1500 * time.Millisecond},
		"pushback -1":      {code: codes.Unavailable, text: "later", pushed: true, pushback: -time.Millisecond},
		"pushback garbage": {code: codes.Unavailable, text: "later", pushed: true, pushback: -time.Millisecond},
		"fine":             {id: "fine"},
	} {
		got := call(t, client, identifier)
		got.took = 0
		if got != want {
			t.Errorf("%s: %+v, want %+v", identifier, got, want)
		}
	}
	unknown, err := wire.NewMethod("/surgegate.reset.v1.PasswordReset/Unknown")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan answer, 1)
	client.Call(unknown, nil, patience, wire.DoneFunc(func(r *wire.Reply) { got <- keep(r) }))
	if a := wait(t, got); a.code != codes.Unimplemented || a.local {
		t.Errorf("unknown method: %+v", a)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	left := make(chan time.Duration, 1)
	cancelled := make(chan struct{}, 1)
	answered := make(chan struct{}) // the server's own deadline fires at the same moment: its answer must not race the client's
	l := listen(t, "127.0.0.1:0")
	serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		if r.GetIdentifier() == "never" {
			deadline, _ := ctx.Deadline()
			left <- time.Until(deadline)
			<-ctx.Done()
			cancelled <- struct{}{}
			<-answered
		}
		return echo(ctx, r)
	})
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, Connections: 1})
	ready(t, client)
	const deadline = 300 * time.Millisecond
	never := start(t, client, "never", deadline)
	if a := call(t, client, "other"); a.id != "other" {
		t.Errorf("beside one that hangs: %+v", a)
	}
	a := wait(t, never)
	close(answered)
	if a.code != codes.DeadlineExceeded || !a.local || a.took < deadline || a.took > deadline+patience {
		t.Errorf("%+v", a)
	}
	if l := <-left; l <= 0 || l > deadline {
		t.Errorf("the server was given %v", l)
	}
	<-cancelled // by RST_STREAM or its own deadline
	if a := wait(t, start(t, client, "x", 0)); a.code != codes.DeadlineExceeded || !a.local {
		t.Errorf("no time at all: %+v", a)
	}
	if a := call(t, client, "after"); a.id != "after" {
		t.Errorf("after it: %+v", a)
	}
}

func TestMaxConcurrentStreamsAreKeptInOrder(t *testing.T) {
	t.Parallel()
	const limit, calls = 3, 60
	var inside, most atomic.Int64
	// The server opens streams one after the other and only then begins their handlers, in any order.
	var opened atomic.Int64
	type arrival struct{}
	var order [calls]atomic.Value // of strings
	release := make(chan struct{})
	l := listen(t, "127.0.0.1:0")
	serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		n := inside.Add(1)
		defer inside.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if i, ok := ctx.Value(arrival{}).(int64); ok && i < calls {
			order[i].Store(r.GetIdentifier())
		}
		<-release
		return echo(ctx, r)
	}, grpc.MaxConcurrentStreams(limit), grpc.InTapHandle(func(ctx context.Context, _ *tap.Info) (context.Context, error) {
		return context.WithValue(ctx, arrival{}, opened.Add(1)-1), nil
	}))
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, Connections: 1})
	ready(t, client)
	var all []<-chan answer
	for i := range calls {
		all = append(all, start(t, client, fmt.Sprintf("%03d", i), patience))
	}
	late := start(t, client, "late", 50*time.Millisecond)
	if a := wait(t, late); a.code != codes.DeadlineExceeded || !a.local {
		t.Errorf("in the line for a stream: %+v", a)
	}
	close(release)
	for i, got := range all {
		if a := wait(t, got); a.id != fmt.Sprintf("%03d", i) {
			t.Errorf("call %d: %+v", i, a)
		}
	}
	if most.Load() > limit {
		t.Errorf("%d calls at once, %d allowed", most.Load(), limit)
	}
	for i := range order {
		if got := order[i].Load(); got != fmt.Sprintf("%03d", i) {
			t.Fatalf("stream %d was opened for call %v", i, got)
		}
	}
}

func TestLargeMessages(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	serve(t, l, func(_ context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		id := r.GetIdentifier()
		if n, ok := strings.CutPrefix(id, "make "); ok {
			var size int
			if _, err := fmt.Sscanf(n, "%d", &size); err != nil {
				return nil, err
			}
			id = strings.Repeat("r", size)
		}
		return &resetv1.StartResetResponse{Ticket: &resetv1.Ticket{Id: id}}, nil
	})
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, Connections: 2, MaxMessage: 3 << 20})
	var all []<-chan answer
	for i := range 12 { // over all windows together, with small ones between
		all = append(all, start(t, client, strings.Repeat(string(rune('a'+i)), 1<<20), patience), start(t, client, "small", patience))
	}
	for i, got := range all {
		a := wait(t, got)
		if want := [2]int{1 << 20, len("small")}[i%2]; a.code != codes.OK || len(a.id) != want {
			t.Errorf("call %d: %v %s, %d bytes, want %d", i, a.code, a.text, len(a.id), want)
		}
	}
	if a := call(t, client, "make 3000000"); a.code != codes.OK || len(a.id) != 3_000_000 {
		t.Errorf("response of 3 MB: %v %s, %d bytes", a.code, a.text, len(a.id))
	}
	if a := call(t, client, "make 3200000"); a.code != codes.ResourceExhausted || a.id != "" {
		t.Errorf("response over MaxMessage: %v %s, %d bytes", a.code, a.text, len(a.id))
	}
	for range 40 { // the windows are given back, also those of streams that were given up
		if a := call(t, client, "make 900000"); a.code != codes.OK {
			t.Fatalf("%v %s", a.code, a.text)
		}
	}
}

func TestMaxConnectionAgeFailsNoCall(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	var conns sync.Map
	serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		if p, ok := peer.FromContext(ctx); ok {
			conns.Store(p.Addr.String(), true)
		}
		return echo(ctx, r)
	}, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 150 * time.Millisecond, MaxConnectionAgeGrace: patience}))
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, Connections: 2, BackoffBase: 10 * time.Millisecond})
	got := map[codes.Code]int{}
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		for code, n := range many(t, client, 100, patience) {
			got[code] += n
		}
	}
	if len(got) != 1 || got[codes.OK] == 0 {
		t.Errorf("calls ended with %v", got)
	}
	n := 0
	conns.Range(func(any, any) bool { n++; return true })
	if n < 4 {
		t.Errorf("%d connections: no GOAWAY, no test", n)
	}
}

func TestGracefulStopLetsCallsFinish(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	inside, release := make(chan struct{}), make(chan struct{})
	g := serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		if r.GetIdentifier() == "slow" {
			inside <- struct{}{}
			<-release
		}
		return echo(ctx, r)
	})
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, Connections: 1})
	slow := start(t, client, "slow", patience)
	<-inside
	var stopping sync.WaitGroup
	stopping.Go(g.GracefulStop) // GOAWAY; the listener closes
	for call(t, client, "other").code == codes.OK {
	}
	close(release)
	if a := wait(t, slow); a.id != "slow" {
		t.Errorf("%+v", a)
	}
	stopping.Wait()
}

func TestServerThatDiesAndComesBack(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	inside := make(chan struct{})
	first := serve(t, l, func(ctx context.Context, _ *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		inside <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	client, _ := dial(t, wire.Config{Targets: []string{address}, BackoffBase: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond})
	lost := start(t, client, "lost", patience)
	<-inside
	first.Stop()
	if a := wait(t, lost); a.code != codes.Unavailable || !a.local {
		t.Errorf("the call in flight: %+v", a)
	}
	for a := call(t, client, "x"); a.text != "no connection"; a = call(t, client, "x") {
		if a.code != codes.Unavailable || !a.local {
			t.Fatalf("while it is dead: %+v", a)
		}
	}
	serve(t, listen(t, address), echo)
	ready(t, client)
	if a := call(t, client, "back"); a.id != "back" {
		t.Errorf("when it is back: %+v", a)
	}
}

func TestDeadTargetIsSkipped(t *testing.T) {
	t.Parallel()
	var served [2]atomic.Int64
	var targets []string
	for i := range served {
		l := listen(t, "127.0.0.1:0")
		targets = append(targets, l.Addr().String())
		serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
			served[i].Add(1)
			return echo(ctx, r)
		})
	}
	both, _ := dial(t, wire.Config{Targets: targets, Connections: 2})
	ready(t, both)
	if got := many(t, both, 1000, patience); got[codes.OK] != 1000 || served[0].Load() != 500 || served[1].Load() != 500 {
		t.Errorf("%v; the targets served %d and %d", got, served[0].Load(), served[1].Load())
	}
	dead := listen(t, "127.0.0.1:0")
	_ = dead.Close()
	one, _ := dial(t, wire.Config{Targets: []string{dead.Addr().String(), targets[1]}, Connections: 2})
	if got := many(t, one, 1000, patience); got[codes.OK] != 1000 {
		t.Errorf("with a dead target: %v", got)
	}
}

func TestStreamIDsRunOut(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	serve(t, l, echo)
	client, err := wire.New(wire.Config{Targets: []string{l.Addr().String()}, Connections: 1, BackoffBase: time.Millisecond},
		wire.Deps{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	client.SetLastStreamID(2*70 + 1)
	run(t, client)
	if got := many(t, client, 1000, patience); got[codes.OK] != 1000 {
		t.Errorf("1000 calls over connections of 70 each ended with %v", got)
	}
}

func TestEndOfRun(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	inside := make(chan struct{})
	serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		if r.GetIdentifier() == "before" {
			return echo(ctx, r)
		}
		inside <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	client, err := wire.New(wire.Config{Targets: []string{l.Addr().String()}}, wire.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	before := start(t, client, "before", patience)
	stop := run(t, client)
	if a := wait(t, before); a.id != "before" {
		t.Errorf("before Run: %+v", a)
	}
	hanging := start(t, client, "hanging", patience)
	<-inside
	stop()
	select {
	case a := <-hanging:
		if a.code != codes.Canceled || !a.local {
			t.Errorf("in flight: %+v", a)
		}
	default:
		t.Error("Run returned before the call had its reply")
	}
	if a := call(t, client, "after"); a.code != codes.Canceled || !a.local {
		t.Errorf("after Run: %+v", a)
	}
	if client.Run(t.Context()) == nil {
		t.Error("Run can be called twice")
	}
}

func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	release := make(chan struct{})
	serve(t, l, func(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
		<-release
		return echo(ctx, r)
	})
	client, _ := dial(t, wire.Config{Targets: []string{l.Addr().String()}, MaxInFlight: 2})
	one, two := start(t, client, "one", patience), start(t, client, "two", patience)
	if a := call(t, client, "three"); a.code != codes.ResourceExhausted || !a.local {
		t.Errorf("over the bound: %+v", a)
	}
	close(release)
	if a, b := wait(t, one), wait(t, two); a.id != "one" || b.id != "two" {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]wire.Config{
		"Targets":      {},
		"missing port": {Targets: []string{"localhost"}},
		"Connections":  {Connections: -1},
		"Silence":      {Silence: -time.Second},
		"BackoffMax":   {BackoffBase: time.Minute},
		"MaxInFlight":  {MaxInFlight: -1},
		"Authority":    {Authority: strings.Repeat("a", 2000)},
	} {
		if cfg.Targets == nil && want != "Targets" {
			cfg.Targets = []string{"127.0.0.1:1"}
		}
		if _, err := wire.New(cfg, wire.Deps{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, path := range []string{"", "/", "a/b", "/a", "/a/", "//b", "/a b/c", "/a/" + strings.Repeat("b", 2000)} {
		if _, err := wire.NewMethod(path); err == nil {
			t.Errorf("%.20q is a method", path)
		}
	}
}
