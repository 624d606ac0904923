package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	gosmtp "github.com/wneessen/go-mail/smtp"

	"github.com/surgegate/surgegate/pkg/mail"
)

// errGone says that a connection had been closed by the server before a message was begun.
var errGone = errors.New("connection is gone")

// quitTimeout bounds the farewell: nobody waits long for a server that does not answer to it.
const quitTimeout = time.Second

type connection struct {
	client    *gomail.Client // one for each connection, because go-mail's changes itself while it signs in
	session   *gosmtp.Client
	raw       net.Conn // closing it ends whatever go-mail waits for
	idleSince time.Time
}

// dial opens a session. Whatever keeps it from being opened concerns every mail and not this one.
func (s *Sender) dial(ctx context.Context) (*connection, error) {
	password, err := s.config.password()
	if err != nil {
		return nil, fmt.Errorf("smtp: %w: %w", mail.ErrOverloaded, err)
	}
	c := &connection{}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	stop := func() bool { return true }
	connect := func(dialContext context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		raw, err := dialer.DialContext(dialContext, network, address)
		if err != nil {
			return nil, err
		}
		c.raw = raw
		// go-mail honours the context while it connects, and not from the greeting on.
		stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
		if s.config.TLS != TLSImplicit {
			return raw, nil
		}
		encrypted := tls.Client(raw, s.encryption)
		return encrypted, encrypted.HandshakeContext(dialContext)
	}
	options := append(s.config.options(s.host, s.port, s.encryption), gomail.WithDialContextFunc(connect))
	if password != "" {
		options = append(options, gomail.WithPassword(password))
	}
	if c.client, err = gomail.NewClient(s.host, options...); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	c.session, err = c.client.DialToSMTPClientWithContext(ctx)
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	switch {
	case err == nil:
		return c, nil
	case c.raw != nil: // go-mail leaves it open when the session fails
		_ = c.raw.Close()
	}
	if ctx.Err() != nil {
		return nil, ended("open a session", ctx.Err())
	}
	// The server's words can be kept here: no message has been spoken of yet.
	return nil, fmt.Errorf("smtp: open a session: %w: %w", mail.ErrOverloaded, err)
}

// send hands one message off. The connection is usable afterwards if the server gave a clean answer.
func (c *connection) send(ctx context.Context, msg *gomail.Msg) (err error, usable bool) {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	err = c.client.SendWithSMTPClient(c.session, msg)
	stopped := stop()
	if err == nil {
		return nil, stopped
	}
	if !stopped {
		return ended("send", ctx.Err()), false
	}
	return classify(err)
}

// classify reads the table in doc.go.
func classify(err error) (_ error, usable bool) {
	var e *gomail.SendError
	if !errors.As(err, &e) {
		return fmt.Errorf("smtp: %w: unknown answer", mail.ErrOverloaded), false
	}
	code, stage := e.ErrorCode(), e.Reason
	said := fmt.Sprintf("%s: %d %s", stage, code, e.EnhancedStatusCode())
	switch {
	case code == 0 || code == 421: // 421: the server says that it closes the connection
		if stage == gomail.ErrConnCheck || stage == gomail.ErrSMTPMailFrom {
			return fmt.Errorf("smtp: %w: %w: %s", mail.ErrOverloaded, errGone, said), false
		}
		return fmt.Errorf("smtp: %w: %s", mail.ErrOverloaded, said), false
	case deferred(stage, code, e.EnhancedStatusCode()):
		return fmt.Errorf("smtp: %w: %s", mail.ErrDeferred, said), true
	case !aboutMessage(stage, code):
		// DATA refused after its recipient was accepted leaves the transaction open.
		return fmt.Errorf("smtp: %w: %s", mail.ErrOverloaded, said), stage != gomail.ErrSMTPData
	case strings.HasPrefix(e.EnhancedStatusCode(), "5.7."):
		return fmt.Errorf("smtp: refused by policy: %s", said), true
	default:
		return fmt.Errorf("smtp: %w: %s", mail.ErrRefused, said), true
	}
}

// deferred tells whether a 4xx answer is about this recipient. RFC 3463: x.1 is about addresses and x.2 about mailboxes;
// x.3 to x.5 are about the server and x.7 about what it lets us do, and in both cases sending less is what helps. Without
// such a code only 450 to RCPT TO is about the mailbox (RFC 5321, section 4.2.3).
func deferred(stage gomail.SendErrReason, code int, enhanced string) bool {
	if code < 450 || code > 459 || stage != gomail.ErrSMTPRcptTo && stage != gomail.ErrSMTPDataClose {
		return false
	}
	if strings.HasPrefix(enhanced, "4.") {
		return strings.HasPrefix(enhanced, "4.1.") || strings.HasPrefix(enhanced, "4.2.")
	}
	return code == 450 && stage == gomail.ErrSMTPRcptTo
}

// aboutMessage tells whether an answer is about this recipient or message, for good.
func aboutMessage(stage gomail.SendErrReason, code int) bool {
	switch code {
	case 502, 503, 530, 535, 538: // not implemented, bad sequence, sign in first
		return false
	}
	return code >= 500 && (stage == gomail.ErrSMTPRcptTo || stage == gomail.ErrSMTPDataClose)
}

// ended is the error of a context that has ended.
func ended(what string, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("smtp: %s: %w", what, cause)
	}
	return fmt.Errorf("smtp: %s: %w: %w", what, mail.ErrOverloaded, cause)
}

// quit says goodbye.
func (c *connection) quit() {
	if c.session.UpdateDeadline(quitTimeout) == nil {
		_ = c.client.CloseWithSMTPClient(c.session)
	}
	c.drop()
}

// drop closes the connection without a word. An error would say that it is closed already.
func (c *connection) drop() { _ = c.raw.Close() }
