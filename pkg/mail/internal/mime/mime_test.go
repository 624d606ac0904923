package mime_test

import (
	"bytes"
	"errors"
	"io"
	stdmime "mime"
	"mime/multipart"
	"mime/quotedprintable"
	stdmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/internal/mime"
)

// FuzzBuild checks that whatever is in a message, it is refused, or reads back as that message: one recipient, the
// headers that belong there and no others, both texts.
func FuzzBuild(f *testing.F) {
	f.Add("job-1", "ada@example.com", "Reset your password", "hello\n.\nthere", "<p>hello</p>", "en")
	f.Add("a\r\nb", "ada@example.com\r\nBcc: eve@example.com", "x\r\nBcc: eve@example.com", "\r\n.\r\n", "", "en\r\nX: y")
	f.Add("x", "ada@example.com", "x", strings.Repeat("y", 998)+"\n--\nFrom x\n.", strings.Repeat("z", 999), "en")
	f.Add("", "\"a b\"@example.com", strings.Repeat("ü", 400), strings.Repeat("x", 5000), "--", "")
	f.Add("x", "ü@example.com", "=?utf-8?q?x?=", "=\n= \n", "\x00", "de")
	from, err := mime.ParseFrom("Exämple <no-reply@example.com>")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, to, subject, text, html, locale string) {
		msg, err := mime.Build(from, mail.Message{ID: id, To: to, Subject: subject, Text: text, HTML: html, Locale: locale}, time.Unix(1e9, 0))
		if err != nil {
			if !errors.Is(err, mail.ErrRefused) {
				t.Errorf("%v", err)
			}
			return
		}
		if got, err := msg.GetRecipients(); err != nil || len(got) != 1 {
			t.Fatalf("recipients %q, %v", got, err)
		}
		var wire bytes.Buffer
		if _, err := msg.WriteTo(&wire); err != nil {
			t.Fatal(err)
		}
		read, err := stdmail.ReadMessage(&wire)
		if err != nil {
			t.Fatal(err)
		}
		known := []string{"Auto-Submitted", "Content-Language", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}
		for header, values := range read.Header {
			if !slices.Contains(known, header) || len(values) != 1 {
				t.Errorf("header %s: %q", header, values)
			}
		}
		if got, err := stdmail.ParseAddress(read.Header.Get("To")); err != nil || got.Address != to {
			t.Errorf("to %q, %v", read.Header.Get("To"), err)
		}
		kind, params, err := stdmime.ParseMediaType(read.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		if html == "" {
			body := read.Body
			if read.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
				body = quotedprintable.NewReader(body)
			}
			same(t, body, text)
			return
		}
		if kind != "multipart/alternative" {
			t.Fatalf("it is %s", kind)
		}
		parts := multipart.NewReader(read.Body, params["boundary"])
		for _, want := range []string{text, html} {
			part, err := parts.NextPart() // decoded
			if err != nil {
				t.Fatal(err)
			}
			same(t, part, want)
		}
	})
}

// same compares texts as mail carries them: lines end with CRLF and the end of the last one is free.
func same(t *testing.T, got io.Reader, want string) {
	t.Helper()
	text, err := io.ReadAll(got)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(s string) string {
		return strings.TrimRight(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s), "\n")
	}
	if lines(string(text)) != lines(want) {
		t.Errorf("text %q, want %q", text, want)
	}
}

// FuzzSafeID checks that an id is one file name and one header word, and that ids that differ stay different.
func FuzzSafeID(f *testing.F) {
	for _, id := range []string{"", "job-1", "../x", "a/b", "a:b", "x\x00", strings.Repeat("y", 200)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		safe := mime.SafeID(id)
		if safe == "" || len(safe) > 100 || !utf8.ValidString(safe) || strings.ContainsAny(safe, "/\\.: <>@\r\n\x00") {
			t.Errorf("%q is %q", id, safe)
		}
		if other := mime.SafeID(id + "'"); other == safe {
			t.Errorf("%q and another id are %q", id, safe)
		}
	})
}

func TestParseFrom(t *testing.T) {
	t.Parallel()
	for from, ok := range map[string]bool{
		"a@example.com": true, "Example <a@example.com>": true, `"Ex, ample" <a@example.com>`: true,
		"": false, "Example": false, "a@example.com, b@example.com": false, "a@example.com\r\nBcc: b@example.com": false,
	} {
		if _, err := mime.ParseFrom(from); (err == nil) != ok {
			t.Errorf("%q: %v", from, err)
		}
	}
}
