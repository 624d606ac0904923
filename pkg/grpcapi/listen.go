package grpcapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/steer"
)

// cappedListener closes what comes over the cap at once and counts both. x/net/netutil.LimitListener leaves it in the
// backlog instead, where a client waits for a server that does not come.
type cappedListener struct {
	net.Listener
	slots   chan struct{} // one a connection; its capacity is the cap
	open    prometheus.Gauge
	refused prometheus.Counter
}

// Accept implements net.Listener.
func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			l.open.Inc()
			return &cappedConn{Conn: conn, release: sync.OnceFunc(func() {
				<-l.slots
				l.open.Dec()
			})}, nil
		default:
			l.refused.Inc()
			_ = conn.Close() // it is being refused: nobody waits for the outcome
		}
	}
}

type cappedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *cappedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// reloaded is a value made of files, made again when one of them has changed; looked at when it is used and at most
// once a second, so no goroutine is needed.
type reloaded[T any] struct {
	files []string
	load  func(contents [][]byte) (T, error)
	clock clock.Clock
	fail  func(error)

	mu    sync.Mutex
	value T
	print string // sizes and modification times
	next  time.Time
}

// first loads at start, when a fault must stop the start.
func (r *reloaded[T]) first() error {
	print, err := fingerprint(r.files)
	if err != nil {
		return err
	}
	v, err := r.read()
	if err != nil {
		return err
	}
	r.value, r.print, r.next = v, print, r.clock.Now().Add(time.Second)
	return nil
}

func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if now.Before(r.next) {
		return r.value
	}
	r.next = now.Add(time.Second)
	print, err := fingerprint(r.files)
	if err == nil && print == r.print {
		return r.value
	}
	if err == nil {
		var v T
		if v, err = r.read(); err == nil {
			// The print taken before reading: a file that changes meanwhile is read again.
			r.value, r.print = v, print
		}
	}
	if err != nil {
		r.fail(err)
	}
	return r.value
}

func (r *reloaded[T]) read() (T, error) {
	contents := make([][]byte, len(r.files))
	for i, f := range r.files {
		b, err := os.ReadFile(f)
		if err != nil {
			var zero T
			return zero, err
		}
		contents[i] = b
	}
	return r.load(contents)
}

func fingerprint(files []string) (string, error) {
	var s strings.Builder
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&s, "%d %d;", info.Size(), info.ModTime().UnixNano())
	}
	return s.String(), nil
}

// tlsConfig returns a server's TLS: 1.3, or 1.2 with Go's safe suites, certificates reloaded. required asks every
// client for a certificate.
func tlsConfig(t TLS, required bool, c clock.Clock, protocols []string, fail func(error)) (*tls.Config, error) {
	files := []string{t.CertFile, t.KeyFile}
	if t.ClientCAFile != "" {
		files = append(files, t.ClientCAFile)
	}
	r := &reloaded[*tls.Config]{files: files, clock: c, fail: fail}
	r.load = func(pem [][]byte) (*tls.Config, error) {
		cert, err := tls.X509KeyPair(pem[0], pem[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.CertFile, err)
		}
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: protocols}
		if len(pem) > 2 {
			cfg.ClientCAs = x509.NewCertPool()
			if !cfg.ClientCAs.AppendCertsFromPEM(pem[2]) {
				return nil, fmt.Errorf("%s: holds no certificate", t.ClientCAFile)
			}
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
			if required {
				cfg.ClientAuth = tls.RequireAndVerifyClientCert
			}
		}
		return cfg, nil
	}
	if err := r.first(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.get(), nil
		},
	}, nil
}

const minOperatorToken = 32

// operatorToken is one line of the tokens file; only the digest stays in memory.
type operatorToken struct {
	name   string
	digest [sha256.Size]byte
}

// CountOperators tells how many a tokens file names, or what is wrong with it.
func CountOperators(file []byte) (int, error) {
	tokens, err := parseTokens([][]byte{file})
	return len(tokens), err
}

func parseTokens(contents [][]byte) ([]operatorToken, error) {
	var tokens []operatorToken
	sc := bufio.NewScanner(bytes.NewReader(contents[0]))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, token, ok := strings.Cut(line, ":")
		name, token = strings.TrimSpace(name), strings.TrimSpace(token)
		if !ok || name == "" || len(token) < minOperatorToken {
			return nil, fmt.Errorf("operator tokens, line %d: want name:token with a token of at least %d characters", n, minOperatorToken)
		}
		// It goes into answers, which cannot be sent otherwise, and onto terminals.
		if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return nil, fmt.Errorf("operator tokens, line %d: the name must be UTF-8 without control characters", n)
		}
		tokens = append(tokens, operatorToken{name, sha256.Sum256([]byte(token))})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("operator tokens: %w", err)
	}
	return tokens, nil // none: whoever takes the last line out wants nobody in
}

// authenticator tells which operator calls. With neither tokens nor a client CA it lets everybody in: Validate allows
// that on loopback only.
type authenticator struct {
	tokens *reloaded[[]operatorToken] // nil: none
	mtls   bool
}

func (a *authenticator) operator(ctx context.Context) (string, error) {
	if a.tokens != nil {
		md, _ := metadata.FromIncomingContext(ctx)
		if values := md.Get("authorization"); len(values) == 1 {
			if scheme, token, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "bearer") {
				digest := sha256.Sum256([]byte(token))
				name := ""
				// Every line is compared, so that the time tells nothing of the place.
				for _, t := range a.tokens.get() {
					if subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1 {
						name = t.name
					}
				}
				if name != "" {
					return name, nil
				}
			}
		}
	}
	if a.mtls {
		if pr, ok := peer.FromContext(ctx); ok {
			if info, ok := pr.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
				if name := certificateName(info.State.VerifiedChains[0][0]); name != "" {
					return name, nil
				}
				// Whoever cannot be named in the audit trail changes nothing.
				return "", &edgeError{status.Error(codes.Unauthenticated,
					"your certificate names nobody: it needs a URI, a DNS name or a common name")}
			}
		}
	}
	if a.tokens == nil && !a.mtls {
		return "loopback", nil
	}
	return "", &edgeError{status.Error(codes.Unauthenticated, "operators need a bearer token or a client certificate")}
}

func certificateName(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	default:
		return c.Subject.CommonName
	}
}

func (a *authenticator) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	name, err := a.operator(ctx)
	if err != nil {
		return nil, err
	}
	return handler(steer.WithOperator(ctx, steer.Operator{Who: name, From: peerAddrPort(ctx).String()}), req)
}

// stream guards reflection too: who may not call shall not see what there is.
func (a *authenticator) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if _, err := a.operator(stream.Context()); err != nil {
		return err
	}
	return handler(srv, stream)
}
