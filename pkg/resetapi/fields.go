package resetapi

import (
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Bounds of fields, in bytes where not said otherwise.
const (
	maxIdentifier = 320 // RFC 3696 erratum 1690: 64 + @ + 255
	maxClientID   = 128
	maxLocale     = 35 // RFC 5646, 4.4.1
	maxToken      = 2 << 10
	maxPassword   = 4 << 10 // 256 characters of 4 bytes, decomposed, fit several times
	maxTicketID   = 256
	maxWait       = 30 * time.Second
)

// checkText wants 1 to limit bytes that say something. grpc-go has checked that they are UTF-8.
func checkText(bad *reset.Violations, field, s string, limit int) {
	switch {
	case strings.TrimSpace(s) == "":
		bad.Add(field, "required")
	case len(s) > limit:
		bad.Add(field, "too long")
	case strings.IndexFunc(strings.TrimSpace(s), unicode.IsControl) >= 0:
		bad.Add(field, "must not have control characters")
	}
}

func checkToken(bad *reset.Violations, token string) {
	switch {
	case token == "":
		bad.Add("token", "required")
	case len(token) > maxToken:
		bad.Add("token", "too long")
	}
}

func checkTicketID(id string) error {
	var bad reset.Violations
	switch {
	case id == "":
		bad.Add("ticket_id", "required")
	case len(id) > maxTicketID:
		bad.Add("ticket_id", "too long")
	}
	return bad.Err()
}

func checkWait(bad *reset.Violations, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if !d.IsValid() || d.AsDuration() < 0 || d.AsDuration() > maxWait {
		bad.Add("wait", "must be between 0 and 30 s")
		return 0
	}
	return d.AsDuration()
}

// checkLocale wants the letters of a BCP 47 tag; which tags there are is the templates' to know.
func checkLocale(bad *reset.Violations, s string) {
	ok := len(s) <= maxLocale
	for i := 0; i < len(s) && ok; i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if !ok {
		bad.Add("client.locale", "must be a BCP 47 language tag such as pt-BR")
	}
}
