package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TestTheWholeResetOnPostgres goes all the way with a site's own tables, through an outage of the database: what was
// accepted while it was away is in place when it is back.
func TestTheWholeResetOnPostgres(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New(t.Context(), postgrestest.Config{Settings: map[string]string{"log_min_duration_statement": "0"}})
	if errors.Is(err, postgrestest.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	query := func(sql string) string {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), server.SocketURL(postgrestest.Superuser, "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if last := results[len(results)-1]; len(last.Rows) == 1 {
			return string(last.Rows[0][0])
		}
		return ""
	}
	query(`CREATE TABLE members (no bigint PRIMARY KEY, mail text UNIQUE, phc text);
		CREATE TABLE logins (member bigint REFERENCES members, began timestamptz); CREATE INDEX ON logins (member, began);
		INSERT INTO members SELECT i, 'member' || i || '@example.com' FROM generate_series(1, 2) AS i;
		INSERT INTO logins VALUES (1, now() - interval '1 hour'), (1, now() + interval '1 hour');
		CREATE ROLE surgegate LOGIN PASSWORD 'a role''s'; GRANT CREATE ON SCHEMA public TO surgegate;
		ALTER ROLE surgegate SET log_parameter_max_length = 0;
		GRANT SELECT (no, mail), UPDATE (phc) ON members TO surgegate; GRANT SELECT, DELETE ON logins TO surgegate;`)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a role's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, fmt.Sprintf(`{timeout: 2s, postgres: {url: %q, password_file: %q, accounts: {table: members, id: no, address: mail, hash: phc},
  changes: {create: true}, sessions: {table: logins, account_id: member, begun: began}}}`, server.URL("surgegate", "postgres"), password), generous)
	g.start()
	m := g.mails()
	tokens := []string{ask(t, g, m, "member1@example.com"), ask(t, g, m, "member2@example.com")}
	complete := func(token string, d time.Duration) *resetv1.Ticket {
		t.Helper()
		done, err := g.reset().CompleteReset(t.Context(), &resetv1.CompleteResetRequest{
			Token: token, NewPassword: "CANARY a long enough passphrase", Client: person, Wait: wait(d), RequestId: uuid.NewString(),
			SignOut: resetv1.SignOut_SIGN_OUT_EVERYWHERE,
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, g.output())
		}
		return done.GetTicket()
	}
	if state := complete(tokens[0], 20*time.Second).GetState(); state != resetv1.State_STATE_DONE {
		t.Fatalf("%v\n%s", state, g.output())
	}
	if hash := query("SELECT phc FROM members WHERE no = 1"); !strings.HasPrefix(hash, "$argon2id$") {
		t.Errorf("the store holds %q", hash)
	}
	g.await("revocation", func(context.Context) error {
		if n := query("SELECT count(*) FROM logins"); n != "1" {
			return fmt.Errorf("%s sessions", n)
		}
		return nil
	})
	server.Kill()
	ticket := complete(tokens[1], 0)
	if ticket.GetState() == resetv1.State_STATE_DONE {
		t.Error("done without a database")
	}
	for i := range 12 {
		if _, err := g.reset().StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: fmt.Sprintf("nobody%d@example.com", i), Client: person}); err != nil {
			t.Fatal(err)
		}
	}
	g.await("the reason of the outage", func(ctx context.Context) error {
		status, err := operatorv1.NewOperatorClient(g.dial(g.operator)).GetStatus(ctx, &operatorv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		for _, d := range status.GetDownstreams() {
			for _, f := range d.GetFailures() {
				if d.GetDownstream() == "store" && d.GetBreaker() != "closed" && f.GetCode() == "ECONNREFUSED" && f.GetCount() > 0 && f.GetOutcome() == "overload" &&
					strings.Contains(f.GetMeaning(), "Nothing listens") {
					return nil
				}
			}
		}
		return fmt.Errorf("status %v", status.GetDownstreams())
	})
	opened := regexp.MustCompile(`msg="breaker changed" reason=breaker downstream=store from=closed to=open .*outcome=\w+ code=("SQLSTATE \w+"|\w+) failures=\d+ meaning=`)
	if !opened.MatchString(g.output()) {
		t.Errorf("the breaker's line names no cause:\n%s", g.output())
	}
	if n := strings.Count(g.output(), "code=ECONNREFUSED failures=1 items="); n != 1 {
		t.Errorf("%d lines for the first of the failures:\n%s", n, g.output())
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.await("the second reset", func(ctx context.Context) error {
		got, err := g.reset().GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: ticket.GetId()})
		if err == nil && got.GetTicket().GetState() != resetv1.State_STATE_DONE {
			err = fmt.Errorf("it is %v", got.GetTicket().GetState())
		}
		return err
	})
	if hash := query("SELECT phc FROM members WHERE no = 2"); !strings.HasPrefix(hash, "$argon2id$") {
		t.Errorf("the store holds %q", hash)
	}
	for _, secret := range []string{"a role's", "CANARY", "member1", "nobody", "argon2id$v"} {
		if strings.Contains(g.output(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
	if log := server.Log(); !strings.Contains(log, "INSERT INTO \"surgegate_changes\"") || strings.Contains(log, "CANARY") || strings.Contains(log, "argon2id$v") {
		t.Errorf("the database's log tells a password, or nothing: %s", log)
	}
}

// TestPostgresSchemaThatDoesNotFitRefusesTheStart says what to do and exits non-zero.
func TestPostgresSchemaThatDoesNotFitRefusesTheStart(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New(t.Context(), postgrestest.Config{})
	if errors.Is(err, postgrestest.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	g := newGateway(t, fmt.Sprintf("{postgres: {url: %q, accounts: {table: members}}}", server.SocketURL(postgrestest.Superuser, "postgres")), "")
	if out := startAndFail(t, g.configFile()); !strings.Contains(out, `store: postgres: credstore: configuration: accounts.table: there is no table "members"`) {
		t.Error(out)
	}
}
