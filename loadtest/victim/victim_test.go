package victim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"encoding/json"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/loadtest/testbed"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// The test binary is also the victim's process.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "victim-child" {
		var cfg Config
		if err := json.Unmarshal([]byte(os.Args[2]), &cfg); err != nil {
			panic(err)
		}
		if err := RunChild(context.Background(), cfg, os.Stdin, os.Stdout, func() { os.Exit(ExitOutOfMemory) }); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func dial(t *testing.T, address string) credstorev1.CredentialStoreClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return credstorev1.NewCredentialStoreClient(conn)
}

func start(t *testing.T, cfg Config, die func()) credstorev1.CredentialStoreClient {
	t.Helper()
	cfg.Address = "127.0.0.1:0"
	if cfg.Ledger == "" {
		cfg.Ledger = filepath.Join(t.TempDir(), "ledger")
	}
	v, err := New(cfg, Deps{Die: die})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return dial(t, v.Addr())
}

func change(account uint64, id string, sequence uint64, password string) *credstorev1.PasswordChange {
	return &credstorev1.PasswordChange{
		AccountId: AccountID(account), ChangeId: id, Sequence: sequence,
		Password: &credstorev1.PasswordChange_Plaintext{Plaintext: password},
	}
}

func TestAppliesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	ledger := filepath.Join(t.TempDir(), "ledger")
	store := start(t, Config{Ledger: ledger, Accounts: 10, HashTime: time.Millisecond}, t.FailNow)
	for _, c := range []struct {
		change *credstorev1.PasswordChange
		want   credstorev1.SetPasswordOutcome
	}{
		{change(1, "a", 10, "first"), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED},
		{change(1, "a", 10, "first"), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_ALREADY_APPLIED},
		{change(1, "b", 9, "older"), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_SUPERSEDED},
		{change(1, "c", 11, "newer"), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED},
		{change(11, "d", 1, "nobody"), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_UNKNOWN_ACCOUNT},
		{change(2, "e", 1, ""), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_REFUSED},
		{change(1, "f", 12, "newer"), credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED},
	} {
		resp, err := store.SetPasswords(t.Context(), &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{c.change}})
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.GetResults()[0].GetOutcome(); got != c.want {
			t.Errorf("change %s: %v, want %v", c.change.GetChangeId(), got, c.want)
		}
	}
	audit, err := ReadAudit(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if audit.Changes != 3 || audit.AppliedTwice != 1 || audit.OutOfOrder != 0 || audit.Passwords[AccountID(1)] != Digest("newer") {
		t.Errorf("audit %+v", audit)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	store := start(t, Config{Accounts: 10}, t.FailNow)
	resp, err := store.Lookup(t.Context(), &credstorev1.LookupRequest{
		Identifiers: []string{Identifier(3), Identifier(10), "nobody"}, AccountIds: []string{AccountID(4)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{AccountID(3), "", "", AccountID(4)} {
		accounts := resp.GetResults()[i].GetAccounts()
		if want == "" && len(accounts) == 0 || len(accounts) == 1 && accounts[0].GetId() == want {
			continue
		}
		t.Errorf("result %d is %v, want %q", i, accounts, want)
	}
}

func TestABatchTakesItsShareOfTheWorkers(t *testing.T) {
	t.Parallel()
	const hash = 10 * time.Millisecond
	store := start(t, Config{Workers: 4, HashTime: hash, Accounts: 100}, t.FailNow)
	var changes []*credstorev1.PasswordChange
	for n := range uint64(32) {
		changes = append(changes, change(n, fmt.Sprint(n), 1, "password"))
	}
	began := time.Now()
	if _, err := store.SetPasswords(t.Context(), &credstorev1.SetPasswordsRequest{Changes: changes}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 8*hash {
		t.Errorf("32 passwords by 4 workers took %v, less than their %v", took, 8*hash)
	}
}

func TestDiesPastItsMemoryBound(t *testing.T) {
	t.Parallel()
	var deaths atomic.Int64
	store := start(t, Config{
		Workers: 1, HashTime: time.Hour, Accounts: 100, RequestMemory: 1 << 10, MemoryBound: 10 << 10,
	}, func() { deaths.Add(1) })
	var changes []*credstorev1.PasswordChange
	for n := range uint64(11) {
		changes = append(changes, change(n, fmt.Sprint(n), 1, "password"))
	}
	if _, err := store.SetPasswords(t.Context(), &credstorev1.SetPasswordsRequest{Changes: changes}); err == nil {
		t.Error("eleven items fitted under a bound of ten")
	}
	if deaths.Load() == 0 {
		t.Error("it did not die")
	}
}

func TestSupervisorRestartsItColdAndItRemembers(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address, err := testbed.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ledger := filepath.Join(t.TempDir(), "ledger")
	s, err := NewSupervisor(SupervisorConfig{
		Command: []string{self, "victim-child"}, RestartDelay: 50 * time.Millisecond,
		Victim: Config{Address: address, Ledger: ledger, Accounts: 10, RequestMemory: 1 << 10, MemoryBound: 4 << 10, HashTime: time.Millisecond},
	}, SupervisorDeps{Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	store := dial(t, address)
	one := &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{change(1, "a", 1, "kept")}}
	if _, err := store.SetPasswords(ctx, one, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	many := &credstorev1.LookupRequest{Identifiers: make([]string, 64)}
	if _, err := store.Lookup(ctx, many); err == nil {
		t.Error("64 items fitted under a bound of four")
	}
	resp, err := store.SetPasswords(ctx, one, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetResults()[0].GetOutcome(); got != credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_ALREADY_APPLIED {
		t.Errorf("after the restart: %v, want ALREADY_APPLIED", got)
	}
	if st := s.Status(); st.Crashes != 1 {
		t.Errorf("%d crashes, want 1", st.Crashes)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestATornLastLineIsCutOff(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := openLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.apply(Entry{Account: "x", Change: "1", Sequence: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.file.WriteString(`{"account":"x","cha`); err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openLedger(path); err != nil {
		t.Fatal(err)
	}
	if v, err := l.apply(Entry{Account: "x", Change: "2", Sequence: 2}); err != nil || v != verdictNew {
		t.Errorf("after reopening: %v, %v", v, err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if a, err := ReadAudit(path); err != nil || a.Changes != 2 {
		t.Errorf("audit %+v, %v", a, err)
	}
}
