package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
	"github.com/surgegate/surgegate/pkg/failure"
)

func wantOverloaded(tb testing.TB, err error, code string) {
	tb.Helper()
	if !errors.Is(err, credstore.ErrOverloaded) || errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), code) {
		tb.Errorf("%v, want an overload with %s", err, code)
	}
}

// A row that another transaction holds is its own item's retry: the others are applied, and nobody waits.
func TestLockedRowIsItsItemsRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	w.users(4)
	s := w.open(w.config())
	site := w.begin()
	if _, err := site.Exec(t.Context(), "UPDATE users SET login = login || '!' WHERE id = 'a2'"); err != nil {
		t.Fatal(err)
	}
	batch := changes(1, "a3", "a2", "ghost", "a1")
	got, err := s.SetPasswords(t.Context(), batch)
	wantOutcomes(t, got, err, credstore.Applied, credstore.RetryItem, credstore.UnknownAccount, credstore.Applied)
	if hash := w.text("SELECT coalesce(password_hash, '') FROM users WHERE id = 'a2'"); hash != "" {
		t.Errorf("the locked one holds %q", hash)
	}
	if n := w.text("SELECT count(*)::text FROM surgegate_changes"); n != "2" {
		t.Errorf("%s changes are recorded", n)
	}
	if err := site.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err = s.SetPasswords(t.Context(), batch)
	wantOutcomes(t, got, err, credstore.AlreadyApplied, credstore.Applied, credstore.UnknownAccount, credstore.AlreadyApplied)
}

// The same where the site's own statements lock and write.
func TestLockedRowOfAStatementIsItsItemsRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), statementSchema, statementGrants)
	w.exec("SELECT join_us('a' || i, 'u' || i, 'u' || i || '@example.com', NULL, NULL, false) FROM generate_series(0, 2) AS i")
	s := w.open(postgres.Config{URL: w.server.SocketURL(w.role, "postgres"), Statements: statements()})
	site := w.begin()
	if _, err := site.Exec(t.Context(), "UPDATE credentials SET sso = true WHERE person = 'a1'"); err != nil {
		t.Fatal(err)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "a2", "a1", "ghost", "a0"))
	wantOutcomes(t, got, err, credstore.Applied, credstore.RetryItem, credstore.UnknownAccount, credstore.Applied)
	if n := w.text("SELECT count(*)::text FROM history"); n != "2" {
		t.Errorf("%s passwords were written", n)
	}
	if err := site.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err = s.SetPasswords(t.Context(), changes(1, "a1"))
	wantOutcomes(t, got, err, credstore.Applied)
}

// A sign-in that inserts a session holds its account's row by a foreign key only: that keeps no reset from it.
func TestForeignKeysDoNotMakeAnAccountBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	w.users(1)
	s := w.open(w.config())
	site := w.begin()
	if _, err := site.Exec(t.Context(), "INSERT INTO sessions (user_id, created_at) VALUES ('a0', now())"); err != nil {
		t.Fatal(err)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
}

// Batches race with each other, out of order and over the same accounts, and with a site that writes the same rows: no
// deadlock, and in the end each account has the newest password, beside its own sequence.
// The role's own defaults do not matter.
func TestRacesLeaveTheNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants,
		"ALTER ROLE $role SET default_transaction_isolation = 'serializable'; ALTER ROLE $role SET synchronous_commit = off; ALTER ROLE $role SET statement_timeout = 1")
	const accounts, newest = 12, 40
	w.users(accounts)
	s := w.open(w.config())
	ctx, stop := context.WithCancel(t.Context())
	var site, writers sync.WaitGroup
	for range 2 {
		site.Go(func() {
			for ctx.Err() == nil {
				// In another order than the batches'.
				if _, err := w.owner.Exec(ctx, "UPDATE users SET locale = 'x' WHERE id IN (SELECT id FROM users ORDER BY random() LIMIT 1)"); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for seed := range 4 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(seed), 1))
			for _, n := range random.Perm(newest) {
				batch := make([]credstore.Change, 0, accounts)
				for _, i := range random.Perm(accounts) {
					batch = append(batch, change(fmt.Sprint("a", i), n+1))
				}
				for len(batch) > 0 {
					got, err := s.SetPasswords(t.Context(), batch)
					if errors.Is(err, credstore.ErrOverloaded) {
						continue // a busy machine's deadline, perhaps after the commit: the batch is sent again
					}
					if err != nil {
						t.Error(err)
						return
					}
					var again []credstore.Change
					for i, r := range got {
						if r.Outcome == credstore.RetryItem {
							again = append(again, batch[i])
						}
					}
					batch = again
				}
			}
		})
	}
	writers.Wait()
	stop()
	site.Wait()
	want := fmt.Sprintf("%s.%d %d", phc, newest, newest)
	for i := range accounts {
		if got := w.text("SELECT password_hash || ' ' || sequence FROM users JOIN surgegate_changes ON account_id = id WHERE id = $1", fmt.Sprint("a", i)); got != want {
			t.Errorf("a%d holds %s", i, got)
		}
	}
}

// A change of the site's own that is newer than the reset stays; a reset writes its accept time, so that one that was
// accepted a moment later is not held for older than the first one's writing.
func TestSiteOwnLaterChangeSupersedes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, "GRANT SELECT (changed), UPDATE (changed) ON users TO $role")
	w.users(1)
	config := w.config()
	config.Accounts.PasswordTime = "changed"
	s := w.open(config)
	got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
	got, err = s.SetPasswords(t.Context(), changes(2, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
	w.exec("UPDATE users SET password_hash = '$site', changed = '1970-01-01T00:00:00.000100Z'")
	got, err = s.SetPasswords(t.Context(), changes(99, "a0"))
	wantOutcomes(t, got, err, credstore.Superseded)
	if hash := w.text("SELECT password_hash FROM users"); hash != "$site" {
		t.Errorf("the site's password gave way to %q", hash)
	}
	got, err = s.SetPasswords(t.Context(), changes(101, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
}

func TestPlaintextIsNeverSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	w.users(1)
	s := w.open(w.config())
	c := change("a0", 1)
	c.Password = "CANARY correct horse battery staple"
	got, err := s.SetPasswords(t.Context(), []credstore.Change{c})
	wantOutcomes(t, got, err, credstore.Refused)
	if n := w.text("SELECT count(*)::text FROM surgegate_changes"); n != "0" {
		t.Errorf("%s changes are recorded", n)
	}
}

// A trigger that leaves a row out must not turn into an answer that it was written.
func TestUnwrittenPasswordIsNotApplied(t *testing.T) {
	t.Parallel()
	const skip = `CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;`
	t.Run("mapped", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server(t), plainSchema, plainGrants, skip+"CREATE TRIGGER skip BEFORE UPDATE ON users FOR EACH ROW WHEN (old.id = 'a1') EXECUTE FUNCTION skip()")
		w.users(2)
		s := w.open(w.config())
		wantUnwritten(t, s)
		if n := w.text("SELECT count(*)::text FROM surgegate_changes"); n != "0" {
			t.Errorf("%s changes are recorded", n)
		}
		got, err := s.SetPasswords(t.Context(), changes(1, "a0")) // as surgegate does after bisecting
		wantOutcomes(t, got, err, credstore.Applied)
	})
	t.Run("statements", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, server(t), statementSchema, statementGrants, skip+"CREATE TRIGGER skip BEFORE UPDATE ON credentials FOR EACH ROW WHEN (old.person = 'a1') EXECUTE FUNCTION skip()")
		w.exec("SELECT join_us('a' || i, 'u' || i, 'u' || i || '@example.com', NULL, NULL, false) FROM generate_series(0, 1) AS i")
		s := w.open(postgres.Config{URL: w.server.SocketURL(w.role, "postgres"), Statements: statements()})
		wantUnwritten(t, s)
		if n := w.text("SELECT (SELECT count(*) FROM surgegate_changes) + (SELECT count(*) FROM history) || ''"); n != "0" {
			t.Errorf("%s rows are left", n)
		}
		got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
		wantOutcomes(t, got, err, credstore.Applied)
	})
}

func wantUnwritten(t *testing.T, s *postgres.Store) {
	t.Helper()
	got, err := s.SetPasswords(t.Context(), changes(1, "a0", "a1"))
	if err == nil || errors.Is(err, credstore.ErrOverloaded) || errors.Is(err, credstore.ErrConfig) || !strings.Contains(err.Error(), "not written") {
		t.Fatalf("%v, %v", got, err)
	}
}

// barrier is a trigger that makes writing a user wait for a lock that the test holds.
const barrier = `
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext(current_schema)); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION wait();`

func (w *world) hold() func() {
	w.Helper()
	tx := w.begin()
	if _, err := tx.Exec(w.Context(), "SELECT pg_advisory_xact_lock(hashtext(current_schema))"); err != nil {
		w.Fatal(err)
	}
	return func() { _ = tx.Rollback(context.Background()) }
}

// working counts the statements of the world's role that the server is at.
func (w *world) working() string {
	return "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = '" + w.role + "'"
}

// The server gives up before the caller's deadline, and is at nothing any more when the caller hears of it.
func TestDeadlineEndsTheStatementAtTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, barrier)
	w.users(2)
	config := w.config()
	config.LockTimeout = time.Minute
	s := w.open(config)
	release := w.hold()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err := s.SetPasswords(ctx, changes(1, "a0", "a1"))
	if ctx.Err() != nil {
		t.Error("the caller's deadline was first")
	}
	wantOverloaded(t, err, "57014")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is no time-out", err)
	}
	if n := w.text("SELECT (" + w.working() + ")::text"); n != "0" {
		t.Errorf("the server is still at %s statements", n)
	}
	release()
	if n := w.text("SELECT count(*)::text FROM surgegate_changes"); n != "0" {
		t.Errorf("%s changes are recorded", n)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "a0", "a1"))
	wantOutcomes(t, got, err, credstore.Applied, credstore.Applied)
}

func TestCancelledCallStopsAtTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, barrier)
	w.users(1)
	config := w.config()
	config.LockTimeout = time.Minute
	s := w.open(config)
	release := w.hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.SetPasswords(ctx, changes(1, "a0"))
		done <- err
	}()
	w.await(w.working(), "1")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, credstore.ErrOverloaded) {
		t.Errorf("%v", err)
	}
	w.await(w.working(), "0")
}

func TestServerErrorsAreClassified(t *testing.T) {
	t.Parallel()
	raise := func(code string) string {
		return `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % for %', new.password_hash, new.email USING ERRCODE = '` +
			code + `'; END $$; CREATE TRIGGER fail BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fail();`
	}
	for _, test := range []struct {
		name, ddl, code      string
		overloaded, mistaken bool
	}{
		{"serialization failure", raise("40001"), "40001", true, false},
		{"deadlock", raise("40P01"), "40P01", true, false},
		{"disk full", raise("53100"), "53100", true, false},
		{"I/O", raise("58030"), "58030", true, false},
		{"a standby", raise("25006"), "25006", true, false},
		{"a site's rule", raise("P0001"), "P0001", false, false},
		{"a constraint", "ALTER TABLE users ADD CHECK (password_hash = '')", "23514", false, false},
		{"a table gone", "ALTER TABLE surgegate_changes RENAME TO other", "42P01", false, true},
		{"a column gone", "ALTER TABLE users RENAME password_hash TO other", "42703", false, true},
		{"a privilege gone", "REVOKE UPDATE (password_hash) ON users FROM $role", "42501", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, server(t), plainSchema, plainGrants)
			w.users(1)
			s := w.open(w.config())
			w.exec(test.ddl)
			_, err := s.SetPasswords(t.Context(), changes(1, "a0"))
			if err == nil || errors.Is(err, credstore.ErrOverloaded) != test.overloaded || errors.Is(err, credstore.ErrConfig) != test.mistaken || !strings.Contains(err.Error(), test.code) {
				t.Errorf("%v", err)
			}
			if f := failure.Of(err); f.Code != "SQLSTATE "+test.code || (f.Scope == failure.Downstream) != (test.overloaded || test.mistaken) ||
				(f.Class == failure.Config) != test.mistaken || (f.Advice != "") != test.mistaken {
				t.Errorf("scope %d, class %d, code %q, advice %q", f.Scope, f.Class, f.Code, f.Advice)
			}
			for _, secret := range []string{phc[:12], "user0", "example.com"} {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
					t.Errorf("%v tells %s", err, secret)
				}
			}
			if n := w.text("SELECT (" + w.working() + ")::text"); n != "0" {
				t.Error("a transaction was left open")
			}
			if _, err := s.Lookup(t.Context(), []string{"user0"}, nil); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// After a failover the connection leads to a server that only reads: it is dropped, and the next one may lead elsewhere.
func TestServerThatOnlyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, "ALTER ROLE $role SET default_transaction_read_only = on")
	w.users(1)
	s := w.open(w.config())
	_, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOverloaded(t, err, "25006")
	_, err = s.Describe(t.Context())
	wantOverloaded(t, err, "25006")
	w.exec("ALTER ROLE $role RESET default_transaction_read_only")
	got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
}

func TestAlteredTableIsWaitedForNotLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants)
	w.users(1)
	config := w.config()
	config.LockTimeout = 20 * time.Millisecond
	s := w.open(config)
	tx := w.begin()
	if _, err := tx.Exec(t.Context(), "LOCK TABLE users"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := s.SetPasswords(t.Context(), changes(1, "a0"))
		wantOverloaded(t, err, "55P03")
		_, err = s.Lookup(t.Context(), []string{"user0"}, nil)
		wantOverloaded(t, err, "55P03")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
	if tx, err = w.owner.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), "LOCK TABLE users"); err != nil {
		t.Fatal(err)
	}
	_, err = s.SetPasswords(t.Context(), changes(2, "a0")) // parsed already
	wantOverloaded(t, err, "55P03")
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, "ALTER ROLE $role CONNECTION LIMIT 1")
	w.users(1)
	first := w.open(w.config()) // its check holds a connection from now on
	second := w.open(w.config())
	_, err := second.SetPasswords(t.Context(), changes(1, "a0"))
	wantOverloaded(t, err, "53300")
	_, err = second.Describe(t.Context())
	wantOverloaded(t, err, "53300")
	got, err := first.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
}

// More callers than connections wait for their turn, and no longer than their deadline.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, barrier)
	w.users(8)
	config := w.config()
	config.MaxConnections, config.LockTimeout = 2, time.Minute
	s := w.open(config)
	release := w.hold()
	var calls sync.WaitGroup
	var applied atomic.Int64
	for i := range 4 {
		calls.Go(func() {
			got, err := s.SetPasswords(t.Context(), changes(1, fmt.Sprint("a", i)))
			if err != nil {
				t.Error(err)
			} else if got[0].Outcome == credstore.Applied {
				applied.Add(1)
			}
		})
	}
	w.await(w.working(), "2")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.SetPasswords(ctx, changes(1, "a7"))
	if !errors.Is(err, credstore.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside a pool that is in use: %v", err)
	}
	if n := w.text("SELECT count(*)::text FROM pg_stat_activity WHERE usename = $1", w.role); n != "2" {
		t.Errorf("%s connections", n)
	}
	release()
	calls.Wait()
	if applied.Load() != 4 {
		t.Errorf("%d of 4 were applied", applied.Load())
	}
}

func TestAdminShutdownOfAConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server(t), plainSchema, plainGrants, barrier)
	w.users(2)
	config := w.config()
	config.LockTimeout = time.Minute
	s := w.open(config)
	release := w.hold()
	done := make(chan error, 1)
	go func() {
		_, err := s.SetPasswords(t.Context(), changes(1, "a0", "a1"))
		done <- err
	}()
	w.await(w.working(), "1")
	w.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$role'")
	wantOverloaded(t, <-done, "57P01")
	release()
	got, err := s.SetPasswords(t.Context(), changes(1, "a0", "a1"))
	wantOutcomes(t, got, err, credstore.Applied, credstore.Applied)
}

// The server stops, starts, is killed -9 and comes back while batches run: every error is an overload, no batch is in
// place by half, and what was answered is there.
func TestServerGoesAndComesBack(t *testing.T) {
	t.Parallel()
	server := ownServer(t, postgrestest.Config{})
	w := newWorld(t, server, plainSchema, plainGrants)
	const accounts = 64
	w.users(accounts)
	s := w.open(w.config())
	ids := make([]string, accounts)
	for i := range ids {
		ids[i] = fmt.Sprint("a", i)
	}
	answered := make(chan int) // rounds, until the context ends
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for round := 1; ctx.Err() == nil; {
			callCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
			got, err := s.SetPasswords(callCtx, changes(round, ids...))
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, credstore.ErrOverloaded):
				continue
			case err != nil:
				t.Errorf("round %d: %v", round, err)
				return
			}
			for i, r := range got {
				// A batch whose answer was lost is in place as a whole, or not at all.
				if r.Outcome != got[0].Outcome || r.Outcome != credstore.Applied && r.Outcome != credstore.AlreadyApplied {
					t.Errorf("round %d, item %d: %v beside %v", round, i, r, got[0])
				}
			}
			select {
			case answered <- round:
			case <-ctx.Done():
				return
			}
			round++
		}
	})
	last := 0
	await := func(rounds int) {
		t.Helper()
		for until := last + rounds; last < until; {
			select {
			case last = <-answered:
			case <-time.After(30 * time.Second):
				t.Fatal("no batch gets through any more")
			}
		}
	}
	whole := func() {
		t.Helper()
		if n := w.text("SELECT count(DISTINCT (password_hash, sequence))::text FROM users JOIN surgegate_changes ON account_id = id"); n != "1" {
			t.Errorf("batches of %s rounds are mixed", n)
		}
	}
	await(5)
	for _, end := range []func(){server.Stop, server.Kill, server.Kill} {
		end()
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		await(5)
	}
	stop()
	writer.Wait()
	w.owner.Reset()
	whole()
	if there := w.text("SELECT (min(sequence) >= $1)::text FROM surgegate_changes", last); there != "true" {
		t.Errorf("round %d was answered and is not in place", last)
	}
}

// surgegate starts while the server is away, and finds out about the schema when it is back.
func TestStartWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	server := ownServer(t, postgrestest.Config{})
	w := newWorld(t, server, plainSchema, plainGrants)
	w.users(1)
	server.Stop()
	s := w.open(w.config())
	for name, call := range map[string]func() error{
		"Describe": func() error { _, err := s.Describe(t.Context()); return err },
		"Lookup":   func() error { _, err := s.Lookup(t.Context(), []string{"x"}, nil); return err },
		"Set":      func() error { _, err := s.SetPasswords(t.Context(), changes(1, "a0")); return err },
	} {
		if err := call(); !errors.Is(err, credstore.ErrOverloaded) || failure.Of(err).Code != "ENOENT" { // its socket
			t.Errorf("%s: %v, code %s", name, err, failure.Of(err).Code)
		}
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.SetPasswords(t.Context(), changes(1, "a0"))
	wantOutcomes(t, got, err, credstore.Applied)
	if d, err := s.Describe(t.Context()); err != nil || d.MaxRevokeBatch != 256 {
		t.Errorf("%+v, %v", d, err)
	}
}
