package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	gosmtp "github.com/wneessen/go-mail/smtp"

	"github.com/surgegate/surgegate/pkg/failure"
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
		f := &failure.Error{Scope: failure.Downstream, Class: failure.Config, Code: failure.Network(err)}
		f.Err = fmt.Errorf("smtp: %w: %w", mail.ErrOverloaded, err)
		return nil, f
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
	return nil, noSession(err)
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
		return overloaded(failure.Network(err), err, fmt.Errorf("smtp: %w: unknown answer", mail.ErrOverloaded)), false
	}
	code, enhanced, stage := e.ErrorCode(), e.EnhancedStatusCode(), e.Reason
	said := fmt.Sprintf("%s: %d %s", stage, code, enhanced)
	f := &failure.Error{Code: replyCode(code, enhanced), Text: e.Error()}
	switch {
	case code == 0 || code == 421: // 421: the server says that it closes the connection
		if code == 0 {
			f.Code = failure.Lost
		}
		f.Scope, f.Class = failure.Downstream, failure.Overload
		f.Err = fmt.Errorf("smtp: %w: %s", mail.ErrOverloaded, said)
		if stage == gomail.ErrConnCheck || stage == gomail.ErrSMTPMailFrom {
			f.Err = fmt.Errorf("smtp: %w: %w: %s", mail.ErrOverloaded, errGone, said)
		}
		return f, false
	case deferred(stage, code, enhanced):
		f.Scope = failure.Item
		f.Err = fmt.Errorf("smtp: %w: %s", mail.ErrDeferred, said)
	case !aboutMessage(stage, code, enhanced):
		f.Scope, f.Class = failure.Downstream, failure.Overload
		if aboutUs(stage, code, enhanced) {
			f.Class = failure.Config
		}
		f.Err = fmt.Errorf("smtp: %w: %s", mail.ErrOverloaded, said)
		// DATA refused after its recipient was accepted leaves the transaction open.
		return f, stage != gomail.ErrSMTPData
	case strings.HasPrefix(enhanced, "5.7."):
		f.Err = fmt.Errorf("smtp: refused by policy: %s", said)
	default:
		if aboutMailbox(enhanced) {
			f.Scope = failure.Item
		}
		f.Err = fmt.Errorf("smtp: %w: %s", mail.ErrRefused, said)
	}
	return f, true
}

// overloaded is a failure of the provider that time may mend.
func overloaded(code string, cause, err error) error {
	return &failure.Error{Scope: failure.Downstream, Class: failure.Overload, Code: code, Text: cause.Error(), Err: err}
}

// replyCode is the code of a reply: SMTP 451 4.7.1.
func replyCode(code int, enhanced string) string {
	return strings.TrimSpace(fmt.Sprintf("SMTP %d %s", code, enhanced))
}

// enhancedCode is how a reply's text begins where the server has ENHANCEDSTATUSCODES (RFC 2034).
func enhancedCode(text string) string {
	first, _, _ := strings.Cut(text, " ")
	parts := strings.Split(first, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return ""
	}
	for _, p := range parts[1:] {
		if _, err := strconv.ParseUint(p, 10, 10); err != nil {
			return ""
		}
	}
	return first
}

// noSession is the error of a session that could not be opened: it concerns every mail.
func noSession(err error) error {
	f := &failure.Error{
		Scope: failure.Downstream, Class: failure.Overload, Code: failure.Network(err), Text: err.Error(),
		// The server's words can be kept here: no message has been spoken of yet.
		Err: fmt.Errorf("smtp: open a session: %w: %w", mail.ErrOverloaded, err),
	}
	var reply *textproto.Error
	switch {
	case errors.As(err, &reply):
		f.Code = replyCode(reply.Code, enhancedCode(reply.Msg))
		if reply.Code >= 500 {
			f.Class = failure.Config
		}
	case failure.Untrusted(err):
		f.Class = failure.Config
	}
	return f
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
func aboutMessage(stage gomail.SendErrReason, code int, enhanced string) bool {
	switch code {
	case 502, 503, 530, 534, 535, 538: // not implemented, bad sequence, sign in first
		return false
	}
	if aboutSender(enhanced) {
		return false
	}
	return code >= 500 && (stage == gomail.ErrSMTPRcptTo || stage == gomail.ErrSMTPDataClose)
}

// aboutUs tells whether an answer says that somebody has to change the account, the sender or the way to sign in.
func aboutUs(stage gomail.SendErrReason, code int, enhanced string) bool {
	switch code {
	case 530, 534, 535, 538:
		return true
	}
	return code >= 500 && (stage == gomail.ErrSMTPMailFrom || aboutSender(enhanced))
}

// aboutSender tells whether an enhanced code names the sender's address (RFC 3463, section 3.2).
func aboutSender(enhanced string) bool { return enhanced == "5.1.7" || enhanced == "5.1.8" }

// aboutMailbox tells whether an enhanced code names this recipient's address or mailbox (RFC 3463, sections 3.2 and 3.3;
// RFC 7505 for 5.1.10). A 5xx without one may mean every recipient alike.
func aboutMailbox(enhanced string) bool {
	switch enhanced {
	case "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10":
		return true
	}
	return strings.HasPrefix(enhanced, "5.2.")
}

// FailureCodes are the codes of its errors that are worth a series of their own. An enhanced code that is not among
// them is counted by its reply.
func (s *Sender) FailureCodes() []string {
	codes := []string{
		"SMTP 4", "SMTP 421", "SMTP 450", "SMTP 451", "SMTP 452", "SMTP 5", "SMTP 530", "SMTP 535", "SMTP 550", "SMTP 550 5.1",
		"SMTP 550 5.7", "SMTP 552", "SMTP 554",
	}
	return append(codes, failure.NetworkCodes()...)
}

// ended is the error of a context that has ended.
func ended(what string, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("smtp: %s: %w", what, cause)
	}
	return &failure.Error{
		Scope: failure.Downstream, Class: failure.Timeout, Code: failure.TimedOut,
		Err: fmt.Errorf("smtp: %s: %w: %w", what, mail.ErrOverloaded, cause),
	}
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
