package testbed

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

const (
	maxMail     = 1 << 20 // bytes read of a mail; those of both arms have a few thousand
	tokenMarker = "#token="
)

// parse returns the one address that a mail is to, and the token in its link; no token for other mails.
func parse(r io.Reader) (to, token string, err error) {
	m, err := mail.ReadMessage(io.LimitReader(r, maxMail))
	if err != nil {
		return "", "", fmt.Errorf("testbed: %w", err)
	}
	address, err := mail.ParseAddress(m.Header.Get("To"))
	if err != nil {
		return "", "", fmt.Errorf("testbed: To: %w", err)
	}
	text, err := plainText(textproto.MIMEHeader(m.Header), m.Body)
	if err != nil {
		return "", "", err
	}
	_, after, found := strings.Cut(text, tokenMarker)
	if !found {
		return address.Address, "", nil
	}
	if end := strings.IndexFunc(after, notOfToken); end >= 0 {
		after = after[:end]
	}
	return address.Address, after, nil
}

func notOfToken(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return !letter && (r < '0' || r > '9') && !strings.ContainsRune("-_.~=%", r)
}

// plainText returns the first text/plain part, decoded.
func plainText(h textproto.MIMEHeader, body io.Reader) (string, error) {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "text/plain" // RFC 2045, 5.2: what cannot be read is plain text
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err == io.EOF {
				return "", nil
			}
			if err != nil {
				return "", fmt.Errorf("testbed: %w", err)
			}
			if text, err := plainText(part.Header, part); err != nil || text != "" {
				return text, err
			}
		}
	}
	if kind != "text/plain" {
		return "", nil
	}
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return "", fmt.Errorf("testbed: %w", err)
	}
	return string(text), nil
}
