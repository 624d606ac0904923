package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/mail/smtp/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func message(id string) mail.Message {
	return mail.Message{ID: id, To: "ada@example.com", Subject: "Reset your password", Text: "Open\n.\nthis\n", HTML: "<p>Open</p>", Locale: "en"}
}

func newSender(t *testing.T, config smtp.Config) *smtp.Sender {
	t.Helper()
	if config.From == "" {
		config.From = "Example <no-reply@example.com>"
	}
	s, err := smtp.New(config, smtp.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func plain(s *smtptest.Server) smtp.Config {
	return smtp.Config{Address: s.Address(), TLS: smtp.TLSNone, Connections: 1}
}

func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	s := newSender(t, plain(server))
	for i := range 5 {
		if err := s.Send(t.Context(), message(fmt.Sprint("job-", i))); err != nil {
			t.Fatal(err)
		}
	}
	if c := server.Counts(); c.Connections != 1 || c.Mails != 5 {
		t.Errorf("%+v", c)
	}
	mails := server.Mails()
	got := mails[len(mails)-1]
	for _, want := range []string{"Message-ID: <job-4@example.com>", "To: <ada@example.com>", "multipart/alternative"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	for _, wasted := range []string{"NOOP", "RSET"} {
		if said := server.Said(wasted); len(said) != 0 {
			t.Errorf("a round trip for nothing: %v", said)
		}
	}
}

func TestAnswersAreClassified(t *testing.T) {
	t.Parallel()
	type class string
	const (
		later   class = "later"
		his     class = "later for this one"
		never   class = "never"
		neither class = "neither"
	)
	for _, test := range []struct {
		command, answer string
		want            class
	}{
		{"CONNECT", "421 4.3.2 too busy", later},
		{"CONNECT", "554 5.3.2 no service", later},
		{"CONNECT", "drop", later},
		{"MAIL", "451 4.3.0 later", later},
		{"MAIL", "421 4.3.2 closing", later},
		{"MAIL", "550 5.1.8 bad sender", later},
		{"MAIL", "530 5.7.0 sign in first", later},
		{"MAIL", "drop", later},
		{"RCPT", "450 4.2.1 mailbox busy <ada@example.com>", his},
		{"RCPT", "452 4.2.2 mailbox full", his},
		{"RCPT", "451 4.1.8 no such domain now", his},
		{"RCPT", "450 mailbox busy", his},
		{"RCPT", "450 4.3.2 not now", later},
		{"RCPT", "450 4.7.1 too much mail from you", later},
		{"RCPT", "451 local error", later},
		{"RCPT", "452 insufficient storage", later},
		{"RCPT", "452 4.5.3 too many", later},
		{"RCPT", "421 4.2.1 closing", later},
		{"MAIL", "450 4.1.8 sender", later},
		{"CONTENT", "452 4.2.2 mailbox full", his},
		{"CONTENT", "450 later", later},
		{"RCPT", "550 5.1.1 no such user <ada@example.com>", never},
		{"RCPT", "501 5.1.3 bad syntax", never},
		{"RCPT", "552 5.2.2 mailbox full", never},
		{"RCPT", "503 5.5.1 bad sequence", later},
		{"RCPT", "530 5.7.0 sign in first", later},
		{"RCPT", "554 5.7.1 relaying denied", neither},
		{"RCPT", "drop", later},
		{"DATA", "451 4.3.0 later", later},
		{"DATA", "554 5.5.1 no", later},
		{"CONTENT", "452 4.3.1 disk full", later},
		{"CONTENT", "552 5.3.4 too big", never},
		{"CONTENT", "554 5.7.1 spam", neither},
		{"CONTENT", "drop", later},
	} {
		t.Run(test.command+" "+test.answer, func(t *testing.T) {
			t.Parallel()
			server := smtptest.Start(t, smtptest.Config{NoTLS: true})
			server.Answers(func(command string) string {
				if strings.HasPrefix(command, test.command) {
					return test.answer
				}
				return ""
			})
			s := newSender(t, plain(server))
			err := s.Send(t.Context(), message("job-1"))
			got := neither
			switch {
			case err == nil:
				t.Fatal("no error")
			case errors.Is(err, mail.ErrOverloaded):
				got = later
			case errors.Is(err, mail.ErrRefused):
				got = never
			case errors.Is(err, mail.ErrDeferred):
				got = his
			}
			if got != test.want {
				t.Errorf("%s: %v", got, err)
			}
			if strings.Contains(err.Error(), "ada@") {
				t.Errorf("the error quotes the address: %v", err)
			}
			wantCode := failure.Lost
			if test.answer != smtptest.Drop {
				words := append(strings.Fields(test.answer), "")
				wantCode = "SMTP " + words[0]
				if strings.Count(words[1], ".") == 2 {
					wantCode += " " + words[1]
				}
			}
			f := failure.Of(err)
			if f.Code != wantCode || (f.Scope == failure.Downstream) != (got == later) || got == his && f.Scope != failure.Item {
				t.Errorf("scope %d, code %q, want %q", f.Scope, f.Code, wantCode)
			}
			// Whatever it was, the next message goes through.
			server.Answers(nil)
			if err := s.Send(t.Context(), message("job-2")); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestCleanRefusalKeepsTheConnection(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	s := newSender(t, plain(server))
	server.Answers(func(command string) string {
		if strings.HasPrefix(command, "RCPT") {
			return "550 5.1.1 nobody"
		}
		return ""
	})
	for range 3 {
		if err := s.Send(t.Context(), message("x")); !errors.Is(err, mail.ErrRefused) {
			t.Fatal(err)
		}
	}
	if c := server.Counts(); c.Connections != 1 {
		t.Errorf("%+v", c)
	}
}

// A server that closes idle connections costs a dial, not a failure.
func TestConnectionClosedWhileIdleIsDialledAgain(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"drop", "421 4.4.2 idle for too long"} {
		server := smtptest.Start(t, smtptest.Config{NoTLS: true})
		s := newSender(t, plain(server))
		if err := s.Send(t.Context(), message("a")); err != nil {
			t.Fatal(err)
		}
		first := true
		server.Answers(func(command string) string {
			if strings.HasPrefix(command, "MAIL") && first {
				first = false
				return how
			}
			return ""
		})
		if err := s.Send(t.Context(), message("b")); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if c := server.Counts(); c.Connections != 2 || c.Mails != 2 {
			t.Errorf("%s: %+v", how, c)
		}
	}
}

func TestHangingServerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			server := smtptest.Start(t, smtptest.Config{NoTLS: true})
			server.Answers(func(command string) string {
				if strings.HasPrefix(command, stage) {
					return "hang"
				}
				return ""
			})
			s := newSender(t, plain(server))
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() { failed <- s.Send(ctx, message("a")) }()
			<-server.Hanging
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, mail.ErrOverloaded) {
				t.Errorf("cancelled: %v", err)
			}
			late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := s.Send(late, message("a")); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, mail.ErrOverloaded) {
				t.Errorf("timed out: %v", err)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	server.Down()
	s := newSender(t, plain(server))
	if err := s.Send(t.Context(), message("a")); !errors.Is(err, mail.ErrOverloaded) {
		t.Error(err)
	}
}
