package gate

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Client says on whose behalf a call is made.
type Client struct {
	IP      netip.Addr
	ID      string // at most 128 bytes
	Locale  string // BCP 47, at most 35 bytes
	Verdict Verdict
}

// Verdict is what the caller's bot detection says of a client. Its values equal the API's.
type Verdict uint8

// The verdicts. A suspect stands behind the others.
const (
	VerdictNone    Verdict = 0
	VerdictHuman   Verdict = 1
	VerdictSuspect Verdict = 2
)

// StartRequest asks for a link.
type StartRequest struct {
	Identifier string // as typed, 1 to 320 bytes
	Client     Client
	Wait       time.Duration // 0 to 30 s
}

// CompleteRequest trades a token for a new password.
type CompleteRequest struct {
	Token       string // 1 to 2048 bytes
	NewPassword string // 1 to 4096 bytes
	SignOut     reset.SignOut
	Client      Client
	Wait        time.Duration // 0 to 30 s
	RequestID   string        // a UUID, or empty
}

// String hides the token and the password (SECURITY.md 20).
func (CompleteRequest) String() string { return "CompleteRequest{redacted}" }

// GoString hides the token and the password.
func (r CompleteRequest) GoString() string { return r.String() }

// LogValue hides the token and the password.
func (r CompleteRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON hides the token and the password.
func (CompleteRequest) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// Answer is what a caller gets for an accepted call, or for asking about a ticket.
type Answer struct {
	Ticket    reset.Ticket
	PollAfter time.Duration // when asking again makes sense; 0 for a final ticket
	Replayed  bool          // the ticket is that of an earlier call with the same request id
}
