package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Scope is what a failure is about.
type Scope uint8

// The scopes.
const (
	Call       Scope = iota // unclear: the whole call failed
	Item                    // one item; the call was answered
	Downstream              // the downstream, whatever the call carried
)

// Class is what would help.
type Class uint8

// The classes.
const (
	Failed   Class = iota // nothing is known to help
	Overload              // less load, or time
	Timeout               // as Overload; the downstream may still be at work
	Config                // somebody has to change something
)

// The codes that no protocol defines.
const (
	Other         = "other"           // anything without a code, or with one that is not fit to be logged
	TimedOut      = "TIMEOUT"         // the call's deadline passed
	Lost          = "CONNECTION_LOST" // the connection ended in the middle of a call
	Certificate   = "TLS_CERTIFICATE" // the server's certificate is not trusted
	NameNotFound  = "DNS_NOT_FOUND"   // the host name does not exist
	NameFailed    = "DNS_FAILED"      // the resolver did not answer
	BadAnswer     = "BAD_ANSWER"      // not as many results as items
	TooLarge      = "MESSAGE_TOO_LARGE"
	Panicked      = "PANIC"
	AskedToRetry  = "RETRY"            // the store answered RETRY for an item
	ItemRefused   = "REFUSED"          // the store answered REFUSED for an item
	PoolFull      = "POOL_FULL"        // no slot of the hash pool came free in time
	NoForm        = "NO_PASSWORD_FORM" // Describe: password_form is UNSPECIFIED or unknown
	NoSchemes     = "NO_HASH_SCHEMES"  // Describe: FORM_HASH without hash_schemes
	NoneInCommon  = "NO_COMMON_SCHEME" // Describe: surgegate can make none of the hash_schemes
	OpenPlaintext = "PLAINTEXT_IN_THE_OPEN"
)

// Error is a failed call of a downstream. It prints as Err does: Text is never part of that.
type Error struct {
	Scope Scope
	Class Class
	// Code names the failure; see the package comment. Empty is Other.
	Code string
	// Advice says what to change, in surgegate's words and without anything from outside. Empty: Meaning says it.
	Advice string
	// Text is what the downstream said.
	Text string
	// Err holds the port's sentinel and surgegate's words.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return Clean(e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Format prints Error() under every verb, so that %#v does not show Text.
func (e *Error) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.Error()) }

// LogValue hides Text.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// MarshalText hides Text.
func (e *Error) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Of returns the Error in err's chain, or one that says what can be known of an error without it.
func Of(err error) Error {
	var e *Error
	if errors.As(err, &e) {
		found := *e
		found.Code = Clean(found.Code)
		return found
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Error{Scope: Downstream, Class: Timeout, Code: TimedOut, Err: err}
	}
	return Error{Code: Clean(Network(err)), Err: err}
}

// maxCode bounds a code in bytes.
const maxCode = 40

// Clean returns the code if it is fit to be logged, else Other.
func Clean(code string) string {
	if code == "" || len(code) > maxCode {
		return Other
	}
	for _, r := range code {
		switch {
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == ' ':
		default:
			return Other
		}
	}
	return code
}

// Network returns the code of an error of the network or the file system, empty if it is neither: an errno by its name, or
// one of TimedOut, Lost, Certificate, NameNotFound and NameFailed.
func Network(err error) string {
	var errno syscall.Errno
	var name *net.DNSError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &name) && name.IsNotFound:
		return NameNotFound
	case errors.As(err, &name):
		return NameFailed
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case Untrusted(err):
		return Certificate
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Lost
	default:
		return ""
	}
}

// Untrusted tells whether the peer's certificate is the matter.
func Untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// NetworkCodes are the codes of Network that are worth a series of their own.
func NetworkCodes() []string {
	return []string{"ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ETIMEDOUT", Certificate, Lost, NameFailed, NameNotFound}
}

// FileCodes are the errnos of a file system that are worth a series of their own.
func FileCodes() []string { return []string{"EACCES", "EIO", "EMFILE", "ENOSPC", "EROFS"} }
