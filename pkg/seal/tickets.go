package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	ticketVersion = 1
	ticketBody    = 4 + 1 + 1 + 8 + 2 + 8 // rest of the id, lane, class, seq, locator, accept time
	ticketLen     = 1 + nonceLen + ticketBody + tagLen
	// TicketChars is the length of a ticket id in characters.
	TicketChars = (ticketLen*8 + 5) / 6
)

// Tickets turns Refs into the ticket ids that callers hold, and back. It is safe for concurrent use.
type Tickets struct{ aead cipher.AEAD }

func newTickets(secret []byte) (*Tickets, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "surgegate tickets v1", dataKeyLen)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return &Tickets{aead: aead}, nil
}

// Seal returns the ticket id, which is always the same for the same Ref. Two different Refs must not have the same ID: see the
// package comment.
func (t *Tickets) Seal(r reset.Ref) string {
	buf := make([]byte, 1+nonceLen, ticketLen)
	buf[0] = ticketVersion
	copy(buf[1:], r.ID[:nonceLen])
	body := make([]byte, 0, ticketBody)
	body = append(body, r.ID[nonceLen:]...)
	body = append(body, byte(r.Lane), byte(r.Class))
	body = binary.BigEndian.AppendUint64(body, r.Seq)
	body = binary.BigEndian.AppendUint16(body, r.Locator)
	body = binary.BigEndian.AppendUint64(body, uint64(r.AcceptTime.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(t.aead.Seal(buf, r.ID[:nonceLen], body, buf[:1]))
}

// Open returns the Ref of a ticket id. Every failure is a *reset.Error of KindNotFound, so that a caller does not learn the
// reason.
func (t *Tickets) Open(id string) (reset.Ref, error) {
	if len(id) != TicketChars || strings.ContainsAny(id, "\r\n") {
		return reset.Ref{}, noTicket("wrong length")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) != ticketLen || raw[0] != ticketVersion {
		return reset.Ref{}, noTicket("not a ticket id")
	}
	nonce := raw[1 : 1+nonceLen]
	body, err := t.aead.Open(nil, nonce, raw[1+nonceLen:], raw[:1])
	if err != nil {
		return reset.Ref{}, noTicket("not sealed here")
	}
	r := reset.Ref{
		Lane:       reset.Lane(body[4]),
		Class:      reset.Class(body[5]),
		Seq:        binary.BigEndian.Uint64(body[6:]),
		Locator:    binary.BigEndian.Uint16(body[14:]),
		AcceptTime: time.UnixMicro(int64(binary.BigEndian.Uint64(body[16:]))).UTC(),
	}
	copy(r.ID[:], nonce)
	copy(r.ID[nonceLen:], body)
	return r, nil
}

// noTicket returns the error of Open. why is for logs.
func noTicket(why string) error {
	return &reset.Error{Kind: reset.KindNotFound, Detail: "No such ticket.", Cause: fmt.Errorf("seal: ticket id: %s", why)}
}

// Format hides the key from every verb.
func (t *Tickets) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal.Tickets{redacted}") }

// LogValue hides the key.
func (t *Tickets) LogValue() slog.Value { return slog.StringValue("seal.Tickets{redacted}") }
