package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"strconv"
	"sync"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/internal/mime"
)

var _ mail.Sender = (*Sender)(nil)

// errClosed is what Send answers after Close.
var errClosed = errors.New("smtp: closed")

// Deps is what a Sender needs from outside.
type Deps struct {
	Clock clock.Clock // default clock.System{}
}

// Sender hands mail off to an SMTP server. It is safe for concurrent use.
type Sender struct {
	config     Config
	host       string
	port       int
	from       *stdmail.Address
	encryption *tls.Config
	clock      clock.Clock

	slots chan struct{} // one for each connection that may be open; taken while one is in use

	mutex  sync.Mutex
	idle   []*connection // the one used last is at the end: those at the front grow old and are closed
	closed bool

	stop    context.CancelFunc
	janitor sync.WaitGroup
}

// New checks the configuration and its files; it does not connect, so that surgegate starts while the provider is away.
func New(config Config, deps Deps) (*Sender, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	host, port, err := net.SplitHostPort(config.Address)
	if err != nil {
		return nil, fmt.Errorf("smtp: address: %w", err)
	}
	s := &Sender{config: config, host: host, clock: deps.Clock, slots: make(chan struct{}, config.Connections)}
	if s.clock == nil {
		s.clock = clock.System{}
	}
	if s.port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("smtp: address: %w", err)
	}
	if s.from, err = mime.ParseFrom(config.From); err != nil {
		return nil, fmt.Errorf("smtp: from: %w", err)
	}
	if s.encryption, err = config.tlsConfig(host); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	if _, err := config.password(); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.janitor.Go(func() { s.closeIdle(ctx) })
	return s, nil
}

// Send implements mail.Sender. It waits for a connection to be free.
func (s *Sender) Send(ctx context.Context, m mail.Message) error {
	msg, err := mime.Build(s.from, m, s.clock.Now())
	if err != nil {
		return fmt.Errorf("smtp: %w", err)
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ended("wait for a connection", ctx.Err())
	}
	defer func() { <-s.slots }()
	if err := ctx.Err(); err != nil {
		return ended("begin", err)
	}
	c, err := s.take()
	if err != nil {
		return err
	}
	reused := c != nil
	for {
		if c == nil {
			if c, err = s.dial(ctx); err != nil {
				return err
			}
		}
		sendErr, usable := c.send(ctx, msg)
		if sendErr == nil || usable {
			s.put(c)
		} else {
			c.drop()
		}
		if !reused || !errors.Is(sendErr, errGone) || ctx.Err() != nil {
			return sendErr
		}
		reused, c = false, nil
	}
}

// take returns an idle connection, nil if there is none.
func (s *Sender) take() (*connection, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if len(s.idle) == 0 {
		return nil, nil
	}
	c := s.idle[len(s.idle)-1]
	s.idle = s.idle[:len(s.idle)-1]
	return c, nil
}

func (s *Sender) put(c *connection) {
	c.idleSince = s.clock.Now()
	s.mutex.Lock()
	closed := s.closed
	if !closed {
		s.idle = append(s.idle, c)
	}
	s.mutex.Unlock()
	if closed {
		c.quit()
	}
}

// closeIdle closes what has been idle for too long, looking twice in that time.
func (s *Sender) closeIdle(ctx context.Context) {
	for s.clock.Sleep(ctx, s.config.IdleTimeout/2) == nil {
		for {
			c := s.takeOld()
			if c == nil {
				break
			}
			c.quit()
		}
	}
}

func (s *Sender) takeOld() *connection {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.idle) == 0 || s.clock.Now().Sub(s.idle[0].idleSince) < s.config.IdleTimeout {
		return nil
	}
	c := s.idle[0]
	s.idle = append(s.idle[:0], s.idle[1:]...)
	return c
}

// Close waits for the messages in hand and closes the connections. Send answers with an error from then on.
func (s *Sender) Close() error {
	s.mutex.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mutex.Unlock()
	s.stop()
	s.janitor.Wait()
	for _, c := range idle {
		c.quit()
	}
	// All slots taken means that nobody else is in one; a Send that still waits finds the sender closed.
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	for range cap(s.slots) {
		<-s.slots
	}
	return nil
}
