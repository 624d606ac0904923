package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/operator"
)

// minOperatorToken is the shortest token that the tokens file may have, in bytes.
const minOperatorToken = 32

// operatorToken is one line of the tokens file. Only the token's digest stays in memory.
type operatorToken struct {
	name   string
	digest [sha256.Size]byte
}

// CountOperators returns how many operators a tokens file names. Its error says which line is wrong and how.
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
		// The name goes into answers, whose strings must be UTF-8, and onto terminals.
		if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return nil, fmt.Errorf("operator tokens, line %d: the name must be UTF-8 without control characters", n)
		}
		tokens = append(tokens, operatorToken{name, sha256.Sum256([]byte(token))})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("operator tokens: %w", err)
	}
	return tokens, nil // an empty file is no error: whoever takes the last line out wants nobody to get in
}

// authenticator finds out which operator makes a call. With neither tokens nor a client CA it lets everybody in: Validate allows
// that on loopback only.
type authenticator struct {
	tokens      *reloadable[[]operatorToken] // nil: there is no tokens file
	clientCerts bool                         // certificates of clients are accepted
}

// identify returns the name of the operator who makes the call. Its error is UNAUTHENTICATED.
func (a *authenticator) identify(ctx context.Context) (string, error) {
	if a.tokens != nil {
		if name := a.tokenOwner(ctx); name != "" {
			return name, nil
		}
	}
	if a.clientCerts {
		if pr, ok := peer.FromContext(ctx); ok {
			if info, ok := pr.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
				if name := certificateName(info.State.VerifiedChains[0][0]); name != "" {
					return name, nil
				}
				// Somebody whom the audit trail could not name must not change anything.
				return "", &edgeError{status.Error(codes.Unauthenticated,
					"your certificate names nobody: it needs a URI, a DNS name or a common name")}
			}
		}
	}
	if a.tokens == nil && !a.clientCerts {
		return "loopback", nil
	}
	return "", &edgeError{status.Error(codes.Unauthenticated, "operators need a bearer token or a client certificate")}
}

// tokenOwner returns the name of the operator whose bearer token the call carries, "" if it carries none that is known.
func (a *authenticator) tokenOwner(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	digest := sha256.Sum256([]byte(token))
	name := ""
	// Every line is compared, so that the time does not depend on which one matches.
	for _, t := range a.tokens.current() {
		if subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1 {
			name = t.name
		}
	}
	return name
}

// certificateName returns the first URI of a certificate, else its first DNS name, else its common name.
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

// authenticateUnary refuses calls of strangers, and passes on who calls (operator.CallerOf).
func (a *authenticator) authenticateUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	name, err := a.identify(ctx)
	if err != nil {
		return nil, err
	}
	return handler(operator.WithCaller(ctx, operator.Caller{Who: name, From: peerAddrPort(ctx).String()}), req)
}

// authenticateStream refuses streams of strangers, reflection included: who may not call must not see which calls exist.
func (a *authenticator) authenticateStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if _, err := a.identify(stream.Context()); err != nil {
		return err
	}
	return handler(srv, stream)
}
