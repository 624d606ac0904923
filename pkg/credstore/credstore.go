package credstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Store is a credential store.
type Store interface {
	// Describe tells what the store needs and can take.
	Describe(ctx context.Context) (Description, error)
	// Lookup finds accounts by what people typed and by account id: one result for each identifier, then one for each
	// account id, in order.
	Lookup(ctx context.Context, identifiers, accountIDs []string) ([][]Account, error)
	// SetPasswords applies changes of distinct accounts: one result each, in order.
	SetPasswords(ctx context.Context, changes []Change) ([]Result, error)
	// Close releases the store's connections.
	Close() error
}

// Revoker ends sessions. A Store may be one too.
type Revoker interface {
	// RevokeSessions ends the sessions that accounts had before a moment: one result each, in order.
	RevokeSessions(ctx context.Context, revocations []Revocation) ([]Revoked, error)
}

// Form is how a store wants passwords.
type Form uint8

// The forms. The values are those of the API.
const (
	FormHash      Form = 1 // a PHC string, hashed by surgegate
	FormPlaintext Form = 2
)

// Description is what a store says of itself. Its JSON is kept in the queue's records.
type Description struct {
	Form           Form     `json:"form"`
	MaxLookupBatch int      `json:"max_lookup_batch"` // at least 1
	MaxSetBatch    int      `json:"max_set_batch"`    // at least 1
	MaxRevokeBatch int      `json:"max_revoke_batch"` // 0: it cannot revoke
	HashSchemes    []string `json:"hash_schemes"`     // PHC ids that it can verify, best first
}

// Account is what surgegate needs to know of an account.
type Account struct {
	ID            string
	Address       string
	Locale        string // BCP 47, may be empty
	CurrentHash   Secret // empty unless the store shares it
	NotResettable bool   // no link is mailed
}

// Change is one accepted reset.
type Change struct {
	AccountID  string
	Password   Secret // in the form that Describe asked for
	ChangeID   string
	Sequence   uint64
	AcceptTime time.Time
}

// Outcome is what became of a change.
type Outcome uint8

// The outcomes. The values are those of the API.
const (
	Applied        Outcome = 1
	AlreadyApplied Outcome = 2
	Superseded     Outcome = 3
	UnknownAccount Outcome = 4
	Refused        Outcome = 5
	RetryItem      Outcome = 6
)

// String returns the outcome's name as metrics and logs use it.
func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case AlreadyApplied:
		return "already_applied"
	case Superseded:
		return "superseded"
	case UnknownAccount:
		return "unknown_account"
	case Refused:
		return "refused"
	case RetryItem:
		return "retry"
	default:
		return "unknown"
	}
}

// Result is the result of one change. Detail is for operators, never for people.
type Result struct {
	Outcome Outcome
	Detail  string
}

// Revocation ends the sessions that an account had before a moment.
type Revocation struct {
	AccountID      string
	RevocationID   string
	SessionsBefore time.Time
}

// Revoked is the result of one revocation.
type Revoked struct {
	Known bool
	Ended int
}

// ErrOverloaded is wrapped by errors that say that the store is overloaded or away: slow down, use up no try. Errors should
// be a *failure.Error as well, so that operators are told a code.
var ErrOverloaded = errors.New("credstore: overloaded or unavailable")

// ErrConfig is wrapped by errors that no retry can mend, such as a missing table. Somebody has to change something: the whole
// batch waits for that, and no job uses up a try.
var ErrConfig = errors.New("credstore: configuration")

// Secret is a password or a hash. It redacts itself in every form of printing, but as the key of a map in JSON.
type Secret string

// String redacts.
func (Secret) String() string { return "[redacted]" }

// GoString redacts.
func (Secret) GoString() string { return "[redacted]" }

// Format redacts under every verb: String alone would leave %d and %o.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue redacts.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText redacts.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Reveal returns the secret.
func (s Secret) Reveal() string { return string(s) }
