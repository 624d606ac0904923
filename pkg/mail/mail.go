package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"strings"
	"unicode/utf8"
)

// Sender is a mail provider.
type Sender interface {
	Send(ctx context.Context, m Message) error
	Close() error
}

// Message is one mail, ready to be handed off. It holds a live token: it prints as its ID only.
type Message struct {
	ID      string // of the job: the same for every delivery of this mail
	To      string // one address
	Subject string
	Text    string
	HTML    string
	Locale  string
}

// ErrOverloaded is wrapped by errors that mean later.
var ErrOverloaded = errors.New("mail: provider overloaded or unavailable")

// ErrDeferred is wrapped by errors that mean later for this message, and say nothing of the provider.
var ErrDeferred = errors.New("mail: recipient cannot take it now")

// ErrRefused is wrapped by errors that mean never for this message.
var ErrRefused = errors.New("mail: refused for good")

// Lengths of RFC 5321, section 4.5.3.1: an address with its angle brackets; and of RFC 5322, section 2.1.1: a line.
const (
	maxAddressBytes = 254
	maxSubjectBytes = 900
)

// Validate says whether the message can be sent to exactly the one address that To is. Its errors wrap ErrRefused and
// do not quote the address.
func (m Message) Validate() error {
	switch {
	case m.ID == "":
		return fmt.Errorf("%w: message has no id", ErrRefused)
	case len(m.To) > maxAddressBytes || !printable(m.To):
		return fmt.Errorf("%w: address is too long or has control characters", ErrRefused)
	case len(m.Subject) > maxSubjectBytes || !printable(m.Subject):
		return fmt.Errorf("%w: subject is too long or has control characters", ErrRefused)
	case !utf8.ValidString(m.Text) || !utf8.ValidString(m.HTML):
		return fmt.Errorf("%w: text is not UTF-8", ErrRefused)
	}
	// ParseAddress also takes "Name <address>"; a stored address with a name in it is not one that surgegate should guess at.
	a, err := mail.ParseAddress(m.To)
	if err != nil || a.Name != "" || a.Address != m.To || strings.ContainsAny(m.To, "<>") {
		return fmt.Errorf("%w: address is not one mail address", ErrRefused)
	}
	return nil
}

// printable tells whether s is UTF-8 without the characters that end or split a header line.
func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// String redacts all but the id.
func (m Message) String() string { return "Message{ID:" + m.ID + " redacted}" }

// Format redacts all but the id, under every verb.
func (m Message) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// LogValue redacts all but the id.
func (m Message) LogValue() slog.Value { return slog.StringValue(m.String()) }

// MarshalText redacts all but the id.
func (m Message) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
