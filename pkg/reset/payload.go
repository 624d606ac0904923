package reset

import (
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The plaintexts of job payloads. They are encoded as protobuf fields with the numbers below, so that a job written by another
// version stays readable. They are stored only sealed.

// Purpose says why an account is looked up and which mail follows.
type Purpose uint8

// The purposes. The values are written to disk.
const (
	PurposeLink         Purpose = 1 // somebody asked for a reset link
	PurposeConfirmation Purpose = 2 // a password was changed; the owner is told
	PurposeReplacement  Purpose = 3 // a completion expired or was refused late; a new link is mailed
)

// String returns the purpose's name as metrics and logs use it.
func (p Purpose) String() string {
	switch p {
	case PurposeLink:
		return "link"
	case PurposeConfirmation:
		return "confirmation"
	case PurposeReplacement:
		return "replacement"
	default:
		return "unknown"
	}
}

// StartPayload is the payload of a start job: an identifier as typed (trimmed, NFC) or an account id.
type StartPayload struct {
	Identifier string  // 1; empty when AccountID is set
	AccountID  string  // 2
	Locale     string  // 3; BCP 47, may be empty
	Purpose    Purpose // 4
}

// MailPayload is the payload of a mail job. Address is the one that the store has, never the submitted one.
type MailPayload struct {
	AccountID string  // 1
	Address   string  // 2
	Locale    string  // 3
	Purpose   Purpose // 4
	// AskTime is when the start was accepted that this mail answers; zero if there was none, and in jobs of older versions.
	AskTime time.Time // 5; µs
}

// SignOut says what a completion does to the account's sessions. The values equal the API's.
type SignOut uint8

// The choices.
const (
	SignOutDefault    SignOut = 0 // as configured
	SignOutKeep       SignOut = 1
	SignOutEverywhere SignOut = 2
)

// CompletionPayload is the payload of hash and apply jobs.
type CompletionPayload struct {
	AccountID string  // 1
	Token     string  // 2; used by this completion; the worker verifies it again
	Password  string  // 3; plaintext (NFC) in the hash lane and for stores that hash themselves, otherwise a PHC string
	Hashed    bool    // 4; Password is a PHC string
	SignOut   SignOut // 5
	Locale    string  // 6
}

// RevokePayload is the payload of a revoke job.
type RevokePayload struct {
	AccountID      string    // 1
	SessionsBefore time.Time // 2; µs
}

// Marshal encodes the payload.
func (p StartPayload) Marshal() []byte {
	b := appendString(nil, 1, p.Identifier)
	b = appendString(b, 2, p.AccountID)
	b = appendString(b, 3, p.Locale)
	return appendUint(b, 4, uint64(p.Purpose))
}

// Unmarshal decodes the payload.
func (p *StartPayload) Unmarshal(b []byte) error {
	return forEachField(b, func(n protowire.Number, s string, u uint64) {
		switch n {
		case 1:
			p.Identifier = s
		case 2:
			p.AccountID = s
		case 3:
			p.Locale = s
		case 4:
			p.Purpose = Purpose(min(u, math.MaxUint8))
		}
	})
}

// Marshal encodes the payload.
func (p MailPayload) Marshal() []byte {
	b := appendString(nil, 1, p.AccountID)
	b = appendString(b, 2, p.Address)
	b = appendString(b, 3, p.Locale)
	b = appendUint(b, 4, uint64(p.Purpose))
	if p.AskTime.IsZero() {
		return b
	}
	return appendUint(b, 5, uint64(p.AskTime.UnixMicro()))
}

// Unmarshal decodes the payload.
func (p *MailPayload) Unmarshal(b []byte) error {
	return forEachField(b, func(n protowire.Number, s string, u uint64) {
		switch n {
		case 1:
			p.AccountID = s
		case 2:
			p.Address = s
		case 3:
			p.Locale = s
		case 4:
			p.Purpose = Purpose(min(u, math.MaxUint8))
		case 5:
			p.AskTime = time.UnixMicro(int64(u)).UTC()
		}
	})
}

// Marshal encodes the payload.
func (p CompletionPayload) Marshal() []byte {
	b := appendString(nil, 1, p.AccountID)
	b = appendString(b, 2, p.Token)
	b = appendString(b, 3, p.Password)
	if p.Hashed {
		b = appendUint(b, 4, 1)
	}
	b = appendUint(b, 5, uint64(p.SignOut))
	return appendString(b, 6, p.Locale)
}

// Unmarshal decodes the payload.
func (p *CompletionPayload) Unmarshal(b []byte) error {
	return forEachField(b, func(n protowire.Number, s string, u uint64) {
		switch n {
		case 1:
			p.AccountID = s
		case 2:
			p.Token = s
		case 3:
			p.Password = s
		case 4:
			p.Hashed = u != 0
		case 5:
			p.SignOut = SignOut(min(u, math.MaxUint8))
		case 6:
			p.Locale = s
		}
	})
}

// String hides the password and the token (SECURITY.md 20).
func (p CompletionPayload) String() string { return "CompletionPayload{redacted}" }

// GoString hides the password and the token.
func (p CompletionPayload) GoString() string { return p.String() }

// MarshalJSON hides the password and the token.
func (p CompletionPayload) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// Marshal encodes the payload.
func (p RevokePayload) Marshal() []byte {
	return appendUint(appendString(nil, 1, p.AccountID), 2, uint64(p.SessionsBefore.UnixMicro()))
}

// Unmarshal decodes the payload.
func (p *RevokePayload) Unmarshal(b []byte) error {
	return forEachField(b, func(n protowire.Number, s string, u uint64) {
		switch n {
		case 1:
			p.AccountID = s
		case 2:
			p.SessionsBefore = time.UnixMicro(int64(u)).UTC()
		}
	})
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendUint(b []byte, n protowire.Number, u uint64) []byte {
	if u == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), u)
}

var errPayload = errors.New("payload is not protobuf fields")

// forEachField calls f for each string or varint field. It skips fields of other types, which a newer version may write.
func forEachField(b []byte, f func(n protowire.Number, s string, u uint64)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errPayload
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeString(b)
			if n < 0 {
				return errPayload
			}
			f(num, v, 0)
			b = b[n:]
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return errPayload
			}
			f(num, "", v)
			b = b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return errPayload
			}
			b = b[n:]
		}
	}
	return nil
}
