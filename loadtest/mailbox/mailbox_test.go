package mailbox

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ mail, to, token string }{
		"plain": {"To: a@b.example\r\n\r\nGo to https://x/complete#token=abc-D_9.z now", "a@b.example", "abc-D_9.z"},
		"quoted-printable": {"To: <a@b.example>\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
			"https://x/complete#token=3Dabcdef=\r\nghij\r\n", "a@b.example", "abcdefghij"},
		"base64": {"To: a@b.example\r\nContent-Transfer-Encoding: base64\r\n\r\naHR0cHM6Ly94LyN0b2tlbj1hYmM=\r\n", "a@b.example", "abc"},
		"multipart": {"To: a@b.example\r\nContent-Type: multipart/alternative; boundary=q\r\n\r\n--q\r\nContent-Type: text/html\r\n\r\n" +
			"<a href=\"#token=html\">\r\n--q\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n#token=3Dtext\r\n--q--\r\n", "a@b.example", "text"},
		"confirmation": {"To: a@b.example\r\n\r\nYour password was changed.", "a@b.example", ""},
	} {
		to, token, err := parse(strings.NewReader(c.mail))
		if err != nil || to != c.to || token != c.token {
			t.Errorf("%s: %q %q %v, want %q %q", name, to, token, err, c.to, c.token)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("To: a@b.example\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\n#token=x\r\n--q--")
	f.Fuzz(func(t *testing.T, mail string) {
		_, token, err := parse(strings.NewReader(mail))
		if err == nil && strings.IndexFunc(token, notOfToken) >= 0 {
			t.Errorf("token %q has characters that no token has", token)
		}
	})
}

func TestPeopleGetTheirOwnMails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := NewWatcher(dir, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const people = 200
	var boxes []<-chan string
	for i := range people {
		boxes = append(boxes, w.Open(fmt.Sprintf("p%d@x.example", i)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for i := range people {
		if err := Deliver(dir, fmt.Sprint(i), fmt.Sprintf("p%d@x.example", i), "Link", fmt.Sprintf("https://x/complete#token=t%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, box := range boxes {
		select {
		case token := <-box:
			if token != fmt.Sprintf("t%d", i) {
				t.Errorf("person %d got %q", i, token)
			}
		case <-ctx.Done():
			t.Fatalf("person %d got nothing", i)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "new")); err != nil || len(left) != 0 {
		t.Errorf("%d mails left unread, %v", len(left), err)
	}
	if w.Links() != people {
		t.Errorf("%d links counted", w.Links())
	}
}

func TestTheNewestTokenWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := NewWatcher(dir, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	box := w.Open("a@x.example")
	for _, token := range []string{"old", "new"} {
		if err := Deliver(dir, token, "a@x.example", "Link", "#token="+token); err != nil {
			t.Fatal(err)
		}
		if err := w.look(); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-box; got != "new" {
		t.Errorf("got %q", got)
	}
	w.Close("a@x.example")
	if err := Deliver(dir, "late", "a@x.example", "Link", "#token=late"); err != nil {
		t.Fatal(err)
	}
	if err := w.look(); err != nil {
		t.Fatal(err)
	}
}
