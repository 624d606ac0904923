package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// schemaVersion is kept in the file's user_version.
const schemaVersion = 1

const schema = `
CREATE TABLE accounts (
	id             TEXT PRIMARY KEY,
	login          TEXT NOT NULL UNIQUE COLLATE NOCASE,
	address        TEXT NOT NULL COLLATE NOCASE,
	locale         TEXT NOT NULL DEFAULT '',
	hash           TEXT NOT NULL DEFAULT '',
	not_resettable INTEGER NOT NULL DEFAULT 0,
	password_time  INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX accounts_address ON accounts (address);
CREATE TABLE sessions (
	id         TEXT PRIMARY KEY,
	account_id TEXT NOT NULL,
	begun      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_account ON sessions (account_id, begun);
CREATE TABLE surgegate_changes (
	account_id  TEXT PRIMARY KEY,
	sequence    INTEGER NOT NULL,
	change_id   TEXT NOT NULL,
	accept_time INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
`

// sampleAccounts have no password: a store that is open to whoever reads the source would be worse than an empty one.
var sampleAccounts = []Account{
	{Login: "ada", Account: credstore.Account{ID: "1", Address: "ada@example.com", Locale: "en"}},
	{Login: "grace", Account: credstore.Account{ID: "2", Address: "grace@example.com", Locale: "en"}},
	{Login: "edsger", Account: credstore.Account{ID: "3", Address: "edsger@example.com", Locale: "nl"}},
	{Login: "barbara", Account: credstore.Account{ID: "4", Address: "barbara@example.com", Locale: "en"}},
	// Two accounts with one address, and one that signs in elsewhere.
	{Login: "team-red", Account: credstore.Account{ID: "5", Address: "team@example.com", Locale: "en"}},
	{Login: "team-blue", Account: credstore.Account{ID: "6", Address: "team@example.com", Locale: "en"}},
	{Login: "sso", Account: credstore.Account{ID: "7", Address: "sso@example.com", Locale: "en", NotResettable: true}},
}

// migrate makes the tables of a new file, and refuses a file that a newer version has written.
func (s *Store) migrate(ctx context.Context, sample bool) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return wrap(ctx, "begin", err)
	}
	defer func() { _ = tx.Rollback() }()
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return wrap(ctx, "read the schema version", err)
	}
	switch {
	case version > schemaVersion:
		return fmt.Errorf("sqlite: %w: the file has schema %d, this version knows %d", credstore.ErrConfig, version, schemaVersion)
	case version == schemaVersion:
		return nil
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return wrap(ctx, "make the tables", err)
	}
	if sample {
		if err := putAccounts(ctx, tx, sampleAccounts); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return wrap(ctx, "commit", err)
	}
	return nil
}

func putAccounts(ctx context.Context, tx *sql.Tx, accounts []Account) error {
	put, err := tx.PrepareContext(ctx, `INSERT INTO accounts (id, login, address, locale, hash, not_resettable) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET login = excluded.login, address = excluded.address, locale = excluded.locale,
			hash = excluded.hash, not_resettable = excluded.not_resettable`)
	if err != nil {
		return wrap(ctx, "prepare", err)
	}
	defer func() { _ = put.Close() }()
	for _, a := range accounts {
		if _, err := put.ExecContext(ctx, a.ID, a.Login, a.Address, a.Locale, a.CurrentHash.Reveal(), a.NotResettable); err != nil {
			return wrap(ctx, "put an account", err)
		}
	}
	return nil
}
