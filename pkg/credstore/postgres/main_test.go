package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
)

// shared is one server for all tests that do not stop theirs; nil where there is no PostgreSQL.
var shared *postgrestest.Server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	server, err := postgrestest.New(context.Background(), postgrestest.Config{Settings: map[string]string{"max_connections": "300"}})
	switch {
	case errors.Is(err, postgrestest.ErrNotInstalled) && os.Getenv("CI") == "":
		fmt.Println("the tests with a server do not run:", err)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = server
	code := m.Run()
	if shared != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func server(tb testing.TB) *postgrestest.Server {
	tb.Helper()
	if shared == nil {
		tb.Skip(postgrestest.ErrNotInstalled)
	}
	return shared
}

// ownServer is for tests that stop theirs.
func ownServer(tb testing.TB, config postgrestest.Config) *postgrestest.Server {
	tb.Helper()
	server(tb)
	s, err := postgrestest.New(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the server's log:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// world is a schema and a role of a test's own: the role finds its tables by its search_path.
type world struct {
	testing.TB
	server       *postgrestest.Server
	schema, role string
	owner        *pgxpool.Pool // the superuser, in the same schema
}

var worlds atomic.Int64

// plainSchema is a site's, and plainGrants are what surgegate needs of it; $role stands for the role.
const (
	plainSchema = `
CREATE TABLE users (id text PRIMARY KEY, login text NOT NULL UNIQUE, email text NOT NULL, locale text, password_hash text,
	sso boolean NOT NULL DEFAULT false, changed timestamptz);
CREATE INDEX ON users (email);
CREATE TABLE sessions (id bigserial PRIMARY KEY, user_id text NOT NULL REFERENCES users, created_at timestamptz NOT NULL);
CREATE INDEX ON sessions (user_id, created_at);
CREATE TABLE surgegate_changes (
	account_id text COLLATE "C" PRIMARY KEY, sequence bigint NOT NULL, change_id text NOT NULL, accept_time timestamptz NOT NULL
) WITH (fillfactor = 70);`
	plainGrants = `
GRANT SELECT (id, login, email, locale, sso), UPDATE (password_hash) ON users TO $role;
GRANT SELECT, INSERT, UPDATE ON surgegate_changes TO $role;
GRANT SELECT (user_id, created_at), DELETE ON sessions TO $role;`
)

func newWorld(tb testing.TB, s *postgrestest.Server, ddl ...string) *world {
	tb.Helper()
	n := worlds.Add(1)
	w := &world{TB: tb, server: s, schema: fmt.Sprintf("w%d", n), role: fmt.Sprintf("r%d", n)}
	w.owner = w.pool(s.SocketURL(postgrestest.Superuser, "postgres"), 4)
	w.exec("CREATE SCHEMA " + w.schema)
	w.exec("CREATE ROLE $role LOGIN PASSWORD 'role''s'")
	w.exec("GRANT USAGE ON SCHEMA " + w.schema + " TO $role")
	w.exec("ALTER ROLE $role SET search_path = " + w.schema)
	for _, sql := range ddl {
		w.exec(sql)
	}
	return w
}

// pool is one of so many connections, which finds the world's tables.
func (w *world) pool(url string, connections int32) *pgxpool.Pool {
	w.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		w.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["search_path"] = w.schema
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(pool.Close)
	return pool
}

func (w *world) exec(sql string) {
	w.Helper()
	if _, err := w.owner.Exec(context.Background(), strings.ReplaceAll(sql, "$role", w.role)); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) text(sql string, args ...any) string {
	w.Helper()
	var s string
	if err := w.owner.QueryRow(context.Background(), sql, args...).Scan(&s); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return s
}

// await asks until it gets what it wants; the server does the waiting between.
func (w *world) await(sql, want string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	for got := ""; got != want; {
		if err := w.owner.QueryRow(ctx, "SELECT q::text FROM pg_sleep(0.005), ("+sql+") AS q(q)").Scan(&got); err != nil {
			w.Fatalf("%s is %q, not %q: %v", sql, got, want, err)
		}
	}
}

func (w *world) users(n int) {
	w.Helper()
	w.exec(fmt.Sprintf("INSERT INTO users SELECT 'a' || i, 'user' || i, 'user' || i || '@example.com' FROM generate_series(0, %d) AS i", n-1))
}

// config is that of plainSchema.
func (w *world) config() postgres.Config {
	return postgres.Config{
		URL: w.server.SocketURL(w.role, "postgres"),
		Accounts: postgres.Accounts{
			Table: "users", Identifiers: []string{"login", "email"}, Locale: "locale", NotResettable: "sso",
		},
		Sessions: postgres.Sessions{Table: "sessions", AccountID: "user_id"},
	}
}

func (w *world) open(config postgres.Config) *postgres.Store {
	w.Helper()
	s, err := postgres.New(w.Context(), config, postgres.Deps{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.Error(err)
		}
	})
	return s
}

func (w *world) begin() pgx.Tx {
	w.Helper()
	tx, err := w.owner.Begin(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

const phc = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"

func change(id string, n int) credstore.Change {
	return credstore.Change{
		AccountID: id, Password: credstore.Secret(fmt.Sprintf("%s.%d", phc, n)), ChangeID: fmt.Sprintf("c-%s-%d", id, n), Sequence: uint64(n), AcceptTime: time.UnixMicro(int64(n)),
	}
}

func changes(n int, ids ...string) (batch []credstore.Change) {
	for _, id := range ids {
		batch = append(batch, change(id, n))
	}
	return batch
}

func wantOutcomes(tb testing.TB, got []credstore.Result, err error, want ...credstore.Outcome) {
	tb.Helper()
	if err != nil || len(got) != len(want) {
		tb.Fatalf("%v, %v", got, err)
	}
	for i := range want {
		if got[i].Outcome != want[i] {
			tb.Errorf("item %d: %v (%s), want %v", i, got[i].Outcome, got[i].Detail, want[i])
		}
	}
}
