package connect_test

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
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// operator answers GetStatus with its error, or with an empty status.
type operator struct {
	operatorv1.UnimplementedOperatorServer
	err error
}

func (o operator) GetStatus(context.Context, *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	return &operatorv1.GetStatusResponse{}, o.err
}

func serve(t *testing.T, err error, options ...grpc.ServerOption) string {
	t.Helper()
	l, lerr := net.Listen("tcp", "127.0.0.1:0")
	if lerr != nil {
		t.Fatal(lerr)
	}
	s := grpc.NewServer(options...)
	operatorv1.RegisterOperatorServer(s, operator{err: err})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Stop
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func get(t *testing.T, cfg connect.Config) error {
	t.Helper()
	c, err := connect.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	return c.Do(t.Context(), func(ctx context.Context) error {
		_, err := c.GetStatus(ctx, &operatorv1.GetStatusRequest{})
		return err
	})
}

// authority makes certificates into a directory and returns the paths without their ends.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.make(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) make(name string, c *x509.Certificate) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(int64(len(name))), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	if a.cert == nil {
		a.cert, a.key = c, private
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &private.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == c {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) server(name string, ip net.IP, clients tls.ClientAuthType) grpc.ServerOption {
	a.t.Helper()
	cert, key := a.make(name, &x509.Certificate{IPAddresses: []net.IP{ip}})
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: clients, ClientCAs: a.pool(),
	}))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	ca, foreignCA := filepath.Join(ours.dir, "ours.crt"), filepath.Join(theirs.dir, "theirs.crt")
	cert, key := ours.make("operator", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	loopback := net.IPv4(127, 0, 0, 1)
	plain := serve(t, nil)
	open := serve(t, nil, ours.server("server", loopback, tls.NoClientCert))
	mutual := serve(t, nil, ours.server("mutual server", loopback, tls.RequireAndVerifyClientCert))
	elsewhere := serve(t, nil, ours.server("another server", net.IPv4(192, 0, 2, 7), tls.NoClientCert))
	for _, c := range []struct {
		name string
		cfg  connect.Config
		kind connect.Kind // empty: it works
		want string
	}{
		{"plain", connect.Config{Address: plain}, "", ""},
		{"TLS", connect.Config{Address: open, CA: ca}, "", ""},
		{"mutual", connect.Config{Address: mutual, CA: ca, Cert: cert, Key: key}, "", ""},
		{
			"no certificate", connect.Config{Address: mutual, CA: ca}, connect.KindLoginRefused,
			"wants a client certificate that it knows: give --cert",
		},
		{
			"foreign authority", connect.Config{Address: open, CA: foreignCA}, connect.KindUnreachable,
			"does not fit --ca or the address: certificate signed by unknown authority",
		},
		{
			"another's certificate", connect.Config{Address: elsewhere, CA: ca}, connect.KindUnreachable,
			"does not fit --ca or the address: certificate is valid for 192.0.2.7",
		},
		{"TLS to a plain port", connect.Config{Address: plain, CA: ca}, connect.KindUnreachable, "does not speak TLS: leave --ca and --cert out"},
		{
			"in clear to a TLS port", connect.Config{Address: open}, connect.KindUnreachable,
			"hung up before it answered: if it speaks TLS give --ca",
		},
		{"not PEM", connect.Config{Address: open, CA: key + "x"}, connect.KindUsage, "ca: open"},
		{
			"key of another", connect.Config{Address: open, CA: ca, Cert: cert, Key: filepath.Join(ours.dir, "ours.key")}, connect.KindUsage,
			"cert and key: ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := get(t, c.cfg)
			if c.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *connect.Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.ExitCode != c.kind.ExitCode() || !strings.Contains(e.Message, c.want) {
				t.Errorf("%+v, want %s: %s", err, c.kind, c.want)
			}
		})
	}
}

// Every way in which a surgegate, or what is in its place, can refuse.
func TestErrorsOfCallsAreSentences(t *testing.T) {
	t.Parallel()
	detailed := func(code codes.Code, message string, violations ...*errdetails.BadRequest_FieldViolation) error {
		s := status.New(code, message)
		var err error
		if len(violations) > 0 {
			s, err = s.WithDetails(&errdetails.BadRequest{FieldViolations: violations})
		} else {
			s, err = s.WithDetails(&errdetails.ErrorInfo{Reason: "NOT_DURABLE", Domain: "surgegate"})
		}
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	for _, c := range []struct {
		err  error
		kind connect.Kind
		code int
		want string
	}{
		{
			detailed(codes.InvalidArgument, "a field is invalid", &errdetails.BadRequest_FieldViolation{Field: "lane", Description: "must be start"},
				&errdetails.BadRequest_FieldViolation{Field: "steering.reason", Description: "must have at most 200 characters"}),
			connect.KindUsage, 2, "lane: must be start; reason: must have at most 200 characters",
		},
		{status.Error(codes.InvalidArgument, "no"), connect.KindUsage, 2, "no"},
		{status.Error(codes.NotFound, "no such ticket"), connect.KindNothingDone, 3, "no such ticket"},
		{status.Error(codes.Unauthenticated, "no token"), connect.KindLoginRefused, 4, "(no token): give --token-file"},
		{status.Error(codes.PermissionDenied, "read only"), connect.KindLoginRefused, 4, "knows you and does not let you do this: read only"},
		{status.Error(codes.Unimplemented, "x"), connect.KindFault, 1, "it is no operator listener"},
		{status.Error(codes.FailedPrecondition, "surgegate.yaml:3: rate"), connect.KindFault, 1, "surgegate.yaml:3: rate"},
		{detailed(codes.Unavailable, "the disk is full"), connect.KindFault, 1, "cannot do it now: the disk is full"},
		{status.Error(codes.Unavailable, "lookup nowhere: no such host"), connect.KindUnreachable, 4, "no such host"},
		{
			status.Error(codes.Unavailable, "dial tcp: i/o timeout"), connect.KindUnreachable, 4,
			"a firewall, a wrong address, or the machine is down",
		},
		{status.Error(codes.Unavailable, "something new"), connect.KindUnreachable, 4, "cannot be reached: something new; --address"},
		{status.Error(codes.Canceled, "x"), connect.KindNothingDone, 3, "what was asked for may have been done"},
		{status.Error(codes.Internal, "a fault"), connect.KindFault, 1, ": a fault"},
	} {
		address := serve(t, c.err)
		err := get(t, connect.Config{Address: address})
		var e *connect.Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.ExitCode != c.code || !strings.Contains(e.Message, c.want) {
			t.Errorf("%v: %+v, want %s: %s", c.err, err, c.kind, c.want)
		}
		if e != nil && c.err != nil && status.Code(errors.Unwrap(e)) != status.Code(c.err) {
			t.Errorf("%v: its cause is lost", c.err)
		}
	}
}

func TestNothingGoesInClearTextOffLoopback(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, ok := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "192.0.2.1:1": false, "surgegate.example.com:1": false, "here": false,
	} {
		c, err := connect.New(connect.Config{Address: address, TokenFile: token})
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil {
			continue
		}
		if strings.Contains(fmt.Sprintf("%v %+v", c, c), "secret") {
			t.Errorf("%s: the token is in what is printed", address)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestWhoHasNoClientCertificateIsToldSo however the refusal shows: with TLS 1.3 it comes after the handshake, and the write
// that it overtakes fails of a broken pipe.
func TestWhoHasNoClientCertificateIsToldSo(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	cert, key := theirs.make("stranger", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	mutual := serve(t, nil, ours.server("server", net.IPv4(127, 0, 0, 1), tls.RequireAndVerifyClientCert))
	ca := filepath.Join(ours.dir, "ours.crt")
	var asking sync.WaitGroup
	for i := range 100 {
		cfg := connect.Config{Address: mutual, CA: ca}
		if i%2 == 0 {
			cfg.Cert, cfg.Key = cert, key
		}
		asking.Go(func() {
			var e *connect.Error
			err := get(t, cfg)
			if !errors.As(err, &e) || e.Kind != connect.KindLoginRefused || !strings.Contains(e.Message, "give --cert and --key") {
				t.Errorf("%+v", err)
			}
		})
	}
	asking.Wait()
}

// TestWhoSaysNothingIsNotSaidToHaveHungUp: a port that takes connections and is silent, as of a process that is stopped.
func TestWhoSaysNothingIsNotSaidToHaveHungUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	// Of many, because it is a race between the deadline of the call and that of the connection.
	var asking sync.WaitGroup
	for range 400 {
		asking.Go(func() {
			err := get(t, connect.Config{Address: l.Addr().String(), Timeout: 200 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), "no answer from") {
				t.Errorf("%v", err)
			}
		})
	}
	asking.Wait()
}
