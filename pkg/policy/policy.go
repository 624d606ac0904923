package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/surgegate/surgegate/pkg/reset"
)

// The reasons of KindWeakPassword.
const (
	ReasonTooShort = "PASSWORD_TOO_SHORT"
	ReasonTooLong  = "PASSWORD_TOO_LONG"
	ReasonCommon   = "PASSWORD_COMMON"
	ReasonBreached = "PASSWORD_BREACHED"
)

const field = "new_password"

// Policy checks passwords. It is safe for concurrent use.
type Policy struct {
	cfg      Config
	blocked  blocklist
	breached *breachedFile // nil: none configured
}

// New loads the blocklist and opens the breached file.
func New(cfg Config) (*Policy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Policy{cfg: cfg.WithDefaults()}
	var err error
	if p.blocked, err = loadBlocklist(p.cfg.BlocklistFile); err != nil {
		return nil, fmt.Errorf("policy: BlocklistFile: %w", err)
	}
	if p.cfg.BreachedFile != "" {
		if p.breached, err = openBreached(p.cfg.BreachedFile); err != nil {
			return nil, fmt.Errorf("policy: BreachedFile: %w", err)
		}
	}
	return p, nil
}

// Close closes the breached file.
func (p *Policy) Close() error {
	if p.breached == nil {
		return nil
	}
	return p.breached.Close()
}

// Check returns the password in NFC, the form to be hashed. maxBytes bounds that form for stores that cannot take more (bcrypt: 72); 0
// means no bound. Errors are *reset.Error: KindInvalid, KindWeakPassword, or KindInternal if the breached file cannot be read.
func (p *Policy) Check(password string, maxBytes int) (string, error) {
	if !utf8.ValidString(password) {
		return "", &reset.Error{Kind: reset.KindInvalid, Field: field, Detail: "The password is not valid UTF-8: send it as the person typed it, in UTF-8."}
	}
	// NFC makes one character of at most 4 (such as U+1F82). What is longer than that will be refused, so it is not normalised.
	if len(password) > 4*utf8.UTFMax*p.cfg.MaxChars {
		return "", p.tooLong()
	}
	nfc := norm.NFC.String(password)
	if maxBytes > 0 {
		if len(nfc) > maxBytes {
			return "", weak(ReasonTooLong, fmt.Sprintf("Use a shorter password: at most %d bytes (letters with accents take 2 or more, emoji 4).", maxBytes))
		}
		if strings.IndexByte(nfc, 0) >= 0 {
			return "", &reset.Error{Kind: reset.KindInvalid, Field: field, Detail: "The password holds a NUL character: leave it out."}
		}
	}
	switch n := utf8.RuneCountInString(nfc); {
	case n < p.cfg.MinChars:
		return "", weak(ReasonTooShort, fmt.Sprintf("Use a longer password: at least %d characters; a few unrelated words make a good one.", p.cfg.MinChars))
	case n > p.cfg.MaxChars:
		return "", p.tooLong()
	}
	if p.blocked.matches(nfc) {
		return "", weak(ReasonCommon, "Use another password: this one is among the first that attackers try.")
	}
	if p.breached == nil {
		return nfc, nil
	}
	found, err := p.breached.contains(nfc)
	if err != nil {
		return "", &reset.Error{Kind: reset.KindInternal, Cause: fmt.Errorf("policy: BreachedFile: %w", err)}
	}
	if found {
		return "", weak(ReasonBreached, "Use another password: this one has appeared in a data breach.")
	}
	return nfc, nil
}

func (p *Policy) tooLong() error {
	return weak(ReasonTooLong, fmt.Sprintf("Use a shorter password: at most %d characters.", p.cfg.MaxChars))
}

func weak(reason, detail string) error {
	return &reset.Error{Kind: reset.KindWeakPassword, Reason: reason, Field: field, Detail: detail}
}
