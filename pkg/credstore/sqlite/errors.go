package sqlite

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/failure"
)

// primary is the mask of a result code's first half; the rest says more exactly what kind it is of (sqlite.org/rescode).
const primary = 0xff

// wrap classifies a driver's error. Its text is not printed, as it may quote what was bound; the code says enough.
func wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		// The driver answers an interrupted statement with SQLITE_INTERRUPT; what the caller needs to know is why.
		if !errors.Is(cause, context.DeadlineExceeded) {
			return fmt.Errorf("sqlite: %s: %w", what, cause)
		}
		return &failure.Error{
			Scope: failure.Downstream, Class: failure.Timeout, Code: failure.TimedOut,
			Err: fmt.Errorf("sqlite: %s: %w: %w", what, credstore.ErrOverloaded, cause),
		}
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return &failure.Error{Code: failure.Network(err), Text: err.Error(), Err: fmt.Errorf("sqlite: %s: %T", what, err)}
	}
	f := &failure.Error{Code: codeNames()[e.Code()&primary], Text: e.Error()}
	switch e.Code() & primary {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_PROTOCOL:
		f.Scope, f.Class = failure.Downstream, failure.Overload
		f.Err = fmt.Errorf("sqlite: %s: %w (code %d)", what, credstore.ErrOverloaded, e.Code())
	case lib.SQLITE_CANTOPEN, lib.SQLITE_NOTADB, lib.SQLITE_PERM, lib.SQLITE_READONLY, lib.SQLITE_AUTH, lib.SQLITE_SCHEMA, lib.SQLITE_ERROR:
		// SQLITE_ERROR is what a missing table or column is answered with.
		f.Scope, f.Class = failure.Downstream, failure.Config
		f.Err = fmt.Errorf("sqlite: %s: %w (code %d)", what, credstore.ErrConfig, e.Code())
	default:
		f.Err = fmt.Errorf("sqlite: %s: code %d", what, e.Code())
	}
	return f
}

// codeNames are the names of the primary result codes that a store may meet.
func codeNames() map[int]string {
	return map[int]string{
		lib.SQLITE_ERROR: "SQLITE_ERROR", lib.SQLITE_PERM: "SQLITE_PERM", lib.SQLITE_BUSY: "SQLITE_BUSY", lib.SQLITE_LOCKED: "SQLITE_LOCKED",
		lib.SQLITE_NOMEM: "SQLITE_NOMEM", lib.SQLITE_READONLY: "SQLITE_READONLY", lib.SQLITE_IOERR: "SQLITE_IOERR",
		lib.SQLITE_CORRUPT: "SQLITE_CORRUPT", lib.SQLITE_FULL: "SQLITE_FULL", lib.SQLITE_CANTOPEN: "SQLITE_CANTOPEN",
		lib.SQLITE_PROTOCOL: "SQLITE_PROTOCOL", lib.SQLITE_SCHEMA: "SQLITE_SCHEMA", lib.SQLITE_TOOBIG: "SQLITE_TOOBIG",
		lib.SQLITE_CONSTRAINT: "SQLITE_CONSTRAINT", lib.SQLITE_MISMATCH: "SQLITE_MISMATCH", lib.SQLITE_AUTH: "SQLITE_AUTH",
		lib.SQLITE_NOTADB: "SQLITE_NOTADB",
	}
}

// FailureCodes are the codes of its errors that are worth a series of their own.
func (s *Store) FailureCodes() []string {
	return []string{"SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY"}
}

// ofItem tells whether an error can be the fault of one item: a constraint or a trigger of the site's, or a value that
// is too big. Everything else concerns the whole transaction.
func ofItem(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & primary {
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		return true
	default:
		return false
	}
}
