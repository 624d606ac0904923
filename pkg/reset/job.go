package reset

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// ID is 128 random bits: a job id (also the store's change id and revocation id) or a ticket's own id.
type ID [16]byte

// NewID returns a fresh random ID.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails since Go 1.24: it ends the process instead
	return id
}

// IsZero reports whether the id is unset.
func (id ID) IsZero() bool { return id == ID{} }

// String returns 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID is the inverse of String.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("an id is 32 hexadecimal digits, not %d characters", len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("an id is 32 hexadecimal digits: %w", err)
	}
	return id, nil
}

// Key is a keyed hash (HMAC-SHA-256, first 128 bits) of an identifier, an account id, an address or a request id.
type Key [16]byte

// IsZero reports whether the key is unset.
func (k Key) IsZero() bool { return k == Key{} }

// Ref is a ticket's own id and its place in line. Callers hold it sealed, as the ticket id. So the position can be computed
// and the ticket found without an index.
type Ref struct {
	ID         ID
	Lane       Lane
	Class      Class
	Seq        uint64    // the place: ordinal in the line (lane, class), from 1
	Locator    uint16    // for the engine's use, such as a partition; 0 in the embedded engine
	AcceptTime time.Time // µs
}

// Job is one unit of durable work for one downstream. Its payload is sealed; the rest names no person.
type Job struct {
	// ID is chosen by the caller before sealing: it is bound into the payload.
	ID ID
	// Ticket is the ticket that shows this job's state; zero if there is none.
	Ticket ID
	Lane   Lane
	Class  Class
	// Key decides which jobs of a lane coalesce or supersede each other: the hashed identifier (start) or account (mail, hash
	// and apply).
	Key Key
	// Unique jobs neither coalesce nor supersede: revocations, confirmations, replacement links.
	Unique bool
	// Account is the keyed hash of the account id; zero while it is not known.
	Account Key
	// Sequence is the account's mark as this completion raised it; 0 for other jobs. The queue sets it.
	Sequence   uint64
	AcceptTime time.Time // µs
	// ExpireTime is until when a sealed password may wait, in µs; zero: forever.
	ExpireTime time.Time
	// Attempts counts the tries that were used. Overload, an open breaker and a lost lease use none.
	Attempts uint32
	// Trace is the trace of the call that asked for this work, if it is recorded. Follow-ups inherit it. It is random numbers
	// and names no person.
	Trace   Trace
	Payload []byte
}

// Trace is a W3C trace context (trace id, span id, flags) without the version, and without the tracestate, which is free
// text. The zero value means none.
type Trace struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte
}

// TraceBytes is the size of a Trace on disk: trace id, span id, flags.
const TraceBytes = 16 + 8 + 1

// IsZero reports whether there is no trace.
func (t Trace) IsZero() bool { return t == Trace{} }

// Append appends the TraceBytes bytes of t.
func (t Trace) Append(b []byte) []byte {
	return append(append(append(b, t.TraceID[:]...), t.SpanID[:]...), t.Flags)
}

// TraceOf reads what Append wrote. b must have at least TraceBytes bytes.
func TraceOf(b []byte) (t Trace) {
	copy(t.TraceID[:], b)
	copy(t.SpanID[:], b[16:])
	t.Flags = b[24]
	return t
}
