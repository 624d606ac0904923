// Package mime turns a mail.Message into an RFC 5322 message, for the adapters that hand such messages off. It is the
// one place that knows go-mail's message builder.
package mime

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	stdmail "net/mail"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/surgegate/surgegate/pkg/mail"
)

// ParseFrom reads a sender: an address, or a name and an address.
func ParseFrom(from string) (*stdmail.Address, error) {
	a, err := stdmail.ParseAddress(from)
	if err != nil || strings.ContainsFunc(from, func(r rune) bool { return r < ' ' }) {
		return nil, errors.New(`is not one address, such as "Example <no-reply@example.com>"`)
	}
	return a, nil
}

// Build makes the message: text and HTML as alternatives, the id of every delivery the same, and a mark that keeps
// absence notices from answering it (RFC 3834).
func Build(from *stdmail.Address, m mail.Message, now time.Time) (*gomail.Msg, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	encoding, end := gomail.EncodingQP, "\n"
	if plain(m.Text) && plain(m.HTML) {
		// "8bit" on what is 7bit: with EncodingUSASCII go-mail 0.8.1 says 7bit and writes quoted-printable.
		encoding, end = gomail.NoEncoding, "\r\n"
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	msg.FromMailAddress(from)
	if err := msg.To(m.To); err != nil {
		return nil, fmt.Errorf("%w: address is not one mail address", mail.ErrRefused)
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	msg.SetMessageIDWithValue(SafeID(m.ID) + "@" + domain)
	msg.SetDateWithValue(now)
	msg.Subject(m.Subject)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Locale != "" {
		msg.SetGenHeader("Content-Language", SafeID(m.Locale))
	}
	// The quoted-printable writer loses lines where "\n" and "\r\n" are mixed; it makes CRLF of "\n" by itself.
	lines := strings.NewReplacer("\r\n", end, "\r", end, "\n", end)
	msg.SetBodyString(gomail.TypeTextPlain, lines.Replace(m.Text), gomail.WithPartEncoding(encoding))
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, lines.Replace(m.HTML), gomail.WithPartEncoding(encoding))
	}
	return msg, nil
}

// plain tells whether the text may go as it is (7bit, RFC 2045, 2.7): then a link can be copied out of a raw mail, which
// quoted-printable breaks into lines.
func plain(text string) bool {
	column := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\n' || c == '\r':
			column = 0
		case c < ' ' && c != '\t' || c > '~' || column == 998:
			return false
		default:
			column++
		}
	}
	return true
}

// SafeID returns an id that is safe in a header and as a file name: itself if it is made of letters, digits, '-' and
// '_' only and no longer than 100 bytes, else its SHA-256.
func SafeID(id string) string {
	safe := func(r rune) bool {
		return r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if id != "" && len(id) <= 100 && !strings.ContainsFunc(id, func(r rune) bool { return !safe(r) }) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
