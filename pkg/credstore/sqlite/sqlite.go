package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver

	"github.com/surgegate/surgegate/pkg/credstore"
)

var (
	_ credstore.Store   = (*Store)(nil)
	_ credstore.Revoker = (*Store)(nil)
)

// Account is an account and the name that its owner signs in with.
type Account struct {
	credstore.Account
	Login string
}

// Store is a credential store in one SQLite file. It is safe for concurrent use, also by several processes.
type Store struct {
	config Config
	writer *sql.DB // one connection
	reader *sql.DB

	findIdentifier, findID            *sql.Stmt // of reader
	readChange, putChange, setHash    *sql.Stmt // of writer
	haveAccount, endSessions, putSess *sql.Stmt // of writer
}

// New opens the store, making the file and its tables if there are none.
func New(ctx context.Context, config Config) (*Store, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("sqlite: %w: %w", credstore.ErrConfig, err)
	}
	path, err := filepath.Abs(config.Path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w: path: %w", credstore.ErrConfig, err)
	}
	if err := private(path); err != nil {
		return nil, fmt.Errorf("sqlite: %w: path: %w", credstore.ErrConfig, err)
	}
	s := &Store{config: config}
	if s.writer, err = open(path, config, 1, false); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, config.Sample); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.reader, err = open(path, config, config.Readers, true); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// private makes a file that is not there yet for its owner only: it holds hashes, and SQLite would make it readable for
// everybody. SQLite gives the files beside it the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func open(path string, config Config, connections int, readOnly bool) (*sql.DB, error) {
	query := url.Values{
		"_busy_timeout": {fmt.Sprint(config.BusyTimeout.Milliseconds())},
		"_synchronous":  {"FULL"},
	}
	if readOnly {
		query.Set("_query_only", "true")
	} else {
		query.Set("_journal_mode", "WAL")
		// A transaction that reads first and writes later would fail with SQLITE_BUSY_SNAPSHOT beside another process.
		query.Set("_txlock", "immediate")
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w: open: %w", credstore.ErrConfig, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

const columns = "id, address, locale, hash, not_resettable"

func (s *Store) prepare(ctx context.Context) error {
	for _, p := range []struct {
		into **sql.Stmt
		db   *sql.DB
		text string
	}{
		// UNION also removes the account whose login is its address.
		{&s.findIdentifier, s.reader, "SELECT " + columns + " FROM accounts WHERE login = ?1 UNION SELECT " + columns + " FROM accounts WHERE address = ?1 ORDER BY id"},
		{&s.findID, s.reader, "SELECT " + columns + " FROM accounts WHERE id = ?1"},
		{&s.readChange, s.writer, `SELECT c.change_id, c.sequence >= ?2 FROM accounts a
			LEFT JOIN surgegate_changes c ON c.account_id = a.id WHERE a.id = ?1`},
		{&s.putChange, s.writer, `INSERT INTO surgegate_changes (account_id, sequence, change_id, accept_time)
			SELECT ?1, ?2, ?3, ?4 FROM accounts WHERE id = ?1 AND password_time <= ?4
			ON CONFLICT (account_id) DO UPDATE SET sequence = ?2, change_id = ?3, accept_time = ?4
			WHERE sequence < ?2 AND change_id <> ?3`},
		{&s.setHash, s.writer, "UPDATE accounts SET hash = ?2 WHERE id = ?1"},
		{&s.haveAccount, s.writer, "SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)"},
		{&s.endSessions, s.writer, "DELETE FROM sessions WHERE account_id = ?1 AND begun < ?2"},
		{&s.putSess, s.writer, "INSERT INTO sessions (id, account_id, begun) VALUES (?1, ?2, ?3)"},
	} {
		stmt, err := p.db.PrepareContext(ctx, p.text)
		if err != nil {
			return wrap(ctx, "prepare", err)
		}
		*p.into = stmt
	}
	return nil
}

// Describe implements credstore.Store.
func (s *Store) Describe(ctx context.Context) (credstore.Description, error) {
	// A store that cannot be read cannot be described either: the answer is also a sign of life.
	if err := s.reader.PingContext(ctx); err != nil {
		return credstore.Description{}, wrap(ctx, "ping", err)
	}
	return credstore.Description{
		Form:           credstore.FormHash,
		MaxLookupBatch: s.config.MaxBatch,
		MaxSetBatch:    s.config.MaxBatch,
		MaxRevokeBatch: s.config.MaxBatch,
		HashSchemes:    []string{"argon2id", "2b"},
	}, nil
}

// Lookup implements credstore.Store. An identifier is a login or an address, in any ASCII case.
func (s *Store) Lookup(ctx context.Context, identifiers, accountIDs []string) ([][]credstore.Account, error) {
	if len(identifiers)+len(accountIDs) == 0 {
		return nil, nil
	}
	// One transaction: every answer is of the same moment, and the batch holds one connection instead of racing for several.
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, wrap(ctx, "begin", err)
	}
	defer func() { _ = tx.Rollback() }()
	inside := context.WithoutCancel(ctx) // as in setOnce
	results := make([][]credstore.Account, 0, len(identifiers)+len(accountIDs))
	for _, part := range []struct {
		keys []string
		stmt *sql.Stmt
	}{{identifiers, s.findIdentifier}, {accountIDs, s.findID}} {
		stmt := tx.StmtContext(ctx, part.stmt)
		for _, key := range part.keys {
			if err := ctx.Err(); err != nil {
				return nil, wrap(ctx, "look up", err)
			}
			accounts, err := find(inside, stmt, key)
			if err != nil {
				return nil, wrap(ctx, "look up", err)
			}
			results = append(results, accounts)
		}
	}
	return results, nil
}

func find(ctx context.Context, stmt *sql.Stmt, key string) (accounts []credstore.Account, err error) {
	rows, err := stmt.QueryContext(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var a credstore.Account
		var hash string
		if err := rows.Scan(&a.ID, &a.Address, &a.Locale, &hash, &a.NotResettable); err != nil {
			return nil, err
		}
		a.CurrentHash = credstore.Secret(hash)
		accounts = append(accounts, a)
	}
	return accounts, rows.Err()
}

// Close releases the connections.
func (s *Store) Close() error {
	var errs []error
	// The reader first: the last connection to close checkpoints the WAL, and that should be one that may write.
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
