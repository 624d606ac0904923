package grpcapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/gate"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	c := Config{}.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.MaxConnectionAgeGrace <= maxWait || c.CallTimeout <= maxWait {
		t.Error("a call that waits as long as it may is cut")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	cert := TLS{CertFile: "c", KeyFile: "k"}
	mtls := TLS{CertFile: "c", KeyFile: "k", ClientCAFile: "ca"}
	tests := []struct {
		name string
		cfg  Config
		want string // what the error begins with; empty: valid
	}{
		{"off loopback", Config{GRPC: Listener{Address: "0.0.0.0:1"}}, "GRPC.Address"},
		{"all interfaces", Config{GRPC: Listener{Address: ":1"}}, "GRPC.Address"},
		{"a name may be anything", Config{GRPC: Listener{Address: "host.example:1"}}, "GRPC.Address"},
		{"off loopback, insecure", Config{GRPC: Listener{Address: "0.0.0.0:1", Insecure: true}}, ""},
		{"off loopback, TLS", Config{GRPC: Listener{Address: "0.0.0.0:1", TLS: cert}}, ""},
		{"localhost", Config{GRPC: Listener{Address: "localhost:1"}}, ""},
		{"IPv6 loopback", Config{HTTP: Listener{Address: "[::1]:1"}}, ""},
		{"metrics off loopback", Config{HTTP: Listener{Address: "0.0.0.0:1"}}, "HTTP.Address"},
		{"no port", Config{HTTP: Listener{Address: "127.0.0.1"}}, "HTTP.Address"},
		{"operator off loopback, TLS only", Config{Operator: Listener{Address: "0.0.0.0:1", TLS: cert}}, "Operator.Address"},
		{"operator off loopback, insecure only", Config{Operator: Listener{Address: "0.0.0.0:1", Insecure: true}}, "Operator.Address"},
		{"operator off loopback, mTLS", Config{Operator: Listener{Address: "0.0.0.0:1", TLS: mtls}}, ""},
		{"operator off loopback, tokens", Config{Operator: Listener{Address: "0.0.0.0:1", TLS: cert}, OperatorTokensFile: "t"}, ""},
		{"key missing", Config{GRPC: Listener{TLS: TLS{CertFile: "c"}}}, "GRPC.TLS"},
		{"CA without certificate", Config{GRPC: Listener{TLS: TLS{ClientCAFile: "c"}}}, "GRPC.TLS.ClientCAFile"},
		{"identity without CA", Config{TrustedCallers: []string{"front.example"}}, "TrustedCallers"},
		{"identity with CA", Config{GRPC: Listener{TLS: mtls}, TrustedCallers: []string{"front.example", "spiffe://x/y"}}, ""},
		{"bad CIDR", Config{TrustedCallers: []string{"::1", "10.0.0.0/33"}}, "TrustedCallers[1]"},
		{"mapped CIDR", Config{TrustedCallers: []string{"::ffff:10.0.0.0/104"}}, "TrustedCallers[0]"},
		{"negative", Config{KeepaliveTime: -1}, "KeepaliveTime"},
		{"no streams", Config{MaxConcurrentStreams: -1}, "MaxConcurrentStreams"},
	}
	for _, tt := range tests {
		err := tt.cfg.WithDefaults().Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want+":")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// authority makes certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = filepath.Join(a.dir, "ca.pem")
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate for a DNS name, a URI or, where that is empty, nobody; for 127.0.0.1 too.
func (a *authority) issue(t *testing.T, file, name string, serial int64) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	switch {
	case name == "":
	case strings.Contains(name, "://"):
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	default:
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair := TLS{CertFile: filepath.Join(a.dir, file+".crt"), KeyFile: filepath.Join(a.dir, file+".key")}
	writePEM(t, pair.CertFile, "CERTIFICATE", der)
	writePEM(t, pair.KeyFile, "PRIVATE KEY", keyDER)
	return pair
}

func (a *authority) client(t *testing.T, pair *TLS) *tls.Config {
	t.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AddCert(a.cert)
	if pair != nil {
		cert, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

func TestTrustByCertificate(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	server := ca.issue(t, "server", "server.example", 2)
	server.ClientCAFile = ca.file
	dns, uri, other := ca.issue(t, "dns", "Front.example", 3), ca.issue(t, "uri", "spiffe://example/front", 4), ca.issue(t, "other", "other.example", 5)
	forged := stranger.issue(t, "forged", "front.example", 6)
	var got atomic.Pointer[gate.Client]
	g := &stubGate{start: func(_ context.Context, r gate.StartRequest) (gate.Answer, error) {
		got.Store(&r.Client)
		return accepted(), nil
	}}
	f := serve(t, g, Config{GRPC: Listener{TLS: server}, TrustedCallers: []string{"front.example", "spiffe://example/front"}}, nil)
	tests := []struct {
		name string
		pair *TLS
		want string // address that counts; empty: refused
	}{
		{"DNS name", &dns, "192.0.2.7"},
		{"URI", &uri, "192.0.2.7"},
		{"another name", &other, "127.0.0.1"},
		{"no certificate", nil, "127.0.0.1"},
		{"another authority", &forged, ""},
	}
	for _, tt := range tests {
		client := resetv1.NewPasswordResetClient(dial(t, f.Addrs().GRPC.String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, tt.pair)))))
		_, err := client.StartReset(testContext(t), &resetv1.StartResetRequest{Identifier: "a", Client: person()})
		if tt.want == "" {
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if ip := got.Load().IP; ip != netip.MustParseAddr(tt.want) {
			t.Errorf("%s: address %s, want %s", tt.name, ip, tt.want)
		}
	}
}

func TestCertificateReload(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	pair := ca.issue(t, "server", "server.example", 2)
	now := clock.NewManual(time.Now())
	f := serve(t, &stubGate{}, Config{GRPC: Listener{TLS: pair}}, func(d *Deps) { d.Clock = now })
	serial := func() int64 {
		cfg := ca.client(t, nil)
		cfg.NextProtos = []string{"h2"}
		conn, err := tls.Dial("tcp", f.Addrs().GRPC.String(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 2 {
		t.Fatalf("serial %d", n)
	}
	ca.issue(t, "server", "server.example", 77)
	now.Advance(2 * time.Second)
	if n := serial(); n != 77 {
		t.Errorf("serial %d after the change, want 77", n)
	}
	if err := os.WriteFile(pair.CertFile, []byte("half a certifica"), 0o600); err != nil {
		t.Fatal(err)
	}
	now.Advance(2 * time.Second)
	if n := serial(); n != 77 {
		t.Errorf("serial %d after a broken change, want the old 77", n)
	}
	if value(f.metrics.reloadFailures) != 1 {
		t.Error("the failure was not counted")
	}
}

func TestOldTLSRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	f := serve(t, &stubGate{}, Config{GRPC: Listener{TLS: ca.issue(t, "server", "server.example", 2)}}, nil)
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		cfg := ca.client(t, nil)
		cfg.MinVersion, cfg.MaxVersion, cfg.NextProtos = version, version, []string{"h2"}
		conn, err := tls.Dial("tcp", f.Addrs().GRPC.String(), cfg)
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	now := clock.NewManual(time.Now())
	f := serve(t, &stubGate{}, Config{}, func(d *Deps) {
		d.Clock = now
		d.Ready = func() error {
			if broken.Load() {
				return errors.New("disk of db-17 is full")
			}
			return nil
		}
	})
	base := "http://" + f.Addrs().HTTP.String()
	if code, _ := fetch(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d", code)
	}
	if code, _ := fetch(t, base+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz %d", code)
	}
	broken.Store(true)
	if code, body := fetch(t, base+"/readyz"); code != http.StatusServiceUnavailable || strings.Contains(body, "db-17") {
		t.Errorf("readyz %d %q", code, body)
	}
	if code, _ := fetch(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d while not ready: a restart would not help", code)
	}
	_, body := fetch(t, base+"/metrics")
	for _, line := range []string{
		`grpc_server_handled_total{grpc_code="ResourceExhausted",grpc_method="StartReset",grpc_service="surgegate.reset.v1.PasswordReset",grpc_type="unary"} 0`,
		`surgegate_grpc_operator_calls_total{code="Unauthenticated"} 0`,
		`grpc_server_handling_seconds_bucket{grpc_method="WatchTicket",grpc_service="surgegate.reset.v1.PasswordReset",grpc_type="server_stream",le="0.005"} 0`,
		`surgegate_grpc_refused_connections_total{listener="grpc"} 0`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	if code, _ := fetch(t, base+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("pprof %d on the health port", code)
	}
	// The health service follows once a second.
	h := healthv1.NewHealthClient(dial(t, f.Addrs().GRPC.String()))
	now.BlockUntil(1)
	now.Advance(time.Second)
	now.BlockUntil(1)
	if resp, err := h.Check(testContext(t), &healthv1.HealthCheckRequest{}); err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %v %v", resp, err)
	}
}

// TestBothHistograms: classic buckets for whoever asks for text, native ones for whoever asks for protobuf.
func TestBothHistograms(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	if _, err := resetClient(t, f).GetTicket(testContext(t), &resetv1.GetTicketRequest{TicketId: "t"}); err != nil {
		t.Fatal(err)
	}
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "grpc_server_handling_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			if h := m.GetHistogram(); h.Schema == nil || len(h.GetBucket()) == 0 {
				t.Errorf("%v: schema %v, %d classic buckets", m.GetLabel(), h.Schema, len(h.GetBucket()))
			}
		}
		return
	}
	t.Error("no histogram")
}

func TestMetricsLint(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	if _, err := newMetrics(reg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestReflection(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	for addr, want := range map[string]string{
		f.Addrs().GRPC.String():     "surgegate.reset.v1.PasswordReset",
		f.Addrs().Operator.String(): "surgegate.operator.v1.Operator",
	} {
		st, err := reflectionv1.NewServerReflectionClient(dial(t, addr)).ServerReflectionInfo(testContext(t))
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
	f := serve(t, &stubGate{}, Config{CallTimeout: 200 * time.Millisecond}, nil)
	conn := dial(t, f.Addrs().GRPC.String())
	// A client stream sends no end, so the request never becomes whole.
	st, err := conn.NewStream(testContext(t), &grpc.StreamDesc{ClientStreams: true}, resetv1.PasswordReset_StartReset_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SendMsg(&resetv1.StartResetRequest{Identifier: "a", Client: person()}); err != nil {
		t.Fatal(err)
	}
	if err := st.RecvMsg(&resetv1.StartResetResponse{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	cfg := Config{GRPC: Listener{Address: f.Addrs().GRPC.String()}, Operator: Listener{Address: "127.0.0.1:0"}, HTTP: Listener{Address: "127.0.0.1:0"}}
	reg := prometheus.NewRegistry()
	s, err := New(cfg, Deps{Gate: &stubGate{}, Operator: caller{}, Registerer: reg, Gatherer: reg, Logger: f.Server.log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "grpc") {
		t.Errorf("start on a taken address: %v", err)
	}
	s.Stop(testContext(t))
}

// TestBinaryLoggingRefused: grpc-go would hand whole requests, passwords included, to whatever sink is set.
func TestBinaryLoggingRefused(t *testing.T) {
	t.Setenv("GRPC_BINARY_LOG_FILTER", "*")
	reg := prometheus.NewRegistry()
	_, err := New(Config{}, Deps{Gate: &stubGate{}, Operator: caller{}, Registerer: reg, Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "GRPC_BINARY_LOG_FILTER") {
		t.Errorf("%v", err)
	}
}

// TestFrameLoggingRefused: x/net/http2 would log every header, the bearer tokens of operators among them.
func TestFrameLoggingRefused(t *testing.T) {
	t.Setenv("GODEBUG", "madvdontneed=1,http2debug=2")
	reg := prometheus.NewRegistry()
	_, err := New(Config{}, Deps{Gate: &stubGate{}, Operator: caller{}, Registerer: reg, Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
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
		return accepted(), nil
	}
	f := serve(t, &stubGate{
		start:    func(context.Context, gate.StartRequest) (gate.Answer, error) { return answer() },
		complete: func(context.Context, gate.CompleteRequest) (gate.Answer, error) { return answer() },
		get:      func(context.Context, string) (gate.Answer, error) { return answer() },
	}, Config{}, nil)
	client := resetClient(t, f)
	for _, failing := range []bool{false, true} {
		fail.Store(failing)
		ctx := withHeader(testContext(t), "x-secret", canary)
		c := &resetv1.Client{Ip: "192.0.2.7", Id: canary}
		_, _ = client.StartReset(ctx, &resetv1.StartResetRequest{Identifier: canary, Client: c})
		_, _ = client.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: canary, NewPassword: canary, Client: c})
		_, _ = client.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: canary, NewPassword: canary, Client: c, RequestId: canary})
		_, _ = client.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: canary, Client: c})
		_, _ = client.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: canary})
	}
	if !strings.Contains(f.log.String(), "the store is broken") {
		t.Error("the failure is not in the log")
	}
	_, metrics := fetch(t, "http://"+f.Addrs().HTTP.String()+"/metrics")
	if strings.Contains(f.log.String(), canary) || strings.Contains(metrics, canary) {
		t.Error("what was submitted is in the log or the metrics")
	}
}
