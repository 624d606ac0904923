package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/hashpool"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func wait(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

var person = &resetv1.Client{Ip: "192.0.2.7"}

// ask starts a reset and returns the token from its mail.
func ask(t *testing.T, g *gateway, m *mails, to string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n, _ := m.count(to)
	start, err := g.reset().StartReset(ctx, &resetv1.StartResetRequest{Identifier: to, Client: person, Wait: wait(20 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if start.GetTicket().GetState() != resetv1.State_STATE_DONE || start.GetPollAfter() != nil {
		t.Fatalf("a start that waited is %v", start)
	}
	token, err := m.take(ctx, to, n)
	if err != nil {
		t.Fatalf("%v\n%s", err, g.output())
	}
	return token
}

// TestTheWholeReset goes all the way: link, check, completion, the hash in the store, confirmation, revocation.
func TestTheWholeReset(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "store.db")
	store, err := sqlite.New(t.Context(), sqlite.Config{Path: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := store.PutAccounts(t.Context(), sqlite.Account{Login: address(1), Account: credstore.Account{ID: accountID(1), Address: address(1)}}); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Hour)
	for _, s := range []struct {
		id    string
		begun time.Time
	}{{"old", before}, {"new", time.Now().Add(time.Hour)}} {
		if err := store.BeginSession(t.Context(), s.id, accountID(1), s.begun); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t, fmt.Sprintf("{sqlite: {path: %q}}", database), generous)
	g.start()
	m, api := g.mails(), g.reset()
	token := ask(t, g, m, address(1))

	for range 2 { // it consumes nothing
		if _, err := api.CheckToken(t.Context(), &resetv1.CheckTokenRequest{Token: token, Client: person}); err != nil {
			t.Fatal(err)
		}
	}
	const password = "a long enough passphrase"
	request := &resetv1.CompleteResetRequest{
		Token: token, NewPassword: password, Client: person, Wait: wait(20 * time.Second),
		RequestId: uuid.NewString(), SignOut: resetv1.SignOut_SIGN_OUT_EVERYWHERE,
	}
	weak := &resetv1.CompleteResetRequest{Token: token, NewPassword: "short", Client: person}
	_, err = api.CompleteReset(t.Context(), weak)
	refused(t, err, codes.InvalidArgument, "PASSWORD_TOO_SHORT")
	done, err := api.CompleteReset(t.Context(), request)
	if err != nil || done.GetTicket().GetState() != resetv1.State_STATE_DONE {
		t.Fatalf("%v %v\n%s", done, err, g.output())
	}
	again, err := api.CompleteReset(t.Context(), request)
	if err != nil || !again.GetReplayed() || again.GetTicket().GetId() != done.GetTicket().GetId() {
		t.Errorf("a repeat gets the same ticket, not %v %v", again, err)
	}
	request.RequestId = uuid.NewString()
	_, err = api.CompleteReset(t.Context(), request)
	refused(t, err, codes.FailedPrecondition, "TOKEN_USED")
	_, err = api.CheckToken(t.Context(), &resetv1.CheckTokenRequest{Token: token, Client: person})
	refused(t, err, codes.FailedPrecondition, "TOKEN_USED")

	found, err := store.Lookup(t.Context(), nil, []string{accountID(1)})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := hashpool.New(hashpool.Config{}, hashpool.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	phc := found[0][0].CurrentHash.Reveal()
	if ok, err := pool.Verify(t.Context(), phc, []byte(password)); !ok || err != nil || !strings.HasPrefix(phc, "$argon2id$") {
		t.Errorf("the store's hash does not verify the new password: %v", err)
	}
	g.await("confirmation mail", func(context.Context) error {
		if err := m.look(); err != nil {
			return err
		}
		if _, others := m.count(address(1)); others != 1 {
			return fmt.Errorf("%d confirmations", others)
		}
		return nil
	})
	g.await("revocation", func(ctx context.Context) error {
		n, err := store.Sessions(ctx, accountID(1))
		if err == nil && n != 1 {
			return fmt.Errorf("%d sessions: the old one must end, the one begun later must stay", n)
		}
		return err
	})

	// The password that has to go is refused, and a new link is mailed at once: the old one is used.
	token = ask(t, g, m, address(1))
	reused, err := api.CompleteReset(t.Context(), &resetv1.CompleteResetRequest{Token: token, NewPassword: password, Client: person, Wait: wait(20 * time.Second)})
	if err != nil || reused.GetTicket().GetReason() != resetv1.Reason_REASON_PASSWORD_REUSED {
		t.Errorf("the present password again: %v %v", reused, err)
	}
}

func refused(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("want %v %s, got %v", code, reason, err)
	}
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == reason && info.GetDomain() == "surgegate" {
			return
		}
	}
	t.Errorf("want %s, got %v with %v", reason, err, status.Convert(err).Details())
}

// TestSIGTERMDrainsAndTheNextStartGoesOn: what was accepted while the store was too slow is worked by the next start.
func TestSIGTERMDrainsAndTheNextStartGoesOn(t *testing.T) {
	t.Parallel()
	store, yaml := newLedger(t, credstore.FormPlaintext, 40)
	g := newGateway(t, yaml[:len(yaml)-1]+", pace: {rate: 5}}", generous)
	g.start()
	api := g.reset()
	var tickets []string
	for i := range 40 {
		r, err := api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(i), Client: person})
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, r.GetTicket().GetId())
	}
	// Somebody holds an answer and somebody watches: neither may hold up the end.
	held := make(chan error, 2)
	go func() {
		r, err := api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: "nobody", Client: person, Wait: wait(30 * time.Second)})
		if err == nil && r.GetTicket().GetId() == "" {
			err = fmt.Errorf("no ticket in %v", r)
		}
		held <- err
	}()
	watch, err := api.WatchTicket(t.Context(), &resetv1.WatchTicketRequest{TicketId: tickets[39]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if code := g.terminate(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, g.output())
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("draining took %v", took)
	}
	if err := <-held; err != nil && status.Code(err) != codes.Unavailable {
		t.Errorf("the held answer: %v", err)
	}
	g.start()
	m := g.mails()
	for i, id := range tickets {
		if got := final(t, g, g.reset(), id); got.GetState() != resetv1.State_STATE_DONE {
			t.Errorf("ticket %d is %v", i, got.GetState())
		}
	}
	g.await("all mails", func(context.Context) error {
		if err := m.look(); err != nil {
			return err
		}
		for i := range tickets {
			if links, _ := m.count(address(i)); links != 1 {
				return fmt.Errorf("person %d has %d links", i, links)
			}
		}
		return nil
	})
	_ = store
}

func TestHealthReadinessAndMetricsAreServed(t *testing.T) {
	t.Parallel()
	_, yaml := newLedger(t, credstore.FormPlaintext, 1)
	g := newGateway(t, yaml, "")
	g.start()
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "surgegate_queue_conservation 0"} {
		r, err := http.Get("http://" + g.http + path) // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, %q is missing, %v", path, r.StatusCode, want, err)
		}
	}
}
