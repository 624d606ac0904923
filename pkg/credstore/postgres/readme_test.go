package postgres_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
)

// readmeGrants is the SQL block of cmd/surgegate/README.md, for the world's role.
func readmeGrants(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../cmd/surgegate/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(.*?)```").FindStringSubmatch(string(text))
	if block == nil {
		t.Fatal("cmd/surgegate/README.md has no SQL")
	}
	sql := regexp.MustCompile("CREATE ROLE surgegate [^;]*;").ReplaceAllString(block[1], "")
	return strings.NewReplacer("TO surgegate;", "TO $role;", "ALTER ROLE surgegate ", "ALTER ROLE $role ").Replace(sql)
}

// TestReadmeGrantsSuffice: the role can do its work with the grants that cmd/surgegate/README.md names, and nothing else.
func TestReadmeGrantsSuffice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), `
CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text, salary money);
CREATE TABLE sessions (user_id bigint REFERENCES users, created_at timestamptz, secret text);
CREATE INDEX ON sessions (user_id, created_at);
INSERT INTO users (email) VALUES ('ada@example.com'), ('bob@example.com');
INSERT INTO sessions VALUES (1, '1970-01-01'), (1, now()), (2, '1970-01-01');`, readmeGrants(t))
	config := postgres.Config{
		URL: w.server.SocketURL(w.role, "postgres"), Accounts: postgres.Accounts{Table: "users"},
		Sessions: postgres.Sessions{Table: "sessions", AccountID: "user_id"},
	}
	s := w.open(config)
	found, err := s.Lookup(t.Context(), []string{"ada@example.com", "eve@example.com"}, []string{"2"})
	if err != nil || len(found[0]) != 1 || found[0][0].ID != "1" || len(found[1]) != 0 || found[2][0].Address != "bob@example.com" {
		t.Fatalf("%v, %v", found, err)
	}
	for _, want := range []credstore.Outcome{credstore.Applied, credstore.AlreadyApplied} {
		got, err := s.SetPasswords(t.Context(), changes(2, "1", "3"))
		wantOutcomes(t, got, err, want, credstore.UnknownAccount)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "1"))
	wantOutcomes(t, got, err, credstore.Superseded)
	ended, err := s.RevokeSessions(t.Context(), []credstore.Revocation{{AccountID: "3", SessionsBefore: time.UnixMicro(9)}, {AccountID: "1", SessionsBefore: time.UnixMicro(9)}})
	if err != nil || ended[0].Known || !ended[1].Known || ended[1].Ended != 1 {
		t.Errorf("%v, %v", ended, err)
	}
	// And nothing else: not the hash, not other columns, not rows away, not tables.
	role := w.pool(config.URL, 1)
	for _, sql := range []string{
		"SELECT password_hash FROM users", "SELECT salary FROM users", "UPDATE users SET email = ''", "DELETE FROM users", "INSERT INTO users VALUES (9)",
		"DELETE FROM surgegate_changes", "SELECT secret FROM sessions", "CREATE TABLE mine ()", "TRUNCATE sessions",
	} {
		if _, err := role.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
