package testbed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"runtime"
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

func FuzzParseMail(f *testing.F) {
	f.Add("To: a@b.example\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\n#token=x\r\n--q--")
	f.Fuzz(func(t *testing.T, mail string) {
		_, token, err := parse(strings.NewReader(mail))
		if err == nil && strings.IndexFunc(token, notOfToken) >= 0 {
			t.Errorf("token %q has characters that no token has", token)
		}
	})
}

func TestEachLinkIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := NewWatcher(dir, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const people = 200
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := make(chan [2]string, people)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, func(to, token string) { got <- [2]string{to, token} }) }()
	for i := range people {
		if err := DeliverMail(dir, fmt.Sprint(i), fmt.Sprintf("p%d@x.example", i), "Link", fmt.Sprintf("https://x/complete#token=t%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := DeliverMail(dir, "other", "p0@x.example", "Changed", "Your password was changed."); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for range people {
		select {
		case mail := <-got:
			seen[mail[0]] = mail[1]
		case <-ctx.Done():
			t.Fatalf("%d of %d mails came", len(seen), people)
		}
	}
	for i := range people {
		if token := seen[fmt.Sprintf("p%d@x.example", i)]; token != fmt.Sprintf("t%d", i) {
			t.Errorf("person %d got %q", i, token)
		}
	}
	for w.Others() == 0 && ctx.Err() == nil {
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "new")); err != nil || len(left) != 0 {
		t.Errorf("%d mails left unread, %v", len(left), err)
	}
	if w.Links() != people || w.Others() != 1 {
		t.Errorf("%d links and %d others counted", w.Links(), w.Others())
	}
}

// mailWithin says MAIL FROM and waits that long for the answer.
func mailWithin(t *testing.T, address string, wait time.Duration) error {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is in it
	client, err := smtp.NewClient(conn, "sink.invalid")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(clock.System{}.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return client.Mail("no-reply@x.example")
}

func TestTheSinkTakesMailsAndRefusesThem(t *testing.T) {
	t.Parallel()
	got := make(chan [2]string, 4)
	now := clock.NewManual(time.Unix(1, 0))
	sink, err := NewSink(SinkConfig{Address: "127.0.0.1:0", Clock: now}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	done := make(chan error, 1)
	go func() { done <- sink.Run(ctx, func(to, token string) { got <- [2]string{to, token} }) }()
	send := func() error {
		message := "To: <a@b.example>\r\nSubject: Link\r\n\r\nhttps://x/complete#token=abc\r\n"
		return smtp.SendMail(sink.Address(), nil, "no-reply@x.example", []string{"a@b.example"}, []byte(message))
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	if mail := <-got; mail != [2]string{"a@b.example", "abc"} {
		t.Errorf("got %q", mail)
	}
	sink.Refuse(true)
	if err := send(); err == nil || !strings.HasPrefix(err.Error(), "451") {
		t.Errorf("while it refuses: %v, want 451", err)
	}
	sink.Refuse(false)
	if err := send(); err != nil {
		t.Error(err)
	}
	<-got
	sink.Throttle(2)
	taken := 0
	for range 4 {
		if send() == nil {
			taken++
			<-got
		}
	}
	if taken != 1 {
		t.Errorf("throttled to two a second, it took %d of 4 at once", taken)
	}
	now.Advance(time.Second / 2)
	if err := send(); err != nil {
		t.Errorf("half a second later: %v", err)
	}
	<-got
	sink.Throttle(0)
	for range 2 {
		if err := send(); err != nil {
			t.Errorf("throttled no more: %v", err)
		}
		<-got
	}
	sink.Hang(true)
	if err := mailWithin(t, sink.Address(), 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while it hangs: %v, want no answer", err)
	}
	sink.Hang(false)
	if err := send(); err != nil {
		t.Errorf("it hangs no more: %v", err)
	}
	<-got
	if sink.Links() != 7 || sink.Others() != 0 {
		t.Errorf("it counted %d links and %d others of 7 and 0", sink.Links(), sink.Others())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
