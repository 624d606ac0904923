package edge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/edge/edgetest"
	"github.com/surgegate/surgegate/pkg/gate"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

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
func (a *authority) issue(t *testing.T, file, name string, serial int64) edge.TLS {
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
	pair := edge.TLS{CertFile: filepath.Join(a.dir, file+".crt"), KeyFile: filepath.Join(a.dir, file+".key")}
	writePEM(t, pair.CertFile, "CERTIFICATE", der)
	writePEM(t, pair.KeyFile, "PRIVATE KEY", keyDER)
	return pair
}

func (a *authority) client(t *testing.T, pair *edge.TLS) *tls.Config {
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
	g := &edgetest.Gate{Start: func(_ context.Context, r gate.StartRequest) (gate.Answer, error) {
		got.Store(&r.Client)
		return edgetest.Accepted(), nil
	}}
	f := edgetest.Serve(t, g, edge.Config{GRPC: edge.Listener{TLS: server}, TrustedCallers: []string{"front.example", "spiffe://example/front"}}, nil)
	tests := []struct {
		name string
		pair *edge.TLS
		want string // address that counts; empty: refused
	}{
		{"DNS name", &dns, "192.0.2.7"},
		{"URI", &uri, "192.0.2.7"},
		{"another name", &other, "127.0.0.1"},
		{"no certificate", nil, "127.0.0.1"},
		{"another authority", &forged, ""},
	}
	for _, tt := range tests {
		client := resetv1.NewPasswordResetClient(edgetest.Dial(t, f.Addrs().GRPC.String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, tt.pair)))))
		_, err := client.StartReset(edgetest.Context(t), &resetv1.StartResetRequest{Identifier: "a", Client: edgetest.Person()})
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
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{GRPC: edge.Listener{TLS: pair}}, func(d *edge.Deps) { d.Clock = now })
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
	if f.Metric("surgegate_grpc_reload_failures_total") != 1 {
		t.Error("the failure was not counted")
	}
}

func TestOldTLSRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	f := edgetest.Serve(t, &edgetest.Gate{}, edge.Config{GRPC: edge.Listener{TLS: ca.issue(t, "server", "server.example", 2)}}, nil)
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
