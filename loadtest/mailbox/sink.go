package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// Deliverer hears of each link as it comes. It must not block.
type Deliverer func(to, token string)

// SinkConfig of a Sink.
type SinkConfig struct {
	Address string // host:port to listen on; required
}

// Sink is an SMTP server that takes every mail and keeps none: what a gateway is pointed at, so that the people of a run
// get their mails wherever the gateway runs.
type Sink struct {
	listener net.Listener
	log      *slog.Logger
	refusing atomic.Bool
}

// NewSink listens; Run serves.
func NewSink(cfg SinkConfig, log *slog.Logger) (*Sink, error) {
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	return &Sink{listener: listener, log: log}, nil
}

// Address is where it listens.
func (s *Sink) Address() string { return s.listener.Addr().String() }

// Refuse makes it answer 451 to every mail, or take them again.
func (s *Sink) Refuse(refuse bool) { s.refusing.Store(refuse) }

// Run serves until ctx ends.
func (s *Sink) Run(ctx context.Context, deliver Deliverer) error {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{sink: s, deliver: deliver}, nil
	}))
	server.Domain = "sink.invalid"
	server.MaxMessageBytes = maxMail
	server.ReadTimeout, server.WriteTimeout = time.Minute, time.Minute
	server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	served := make(chan error, 1) // has room for the one value, so that Serve never waits for us
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("mailbox: %w", err)
	case <-ctx.Done():
	}
	err := server.Close()
	if served := <-served; served != nil && !errors.Is(served, smtp.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("mailbox: %w", err)
	}
	return nil
}

type session struct {
	sink    *Sink
	deliver Deliverer
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.sink.refusing.Load() {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Try again later"}
	}
	return nil
}

func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s *session) Data(r io.Reader) error {
	to, token, err := parse(r)
	if err != nil {
		s.sink.log.Warn("a mail that cannot be read", "error", err)
		return nil // taken: it is the reader that does not understand it
	}
	if token != "" {
		s.deliver(to, token)
	}
	return nil
}

func (s *session) Reset() {}

func (s *session) Logout() error { return nil }
