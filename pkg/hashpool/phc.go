package hashpool

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Errors of Verify. Test with errors.Is.
var (
	// ErrMalformed means that the string is no hash that the pool knows.
	ErrMalformed = errors.New("hashpool: not a hash in a known format")
	// ErrTooCostly means that its parameters are above the caps.
	ErrTooCostly = errors.New("hashpool: the hash's parameters are above the caps")
)

const (
	prefixArgon2id = "$argon2id$"
	prefixArgon2i  = "$argon2i$"
	argonVersion   = "v=19"

	minSaltLen, maxSaltLen = 8, 64
	minHashLen, maxHashLen = 16, 64

	bcryptLen = 60
)

// argonHash is a parsed PHC string.
type argonHash struct {
	id   bool // argon2id; false: argon2i
	kib  uint32
	time uint32
	p    uint8
	salt []byte
	hash []byte
}

func (h argonHash) String() string {
	b64 := base64.RawStdEncoding
	name := prefixArgon2i
	if h.id {
		name = prefixArgon2id
	}
	return fmt.Sprintf("%s%s$m=%d,t=%d,p=%d$%s$%s", name, argonVersion, h.kib, h.time, h.p, b64.EncodeToString(h.salt), b64.EncodeToString(h.hash))
}

func parseArgon(s string) (argonHash, error) {
	h := argonHash{id: strings.HasPrefix(s, prefixArgon2id)}
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[2] != argonVersion {
		return h, ErrMalformed
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return h, ErrMalformed
	}
	var p uint32
	for i, dst := range []*uint32{&h.kib, &h.time, &p} {
		digits, ok := strings.CutPrefix(params[i], []string{"m=", "t=", "p="}[i])
		if !ok {
			return h, ErrMalformed
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
			return h, ErrMalformed
		}
		*dst = uint32(n)
	}
	if p > 255 {
		return h, ErrTooCostly
	}
	h.p = uint8(p)
	if h.kib < 8*p {
		return h, ErrMalformed // RFC 9106: at least 8 KiB a lane
	}
	var err error
	if h.salt, err = decodeB64(parts[4], minSaltLen, maxSaltLen); err != nil {
		return h, err
	}
	h.hash, err = decodeB64(parts[5], minHashLen, maxHashLen)
	return h, err
}

func decodeB64(s string, minLen, maxLen int) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // encoding/base64 skips them, even if it is strict
		return nil, ErrMalformed
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < minLen || len(b) > maxLen {
		return nil, ErrMalformed
	}
	return b, nil
}

// checkCaps returns ErrTooCostly if the parameters are above the caps.
func (h argonHash) checkCaps(memoryBytes int64) error {
	if h.kib > maxArgonKiB || int64(h.kib)<<10 > memoryBytes || h.time > maxArgonTime || h.p > maxArgonParallelism {
		return ErrTooCostly
	}
	return nil
}

// parseBcrypt checks the whole string, because x/crypto/bcrypt accepts strings that are no bcrypt hash.
func parseBcrypt(s string) error {
	if len(s) != bcryptLen || s[0] != '$' || s[1] != '2' || !strings.Contains("aby", s[2:3]) || s[3] != '$' || s[6] != '$' {
		return ErrMalformed
	}
	if s[4] < '0' || s[4] > '9' || s[5] < '0' || s[5] > '9' {
		return ErrMalformed
	}
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if strings.Trim(s[7:], alphabet) != "" {
		return ErrMalformed
	}
	switch cost := int(s[4]-'0')*10 + int(s[5]-'0'); {
	case cost < 4 || cost > 31:
		return ErrMalformed
	case cost > maxBcryptCost:
		return ErrTooCostly
	}
	return nil
}
