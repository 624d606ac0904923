package gate

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Bounds of fields, in bytes where nothing else is said.
const (
	maxIdentifier = 320 // 64 of a mailbox, @, 255 of a domain (RFC 3696, erratum 1690)
	maxClientID   = 128
	maxLocale     = 35 // RFC 5646, 4.4.1
	maxToken      = 2 << 10
	maxPassword   = 4 << 10 // 256 characters of 4 bytes fit several times
	maxTicketID   = 256
	maxWait       = 30 * time.Second
)

// check judges all fields and returns the identifier as it is looked up. Its error is reset.Violations.
func (r StartRequest) check() (identifier string, err error) {
	var bad reset.Violations
	identifier, problem := normalise(r.Identifier)
	if problem != "" {
		bad.Add("identifier", problem)
	}
	checkClient(&bad, r.Client)
	checkWait(&bad, r.Wait)
	return identifier, bad.Err()
}

// check judges the fields whose faults say nothing of a token or a password. Its error is reset.Violations.
func (r CompleteRequest) check() error {
	var bad reset.Violations
	checkToken(&bad, r.Token)
	switch {
	case r.NewPassword == "":
		bad.Add("new_password", "A new password must be given.")
	case len(r.NewPassword) > maxPassword:
		bad.Add("new_password", "A password has at most 4096 bytes.")
	}
	if r.SignOut > reset.SignOutEverywhere {
		bad.Add("sign_out", "Unknown choice.")
	}
	checkClient(&bad, r.Client)
	checkWait(&bad, r.Wait)
	// Validate takes other spellings of one id too (braces, urn:). A replay must not depend on the spelling, so only the 36
	// characters of RFC 9562 are taken, in either case.
	if r.RequestID != "" && (len(r.RequestID) != 36 || uuid.Validate(r.RequestID) != nil) {
		bad.Add("request_id", "A request id is a UUID such as 123e4567-e89b-12d3-a456-426614174000, or empty.")
	}
	return bad.Err()
}

// checkTokenRequest judges the fields of CheckToken. Its error is reset.Violations.
func checkTokenRequest(tok string, c Client) error {
	var bad reset.Violations
	checkToken(&bad, tok)
	checkClient(&bad, c)
	return bad.Err()
}

// checkTicketID judges the only field of GetTicket and WatchTicket. Its error is reset.Violations.
func checkTicketID(id string) error {
	var bad reset.Violations
	switch {
	case id == "":
		bad.Add("ticket_id", "A ticket id must be given.")
	case len(id) > maxTicketID:
		bad.Add("ticket_id", "A ticket id has at most 256 bytes.")
	}
	return bad.Err()
}

// normalise returns the identifier exactly as it is looked up: trimmed and in NFC. Its case stays as it is: the store decides which
// identifiers are equal. problem says what is wrong with the identifier, "" if nothing is.
func normalise(identifier string) (normalised, problem string) {
	identifier = strings.TrimSpace(identifier)
	switch {
	case identifier == "":
		return "", "An identifier is an e-mail address or a user name: it must not be empty."
	case len(identifier) > maxIdentifier:
		return "", "An identifier has at most 320 bytes."
	case !utf8.ValidString(identifier):
		return "", "An identifier is valid UTF-8."
	case strings.ContainsFunc(identifier, unicode.IsControl):
		return "", "An identifier holds no control characters."
	}
	if identifier = norm.NFC.String(identifier); len(identifier) > maxIdentifier { // NFC makes some characters longer
		return "", "An identifier has at most 320 bytes in NFC."
	}
	return identifier, ""
}

func checkClient(bad *reset.Violations, c Client) {
	if !c.IP.IsValid() || c.IP.Zone() != "" || c.IP.IsUnspecified() {
		bad.Add("client.ip", "An IPv4 or IPv6 address without a zone is needed: a trusted caller must send that of the person.")
	}
	if c.ID != "" && (len(c.ID) > maxClientID || strings.TrimSpace(c.ID) == "" || strings.ContainsFunc(c.ID, unicode.IsControl)) {
		bad.Add("client.id", "A client id has at most 128 bytes, is not blank and holds no control characters.")
	}
	if len(c.Locale) > maxLocale || strings.ContainsFunc(c.Locale, isOutsideTags) {
		bad.Add("client.locale", "A locale is a BCP 47 language tag such as pt-BR, of at most 35 bytes.")
	}
	if c.Verdict > VerdictSuspect {
		bad.Add("client.verdict", "Unknown verdict.")
	}
}

func checkToken(bad *reset.Violations, tok string) {
	switch {
	case tok == "":
		bad.Add("token", "A token must be given.")
	case len(tok) > maxToken:
		bad.Add("token", "A token has at most 2048 bytes.")
	}
}

func checkWait(bad *reset.Violations, wait time.Duration) {
	if wait < 0 || wait > maxWait {
		bad.Add("wait", "A wait is between 0 and 30 s.")
	}
}

// isOutsideTags says whether no BCP 47 tag holds the character. Many platforms write the underscore instead of the hyphen, so it is
// taken too. Which tags exist is not judged here: the templates of the mails know it.
func isOutsideTags(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
