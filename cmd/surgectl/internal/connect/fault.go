package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/humanize"
)

// Kind is what programs tell errors apart by.
type Kind string

// The kinds; the package comment says when each is.
const (
	KindFault        Kind = "fault"
	KindUsage        Kind = "usage"
	KindNothingDone  Kind = "nothing_done"
	KindUnreachable  Kind = "unreachable"
	KindLoginRefused Kind = "login_refused"
)

// ExitCode is the process's.
func (k Kind) ExitCode() int {
	switch k {
	case KindUsage:
		return 2
	case KindNothingDone:
		return 3
	case KindUnreachable, KindLoginRefused:
		return 4
	default:
		return 1
	}
}

// Field is a value that was refused.
type Field struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// Error is for a person, and for programs.
type Error struct {
	Kind     Kind    `json:"kind"`
	ExitCode int     `json:"exit_code"`
	Message  string  `json:"message"` // a sentence or more
	Fields   []Field `json:"fields,omitempty"`
	cause    error
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what it came from, if anything.
func (e *Error) Unwrap() error { return e.cause }

func newError(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, ExitCode: kind.ExitCode(), Message: fmt.Sprintf(format, args...), cause: cause}
}

// Usage is an error of the command line.
func Usage(err error) *Error { return newError(KindUsage, err, "%s", err.Error()) }

// NothingDone says why nothing was changed or found.
func NothingDone(format string, args ...any) *Error {
	return newError(KindNothingDone, nil, format, args...)
}

// As makes any error one of ours; what is not one already is a fault.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return newError(KindFault, err, "%s", err.Error())
}

// Explain turns the error of a call into an Error; nil stays nil.
func (c *Client) Explain(err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	s, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			s = status.New(codes.DeadlineExceeded, err.Error())
		} else {
			return As(err)
		}
	}
	at := c.cfg.Address
	switch s.Code() {
	case codes.InvalidArgument:
		return invalid(s, err)
	case codes.NotFound:
		return newError(KindNothingDone, err, "%s", s.Message())
	case codes.Unauthenticated:
		return newError(KindLoginRefused, err, "%s does not know you (%s): give --token-file or SURGECTL_TOKEN_FILE, or --cert and --key",
			at, s.Message())
	case codes.PermissionDenied:
		return newError(KindLoginRefused, err, "%s knows you and does not let you do this: %s", at, s.Message())
	case codes.DeadlineExceeded:
		return newError(KindUnreachable, err, "no answer from %s within %s: is the machine overloaded, or a firewall between? "+
			"--timeout waits longer", at, humanize.Duration(c.cfg.Timeout))
	case codes.Canceled:
		return newError(KindNothingDone, err, "stopped before there was an answer; what was asked for may have been done")
	case codes.Unimplemented:
		return newError(KindFault, err, "%s does not know this call: it is no operator listener (the public port is another one), "+
			"or its surgegate is older than this surgectl", at)
	case codes.Unavailable:
		if info(s) != "" { // surgegate's own word: it was reached
			return newError(KindFault, err, "%s cannot do it now: %s", at, s.Message())
		}
		return c.unreachable(s.Message(), err)
	default:
		return newError(KindFault, err, "%s: %s", at, s.Message())
	}
}

// invalid names the fields as the command line does.
func invalid(s *status.Status, err error) *Error {
	e := newError(KindUsage, err, "%s", s.Message())
	var words []string
	for _, d := range s.Details() {
		bad, ok := d.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			field := v.GetField()
			for _, message := range []string{"steering.", "fixed.", "bounds."} { // parts of a request that no flag has
				field = strings.TrimPrefix(field, message)
			}
			e.Fields = append(e.Fields, Field{field, v.GetDescription()})
			words = append(words, field+": "+v.GetDescription())
		}
	}
	if len(words) > 0 {
		e.Message = strings.Join(words, "; ")
	}
	return e
}

// info is the reason that surgegate gave, if it was surgegate that answered.
func info(s *status.Status) string {
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetReason()
		}
	}
	return ""
}

// unreachable tells the ways of not getting there apart by the transport's words: gRPC has one code for all of them.
func (c *Client) unreachable(message string, err error) *Error {
	at := c.cfg.Address
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(message, p) {
				return true
			}
		}
		return false
	}
	const elsewhere = "--address or SURGECTL_ADDRESS names another"
	switch {
	case has("certificate required", "bad certificate", "unknown certificate"):
		return newError(KindLoginRefused, err, "%s wants a client certificate that it knows: give --cert and --key "+
			"(SURGECTL_CERT, SURGECTL_KEY)", at)
	case c.cfg.secure() && has("broken pipe", "server preface"):
		// TLS 1.3 refuses a client after the handshake, and often the write that this overtakes fails before its reason is read.
		return newError(KindLoginRefused, err, "%s hung up as soon as TLS stood: most likely it wants a client certificate that it knows: "+
			"give --cert and --key (SURGECTL_CERT, SURGECTL_KEY); or it is going down", at)
	case has("first record does not look like a TLS handshake"):
		return newError(KindUnreachable, err, "%s does not speak TLS: leave --ca and --cert out, or check the address; %s", at, elsewhere)
	case has("x509:", "tls: failed to verify"):
		return newError(KindUnreachable, err, "%s shows a certificate that does not fit --ca or the address: %s", at, after(message, "x509: "))
	case has("connection refused"):
		return newError(KindUnreachable, err, "nobody listens at %s (connection refused): is surgegate running there, and is that its "+
			"listen.operator? %s", at, elsewhere)
	case has("no such host", "name resolver error", "produced zero addresses"):
		return newError(KindUnreachable, err, "no such host: %s; %s", at, elsewhere)
	case has("server preface", "connection reset", "broken pipe", "EOF", "frame too large"):
		return newError(KindUnreachable, err, "%s hung up before it answered: if it speaks TLS give --ca; else it is going down, or is no "+
			"surgegate; %s", at, elsewhere)
	case has("i/o timeout", "no route to host", "network is unreachable"):
		return newError(KindUnreachable, err, "%s cannot be reached: a firewall, a wrong address, or the machine is down; %s", at, elsewhere)
	default:
		return newError(KindUnreachable, err, "%s cannot be reached: %s; %s", at, message, elsewhere)
	}
}

// after is what of the message comes from the mark on, without the quote that gRPC may have put around it.
func after(message, mark string) string {
	if i := strings.Index(message, mark); i >= 0 {
		message = message[i+len(mark):]
	}
	return strings.Trim(message, `"`)
}
