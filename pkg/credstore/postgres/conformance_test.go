package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/credstoretest"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
)

// fixture is a store with a back door: insert, password, begin and count are SQL of the superuser.
func (w *world) fixture(config postgres.Config, insert, password, begin, count string) credstoretest.Fixture {
	f := credstoretest.Fixture{
		Store: w.open(config), SharesHash: config.Accounts.ShareHash,
		AddAccount: func(ctx context.Context, login string, a credstore.Account) error {
			_, err := w.owner.Exec(ctx, insert, a.ID, login, a.Address, a.Locale, a.CurrentHash.Reveal(), a.NotResettable)
			return err
		},
		Password: func(ctx context.Context, id string) (hash string, err error) {
			err = w.owner.QueryRow(ctx, password, id).Scan(&hash)
			return hash, err
		},
	}
	if begin != "" {
		f.BeginSession = func(ctx context.Context, id string, begun time.Time) error {
			_, err := w.owner.Exec(ctx, begin, id, begun)
			return err
		}
		f.Sessions = func(ctx context.Context, id string) (n int, err error) {
			err = w.owner.QueryRow(ctx, count, id).Scan(&n)
			return n, err
		}
	}
	return f
}

// The role of this one has nothing but the grants that doc.go names.
func TestConformance(t *testing.T) {
	t.Parallel()
	s := server(t)
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		w := newWorld(t, s, plainSchema, plainGrants)
		return w.fixture(w.config(),
			"INSERT INTO users VALUES ($1, $2, $3, $4, $5, $6)", "SELECT password_hash FROM users WHERE id = $1",
			"INSERT INTO sessions (user_id, created_at) VALUES ($1, $2)", "SELECT count(*) FROM sessions WHERE user_id = $1")
	})
}

// Names that only quoting makes names, a shared hash, a time of change, types that are not text, and no sessions.
func TestConformanceOddNames(t *testing.T) {
	t.Parallel()
	s := server(t)
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		w := newWorld(t, s, `
CREATE DOMAIN phc AS varchar(255);
CREATE TABLE "User; DROP TABLE ""x"" -- Säle" ("select" varchar(99) PRIMARY KEY, "Log In" varchar(200), "e.mail" varchar(200) NOT NULL,
	"läng" text, "Hash" phc, "from" boolean, "when?" timestamptz);
CREATE INDEX ON "User; DROP TABLE ""x"" -- Säle" (lower("Log In"));
CREATE INDEX ON "User; DROP TABLE ""x"" -- Säle" (lower("e.mail"));
CREATE TABLE "Order" ("accept_time" timestamptz NOT NULL, "change_id" text NOT NULL, "sequence" bigint NOT NULL, "account_id" text, UNIQUE ("account_id"));
GRANT SELECT, INSERT, UPDATE ON "Order" TO $role;
GRANT SELECT, UPDATE ON "User; DROP TABLE ""x"" -- Säle" TO $role;`)
		table := `"User; DROP TABLE ""x"" -- Säle"`
		return w.fixture(postgres.Config{
			URL: s.SocketURL(w.role, "postgres"),
			Accounts: postgres.Accounts{
				Schema: w.schema, Table: `User; DROP TABLE "x" -- Säle`, ID: "select", Identifiers: []string{"Log In", "e.mail"}, FoldCase: true,
				Address: "e.mail", Locale: "läng", Hash: "Hash", ShareHash: true, NotResettable: "from", PasswordTime: "when?",
			},
			Changes: postgres.Changes{Schema: w.schema, Table: "Order"},
		}, "INSERT INTO "+table+" VALUES ($1, $2, $3, $4, $5, $6)", `SELECT "Hash" FROM `+table+` WHERE "select" = $1`, "", "")
	})
}

// statements are of a site that keeps passwords in a table of their own and ends sessions by a mark.
func statements() postgres.Statements {
	return postgres.Statements{
		Lookup: `SELECT i.n, p.id, p.mail AS address, c.phc AS hash, c.phc IS NULL AS not_resettable, p.lang AS locale
			FROM unnest($1::text[]) WITH ORDINALITY AS i(key, n) JOIN people p ON i.key IN (p.login, p.mail) LEFT JOIN credentials c ON c.person = p.id -- by login`,
		LookupIDs: `SELECT i.n, p.id, p.mail AS address FROM unnest($1::text[]) WITH ORDINALITY AS i(key, n) JOIN people p ON p.id = i.key`,
		Lock: `SELECT i.n, c.person AS account_id FROM unnest($1::text[]) WITH ORDINALITY AS i(key, n) JOIN credentials c ON c.person = i.key
			ORDER BY c.person FOR NO KEY UPDATE OF c SKIP LOCKED; `,
		Set: `WITH h AS (INSERT INTO history SELECT * FROM unnest($1::text[], $3::timestamptz[]))
			UPDATE credentials c SET phc = i.hash FROM unnest($1::text[], $2::text[]) AS i(person, hash) WHERE c.person = i.person`,
		Revoke: `WITH ended AS (UPDATE logins l SET ended = true FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS i(person, before, n)
			WHERE l.person = i.person AND NOT l.ended AND l.began < i.before RETURNING i.n) SELECT n, count(*) AS ended FROM ended GROUP BY n`,
	}
}

const (
	statementSchema = `
CREATE TABLE people (id text PRIMARY KEY, login text UNIQUE, mail text, lang text);
CREATE TABLE credentials (person text PRIMARY KEY REFERENCES people, phc text, sso boolean);
CREATE TABLE history (person text, at timestamptz);
CREATE TABLE logins (person text, began timestamptz, ended boolean DEFAULT false);
CREATE TABLE surgegate_changes (account_id text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL, change_id text NOT NULL, accept_time timestamptz NOT NULL);
CREATE FUNCTION join_us(id text, login text, mail text, lang text, phc text, sso boolean) RETURNS void LANGUAGE sql AS $$
	INSERT INTO people VALUES (id, login, mail, lang); INSERT INTO credentials VALUES (id, phc, sso) $$;`
	statementGrants = `
GRANT SELECT ON people TO $role; GRANT SELECT (person, phc, sso), UPDATE (phc) ON credentials TO $role;
GRANT INSERT ON history TO $role; GRANT SELECT, UPDATE (ended) ON logins TO $role;
GRANT SELECT, INSERT, UPDATE ON surgegate_changes TO $role;`
)

func TestConformanceWholeStatements(t *testing.T) {
	t.Parallel()
	s := server(t)
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		w := newWorld(t, s, statementSchema, statementGrants)
		c := postgres.Config{URL: s.SocketURL(w.role, "postgres"), Statements: statements(), Accounts: postgres.Accounts{ShareHash: true}}
		c.Statements.Lookup = strings.Replace(c.Statements.Lookup, "c.phc IS NULL", "c.sso", 1)
		c.Statements.LookupIDs = strings.Replace(c.Statements.LookupIDs, "AS address FROM", "AS address, c.sso AS not_resettable, c.phc AS hash, p.lang AS locale FROM", 1) +
			" LEFT JOIN credentials c ON c.person = p.id"
		return w.fixture(c, "SELECT join_us($1, $2, $3, $4, $5, $6)", "SELECT phc FROM credentials WHERE person = $1",
			"INSERT INTO logins VALUES ($1, $2)", "SELECT count(*) FROM logins WHERE person = $1 AND NOT ended")
	})
}

// Ids that are numbers or uuids: the hostile ones of the suite are text, so these have a test of their own.
func TestAccountIDsOfOtherTypes(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, test := range []struct{ kind, good, absent string }{
		{"smallint", "7", "8"}, {"integer", "-7", "70000"}, {"bigint", "9007199254740993", "9223372036854775807"},
		{"uuid", "7d444840-9dc0-11d1-b245-5ffdce74fad2", "7d444840-9dc0-11d1-b245-5ffdce74fad3"}, {"varchar(40)", "x", "y"}, {"char(4)", "x", "y"},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, s, plainSchema, plainGrants, "DROP TABLE users CASCADE", fmt.Sprintf(
				`CREATE TABLE users (id %s PRIMARY KEY, email varchar(99), password_hash varchar(200)); GRANT SELECT, UPDATE ON users TO $role;
				INSERT INTO users VALUES ('%s', 'one@example.com')`, test.kind, test.good))
			store := w.open(postgres.Config{URL: s.SocketURL(w.role, "postgres"), Accounts: postgres.Accounts{Table: "users"}})
			bad := []string{
				test.absent, "", "07", "+7", " 7", "7 ", "x'", "\x00", "99999999999999999999", "7d444840-9DC0-11d1-b245-5ffdce74fad2",
				"{7d444840-9dc0-11d1-b245-5ffdce74fad2}", "7d4448409dc011d1b2455ffdce74fad2", "\xff", "zz444840-9dc0-11d1-b245-5ffdce74fad2",
			}
			found, err := store.Lookup(t.Context(), []string{"one@example.com"}, append(bad, test.good))
			if err != nil {
				t.Fatal(err)
			}
			for i, accounts := range found {
				if hit := i == 0 || i == len(found)-1; hit != (len(accounts) == 1) || hit && accounts[0].ID != test.good {
					t.Errorf("result %d: %v", i, accounts)
				}
			}
			batch := []credstore.Change{change(test.good, 1)}
			want := []credstore.Outcome{credstore.Applied}
			for _, id := range bad {
				batch, want = append(batch, change(id, 1)), append(want, credstore.UnknownAccount)
			}
			got, err := store.SetPasswords(t.Context(), batch)
			wantOutcomes(t, got, err, want...)
			got, err = store.SetPasswords(t.Context(), batch)
			want[0] = credstore.AlreadyApplied
			wantOutcomes(t, got, err, want...)
		})
	}
}

// citext, an extension in a schema that the role's search_path leaves out, and an index on it.
func TestCitext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t))
	w.exec("CREATE SCHEMA IF NOT EXISTS extensions; CREATE EXTENSION IF NOT EXISTS citext SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO $role")
	w.exec(strings.ReplaceAll(plainSchema, "email text", "email extensions.citext") + plainGrants)
	w.users(3)
	var log bytes.Buffer
	s, err := postgres.New(t.Context(), w.config(), postgres.Deps{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	found, err := s.Lookup(t.Context(), []string{"USER1@Example.COM", "user2", "USER2"}, nil)
	if err != nil || len(found[0]) != 1 || found[0][0].ID != "a1" || len(found[1]) != 1 || len(found[2]) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if log.Len() > 0 {
		t.Errorf("the index is not used: %s", log.String())
	}
}
