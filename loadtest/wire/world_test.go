package wire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/loadtest/wire"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second // of calls that are not meant to fail

type handler func(context.Context, *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error)

type service struct {
	resetv1.UnimplementedPasswordResetServer
	handler handler
}

func (s service) StartReset(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	return s.handler(ctx, r)
}

// echo answers with the identifier.
func echo(_ context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	return &resetv1.StartResetResponse{Ticket: &resetv1.Ticket{Id: r.GetIdentifier()}}, nil
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve runs a grpc-go server until the test ends.
func serve(t *testing.T, l net.Listener, h handler, opts ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	g := grpc.NewServer(opts...)
	resetv1.RegisterPasswordResetServer(g, service{handler: h})
	var group sync.WaitGroup
	group.Go(func() { _ = g.Serve(l) }) // ends with Stop
	t.Cleanup(func() {
		g.Stop()
		group.Wait()
	})
	return g
}

// dial runs a client until the test ends, or stop is called.
func dial(t *testing.T, cfg wire.Config) (client *wire.Client, stop func()) {
	t.Helper()
	client, err := wire.New(cfg, wire.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return client, run(t, client)
}

func run(t *testing.T, client *wire.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := client.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func method(t *testing.T) *wire.Method {
	t.Helper()
	m, err := wire.NewMethod(resetv1.PasswordReset_StartReset_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func request(identifier string) []byte {
	b, err := proto.Marshal(&resetv1.StartResetRequest{Identifier: identifier})
	if err != nil {
		panic(err) // no such message
	}
	return b
}

// answer is a Reply that may be kept.
type answer struct {
	code       codes.Code
	text, id   string
	reason     string
	retryDelay time.Duration
	pushback   time.Duration
	pushed     bool
	local      bool
	took       time.Duration
}

func keep(r *wire.Reply) answer {
	a := answer{
		code: r.Code, text: r.Text, reason: r.Reason(), pushback: r.Pushback, pushed: r.PushbackSet, local: r.Local,
		took: r.EndAt.Sub(r.SentAt),
	}
	a.retryDelay, _ = r.RetryDelay()
	var response resetv1.StartResetResponse
	if err := proto.Unmarshal(r.Message, &response); err != nil {
		a.text += "; no response: " + err.Error()
	}
	a.id = response.GetTicket().GetId()
	return a
}

// start makes a call, whose answer will be in the channel.
func start(t *testing.T, c *wire.Client, identifier string, deadline time.Duration) <-chan answer {
	t.Helper()
	got := make(chan answer, 1)
	c.Call(method(t), request(identifier), deadline, wire.DoneFunc(func(r *wire.Reply) {
		select {
		case got <- keep(r):
		default:
			t.Error("a call was done twice")
		}
	}))
	return got
}

func wait(t *testing.T, got <-chan answer) answer {
	t.Helper()
	select {
	case a := <-got:
		return a
	case <-time.After(2 * patience):
		t.Fatal("no reply")
		return answer{}
	}
}

func call(t *testing.T, c *wire.Client, identifier string) answer {
	t.Helper()
	return wait(t, start(t, c, identifier, patience))
}

func ready(t *testing.T, c *wire.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// many makes calls and returns how many ended with each code; an OK with another's response counts as DATA_LOSS.
func many(t *testing.T, c *wire.Client, n int, deadline time.Duration) map[codes.Code]int {
	t.Helper()
	var all []<-chan answer
	id := func(i int) string { return strings.Repeat("x", i%50) + string(rune('a'+i%26)) }
	for i := range n {
		all = append(all, start(t, c, id(i), deadline))
	}
	got := map[codes.Code]int{}
	for i, ch := range all {
		a := wait(t, ch)
		if a.code == codes.OK && a.id != id(i) {
			a.code = codes.DataLoss
		}
		got[a.code]++
	}
	return got
}

// authority makes a CA and a server certificate of it for 127.0.0.1 and the name.
func authority(t *testing.T, name string) (server, client *tls.Config) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(template, parent *x509.Certificate, public *ecdsa.PrivateKey, signer *ecdsa.PrivateKey) *x509.Certificate {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &public.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	caKey, serverKey := key(), key()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test's CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca := sign(template, template, caKey, caKey)
	leaf := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, serverKey, caKey)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: serverKey}}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
