package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// SetPasswords implements credstore.Store: one transaction a batch.
func (s *Store) SetPasswords(ctx context.Context, changes []credstore.Change) ([]credstore.Result, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	// Items found to break the transaction by themselves. Each round but the last finds one, so rounds are bounded by the items.
	bad := make(map[int]bool)
	for {
		results, culprit, err := s.setOnce(ctx, changes, bad)
		if err == nil {
			return results, nil
		}
		if culprit < 0 {
			return nil, err
		}
		bad[culprit] = true
	}
}

// setOnce runs the batch without the bad items. A culprit of 0 or more is the item whose own fault the error is.
func (s *Store) setOnce(ctx context.Context, changes []credstore.Change, bad map[int]bool) (results []credstore.Result, culprit int, err error) {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, -1, wrap(ctx, "begin", err)
	}
	defer func() { _ = tx.Rollback() }()
	w := changeWriter{
		read: tx.StmtContext(ctx, s.readChange),
		put:  tx.StmtContext(ctx, s.putChange),
		set:  tx.StmtContext(ctx, s.setHash),
	}
	// For a context that can end, the driver starts a goroutine for each statement. These take microseconds and wait for no
	// lock, as the transaction has it: looking at the context between items does.
	inside := context.WithoutCancel(ctx)
	results = make([]credstore.Result, len(changes))
	for i, c := range changes {
		if bad[i] {
			results[i] = credstore.Result{Outcome: credstore.RetryItem, Detail: "the database refuses this row"}
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, -1, wrap(ctx, "set a password", err)
		}
		if results[i], err = w.apply(inside, c); err != nil {
			if ofItem(err) {
				return nil, i, err
			}
			return nil, -1, wrap(ctx, "set a password", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, -1, wrap(ctx, "commit", err)
	}
	return results, -1, nil
}

type changeWriter struct{ read, put, set *sql.Stmt }

// apply writes first and asks why not only where nothing was written: two statements for the usual item instead of
// three. Measured: 256 items in 3.1 ms instead of 8.3 ms.
func (w changeWriter) apply(ctx context.Context, c credstore.Change) (credstore.Result, error) {
	refusal := malformed(c)
	if refusal == "" {
		put, err := w.put.ExecContext(ctx, c.AccountID, int64(c.Sequence), c.ChangeID, c.AcceptTime.UnixMicro())
		if err != nil {
			return credstore.Result{}, err
		}
		if rows, err := put.RowsAffected(); err != nil || rows > 0 {
			if err == nil {
				_, err = w.set.ExecContext(ctx, c.AccountID, c.Password.Reveal())
			}
			return credstore.Result{Outcome: credstore.Applied}, err
		}
	}
	var changeID sql.NullString
	var newer sql.NullBool
	err := w.read.QueryRowContext(ctx, c.AccountID, int64(c.Sequence)).Scan(&changeID, &newer)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return credstore.Result{Outcome: credstore.UnknownAccount}, nil
	case err != nil:
		return credstore.Result{}, err
	case refusal != "":
		return credstore.Result{Outcome: credstore.Refused, Detail: refusal}, nil
	case changeID.Valid && changeID.String == c.ChangeID:
		return credstore.Result{Outcome: credstore.AlreadyApplied}, nil
	case newer.Bool:
		return credstore.Result{Outcome: credstore.Superseded, Detail: "a newer reset is in place"}, nil
	default:
		return credstore.Result{Outcome: credstore.Superseded, Detail: "the site has changed the password since"}, nil
	}
}

func malformed(c credstore.Change) string {
	switch {
	case !strings.HasPrefix(c.Password.Reveal(), "$"):
		return "not a PHC string"
	case c.ChangeID == "":
		return "no change id"
	case c.Sequence == 0 || c.Sequence > math.MaxInt64:
		return "sequence out of range"
	default:
		return ""
	}
}

// RevokeSessions implements credstore.Revoker. Deleting by the moment that a session began is idempotent by itself.
func (s *Store) RevokeSessions(ctx context.Context, revocations []credstore.Revocation) ([]credstore.Revoked, error) {
	if len(revocations) == 0 {
		return nil, nil
	}
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, wrap(ctx, "begin", err)
	}
	defer func() { _ = tx.Rollback() }()
	have, end := tx.StmtContext(ctx, s.haveAccount), tx.StmtContext(ctx, s.endSessions)
	results := make([]credstore.Revoked, len(revocations))
	for i, r := range revocations {
		if err := have.QueryRowContext(ctx, r.AccountID).Scan(&results[i].Known); err != nil {
			return nil, wrap(ctx, "revoke", err)
		}
		ended, err := end.ExecContext(ctx, r.AccountID, r.SessionsBefore.UnixMicro())
		if err != nil {
			return nil, wrap(ctx, "revoke", err)
		}
		n, err := ended.RowsAffected()
		if err != nil {
			return nil, wrap(ctx, "revoke", err)
		}
		results[i].Ended = int(n)
	}
	if err := tx.Commit(); err != nil {
		return nil, wrap(ctx, "commit", err)
	}
	return results, nil
}

// PutAccounts adds accounts, or changes those that are there.
func (s *Store) PutAccounts(ctx context.Context, accounts ...Account) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return wrap(ctx, "begin", err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := putAccounts(ctx, tx, accounts); err != nil {
		return err
	}
	return wrap(ctx, "commit", tx.Commit())
}

// BeginSession records a session, for sites that keep theirs here.
func (s *Store) BeginSession(ctx context.Context, id, accountID string, begun time.Time) error {
	_, err := s.putSess.ExecContext(ctx, id, accountID, begun.UnixMicro())
	return wrap(ctx, "begin a session", err)
}

// Sessions counts the sessions of an account.
func (s *Store) Sessions(ctx context.Context, accountID string) (int, error) {
	var n int
	err := s.reader.QueryRowContext(ctx, "SELECT count(*) FROM sessions WHERE account_id = ?", accountID).Scan(&n)
	return n, wrap(ctx, "count sessions", err)
}
