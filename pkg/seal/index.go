package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
	"sync"

	"github.com/surgegate/surgegate/pkg/reset"
)

// The kinds of what is hashed. The kind is the first byte of the message, so that equal strings of two kinds have different
// hashes.
const (
	domainIdentifier byte = 1
	domainAccount    byte = 2
	domainRecipient  byte = 3
	domainRequest    byte = 4
)

// Index computes the keys by which the queue finds jobs without naming a person: the first 128 bits of HMAC-SHA-256. It is
// safe for concurrent use.
type Index struct{ pool sync.Pool }

type hasher struct {
	mac hash.Hash
	buf []byte
	sum [sha256.Size]byte
}

func newIndex(secret []byte) *Index {
	x := &Index{}
	x.pool.New = func() any {
		return &hasher{mac: hmac.New(sha256.New, secret)}
	}
	return x
}

// Identifier hashes an identifier, exactly as it is looked up.
func (x *Index) Identifier(s string) reset.Key { return x.hash(domainIdentifier, "", s) }

// Account hashes an account id.
func (x *Index) Account(s string) reset.Key { return x.hash(domainAccount, "", s) }

// Recipient hashes a mail address.
func (x *Index) Recipient(s string) reset.Key { return x.hash(domainRecipient, "", s) }

// Request hashes the token of a completion together with the caller's request id. Without a request id it returns the zero Key.
func (x *Index) Request(token, requestID string) reset.Key {
	if requestID == "" {
		return reset.Key{}
	}
	return x.hash(domainRequest, token, requestID)
}

// hash hashes domain, the length of a, a and b.
func (x *Index) hash(domain byte, a, b string) reset.Key {
	h, _ := x.pool.Get().(*hasher)
	h.mac.Reset()
	h.buf = append(h.buf[:0], domain)
	h.buf = binary.BigEndian.AppendUint32(h.buf, uint32(len(a)))
	h.buf = append(h.buf, a...)
	h.buf = append(h.buf, b...)
	_, _ = h.mac.Write(h.buf) // a hash never fails
	clear(h.buf)
	var k reset.Key
	copy(k[:], h.mac.Sum(h.sum[:0]))
	x.pool.Put(h)
	return k
}

// Format hides the key from every verb.
func (x *Index) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal.Index{redacted}") }

// LogValue hides the key.
func (x *Index) LogValue() slog.Value { return slog.StringValue("seal.Index{redacted}") }
