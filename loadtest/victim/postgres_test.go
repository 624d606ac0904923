package victim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"

func server(t *testing.T) *postgrestest.Server {
	t.Helper()
	s, err := postgrestest.New(t.Context(), postgrestest.Config{})
	if errors.Is(err, postgrestest.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func serve(t *testing.T, cfg PostgresConfig) credstorev1.CredentialStoreClient {
	t.Helper()
	cfg.Address = "127.0.0.1:0"
	s, err := NewPostgres(t.Context(), cfg, PostgresDeps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // has room for the one value
	go func() { done <- s.Run(ctx) }()
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return credstorev1.NewCredentialStoreClient(conn)
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var answer *string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if answer == nil {
		return ""
	}
	return *answer
}

func set(t *testing.T, store credstorev1.CredentialStoreClient, person uint64, sequence uint64) credstorev1.SetPasswordOutcome {
	t.Helper()
	answer, err := store.SetPasswords(t.Context(), &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{{
		AccountId: AccountID(person), ChangeId: fmt.Sprint("change-", sequence), Sequence: sequence,
		Password: &credstorev1.PasswordChange_Hash{Hash: hash},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetResults()[0].GetOutcome()
}

func TestInitMakesTheVictimsAccountsAndLeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	url := server(t).SocketURL(postgrestest.Superuser, "postgres")
	for round, accounts := range []int{10, 25} {
		store := serve(t, PostgresConfig{URL: url, Init: true, Accounts: accounts})
		described, err := store.Describe(t.Context(), &credstorev1.DescribeRequest{})
		if err != nil || described.GetPasswordForm() != credstorev1.PasswordForm_PASSWORD_FORM_HASH {
			t.Fatal(described, err)
		}
		last := uint64(accounts) - 1
		found, err := store.Lookup(t.Context(), &credstorev1.LookupRequest{
			Identifiers: []string{Identifier(0), Identifier(last), Identifier(last + 1)}, AccountIds: []string{AccountID(3)},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{AccountID(0), AccountID(last), "", AccountID(3)} {
			all := found.GetResults()[i].GetAccounts()
			if (want == "") != (len(all) == 0) || want != "" && all[0].GetId() != want {
				t.Errorf("result %d: %v, want %q", i, all, want)
			}
		}
		if round == 0 {
			if got := set(t, store, 3, 1); got != credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED {
				t.Error(got)
			}
		} else if got := set(t, store, 3, 1); got != credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_ALREADY_APPLIED {
			t.Error(got)
		}
		if got := query(t, url, "SELECT password_hash FROM storm_accounts WHERE id = 'account-3'"); got != hash {
			t.Errorf("stored %q", got)
		}
	}
	if set(t, serve(t, PostgresConfig{URL: url}), 30, 2) != credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_UNKNOWN_ACCOUNT {
		t.Error("an account that Init did not make is known")
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	s := server(t)
	url := s.SocketURL(postgrestest.Superuser, "postgres")
	_, err := NewPostgres(t.Context(), PostgresConfig{Address: "127.0.0.1:0", URL: url}, PostgresDeps{})
	if err == nil || !strings.Contains(err.Error(), "--init") || !strings.Contains(err.Error(), "storm_accounts") {
		t.Errorf("without tables: %v", err)
	}
	if got := query(t, url, "SELECT to_regclass('surgegate_changes')::text"); got != "" {
		t.Errorf("without Init it made %s", got)
	}
	for name, c := range map[string]struct {
		cfg  PostgresConfig
		want string
	}{
		"no address":  {PostgresConfig{URL: url}, "Address"},
		"no url":      {PostgresConfig{Address: "127.0.0.1:0"}, "url: is required"},
		"a password":  {PostgresConfig{Address: "127.0.0.1:0", URL: "postgres://a:secret@127.0.0.1/x"}, "holds a password"},
		"accounts":    {PostgresConfig{Address: "127.0.0.1:0", URL: url, Accounts: -1}, "Accounts"},
		"nobody home": {PostgresConfig{Address: "127.0.0.1:0", URL: "postgres://x@127.0.0.1:1/x?sslmode=disable"}, "127.0.0.1:1/x cannot be used"},
		"init there":  {PostgresConfig{Address: "127.0.0.1:0", URL: "postgres://x@127.0.0.1:1/x?sslmode=disable", Init: true}, "127.0.0.1:1/x cannot be reached"},
		"password":    {PostgresConfig{Address: "127.0.0.1:0", URL: url, Init: true, PasswordFile: "not-there"}, "not-there"},
		"port taken":  {PostgresConfig{Address: "127.0.0.1:99999", URL: url, Init: true, Accounts: 1}, "99999"},
	} {
		_, err := NewPostgres(t.Context(), c.cfg, PostgresDeps{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}
