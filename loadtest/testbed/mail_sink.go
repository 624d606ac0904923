package testbed

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
	"golang.org/x/time/rate"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Deliverer hears of each link as it comes. It must not block.
type Deliverer func(to, token string)

// SinkConfig of a Sink.
type SinkConfig struct {
	Address string // host:port to listen on; required
	// Clock of Throttle. Default: the system's.
	Clock clock.Clock
}

// Sink is an SMTP server that takes every mail and keeps none: what a gateway is pointed at, so that the people of a run
// get their mails wherever the gateway runs.
type Sink struct {
	listener net.Listener
	log      *slog.Logger
	clock    clock.Clock
	refusing atomic.Bool
	limit    *rate.Limiter
	hanging  atomic.Pointer[chan struct{}] // nil: no; closed by the end of it
	ended    chan struct{}                 // closed by the end of Run
	links    atomic.Int64
	others   atomic.Int64
}

// NewSink listens; Run serves.
func NewSink(cfg SinkConfig, log *slog.Logger) (*Sink, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("testbed: %w", err)
	}
	return &Sink{listener: listener, log: log, clock: cfg.Clock, limit: rate.NewLimiter(rate.Inf, 1), ended: make(chan struct{})}, nil
}

// Address returns the address that the Sink listens on.
func (s *Sink) Address() string { return s.listener.Addr().String() }

// Refuse makes the Sink answer 451 to every mail, or take them again.
func (s *Sink) Refuse(refuse bool) { s.refusing.Store(refuse) }

// Hang makes the Sink leave every mail without an answer until Hang(false) or the end of Run. It must not be called concurrently.
func (s *Sink) Hang(hang bool) {
	var wait *chan struct{}
	if hang {
		c := make(chan struct{})
		wait = &c
	}
	if before := s.hanging.Swap(wait); before != nil {
		close(*before)
	}
}

// Throttle makes the Sink take so many mails a second and answer 451 to the others; 0 or less takes all again.
func (s *Sink) Throttle(perSecond float64) {
	limit := rate.Limit(perSecond)
	if perSecond <= 0 {
		limit = rate.Inf
	}
	s.limit.SetLimitAt(s.clock.Now(), limit)
}

// Links returns the number of mails with a link that the Sink has taken.
func (s *Sink) Links() int64 { return s.links.Load() }

// Others returns the number of mails without a link that the Sink has taken.
func (s *Sink) Others() int64 { return s.others.Load() }

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
		return fmt.Errorf("testbed: %w", err)
	case <-ctx.Done():
	}
	close(s.ended)
	err := server.Close()
	if served := <-served; served != nil && !errors.Is(served, smtp.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("testbed: %w", err)
	}
	return nil
}

type session struct {
	sink    *Sink
	deliver Deliverer
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if wait := s.sink.hanging.Load(); wait != nil {
		select {
		case <-*wait:
		case <-s.sink.ended:
		}
	}
	if s.sink.refusing.Load() || !s.sink.limit.AllowN(s.sink.clock.Now(), 1) {
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
	if token == "" {
		s.sink.others.Add(1)
		return nil
	}
	s.sink.links.Add(1)
	s.deliver(to, token)
	return nil
}

func (s *session) Reset() {}

func (s *session) Logout() error { return nil }
