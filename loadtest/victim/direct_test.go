package victim

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/clock"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

type world struct {
	api    resetv1.PasswordResetClient
	links  chan string // tokens
	ledger string
}

// begin starts a real store, a front before it, and a mailbox.
func begin(t *testing.T, store Config, front DirectConfig) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{ledger: filepath.Join(dir, "ledger")}
	ctx, cancel := context.WithCancel(context.Background())
	store.Address, store.Ledger = "127.0.0.1:0", w.ledger
	v, err := New(store, Deps{Die: func() { t.Error("the store died") }})
	if err != nil {
		t.Fatal(err)
	}
	front.Address, front.Store, front.Maildir = "127.0.0.1:0", v.Addr(), filepath.Join(dir, "mail")
	f, err := NewDirect(front, DirectDeps{})
	if err != nil {
		t.Fatal(err)
	}
	w.links = make(chan string, 8) // more than any test asks for
	mails, err := testbed.NewWatcher(front.Maildir, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	watch := func(ctx context.Context) error { return mails.Run(ctx, func(_, token string) { w.links <- token }) }
	ends := make(chan error, 3)
	for _, run := range []func(context.Context) error{v.Run, f.Run, watch} {
		go func() { ends <- run(ctx) }()
	}
	conn, err := grpc.NewClient(f.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	w.api = resetv1.NewPasswordResetClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		for range 3 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

func TestAResetFromLinkToStore(t *testing.T) {
	t.Parallel()
	w := begin(t, Config{HashTime: time.Millisecond}, DirectConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := w.api.StartReset(ctx, &resetv1.StartResetRequest{Identifier: Identifier(7)}); err != nil {
		t.Fatal(err)
	}
	token := <-w.links
	if _, err := w.api.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: token}); err != nil {
		t.Fatal(err)
	}
	// A repeat is applied again: that is what the naive front is.
	for range 2 {
		resp, err := w.api.CompleteReset(ctx, &resetv1.CompleteResetRequest{
			Token: token, NewPassword: "a new password", SignOut: resetv1.SignOut_SIGN_OUT_EVERYWHERE,
		})
		if err != nil || resp.GetTicket().GetState() != resetv1.State_STATE_DONE {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	audit, err := ReadAudit(w.ledger)
	if err != nil {
		t.Fatal(err)
	}
	if audit.Passwords[AccountID(7)] != Digest("a new password") || audit.AppliedTwice != 1 {
		t.Errorf("audit %+v", audit)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := begin(t, Config{HashTime: time.Hour, Workers: 1}, DirectConfig{StoreTimeout: 2 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := w.api.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: "bm9uc2Vuc2U"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a forged token: %v", err)
	}
	if _, err := w.api.StartReset(ctx, &resetv1.StartResetRequest{Identifier: "nobody@x.example"}); err != nil {
		t.Errorf("an unknown identifier: %v", err)
	}
	if _, err := w.api.StartReset(ctx, &resetv1.StartResetRequest{Identifier: Identifier(1)}); err != nil {
		t.Fatal(err)
	}
	token := <-w.links
	if _, err := w.api.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: token, NewPassword: "x"}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a store that does not answer: %v", err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := signer{key: []byte("key")}
	expire := time.Unix(1_700_000_000, 0)
	token := s.sign("account-1", expire)
	if account, at, ok := s.verify(token); !ok || account != "account-1" || !at.Equal(expire) {
		t.Errorf("%q %v %v", account, at, ok)
	}
	for name, bad := range map[string]string{
		"other key": signer{key: []byte("other")}.sign("account-1", expire), "cut": token[:len(token)-4], "empty": "", "not base64": "!",
	} {
		if _, _, ok := s.verify(bad); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s := signer{key: []byte("key")}
	f.Add(s.sign("a", time.Unix(1, 0)))
	f.Fuzz(func(t *testing.T, token string) {
		if account, _, ok := s.verify(token); ok && account != "a" {
			t.Errorf("a token for %q was forged", account)
		}
	})
}
