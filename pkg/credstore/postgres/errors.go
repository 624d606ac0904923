package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/failure"
)

// SQLSTATEs that are looked at one by one (PostgreSQL manual, appendix A).
const (
	codeCanceled        = "57014" // statement_timeout, or somebody's pg_cancel_backend
	codeDatabaseDropped = "57P04"
	codeLocked          = "55P03" // lock_timeout
	codeInUse           = "55006"
	codeReadOnly        = "25006"
	codePrivilege       = "42501"
	codeNoTable         = "42P01"
	codeDivision        = "22012" // what the guard of the write statement raises
)

// errUnwritten is a change that was put into surgegate's table while the password's row was not written.
var errUnwritten = errors.New("an account was locked and its password was not written: a trigger, a row policy or statements.set left it out")

// wrap classifies a driver's error. Its text is not printed, as it may quote what was bound; the code says enough.
func wrap(ctx context.Context, what string, err error) error {
	var ours *failure.Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	if errors.Is(err, credstore.ErrOverloaded) || errors.Is(err, credstore.ErrConfig) { // in our words already
		f := &failure.Error{Scope: failure.Downstream, Class: failure.Overload, Code: failure.Network(err), Err: err}
		if errors.Is(err, credstore.ErrConfig) {
			f.Class, f.Advice = failure.Config, err.Error()
		}
		return f
	}
	if cause := ctx.Err(); cause != nil {
		// The server answers a cancelled statement with 57014, a closed one not at all; what the caller needs is why.
		if errors.Is(cause, context.DeadlineExceeded) {
			return timedOut(fmt.Errorf("postgres: %s: %w: %w", what, credstore.ErrOverloaded, cause))
		}
		return fmt.Errorf("postgres: %s: %w", what, cause)
	}
	var e *pgconn.PgError
	switch {
	case errors.Is(err, errUnwritten):
		return &failure.Error{Code: codeUnwritten, Err: fmt.Errorf("postgres: %s: %w", what, errUnwritten)}
	case errors.As(err, &e) && e.Code == codeDivision:
		return &failure.Error{Code: codeUnwritten, Text: e.Message, Err: fmt.Errorf("postgres: %s: %w (or a trigger divided by zero)", what, errUnwritten)}
	case errors.As(err, &e):
		return wrapCode(what, e)
	case untrusted(err):
		return &failure.Error{
			Scope: failure.Downstream, Class: failure.Config, Code: failure.Certificate, Text: err.Error(),
			Err: fmt.Errorf("postgres: %s: %w: the server's certificate is not one that sslrootcert trusts for this host, or it has none", what, credstore.ErrConfig),
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		// A bound of our own, connecting or pinging.
		return timedOut(fmt.Errorf("postgres: %s: %w: %w", what, credstore.ErrOverloaded, context.DeadlineExceeded))
	case lost(err):
		code := failure.Network(err)
		if code == "" {
			code = failure.Lost
		}
		return &failure.Error{
			Scope: failure.Downstream, Class: failure.Overload, Code: code, Text: err.Error(),
			Err: fmt.Errorf("postgres: %s: %w: no connection", what, credstore.ErrOverloaded),
		}
	default:
		return &failure.Error{Text: err.Error(), Err: fmt.Errorf("postgres: %s: %T", what, err)}
	}
}

// timedOut is the error of a call whose deadline has passed.
func timedOut(err error) error {
	return &failure.Error{Scope: failure.Downstream, Class: failure.Timeout, Code: failure.TimedOut, Err: err}
}

// The codes that are no SQLSTATE.
const (
	codeUnwritten = "UNWRITTEN" // errUnwritten
	codeSchema    = "SCHEMA"    // what the check of the schema has found
)

func wrapCode(what string, e *pgconn.PgError) error {
	f := &failure.Error{Code: "SQLSTATE " + e.Code, Text: e.Message}
	switch code := e.Code; {
	case code == codeReadOnly:
		f.Scope, f.Class = failure.Downstream, failure.Overload
		f.Err = fmt.Errorf("postgres: %s: %w: the server only reads: a standby, or the role's default_transaction_read_only (SQLSTATE %s)", what, credstore.ErrOverloaded, code)
	case overload(code):
		f.Scope, f.Class = failure.Downstream, failure.Overload
		f.Err = fmt.Errorf("postgres: %s: %w (SQLSTATE %s)", what, credstore.ErrOverloaded, code)
	case misconfigured(code):
		f.Scope, f.Class, f.Advice = failure.Downstream, failure.Config, advice(code)
		f.Err = fmt.Errorf("postgres: %s: %w: %s (SQLSTATE %s)", what, credstore.ErrConfig, f.Advice, code)
	default:
		f.Err = fmt.Errorf("postgres: %s: SQLSTATE %s", what, code)
	}
	return f
}

// FailureCodes are the codes of its errors that are worth a series of their own. An SQLSTATE that is not among them is
// counted by its class, its first two characters.
func (s *Store) FailureCodes() []string {
	codes := []string{codeUnwritten, codeSchema}
	for _, state := range []string{"08", "22", "23", "28", "40", "42", "53", "55", "57", "58", codeReadOnly} {
		codes = append(codes, "SQLSTATE "+state)
	}
	return append(codes, failure.NetworkCodes()...)
}

// overload knows the states that pass by themselves, with nothing wrong with the batch.
func overload(code string) bool {
	switch code {
	case codeLocked, codeInUse, codeReadOnly, codeCanceled:
		return true
	case codeDatabaseDropped:
		return false
	}
	for _, class := range []string{
		"08", // connection exception
		"40", // serialization failure, deadlock
		"53", // insufficient resources: connections, memory, disk
		"57", // operator intervention: shutdown, crash of another backend, starting up
		"58", // system error
	} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// misconfigured knows the states that no retry mends.
func misconfigured(code string) bool {
	if code == codeDatabaseDropped {
		return true
	}
	for _, class := range []string{
		"0A", // feature not supported
		"26", // invalid statement name: a pooler that takes prepared statements away
		"28", // authorization
		"3D", // no such database
		"3F", // no such schema
		"42", // syntax, missing or forbidden objects
	} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

func advice(code string) string {
	switch {
	case strings.HasPrefix(code, "28"):
		return "the server refuses the role: see the role's password (password_file, PGPASSWORD), its LOGIN and pg_hba.conf"
	case code == codePrivilege:
		return "the role lacks a privilege: see the grants in cmd/surgegate/README.md"
	case code == codeNoTable:
		return "a table is missing: see accounts.table, changes.table, sessions.table and the statements"
	case strings.HasPrefix(code, "3D"), code == codeDatabaseDropped:
		return "there is no such database: see url"
	case strings.HasPrefix(code, "26"):
		return "prepared statements do not last: a pooler in between must support them, or write default_query_exec_mode=exec into url"
	default:
		return "the schema and the configuration do not fit: start again, or wait for the next check, to be told where"
	}
}

func untrusted(err error) bool {
	return failure.Untrusted(err) ||
		// pgx has no type for it (pgconn.go, startTLS; TestPlainServerIsRefused fails if the words change).
		strings.Contains(err.Error(), "server refused TLS connection")
}

// lost tells whether the connection is the matter: never made, or gone.
func lost(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) || pgconn.SafeToRetry(err)
}

// stale tells whether the server said that this connection leads to the wrong place now.
func stale(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == codeReadOnly
}
