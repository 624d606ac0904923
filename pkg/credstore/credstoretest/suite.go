package credstoretest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// Run checks a store against the port's contract.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, test := range []struct {
		name     string
		accounts int
		run      func(*suite)
	}{
		{"Describe", 0, testDescribe},
		{"LookupInOrder", 3, testLookupInOrder},
		{"LookupSeveralAccounts", 1, testLookupSeveral},
		{"LookupNotResettable", 0, testLookupNotResettable},
		{"LookupHostileIdentifiers", 2, testLookupHostile},
		{"EmptyBatches", 1, testEmptyBatches},
		{"AppliedOnce", 2, testAppliedOnce},
		{"NewestWins", 1, testNewestWins},
		{"AnyOrderOfDelivery", 1, testAnyOrder},
		{"UnknownAccount", 1, testUnknownAccount},
		{"MixedBatchInOrder", 5, testMixedBatch},
		{"HostileChanges", 2, testHostileChanges},
		{"FullBatch", 0, testFullBatch},
		{"ConcurrentBatches", 16, testConcurrentBatches},
		{"ConcurrentRedelivery", 1, testConcurrentRedelivery},
		{"CancelledContext", 1, testCancelled},
		{"Revoke", 2, testRevoke},
		{"RevokeKeepsLaterSessions", 1, testRevokeKeepsLater},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(start(t, factory, test.accounts))
		})
	}
}

func testDescribe(s *suite) {
	d, err := s.Store.Describe(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	if d.Form != credstore.FormHash && d.Form != credstore.FormPlaintext {
		s.Errorf("form %d is none", d.Form)
	}
	if d.Form == credstore.FormHash && len(d.HashSchemes) == 0 {
		s.Error("a store that takes hashes names no scheme")
	}
	if d.MaxLookupBatch < 1 || d.MaxSetBatch < 1 || d.MaxRevokeBatch < 0 {
		s.Errorf("batches of %d, %d and %d", d.MaxLookupBatch, d.MaxSetBatch, d.MaxRevokeBatch)
	}
	if _, ok := s.Store.(credstore.Revoker); !ok && d.MaxRevokeBatch > 0 {
		s.Error("it says that it can revoke, but it is no Revoker")
	}
}

func testLookupInOrder(s *suite) {
	got := s.lookup([]string{"nobody", "user2", "user0@example.com"}, []string{"a1", "no-such-id", "a0"})
	for i, want := range []string{"", "a2", "a0", "a1", "", "a0"} {
		switch {
		case want == "" && len(got[i]) != 0:
			s.Errorf("result %d: %d accounts, want a miss", i, len(got[i]))
		case want != "" && (len(got[i]) != 1 || got[i][0].ID != want):
			s.Errorf("result %d: %v, want %s", i, got[i], want)
		}
	}
	a := got[1][0]
	if a.Address != "user2@example.com" || a.Locale != "en-GB" || a.NotResettable {
		s.Errorf("account came back as %+v", a)
	}
	if s.SharesHash && a.CurrentHash != s.password("old") {
		s.Errorf("the current hash came back as %q", a.CurrentHash.Reveal())
	}
	if !s.SharesHash && a.CurrentHash != "" {
		s.Error("a store that shares no hashes shared one")
	}
	// The same batch again, by id only: an id is not an identifier and an identifier is no id.
	got = s.lookup(nil, []string{"user0@example.com", "a2"})
	if len(got[0]) != 0 || len(got[1]) != 1 {
		s.Errorf("by id: %v", got)
	}
}

func testLookupSeveral(s *suite) {
	s.add("left", credstore.Account{ID: "l", Address: "shared@example.com"})
	s.add("right", credstore.Account{ID: "r", Address: "shared@example.com"})
	got := s.lookup([]string{"shared@example.com", "left", "shared@example.com"}, nil)
	for i, want := range [][]string{{"l", "r"}, {"l"}, {"l", "r"}} {
		var ids []string
		for _, a := range got[i] {
			ids = append(ids, a.ID)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, want) {
			s.Errorf("result %d: %v, want %v", i, ids, want)
		}
	}
}

func testLookupNotResettable(s *suite) {
	s.add("sso", credstore.Account{ID: "x", Address: "sso@example.com", NotResettable: true})
	for i, accounts := range s.lookup([]string{"sso"}, []string{"x"}) {
		if len(accounts) != 1 || !accounts[0].NotResettable {
			s.Errorf("result %d: %v, want one account that is not resettable", i, accounts)
		}
	}
}

// hostile are identifiers that are nobody's and must stay misses.
func hostile() []string {
	return []string{
		"", " ", "\x00", "user0\x00", "\xff\xfe", "user0\xff", strings.Repeat("x", 64<<10), strings.Repeat("\u00e9", 32<<10),
		"' OR 1=1 --", "user%", "user_", "*", "user0\r\nBcc: other@example.com", "\u202euser0", strings.Repeat("(", 4096),
	}
}

func testLookupHostile(s *suite) {
	bad := hostile()
	identifiers := append(append([]string{"user0"}, bad...), "user1")
	ids := append(append([]string{"a0"}, bad...), "a1")
	got := s.lookupAll(identifiers, ids)
	for _, part := range [][][]credstore.Account{got[:len(identifiers)], got[len(identifiers):]} {
		if first, last := part[0], part[len(part)-1]; len(first) != 1 || first[0].ID != "a0" || len(last) != 1 || last[0].ID != "a1" {
			s.Error("the good ones beside hostile ones were not found")
		}
		for i, accounts := range part[1 : len(part)-1] {
			if len(accounts) != 0 {
				s.Errorf("%.20q found %v", bad[i], accounts)
			}
		}
	}
}

// lookupAll looks up in batches no larger than the store takes.
func (s *suite) lookupAll(identifiers, ids []string) [][]credstore.Account {
	s.Helper()
	d, err := s.Store.Describe(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var got [][]credstore.Account
	for part := range slices.Chunk(identifiers, d.MaxLookupBatch) {
		got = append(got, s.lookup(part, nil)...)
	}
	for part := range slices.Chunk(ids, d.MaxLookupBatch) {
		got = append(got, s.lookup(nil, part)...)
	}
	return got
}

func testEmptyBatches(s *suite) {
	s.lookup(nil, nil)
	s.set()
	s.wantPassword("a0", s.password("old"))
}

func testAppliedOnce(s *suite) {
	first := s.change("a0", 1)
	s.wantSet(credstore.Applied, first)
	s.wantPassword("a0", first.Password)
	for range 3 {
		s.wantSet(credstore.AlreadyApplied, first)
	}
	// The same change with another salt, as a hash lane that ran twice would send it: once per change id, whatever it carries.
	again := first
	again.Password = s.password("other")
	s.wantSet(credstore.AlreadyApplied, again)
	s.wantPassword("a0", first.Password)
	s.wantPassword("a1", s.password("old"))
}

func testNewestWins(s *suite) {
	s.wantSet(credstore.Applied, s.change("a0", 5))
	s.wantSet(credstore.Superseded, s.change("a0", 3))
	s.wantPassword("a0", s.password("n5"))
	s.wantSet(credstore.Applied, s.change("a0", 9))
	s.wantSet(credstore.Superseded, s.change("a0", 8))
	// A late delivery of a change that was applied and then replaced: both answers are true, applying it again is not.
	if got := s.set(s.change("a0", 5))[0].Outcome; got != credstore.Superseded && got != credstore.AlreadyApplied {
		s.Errorf("late redelivery: %v", got)
	}
	s.wantPassword("a0", s.password("n9"))
}

// testAnyOrder delivers changes in random orders, several times each: the newest is in place in the end.
func testAnyOrder(s *suite) {
	random := rand.New(rand.NewPCG(1, 2))
	newest, applied := 0, make(map[int]int)
	for range 60 {
		n := random.IntN(20)
		switch got := s.set(s.change("a0", n))[0].Outcome; {
		case n > newest || len(applied) == 0:
			if got != credstore.Applied {
				s.Fatalf("change %d after %d: %v", n, newest, got)
			}
			newest, applied[n] = n, applied[n]+1
		case n == newest && got != credstore.AlreadyApplied:
			s.Fatalf("change %d again: %v", n, got)
		case n < newest && got != credstore.Superseded && got != credstore.AlreadyApplied:
			s.Fatalf("change %d after %d: %v", n, newest, got)
		}
	}
	s.wantPassword("a0", s.password(fmt.Sprintf("n%d", newest)))
}

func testUnknownAccount(s *suite) {
	for range 2 {
		s.wantSet(credstore.UnknownAccount, s.change("ghost", 1))
	}
	// Ids are not identifiers here either.
	s.wantSet(credstore.UnknownAccount, s.change("user0", 1))
	if got := s.lookup(nil, []string{"ghost"}); len(got[0]) != 0 {
		s.Error("a change made an account")
	}
	s.wantPassword("a0", s.password("old"))
}

func testMixedBatch(s *suite) {
	s.wantSet(credstore.Applied, s.change("a1", 1))
	s.wantSet(credstore.Applied, s.change("a3", 7))
	want := []credstore.Outcome{credstore.Applied, credstore.AlreadyApplied, credstore.UnknownAccount, credstore.Superseded, credstore.Applied}
	batch := []credstore.Change{s.change("a0", 2), s.change("a1", 1), s.change("ghost", 2), s.change("a3", 2), s.change("a4", 2)}
	for i, got := range s.setAll(batch) {
		if got.Outcome != want[i] {
			s.Errorf("item %d: %v (%s), want %v", i, got.Outcome, got.Detail, want[i])
		}
	}
	for id, which := range map[string]string{"a0": "n2", "a1": "n1", "a2": "old", "a3": "n7", "a4": "n2"} {
		s.wantPassword(id, s.password(which))
	}
}

// setAll sets in batches no larger than the store takes.
func (s *suite) setAll(changes []credstore.Change) []credstore.Result {
	s.Helper()
	d, err := s.Store.Describe(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var got []credstore.Result
	for part := range slices.Chunk(changes, d.MaxSetBatch) {
		got = append(got, s.set(part...)...)
	}
	return got
}

// testHostileChanges checks that what is wrong with one item stays with that item.
func testHostileChanges(s *suite) {
	batch := []credstore.Change{s.change("a0", 1)}
	for i, id := range hostile() {
		c := s.change("x", i)
		c.AccountID = id
		batch = append(batch, c)
	}
	empty := s.change("a1", 1)
	empty.Password = ""
	batch = append(batch, empty)
	got := s.setAll(batch)
	if got[0].Outcome != credstore.Applied {
		s.Errorf("the good one beside hostile ones: %v (%s)", got[0].Outcome, got[0].Detail)
	}
	for i, r := range got[1 : len(got)-1] {
		if r.Outcome != credstore.UnknownAccount && r.Outcome != credstore.Refused {
			s.Errorf("%.20q: %v", hostile()[i], r.Outcome)
		}
	}
	if r := got[len(got)-1]; r.Outcome != credstore.Refused && r.Outcome != credstore.RetryItem {
		s.Errorf("an empty password: %v", r.Outcome)
	}
	s.wantPassword("a0", s.password("n1"))
	s.wantPassword("a1", s.password("old"))
}

func testFullBatch(s *suite) {
	d, err := s.Store.Describe(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	size := min(max(d.MaxSetBatch, d.MaxLookupBatch), 512)
	var batch []credstore.Change
	var ids []string
	for i := range size {
		id := fmt.Sprintf("full%d", i)
		s.add(id, credstore.Account{ID: id, Address: id + "@example.com"})
		batch, ids = append(batch, s.change(id, i)), append(ids, id)
	}
	for i, r := range s.setAll(batch) {
		if r.Outcome != credstore.Applied {
			s.Fatalf("item %d: %v (%s)", i, r.Outcome, r.Detail)
		}
	}
	for i, accounts := range s.lookupAll(nil, ids) {
		if len(accounts) != 1 || accounts[0].ID != ids[i] {
			s.Fatalf("item %d is %v", i, accounts)
		}
	}
	s.wantPassword(ids[size-1], batch[size-1].Password)
}

// testConcurrentBatches races batches over the same accounts in different orders: no deadlock, and the newest is in
// place. An overloaded store may say so; the batch is then sent again, as surgegate would.
func testConcurrentBatches(s *suite) {
	const writers, rounds, accounts = 4, 5, 16
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for round := range rounds {
				batch := make([]credstore.Change, 0, accounts)
				for i := range accounts {
					batch = append(batch, s.change(fmt.Sprintf("a%d", (i*(2*w+1))%accounts), 1+round*writers+w))
				}
				s.setUntilTaken(batch)
			}
		})
	}
	wg.Wait()
	for i := range accounts {
		s.wantPassword(fmt.Sprintf("a%d", i), s.password(fmt.Sprintf("n%d", rounds*writers)))
	}
}

func testConcurrentRedelivery(s *suite) {
	const callers = 8
	var mutex sync.Mutex
	var wg sync.WaitGroup
	outcomes := make(map[credstore.Outcome]int)
	for range callers {
		wg.Go(func() {
			for _, r := range s.setUntilTaken([]credstore.Change{s.change("a0", 1)}) {
				mutex.Lock()
				outcomes[r.Outcome]++
				mutex.Unlock()
			}
		})
	}
	wg.Wait()
	if outcomes[credstore.Applied] != 1 || outcomes[credstore.AlreadyApplied] != callers-1 {
		s.Errorf("one change sent %d times at once was answered with %v", callers, outcomes)
	}
}

func (s *suite) setUntilTaken(batch []credstore.Change) []credstore.Result {
	for s.Context().Err() == nil {
		results, err := s.Store.SetPasswords(s.Context(), batch)
		switch {
		case errors.Is(err, credstore.ErrOverloaded):
			continue
		case err != nil:
			s.Errorf("SetPasswords: %v", err)
			return nil
		case !slices.ContainsFunc(results, func(r credstore.Result) bool { return r.Outcome == credstore.RetryItem }):
			return results
		}
	}
	return nil
}

func testCancelled(s *suite) {
	cancelled, cancel := context.WithCancel(s.Context())
	cancel()
	late, cancelLate := context.WithDeadline(s.Context(), time.Unix(1, 0))
	defer cancelLate()
	for _, test := range []struct {
		ctx        context.Context
		want       error
		overloaded bool
	}{{cancelled, context.Canceled, false}, {late, context.DeadlineExceeded, true}} {
		calls := map[string]func() error{
			"Lookup": func() error { _, err := s.Store.Lookup(test.ctx, []string{"user0"}, nil); return err },
			"SetPasswords": func() error {
				_, err := s.Store.SetPasswords(test.ctx, []credstore.Change{s.change("a0", 1)})
				return err
			},
		}
		if r, ok := s.Store.(credstore.Revoker); ok && s.BeginSession != nil {
			calls["RevokeSessions"] = func() error {
				_, err := r.RevokeSessions(test.ctx, []credstore.Revocation{{AccountID: "a0", RevocationID: "r", SessionsBefore: acceptTime}})
				return err
			}
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, test.want) || errors.Is(err, credstore.ErrOverloaded) != test.overloaded {
				s.Errorf("%s with a context that ended by %v: %v", name, test.want, err)
			}
		}
	}
	s.wantPassword("a0", s.password("old"))
	s.wantSet(credstore.Applied, s.change("a0", 1)) // and it still works
}

func testRevoke(s *suite) {
	if s.BeginSession == nil {
		s.Skip("the fixture keeps no sessions")
	}
	s.begin("a0", acceptTime.Add(-time.Hour))
	s.begin("a0", acceptTime.Add(-time.Microsecond))
	s.begin("a1", acceptTime.Add(-time.Hour))
	batch := []credstore.Revocation{
		{AccountID: "ghost", RevocationID: "r0", SessionsBefore: acceptTime},
		{AccountID: "a0", RevocationID: "r1", SessionsBefore: acceptTime},
		{AccountID: "bad\xff", RevocationID: "r2", SessionsBefore: acceptTime},
	}
	for round := range 2 {
		got := s.revoke(batch...)
		if got[0].Known || !got[1].Known || got[2].Known {
			s.Errorf("round %d: %v", round, got)
		}
		// A count is optional, but ending the same session twice is not possible.
		if got[1].Ended != 0 && (round > 0 || got[1].Ended != 2) {
			s.Errorf("round %d ended %d", round, got[1].Ended)
		}
		s.wantSessions("a0", 0)
		s.wantSessions("a1", 1)
	}
}

func testRevokeKeepsLater(s *suite) {
	if s.BeginSession == nil {
		s.Skip("the fixture keeps no sessions")
	}
	s.begin("a0", acceptTime.Add(-time.Minute))
	r := credstore.Revocation{AccountID: "a0", RevocationID: "r1", SessionsBefore: acceptTime}
	s.revoke(r)
	s.wantSessions("a0", 0)
	// The owner signs in with the new password; the revocation is delivered again hours later.
	s.begin("a0", acceptTime)
	s.begin("a0", acceptTime.Add(time.Second))
	s.revoke(r)
	s.wantSessions("a0", 2)
	r.RevocationID, r.SessionsBefore = "r2", acceptTime.Add(time.Hour)
	s.revoke(r)
	s.wantSessions("a0", 0)
}
