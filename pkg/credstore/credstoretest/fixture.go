package credstoretest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// Fixture is an empty store and a back door to it.
type Fixture struct {
	Store credstore.Store
	// AddAccount puts an account in. Identifiers that must find it are login and the account's address.
	AddAccount func(ctx context.Context, login string, a credstore.Account) error
	// Password returns what is in place for an account, in the store's form.
	Password func(ctx context.Context, accountID string) (string, error)
	// BeginSession and Sessions are nil where the store keeps no sessions; Store must be a credstore.Revoker otherwise.
	BeginSession func(ctx context.Context, accountID string, begun time.Time) error
	Sessions     func(ctx context.Context, accountID string) (int, error)
	// SharesHash says that Lookup tells the current hash.
	SharesHash bool
}

// Factory makes a fixture that lives as long as the test.
type Factory func(t *testing.T) Fixture

// acceptTime is the moment from which the suite's changes count: whole µs, as that is what travels.
var acceptTime = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

type suite struct {
	*testing.T
	Fixture
	form credstore.Form
}

// start makes a fixture with n accounts: ids a0, a1, …, logins user0, …, addresses user0@example.com, ….
func start(t *testing.T, factory Factory, n int) *suite {
	t.Helper()
	s := &suite{T: t, Fixture: factory(t)}
	d, err := s.Store.Describe(t.Context())
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	s.form = d.Form
	for i := range n {
		a := credstore.Account{ID: fmt.Sprintf("a%d", i), Address: fmt.Sprintf("user%d@example.com", i), Locale: "en-GB", CurrentHash: s.password("old")}
		s.add(fmt.Sprintf("user%d", i), a)
	}
	return s
}

func (s *suite) add(login string, a credstore.Account) {
	s.Helper()
	if err := s.AddAccount(s.Context(), login, a); err != nil {
		s.Fatalf("add account %s: %v", login, err)
	}
}

// password returns a password in the store's form that tells which one it is. The PHC string is a well-formed one; its
// digest says nothing.
func (s *suite) password(which string) credstore.Secret {
	if s.form == credstore.FormPlaintext {
		return credstore.Secret("a long pass phrase, " + which)
	}
	return credstore.Secret(fmt.Sprintf("$argon2id$v=19$m=19456,t=2,p=1$%s$%s", salt(which), "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"))
}

func salt(which string) string {
	s := []byte("AAAAAAAAAAAAAAAAAAAAAA")
	copy(s, which)
	return string(s)
}

// change is the nth accepted reset of an account.
func (s *suite) change(accountID string, n int) credstore.Change {
	return credstore.Change{
		AccountID:  accountID,
		Password:   s.password(fmt.Sprintf("n%d", n)),
		ChangeID:   fmt.Sprintf("change-%s-%d", accountID, n),
		Sequence:   uint64(acceptTime.UnixMicro()) + uint64(n),
		AcceptTime: acceptTime.Add(time.Duration(n) * time.Microsecond),
	}
}

func (s *suite) set(changes ...credstore.Change) []credstore.Result {
	s.Helper()
	results, err := s.Store.SetPasswords(s.Context(), changes)
	if err != nil {
		s.Fatalf("SetPasswords: %v", err)
	}
	if len(results) != len(changes) {
		s.Fatalf("SetPasswords: %d results for %d changes", len(results), len(changes))
	}
	return results
}

func (s *suite) wantSet(want credstore.Outcome, c credstore.Change) {
	s.Helper()
	if got := s.set(c)[0]; got.Outcome != want {
		s.Fatalf("change %s: %v (%s), want %v", c.ChangeID, got.Outcome, got.Detail, want)
	}
}

func (s *suite) wantPassword(accountID string, want credstore.Secret) {
	s.Helper()
	got, err := s.Password(s.Context(), accountID)
	if err != nil {
		s.Fatalf("password of %s: %v", accountID, err)
	}
	if got != want.Reveal() {
		s.Fatalf("the password in place of %s is %q, want %q", accountID, got, want.Reveal())
	}
}

func (s *suite) lookup(identifiers, accountIDs []string) [][]credstore.Account {
	s.Helper()
	results, err := s.Store.Lookup(s.Context(), identifiers, accountIDs)
	if err != nil {
		s.Fatalf("Lookup: %v", err)
	}
	if len(results) != len(identifiers)+len(accountIDs) {
		s.Fatalf("Lookup: %d results for %d identifiers and %d ids", len(results), len(identifiers), len(accountIDs))
	}
	return results
}

func (s *suite) revoke(r ...credstore.Revocation) []credstore.Revoked {
	s.Helper()
	results, err := s.revoker().RevokeSessions(s.Context(), r)
	if err != nil {
		s.Fatalf("RevokeSessions: %v", err)
	}
	if len(results) != len(r) {
		s.Fatalf("RevokeSessions: %d results for %d revocations", len(results), len(r))
	}
	return results
}

func (s *suite) revoker() credstore.Revoker {
	s.Helper()
	r, ok := s.Store.(credstore.Revoker)
	if !ok {
		s.Fatal("the fixture keeps sessions, but its store is no credstore.Revoker")
	}
	return r
}

func (s *suite) begin(accountID string, begun time.Time) {
	s.Helper()
	if err := s.BeginSession(s.Context(), accountID, begun); err != nil {
		s.Fatalf("begin a session: %v", err)
	}
}

func (s *suite) wantSessions(accountID string, want int) {
	s.Helper()
	got, err := s.Sessions(s.Context(), accountID)
	if err != nil {
		s.Fatalf("sessions: %v", err)
	}
	if got != want {
		s.Fatalf("%s has %d sessions, want %d", accountID, got, want)
	}
}
