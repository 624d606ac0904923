package sqlite

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// primary is the mask of a result code's first half; the rest says more exactly what kind it is of (sqlite.org/rescode).
const primary = 0xff

// wrap classifies a driver's error. Its text is left out, as it may quote what was bound; the code says enough.
func wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		// The driver answers an interrupted statement with SQLITE_INTERRUPT; what the caller needs to know is why.
		if errors.Is(cause, context.DeadlineExceeded) {
			return fmt.Errorf("sqlite: %s: %w: %w", what, credstore.ErrOverloaded, cause)
		}
		return fmt.Errorf("sqlite: %s: %w", what, cause)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("sqlite: %s: %w", what, err)
	}
	switch e.Code() & primary {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_PROTOCOL:
		return fmt.Errorf("sqlite: %s: %w (code %d)", what, credstore.ErrOverloaded, e.Code())
	case lib.SQLITE_CANTOPEN, lib.SQLITE_NOTADB, lib.SQLITE_PERM, lib.SQLITE_READONLY, lib.SQLITE_AUTH, lib.SQLITE_SCHEMA, lib.SQLITE_ERROR:
		// SQLITE_ERROR is what a missing table or column is answered with.
		return fmt.Errorf("sqlite: %s: %w (code %d)", what, credstore.ErrConfig, e.Code())
	default:
		return fmt.Errorf("sqlite: %s: code %d", what, e.Code())
	}
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
