package maildir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	stdmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/maildir"
)

func message(id string) mail.Message {
	return mail.Message{
		ID: id, To: "ada@example.com", Subject: "Reset your Ünïted password", Locale: "en",
		Text: "Open\n\nhttps://reset.example.com/complete#token=" + strings.Repeat("t", 200) + "\n\n.\nGrüße\n",
		HTML: "<p>Open <a href=\"https://reset.example.com/complete#token=x\">…</a></p>",
	}
}

func newSender(t *testing.T, path string) *maildir.Sender {
	t.Helper()
	s, err := maildir.New(maildir.Config{Path: path, From: "Exämple <no-reply@example.com>"}, maildir.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestMessageReadsBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "mail")
	s := newSender(t, path)
	m := message("job-1")
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(path, "new", "job-1.eml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: it holds a live link", info.Mode(), err)
	}
	got, err := stdmail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if err != nil || subject != m.Subject {
		t.Errorf("subject %q, %v", subject, err)
	}
	for header, want := range map[string]string{
		"To": "<ada@example.com>", "Message-ID": "<job-1@example.com>", "Auto-Submitted": "auto-generated", "Content-Language": "en",
	} {
		if got.Header.Get(header) != want {
			t.Errorf("%s: %q, want %q", header, got.Header.Get(header), want)
		}
	}
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s, %v", kind, err)
	}
	parts := multipart.NewReader(got.Body, params["boundary"])
	for _, want := range []string{m.Text, m.HTML} {
		part, err := parts.NextPart() // decoded
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); got != want {
			t.Errorf("part is %q, want %q", got, want)
		}
	}
}

func TestRedeliveryOverwrites(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := newSender(t, path)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			if err := s.Send(t.Context(), message(fmt.Sprintf("job-%d", i%3))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := names(t, filepath.Join(path, "new")); len(got) != 3 {
		t.Errorf("3 messages of 24 deliveries are %v", got)
	}
	if got := names(t, filepath.Join(path, "tmp")); len(got) != 0 {
		t.Errorf("left in tmp: %v", got)
	}
}

func TestNothingEscapesTheFolder(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := newSender(t, path)
	for _, id := range []string{"../../evil", "a/b", "a\x00b", ".hidden", "a:2,S", strings.Repeat("x", 4096), "new\nline"} {
		if err := s.Send(t.Context(), message(id)); err != nil {
			t.Errorf("%.20q: %v", id, err)
		}
	}
	for _, name := range names(t, filepath.Join(path, "new")) {
		if len(name) != 64+len(".eml") {
			t.Errorf("file %q", name)
		}
	}
	if got := names(t, path); len(got) != 3 {
		t.Errorf("the maildir holds %v", got)
	}
}

func TestHeaderInjectionIsRefused(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := newSender(t, path)
	for _, to := range []string{
		"", "ada", "ada@example.com\r\nBcc: eve@example.com", "ada@example.com\nX: y", "ada@example.com, eve@example.com",
		"Ada <ada@example.com>", "<ada@example.com>", "ada@example.com\x00", "ada@example.com\u2028", "a\xff@example.com",
		"ada@example.com ", strings.Repeat("a", 300) + "@example.com",
	} {
		m := message("x")
		m.To = to
		err := s.Send(t.Context(), m)
		if !errors.Is(err, mail.ErrRefused) || errors.Is(err, mail.ErrOverloaded) {
			t.Errorf("%.40q: %v", to, err)
		}
		if to != "" && err != nil && strings.Contains(err.Error(), to) {
			t.Errorf("the error quotes the address: %v", err)
		}
	}
	m := message("y")
	m.Subject = "hello\r\nBcc: eve@example.com"
	if err := s.Send(t.Context(), m); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("subject: %v", err)
	}
	if got := names(t, filepath.Join(path, "new")); len(got) != 0 {
		t.Errorf("sent: %v", got)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := newSender(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Send(ctx, message("a")); !errors.Is(err, context.Canceled) || errors.Is(err, mail.ErrOverloaded) {
		t.Errorf("cancelled: %v", err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	if err := s.Send(late, message("a")); !errors.Is(err, mail.ErrOverloaded) {
		t.Errorf("late: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(path, "tmp")); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), message("a")); !errors.Is(err, mail.ErrOverloaded) || failure.Of(err).Code != "ENOENT" {
		t.Errorf("no folder: %v", err)
	}
	if _, err := maildir.New(maildir.Config{Path: filepath.Join("/dev/null", "mail")}, maildir.Deps{}); err == nil {
		t.Error("a path that cannot be made")
	}
}

func TestLeftoversAreSwept(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	newSender(t, path)
	for name, age := range map[string]time.Duration{"old": 37 * time.Hour, "young": time.Hour} {
		file := filepath.Join(path, "tmp", name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(file, then, then); err != nil {
			t.Fatal(err)
		}
	}
	newSender(t, path)
	if got := names(t, filepath.Join(path, "tmp")); len(got) != 1 || got[0] != "young" {
		t.Errorf("left in tmp: %v", got)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]maildir.Config{
		"path": {}, "from": {Path: "x", From: "no address"},
	} {
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := (maildir.Config{Path: "x", From: "a@b.example\r\nBcc: c@d.example"}).Validate(); err == nil {
		t.Error("a header in the sender")
	}
}

func ExampleNew() {
	path, err := os.MkdirTemp("", "mail")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(path) }()
	sender, err := maildir.New(maildir.Config{Path: path, From: "Example <no-reply@example.com>"}, maildir.Deps{})
	if err != nil {
		log.Fatal(err)
	}
	err = sender.Send(context.Background(), mail.Message{ID: "job-1", To: "ada@example.com", Subject: "Hello", Text: "Hello, Ada.\n"})
	fmt.Println(err)
	// Output: <nil>
}
