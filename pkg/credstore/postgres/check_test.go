package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
)

// What does not fit is said at the start, with what to do.
func TestStartChecks(t *testing.T) {
	t.Parallel()
	type config = postgres.Config
	statement := func(change func(*postgres.Statements)) func(*config) {
		return func(c *config) {
			c.Statements = statements()
			change(&c.Statements)
		}
	}
	for _, test := range []struct {
		name, ddl string
		change    func(*config)
		want      []string
	}{
		{"missing table", "", func(c *config) { c.Accounts.Table = "Users" }, []string{`accounts.table: there is no table "Users" in the database (names are taken as written, case included)`}},
		{"missing schema", "", func(c *config) { c.Accounts.Schema = "nowhere" }, []string{`accounts.table: there is no table "nowhere"."users"`}},
		{"schema without usage", "CREATE SCHEMA $role_s; CREATE TABLE $role_s.users ()", func(c *config) { c.Accounts.Schema = "$role_s" }, []string{"GRANT USAGE ON SCHEMA"}},
		{"missing columns, all at once", "", func(c *config) { c.Accounts.Hash, c.Accounts.ID, c.Accounts.Locale = "hash", "ID", "lang" }, []string{
			`accounts.hash: "users" has no column "hash"`, `accounts.id: "users" has no column "ID"`, `accounts.locale: "users" has no column "lang"`, "it has changed, email, id, locale, login, password_hash, sso"}},
		{"wrong type of the id", "ALTER TABLE users ADD d date", func(c *config) { c.Accounts.ID = "d" }, []string{`accounts.id: "d" in "users" is of type date; it must be one of text`}},
		{"wrong type of a flag", "", func(c *config) { c.Accounts.NotResettable = "locale" }, []string{`accounts.not_resettable: "locale" in "users" is of type text; it must be one of bool`}},
		{"time without a zone", "ALTER TABLE users ALTER changed TYPE timestamp", func(c *config) { c.Accounts.PasswordTime = "changed" }, []string{"accounts.password_time", "of type timestamp; it must be one of timestamptz"}},
		{"id that is not unique", "ALTER TABLE users ADD tenant_id text; GRANT SELECT ON users TO $role", func(c *config) { c.Accounts.ID = "tenant_id" }, []string{"accounts.id", `no unique index on "tenant_id" alone`}},
		{"hash column too short", "ALTER TABLE users ALTER password_hash TYPE varchar(60)", func(*config) {}, []string{"accounts.hash: \"password_hash\" holds 60 characters", "ALTER TABLE"}},
		{"no right to read", "REVOKE SELECT (email) ON users FROM $role", func(*config) {}, []string{`may not SELECT it: GRANT SELECT ("email") ON "users" TO "$role"`}},
		{"no right to write", "REVOKE UPDATE (password_hash) ON users FROM $role", func(*config) {}, []string{`may not UPDATE it: GRANT UPDATE ("password_hash") ON "users" TO "$role"`}},
		{"no right to share", "", func(c *config) { c.Accounts.ShareHash = true }, []string{`may not SELECT it: GRANT SELECT ("password_hash")`}},
		{"no side table", "DROP TABLE surgegate_changes", func(*config) {}, []string{`changes.table: there is no table "surgegate_changes": let an owner make it (CREATE TABLE`, "changes: {create: true}"}},
		{"no right to make it", "DROP TABLE surgegate_changes", func(c *config) { c.Changes.Create = true }, []string{"changes.create", "may not make"}},
		{"another's table", "DROP TABLE surgegate_changes; CREATE TABLE surgegate_changes (account_id text PRIMARY KEY, sequence text)", func(*config) {}, []string{"changes.table: \"surgegate_changes\" is not surgegate's: it has no column sequence of type int8"}},
		{"side table without a key", "ALTER TABLE surgegate_changes DROP CONSTRAINT surgegate_changes_pkey", func(*config) {}, []string{"account_id is not the primary key"}},
		{"side table without rights", "REVOKE INSERT ON surgegate_changes FROM $role", func(*config) {}, []string{`GRANT SELECT, INSERT, UPDATE ON "surgegate_changes" TO "$role"`}},
		{"no sessions", "", func(c *config) { c.Sessions.Table = "logins" }, []string{`sessions.table: there is no table "logins"`}},
		{"no right to end sessions", "REVOKE DELETE ON sessions FROM $role", func(*config) {}, []string{`may not DELETE from it: GRANT DELETE ON "sessions" TO "$role"`}},
		{"lookup: no SQL", statementSchema, statement(func(s *postgres.Statements) { s.Lookup = "SELEKT 1" }), []string{`statements.lookup: is no SQL statement at character 1, "SELEKT 1"`}},
		{"lookup: no table", statementSchema, statement(func(s *postgres.Statements) { s.Lookup = "SELECT 1 FROM peeple" }), []string{`statements.lookup: names a table that is not there at character 15, "peeple"`}},
		{"lookup: no column", statementSchema, statement(func(s *postgres.Statements) { s.Lookup = "SELECT p.nmae FROM people p" }), []string{`statements.lookup: names a column that is not there at character 8, "p.nmae FROM`}},
		{"lookup: wrong parameter", statementSchema, statement(func(s *postgres.Statements) {
			s.Lookup = "SELECT 1::bigint AS n, id, mail AS address FROM people WHERE length(id) = ANY($1)"
		}), []string{"statements.lookup: its parameters are (integer[]), they must be (text[]): write casts such as $1::text[]"}},
		{"lookup: no parameter", statementSchema, statement(func(s *postgres.Statements) { s.Lookup = "SELECT 1::bigint AS n, id, mail AS address FROM people" }), []string{"its parameters are (), they must be (text[])"}},
		{"lookup: no id", statementSchema, statement(func(s *postgres.Statements) {
			s.Lookup = "SELECT i.n, p.mail AS address FROM unnest($1::text[]) WITH ORDINALITY AS i(key, n) JOIN people p ON p.login = i.key"
		}), []string{"statements.lookup: returns no column id where it belongs: name its columns n, id, address, locale, hash, not_resettable"}},
		{"lookup: wrong type of n", statementSchema, statement(func(s *postgres.Statements) {
			s.Lookup = "SELECT i AS n, p.id, p.mail AS address FROM unnest($1::text[]) AS i JOIN people p ON p.login = i"
		}), []string{"statements.lookup: column n is of type text, it must be bigint"}},
		{"set: too few parameters", statementSchema, statement(func(s *postgres.Statements) { s.Set = "SELECT unnest($1::text[])" }), []string{"statements.set: its parameters are (text[]), they must be (text[], text[], timestamp with time zone[])"}},
		{"revoke: columns in another order", statementSchema, statement(func(s *postgres.Statements) {
			s.Revoke = "SELECT 1::bigint AS ended, 1::bigint AS n FROM unnest($1::text[], $2::timestamptz[])"
		}), []string{"statements.revoke: returns no column n where it belongs"}},
		{"statement without rights", statementSchema, statement(func(*postgres.Statements) {}), []string{"lacks a privilege on what the statement uses"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, server(t))
			if test.ddl != statementSchema {
				w.exec(plainSchema + plainGrants)
			}
			w.exec(test.ddl)
			c := w.config()
			test.change(&c)
			if c.Statements.Set != "" {
				c.Accounts, c.Sessions = postgres.Accounts{}, postgres.Sessions{}
				w.exec("GRANT SELECT, INSERT, UPDATE ON surgegate_changes TO $role")
			}
			c.Accounts.Schema = strings.ReplaceAll(c.Accounts.Schema, "$role", w.role)
			s, err := postgres.New(t.Context(), c, postgres.Deps{})
			if err == nil {
				_ = s.Close()
			}
			if !errors.Is(err, credstore.ErrConfig) || errors.Is(err, credstore.ErrOverloaded) {
				t.Fatalf("%v", err)
			}
			for _, want := range test.want {
				if want = strings.ReplaceAll(want, "$role", w.role); !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in: %v", want, err)
				}
			}
		})
	}
}

func TestSideTableIsMadeWhereAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, "DROP TABLE surgegate_changes")
	w.exec("GRANT CREATE ON SCHEMA " + w.schema + " TO $role")
	w.users(1)
	c := w.config()
	c.Changes.Create = true
	for _, want := range []credstore.Outcome{credstore.Applied, credstore.AlreadyApplied} {
		got, err := w.open(c).SetPasswords(t.Context(), changes(1, "a0"))
		wantOutcomes(t, got, err, want)
	}
}

// A schema that changes under a running surgegate is told by Describe, in the start's words; back again, it goes on.
func TestDescribeChecksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	w.users(1)
	s := w.open(w.config())
	w.exec("ALTER TABLE users RENAME email TO mail")
	if _, err := s.Describe(t.Context()); !errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), `has no column "email"`) {
		t.Errorf("%v", err)
	}
	w.exec("ALTER TABLE users RENAME mail TO email")
	if _, err := s.Describe(t.Context()); err != nil {
		t.Error(err)
	}
	// Another type of id, as a migration makes it: the next check takes it over.
	w.exec("UPDATE users SET id = '7'; ALTER TABLE sessions DROP CONSTRAINT sessions_user_id_fkey; ALTER TABLE users ALTER id TYPE bigint USING id::bigint")
	if _, err := s.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "7"))
	wantOutcomes(t, got, err, credstore.Applied)
}

func TestWithoutSessionsNothingIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	c := w.config()
	c.Sessions = postgres.Sessions{}
	s := w.open(c)
	if d, err := s.Describe(t.Context()); err != nil || d.MaxRevokeBatch != 0 || d.MaxSetBatch != 256 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := s.RevokeSessions(t.Context(), []credstore.Revocation{{AccountID: "a0"}}); !errors.Is(err, credstore.ErrConfig) {
		t.Errorf("%v", err)
	}
}

// A look-up without an index, and a policy that hides rows, are no reason to refuse the start; they are said.
func TestWhatIsSlowOrHiddenIsWarnedOf(t *testing.T) {
	t.Parallel()
	for ddl, want := range map[string]string{
		"DROP INDEX users_email_idx":                  "lookup: no index serves it",
		"ALTER TABLE users ENABLE ROW LEVEL SECURITY": "row security applies",
		"": "",
	} {
		w := newWorld(t, server(t), plainSchema, plainGrants, ddl)
		var log bytes.Buffer
		s, err := postgres.New(t.Context(), w.config(), postgres.Deps{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		if !strings.Contains(log.String(), want) || want == "" && log.Len() > 0 {
			t.Errorf("%q: logged %q", ddl, log.String())
		}
	}
}

// Over TCP the role proves who it is, by a file that is read for each connection.
func TestPasswordFromAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	w.users(1)
	c := w.config()
	c.URL = w.server.URL(w.role, "postgres")
	c.PasswordFile = filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		if err := os.WriteFile(c.PasswordFile, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := postgres.New(t.Context(), c, postgres.Deps{}); !errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), "password_file") {
		t.Errorf("without the file: %v", err)
	}
	write("CANARY-wrong")
	_, err := postgres.New(t.Context(), c, postgres.Deps{})
	if !errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), "28P01") || strings.Contains(fmt.Sprintf("%+v", err), "CANARY") {
		t.Errorf("with a wrong one: %v", err)
	}
	write("role's\n")
	s := w.open(c)
	got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
}

func TestWrongDatabaseAndRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	for code, url := range map[string]string{"3D000": w.server.SocketURL(w.role, "nowhere"), "28000": w.server.SocketURL("nobody_here", "postgres")} {
		c := w.config()
		c.URL = url
		if _, err := postgres.New(t.Context(), c, postgres.Deps{}); !errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), code) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// A server without TLS is no server that sslmode=verify-full would take.
func TestPlainServerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	c := w.config()
	c.URL = strings.Replace(w.server.URL(w.role, "postgres"), "sslmode=disable", "sslmode=verify-full", 1)
	if _, err := postgres.New(t.Context(), c, postgres.Deps{}); !errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	good := func() postgres.Config {
		return postgres.Config{URL: "postgres://r@localhost/d", Accounts: postgres.Accounts{Table: "users"}}
	}
	for _, test := range []struct {
		field  string
		change func(*postgres.Config)
	}{
		{"url", func(c *postgres.Config) { c.URL = "" }},
		{"url", func(c *postgres.Config) { c.URL = "host=localhost password=CANARY" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r:CANARY@localhost/d" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r@localhost/d?password=CANARY" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r:CANARY@local host/d" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r@localhost:port/CANARY" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r@localhost/d?sslmode=verify-full&sslrootcert=/none" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r@db.internal/d" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r@db.internal/d?sslmode=require" }},
		{"url", func(c *postgres.Config) { c.URL = "postgres://r@localhost,10.0.0.1/d" }},
		{"accounts.table", func(c *postgres.Config) { c.Accounts.Table = "" }},
		{"accounts.hash", func(c *postgres.Config) { c.Accounts.Hash = strings.Repeat("x", 64) }},
		{"accounts.identifiers", func(c *postgres.Config) { c.Accounts.Identifiers = []string{"a\x00"} }},
		{"statements.set", func(c *postgres.Config) { c.Statements.Lock = "x" }},
		{"statements.ids", func(c *postgres.Config) { c.Statements.IDs = "int" }},
		{"statements.revoke", func(c *postgres.Config) { c.Sessions.Table, c.Statements.Revoke = "x", "y" }},
		{"max_connections", func(c *postgres.Config) { c.MaxConnections = 1001 }},
		{"max_batch", func(c *postgres.Config) { c.MaxBatch = -1 }},
		{"call_timeout", func(c *postgres.Config) { c.CallTimeout = 1 }},
		{"lock_timeout", func(c *postgres.Config) { c.LockTimeout = -1 }},
		{"hash_schemes", func(c *postgres.Config) { c.HashSchemes = []string{""} }},
	} {
		c := good()
		test.change(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), test.field+":") || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", test.field, err)
		}
	}
	for _, url := range []string{
		"postgres://r@localhost/d", "postgresql://r@127.0.0.1:5433/d", "postgres://r@[::1]/d", "postgres://r@/d?host=/run/postgresql",
	} {
		c := good()
		c.URL = url
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	c := good()
	c.URL, c.Insecure = "postgres://r@db.internal/d", true
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := postgres.New(context.Background(), postgres.Config{}, postgres.Deps{}); !errors.Is(err, credstore.ErrConfig) {
		t.Errorf("%v", err)
	}
}

// No password, hash or identifier is in any error or in the log, whatever goes wrong.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, "ALTER TABLE users ADD CONSTRAINT short CHECK (length(password_hash) < 10), ADD UNIQUE (password_hash)")
	w.exec("INSERT INTO users VALUES ('CANARY', 'CANARY', 'CANARY@example.com')")
	var log bytes.Buffer
	s, err := postgres.New(t.Context(), w.config(), postgres.Deps{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c := change("CANARY", 1)
	c.Password, c.ChangeID = "$CANARY-0123456789", "CANARY"
	var told strings.Builder
	try := func(err error) {
		if err == nil {
			t.Error("nothing went wrong")
		}
		for at := err; at != nil; at = errors.Unwrap(at) {
			fmt.Fprintf(&told, "%v %+v %#v\n", at, at, at)
		}
	}
	set := func(ctx context.Context) error {
		_, err := s.SetPasswords(ctx, []credstore.Change{c})
		return err
	}
	try(set(t.Context())) // the constraint's own detail quotes the whole row
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	try(set(cancelled))
	w.exec("DROP TABLE surgegate_changes")
	try(set(t.Context()))
	w.exec("DROP TABLE users CASCADE")
	_, err = s.Lookup(t.Context(), []string{"CANARY"}, []string{"CANARY"})
	try(err)
	_, err = s.Describe(t.Context())
	try(err)
	if strings.Contains(told.String()+log.String(), "CANARY") {
		t.Errorf("told: %s\nlogged: %s", told.String(), log.String())
	}
}
