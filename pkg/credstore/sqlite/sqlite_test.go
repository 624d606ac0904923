package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/credstoretest"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/failure"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, config sqlite.Config) *sqlite.Store {
	tb.Helper()
	if config.Path == "" {
		config.Path = filepath.Join(tb.TempDir(), "store.db")
	}
	s, err := sqlite.New(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		s := open(t, sqlite.Config{})
		var sessions atomic.Int64
		return credstoretest.Fixture{
			Store:      s,
			SharesHash: true,
			AddAccount: func(ctx context.Context, login string, a credstore.Account) error {
				return s.PutAccounts(ctx, sqlite.Account{Login: login, Account: a})
			},
			Password: func(ctx context.Context, id string) (string, error) {
				found, err := s.Lookup(ctx, nil, []string{id})
				if err != nil || len(found[0]) != 1 {
					return "", fmt.Errorf("%d accounts: %w", len(found), err)
				}
				return found[0][0].CurrentHash.Reveal(), nil
			},
			BeginSession: func(ctx context.Context, id string, begun time.Time) error {
				return s.BeginSession(ctx, fmt.Sprint(sessions.Add(1)), id, begun)
			},
			Sessions: s.Sessions,
		}
	})
}

const phc = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"

func change(id string, n int) credstore.Change {
	return credstore.Change{
		AccountID: id, Password: phc, ChangeID: fmt.Sprintf("c%s-%d", id, n), Sequence: uint64(n), AcceptTime: time.UnixMicro(int64(n)),
	}
}

func TestSampleAccountsHaveNoPasswordAndComeOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	for range 2 {
		s := open(t, sqlite.Config{Path: path, Sample: true})
		found, err := s.Lookup(t.Context(), []string{"ada@example.com", "Grace", "team@example.com", "sso"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(found[0]) != 1 || len(found[1]) != 1 || len(found[2]) != 2 || !found[3][0].NotResettable {
			t.Fatalf("samples: %v", found)
		}
		for _, accounts := range found {
			for _, a := range accounts {
				if a.CurrentHash != "" || !strings.HasSuffix(a.Address, "@example.com") {
					t.Errorf("sample %v", a)
				}
			}
		}
	}
	empty := open(t, sqlite.Config{})
	if found, err := empty.Lookup(t.Context(), []string{"ada"}, nil); err != nil || len(found[0]) != 0 {
		t.Errorf("samples that nobody asked for: %v, %v", found, err)
	}
}

func TestPlaintextIsNeverStored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlite.Config{Path: path, Sample: true})
	c := change("1", 1)
	c.Password = "CANARY-correct horse battery staple"
	got, err := s.SetPasswords(t.Context(), []credstore.Change{c})
	if err != nil || got[0].Outcome != credstore.Refused {
		t.Fatalf("%v, %v", got, err)
	}
	for _, name := range []string{path, path + "-wal"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "CANARY") {
			t.Errorf("%s holds the plaintext", name)
		}
	}
}

func TestSiteOwnLaterChangeSupersedes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlite.Config{Path: path, Sample: true})
	site := raw(t, path)
	if _, err := site.Exec("UPDATE accounts SET hash = '$site', password_time = 100 WHERE id = '1'"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at   int
		want credstore.Outcome
	}{{99, credstore.Superseded}, {101, credstore.Applied}} {
		got, err := s.SetPasswords(t.Context(), []credstore.Change{change("1", test.at)})
		if err != nil || got[0].Outcome != test.want {
			t.Errorf("accepted at %d: %v, %v", test.at, got, err)
		}
	}
}

// A site's trigger that refuses one row must not take the batch with it, and must not leave half of the item.
func TestRowThatTheDatabaseRefusesHarmsNoOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlite.Config{Path: path, Sample: true})
	site := raw(t, path)
	if _, err := site.Exec(`CREATE TRIGGER guard BEFORE UPDATE ON accounts WHEN old.id IN ('2', '4') BEGIN SELECT raise(ABORT, 'not today'); END`); err != nil {
		t.Fatal(err)
	}
	batch := []credstore.Change{change("1", 1), change("2", 1), change("3", 1), change("4", 1)}
	got, err := s.SetPasswords(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []credstore.Outcome{credstore.Applied, credstore.RetryItem, credstore.Applied, credstore.RetryItem} {
		if got[i].Outcome != want {
			t.Errorf("item %d: %v", i, got[i])
		}
	}
	if _, err := site.Exec("DROP TRIGGER guard"); err != nil {
		t.Fatal(err)
	}
	if got, err = s.SetPasswords(t.Context(), batch[1:2]); err != nil || got[0].Outcome != credstore.Applied {
		t.Errorf("after the trigger is gone: %v, %v", got, err)
	}
}

func TestErrorsAreClassified(t *testing.T) {
	t.Parallel()
	t.Run("a lock of another process", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "store.db")
		s := open(t, sqlite.Config{Path: path, Sample: true, BusyTimeout: time.Millisecond})
		conn, err := raw(t, path).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		_, err = s.SetPasswords(t.Context(), []credstore.Change{change("1", 1)})
		if !errors.Is(err, credstore.ErrOverloaded) || failure.Of(err).Code != "SQLITE_BUSY" {
			t.Errorf("%v", err)
		}
		if found, err := s.Lookup(t.Context(), []string{"ada"}, nil); err != nil || len(found[0]) != 1 {
			t.Errorf("a reader waits for the writer: %v", err)
		}
		if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if got, err := s.SetPasswords(t.Context(), []credstore.Change{change("1", 1)}); err != nil || got[0].Outcome != credstore.Applied {
			t.Errorf("after the lock: %v, %v", got, err)
		}
	})
	t.Run("a full database", func(t *testing.T) {
		t.Parallel()
		s := open(t, sqlite.Config{Sample: true})
		sqlite.SetMaxPages(t, s, 1)
		var err error
		for i := 0; i < 1000 && err == nil; i++ {
			err = s.BeginSession(t.Context(), fmt.Sprint(i), strings.Repeat("x", 4096), time.UnixMicro(1))
		}
		if !errors.Is(err, credstore.ErrOverloaded) || failure.Of(err).Code != "SQLITE_FULL" {
			t.Errorf("%v", err)
		}
	})
	t.Run("a missing table", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "store.db")
		s := open(t, sqlite.Config{Path: path, Sample: true})
		if _, err := raw(t, path).Exec("DROP TABLE surgegate_changes"); err != nil {
			t.Fatal(err)
		}
		_, err := s.SetPasswords(t.Context(), []credstore.Change{change("1", 1)})
		if f := failure.Of(err); !errors.Is(err, credstore.ErrConfig) || errors.Is(err, credstore.ErrOverloaded) || f.Code != "SQLITE_ERROR" || f.Class != failure.Config {
			t.Errorf("%v", err)
		}
	})
	for name, prepare := range map[string]func(path string) error{
		"no database": func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600)
		},
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"a newer schema": func(path string) error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			_, err = db.Exec("PRAGMA user_version = 99")
			return errors.Join(err, db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store.db")
			if err := prepare(path); err != nil {
				t.Fatal(err)
			}
			_, err := sqlite.New(t.Context(), sqlite.Config{Path: path})
			if !errors.Is(err, credstore.ErrConfig) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]sqlite.Config{
		"path":         {},
		"busy_timeout": {Path: "x", BusyTimeout: -1},
		"readers":      {Path: "x", Readers: 65},
		"max_batch":    {Path: "x", MaxBatch: -1},
	} {
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := (sqlite.Config{Path: "x"}).Validate(); err != nil {
		t.Error(err)
	}
}

// A path with the characters that a URI gives a meaning to is a path all the same.
func TestPathIsNoURI(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?mode=memory&x#y%41.db")
	open(t, sqlite.Config{Path: path})
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	open(t, sqlite.Config{Path: filepath.Join(folder, "store.db"), Sample: true})
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) < 2 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
