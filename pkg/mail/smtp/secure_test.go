package smtp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
	"github.com/surgegate/surgegate/pkg/mail/smtp/smtptest"
)

// selfSigned returns a server's certificate for 127.0.0.1, and the file to trust it by.
func selfSigned(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, file
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTLSAndSignIn(t *testing.T) {
	t.Parallel()
	certificate, ca := selfSigned(t)
	right := passwordFile(t, "s3cret\n")
	for _, test := range []struct {
		name      string
		server    smtptest.Config
		config    smtp.Config
		ok        bool
		encrypted int
	}{
		{"mandatory by default", smtptest.Config{TLS: certificate}, smtp.Config{CAFile: ca}, true, 1},
		{"mandatory but not offered", smtptest.Config{NoTLS: true}, smtp.Config{CAFile: ca}, false, 0},
		{"mandatory, certificate not trusted", smtptest.Config{TLS: certificate}, smtp.Config{}, false, 1},
		{"opportunistic and offered", smtptest.Config{TLS: certificate}, smtp.Config{TLS: smtp.TLSOpportunistic, CAFile: ca}, true, 1},
		{"opportunistic and not offered", smtptest.Config{NoTLS: true}, smtp.Config{TLS: smtp.TLSOpportunistic}, true, 0},
		{"none although offered", smtptest.Config{TLS: certificate}, smtp.Config{TLS: smtp.TLSNone}, true, 0},
		{"implicit", smtptest.Config{TLS: certificate, Implicit: true}, smtp.Config{TLS: smtp.TLSImplicit, CAFile: ca}, true, 0},
		{"implicit, certificate not trusted", smtptest.Config{TLS: certificate, Implicit: true}, smtp.Config{TLS: smtp.TLSImplicit}, false, 0},
		{"implicit to a plain server", smtptest.Config{NoTLS: true}, smtp.Config{TLS: smtp.TLSImplicit, CAFile: ca}, false, 0},
		{"signed in", smtptest.Config{TLS: certificate}, smtp.Config{CAFile: ca, Username: "surgegate", PasswordFile: right}, true, 1},
		{"signed in, implicit", smtptest.Config{TLS: certificate, Implicit: true}, smtp.Config{TLS: smtp.TLSImplicit, CAFile: ca, Username: "surgegate", PasswordFile: right}, true, 0},
		{"wrong password", smtptest.Config{TLS: certificate}, smtp.Config{CAFile: ca, Username: "surgegate", PasswordFile: passwordFile(t, "wrong")}, false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.Start(t, test.server)
			test.config.Address = server.Address()
			err := newSender(t, test.config).Send(t.Context(), message("a"))
			switch {
			case test.ok && err != nil, !test.ok && !errors.Is(err, mail.ErrOverloaded), errors.Is(err, mail.ErrRefused):
				t.Errorf("%v", err)
			case err != nil && strings.Contains(err.Error(), "wrong password"):
				t.Errorf("the error holds the password: %v", err)
			}
			c := server.Counts()
			if c.Encrypted != test.encrypted || (c.Mails == 1) != test.ok || (c.SignedIn == 1) != (test.ok && test.config.Username != "") {
				t.Errorf("%+v", c)
			}
		})
	}
}

// A password that is changed while surgegate runs is taken at the next dial.
func TestPasswordIsReadAtEachDial(t *testing.T) {
	t.Parallel()
	certificate, ca := selfSigned(t)
	server := smtptest.Start(t, smtptest.Config{TLS: certificate})
	file := passwordFile(t, "old")
	s := newSender(t, smtp.Config{Address: server.Address(), CAFile: ca, Username: "surgegate", PasswordFile: file})
	if err := s.Send(t.Context(), message("a")); !errors.Is(err, mail.ErrOverloaded) {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("s3cret\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), message("a")); err != nil {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), message("b")); err != nil {
		t.Errorf("an open connection needs no password: %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	config := plain(server)
	config.Connections = 3
	s := newSender(t, config)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if err := s.Send(t.Context(), message(fmt.Sprint("job-", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := server.Counts(); c.Connections > 3 || c.Mails != 60 {
		t.Errorf("%+v", c)
	}
}

func TestWaitingForAConnectionEndsWithTheContext(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	server.Answers(func(command string) string {
		if strings.HasPrefix(command, "MAIL") {
			return "hang"
		}
		return ""
	})
	s := newSender(t, plain(server))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Send(ctx, message("a")) }()
	<-server.Hanging
	late, cancelLate := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancelLate()
	if err := s.Send(late, message("b")); !errors.Is(err, mail.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	cancel()
	<-done
}

func TestServerThatDropsEverybodyIsFoundAgain(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	config := plain(server)
	config.Connections = 2
	s := newSender(t, config)
	for i := range 4 {
		if err := s.Send(t.Context(), message(fmt.Sprint(i))); err != nil {
			t.Errorf("round %d: %v", i, err)
		}
		server.DropAll()
	}
	if c := server.Counts(); c.Mails != 4 {
		t.Errorf("%+v", c)
	}
}

// steps is a clock whose sleepers wake one by one, when a test says so.
type steps struct {
	clock.System
	mutex sync.Mutex
	now   time.Time
	wake  chan struct{}
	slept chan time.Duration
}

func (s *steps) Now() time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.now
}

func (s *steps) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case s.slept <- d:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-s.wake:
		s.mutex.Lock()
		s.now = s.now.Add(d)
		s.mutex.Unlock()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	c := &steps{now: time.Unix(1000, 0), wake: make(chan struct{}), slept: make(chan time.Duration)}
	config := plain(server)
	config.From, config.IdleTimeout = "no-reply@example.com", 20*time.Second
	s, err := smtp.New(config, smtp.Deps{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), message("a")); err != nil {
		t.Fatal(err)
	}
	if d := <-c.slept; d != 10*time.Second {
		t.Errorf("looks every %v", d)
	}
	c.wake <- struct{}{} // 10 s: too early
	<-c.slept
	if got := server.Said("QUIT"); len(got) != 0 {
		t.Error("closed too early")
	}
	c.wake <- struct{}{} // 20 s
	<-c.slept
	if got := server.Said("QUIT"); len(got) != 1 {
		t.Error("not closed")
	}
	if err := s.Send(t.Context(), message("b")); err != nil {
		t.Error(err)
	}
	if got := server.Counts(); got.Connections != 2 {
		t.Errorf("%+v", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := server.Said("QUIT"); len(got) != 2 {
		t.Error("Close said no goodbye")
	}
	if err := s.Send(t.Context(), message("c")); err == nil {
		t.Error("sent after Close")
	}
}

// Whatever a store answers as an address, the server is sent one recipient or none.
func TestHeaderInjectionNeverReachesTheServer(t *testing.T) {
	t.Parallel()
	server := smtptest.Start(t, smtptest.Config{NoTLS: true})
	s := newSender(t, plain(server))
	for _, to := range []string{"ada@example.com\r\nRCPT TO:<eve@example.com>", "ada@example.com>\r\n", "ada@example.com, eve@example.com", "ada@example.com\n\nhello", ""} {
		m := message("a")
		m.To = to
		if err := s.Send(t.Context(), m); !errors.Is(err, mail.ErrRefused) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if c := server.Counts(); c.Connections != 0 {
		t.Errorf("%+v", c)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	good := smtp.Config{Address: "mail.example.com:587", From: "a@example.com"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		field  string
		change func(*smtp.Config)
	}{
		{"address", func(c *smtp.Config) { c.Address = "" }},
		{"address", func(c *smtp.Config) { c.Address = "mail.example.com" }},
		{"address", func(c *smtp.Config) { c.Address = "mail.example.com:smtp" }},
		{"address", func(c *smtp.Config) { c.Address = ":25" }},
		{"from", func(c *smtp.Config) { c.From = "" }},
		{"from", func(c *smtp.Config) { c.From = "a@example.com\r\nBcc: b@example.com" }},
		{"tls", func(c *smtp.Config) { c.TLS = "yes" }},
		{"tls", func(c *smtp.Config) { c.TLS = smtp.TLSNone }},
		{"tls", func(c *smtp.Config) { c.TLS = smtp.TLSOpportunistic }},
		{"username", func(c *smtp.Config) { c.PasswordFile = "x" }},
		{"username", func(c *smtp.Config) {
			c.Username, c.PasswordFile, c.TLS, c.Insecure = "x", "x", smtp.TLSOpportunistic, true
		}},
		{"password_file", func(c *smtp.Config) { c.Username = "x" }},
		{"connections", func(c *smtp.Config) { c.Connections = 257 }},
		{"timeout", func(c *smtp.Config) { c.Timeout = time.Millisecond }},
		{"idle_timeout", func(c *smtp.Config) { c.IdleTimeout = time.Hour }},
	} {
		config := good
		test.change(&config)
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), test.field+":") {
			t.Errorf("%s: %v", test.field, err)
		}
	}
	insecure := good
	insecure.TLS, insecure.Insecure = smtp.TLSNone, true
	if err := insecure.Validate(); err != nil {
		t.Error(err)
	}
	for _, files := range []smtp.Config{
		{CAFile: "/does/not/exist"}, {CAFile: passwordFile(t, "no certificate")},
		{Username: "x", PasswordFile: "/does/not/exist"}, {Username: "x", PasswordFile: passwordFile(t, "\n")},
	} {
		files.Address, files.From = good.Address, good.From
		if s, err := smtp.New(files, smtp.Deps{}); err == nil {
			_ = s.Close()
			t.Errorf("%+v was taken", files)
		}
	}
}

func ExampleNew() {
	sender, err := smtp.New(smtp.Config{Address: "mail.example.com:587", From: "Example <no-reply@example.com>"}, smtp.Deps{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = sender.Close() }()
	// Nothing is dialled before the first message.
	fmt.Println("ready")
	// Output: ready
}
