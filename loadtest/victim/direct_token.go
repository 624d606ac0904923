package victim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// signer makes tokens: base64url(account "|" expiry in Unix seconds "|" HMAC-SHA-256 of both).
type signer struct{ key []byte }

func (s signer) sign(account string, expire time.Time) string {
	text := account + "|" + strconv.FormatInt(expire.Unix(), 10)
	return base64.RawURLEncoding.EncodeToString([]byte(text + "|" + string(s.mac(text))))
}

// verify returns the account and expiry of a token that it made itself.
func (s signer) verify(token string) (account string, expire time.Time, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < sha256.Size+1 {
		return "", time.Time{}, false
	}
	text, mac := string(raw[:len(raw)-sha256.Size-1]), raw[len(raw)-sha256.Size:]
	if !hmac.Equal(mac, s.mac(text)) {
		return "", time.Time{}, false
	}
	account, seconds, found := strings.Cut(text, "|")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if !found || err != nil {
		return "", time.Time{}, false
	}
	return account, time.Unix(unix, 0), true
}

func (s signer) mac(text string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
