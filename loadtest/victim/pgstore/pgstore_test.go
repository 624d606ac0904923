package pgstore

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/credstore/postgres/postgrestest"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

func TestARealPostgreSQLBehindTheVictimsNames(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New(t.Context(), postgrestest.Config{})
	if errors.Is(err, postgrestest.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg := Config{Address: "127.0.0.1:0", URL: server.SocketURL(postgrestest.Superuser, "postgres"), Accounts: 50}
	if _, err := New(ctx, cfg); err == nil || !strings.Contains(err.Error(), "--init") {
		t.Errorf("without tables: %v", err)
	}
	cfg.Init = true
	for range 2 { // the second finds everything
		store, err := New(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		serving, stop := context.WithCancel(ctx)
		served := make(chan error, 1)
		go func() { served <- store.Run(serving) }()
		conn, err := grpc.NewClient(store.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		api := credstorev1.NewCredentialStoreClient(conn)
		found, err := api.Lookup(ctx, &credstorev1.LookupRequest{Identifiers: []string{victim.Identifier(49), victim.Identifier(50)}})
		if err != nil || len(found.GetResults()) != 2 || len(found.GetResults()[0].GetAccounts()) != 1 || len(found.GetResults()[1].GetAccounts()) != 0 {
			t.Fatalf("%v, %v", found, err)
		}
		if got := found.GetResults()[0].GetAccounts()[0]; got.GetId() != victim.AccountID(49) || got.GetAddress() != victim.Identifier(49) {
			t.Errorf("account %v", got)
		}
		set, err := api.SetPasswords(ctx, &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{{
			AccountId: victim.AccountID(7), ChangeId: "c", Sequence: 1, AcceptTime: timestamppb.Now(),
			Password: &credstorev1.PasswordChange_Hash{Hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"},
		}}})
		if err != nil || set.GetResults()[0].GetOutcome() == credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_UNSPECIFIED {
			t.Errorf("%v, %v", set, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	db, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx) //nolint:errcheck // read only
	var accounts, changed int
	if err := db.QueryRow(ctx, "SELECT count(*), count(password_hash) FROM storm_accounts").Scan(&accounts, &changed); err != nil || accounts != 50 || changed != 1 {
		t.Errorf("%d accounts, %d changed, %v", accounts, changed, err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {Address: "x"}, {Address: "x", URL: "y", Accounts: -1}} {
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
