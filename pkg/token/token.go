package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// MaxLen is the longest token in characters.
const MaxLen = 512

// MaxAccountID is the longest account id that fits a token, in bytes.
const MaxAccountID = 255

const (
	version   = 1
	domain    = "surgegate token v1\x00"
	headerLen = 51 // everything before the account id
	maxRaw    = MaxLen / 4 * 3

	// unknownRetryAfter is when to come back after KindKeyUnknown. Maintain, which reads new keys, runs about once a minute.
	unknownRetryAfter = 30 * time.Second
)

// Purpose is what a token may be used for. The values are part of the token.
type Purpose uint8

// PurposeReset lets its holder set a new password, once. It is the only purpose so far; Verify refuses any other.
const PurposeReset Purpose = 1

// Claims are what a token says.
type Claims struct {
	Purpose    Purpose
	AccountID  string // 1 to MaxAccountID bytes
	Mark       uint64 // the account's mark when the token was signed, 0 if it had none
	IssueTime  time.Time
	ExpireTime time.Time // µs, as IssueTime
	Nonce      [16]byte  // 128 random bits, so that no two tokens are equal
}

// Signer signs tokens with the active key. It is safe for concurrent use.
type Signer struct{ keys *Keys }

// NewSigner returns a signer. It fails if keys_dir holds no private key.
func NewSigner(k *Keys) (*Signer, error) {
	if k.set.Load().signingKey(k.clock.Now()) == nil {
		return nil, errors.New("token: no private key in keys_dir: this process can only verify")
	}
	return &Signer{keys: k}, nil
}

// Sign returns the token. The caller sets every claim, also the nonce (with crypto/rand). An error is a mistake of the caller or a missing
// key, and must not be shown to the public.
func (s *Signer) Sign(c Claims) (string, error) {
	if c.Purpose != PurposeReset {
		return "", fmt.Errorf("token: purpose %d is unknown", c.Purpose)
	}
	if len(c.AccountID) == 0 || len(c.AccountID) > MaxAccountID {
		return "", fmt.Errorf("token: the account id is %d bytes, want 1 to %d", len(c.AccountID), MaxAccountID)
	}
	if c.Nonce == [16]byte{} {
		return "", errors.New("token: the nonce is not set")
	}
	if ttl := c.ExpireTime.Sub(c.IssueTime); ttl <= 0 || ttl > LongestTTL {
		return "", fmt.Errorf("token: it would live %v, want more than 0 and at most LongestTTL (%v)", ttl, LongestTTL)
	}
	k := s.keys.set.Load().signingKey(s.keys.clock.Now())
	if k == nil {
		return "", errors.New("token: no private key is active")
	}
	var buf [len(domain) + maxRaw]byte
	b := append(buf[:0], domain...)
	b = appendClaims(b, k.id, c)
	return base64.RawURLEncoding.EncodeToString(append(b[len(domain):], ed25519.Sign(k.private, b)...)), nil
}

func appendClaims(b []byte, id keyID, c Claims) []byte {
	b = append(b, version, byte(c.Purpose))
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, c.Mark)
	b = binary.BigEndian.AppendUint64(b, uint64(c.IssueTime.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(c.ExpireTime.UnixMicro()))
	b = append(b, c.Nonce[:]...)
	b = append(b, byte(len(c.AccountID)))
	return append(b, c.AccountID...)
}

// Verifier verifies tokens with every key that is not gone. It is safe for concurrent use.
type Verifier struct{ keys *Keys }

// NewVerifier returns a verifier. While there are no keys, every token is KindKeyUnknown.
func NewVerifier(k *Keys) *Verifier { return &Verifier{keys: k} }

// Verify returns the claims of a token that is genuine and has not expired at the given time. Otherwise the error is a *reset.Error:
// KindTokenInvalid, KindTokenExpired, or KindKeyUnknown with a time to come back.
func (v *Verifier) Verify(tok string, at time.Time) (Claims, error) {
	var buf [len(domain) + maxRaw]byte
	copy(buf[:], domain)
	raw, c, id, err := decode(tok, buf[len(domain):])
	if err != nil {
		return Claims{}, invalid(err)
	}
	set := v.keys.set.Load()
	k := set.byID[id]
	if k == nil {
		if len(set.list) > 0 && id.activeTime().Before(set.list[0].id.activeTime()) {
			return Claims{}, expired(errors.New("its key is gone"))
		}
		return Claims{}, &reset.Error{Kind: reset.KindKeyUnknown, Detail: "This link cannot be checked right now; try again shortly.",
			RetryAfter: unknownRetryAfter, Cause: fmt.Errorf("token: key %v is not here", id)}
	}
	body, sig := buf[:len(domain)+len(raw)-ed25519.SignatureSize], raw[len(raw)-ed25519.SignatureSize:]
	if !ed25519.Verify(k.public, body, sig) {
		return Claims{}, invalid(errors.New("bad signature"))
	}
	if c.Purpose != PurposeReset {
		return Claims{}, invalid(errors.New("other purpose"))
	}
	if !at.Before(c.ExpireTime) {
		return Claims{}, expired(nil)
	}
	return c, nil
}

// AccountOf returns the account that a token names, and false if it is no token. It verifies nothing, so the account must only be used to
// tell calls apart.
func AccountOf(tok string) (string, bool) {
	var buf [maxRaw]byte
	_, c, _, err := decode(tok, buf[:])
	return c.AccountID, err == nil
}

// decode parses a token of any origin into buf, without verifying it. raw is the part of buf that it has filled.
func decode(tok string, buf []byte) (raw []byte, c Claims, id keyID, err error) {
	if len(tok) > MaxLen {
		return nil, c, id, errors.New("too long")
	}
	// Strict refuses stray bits in the last character, but every decoder of encoding/base64 skips line breaks.
	if strings.ContainsAny(tok, "\r\n") {
		return nil, c, id, errors.New("line break")
	}
	n, err := base64.RawURLEncoding.Strict().Decode(buf, []byte(tok))
	if err != nil {
		return nil, c, id, errors.New("not base64url")
	}
	raw = buf[:n]
	if n < headerLen || raw[0] != version {
		return nil, c, id, errors.New("not a token of version 1")
	}
	account := int(raw[headerLen-1])
	if account == 0 || n != headerLen+account+ed25519.SignatureSize {
		return nil, c, id, errors.New("wrong length")
	}
	copy(id[:], raw[2:10])
	c = Claims{
		Purpose:    Purpose(raw[1]),
		AccountID:  string(raw[headerLen : headerLen+account]),
		Mark:       binary.BigEndian.Uint64(raw[10:]),
		IssueTime:  time.UnixMicro(int64(binary.BigEndian.Uint64(raw[18:]))).UTC(),
		ExpireTime: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[26:]))).UTC(),
	}
	copy(c.Nonce[:], raw[34:50])
	return raw, c, id, nil
}

func invalid(cause error) error {
	return &reset.Error{Kind: reset.KindTokenInvalid, Detail: "This link is not valid; ask for a new one.", Cause: wrap(cause)}
}

func expired(cause error) error {
	return &reset.Error{Kind: reset.KindTokenExpired, Detail: "This link has expired; ask for a new one.", Cause: wrap(cause)}
}

// wrap adds the package's name to a cause.
func wrap(cause error) error {
	if cause == nil {
		return nil
	}
	return fmt.Errorf("token: %w", cause)
}
