package dispatch_test

import (
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// TestLinkLivesFromItsHandOff: waiting in line does not shorten the life of a link (SECURITY.md 9).
func TestLinkLivesFromItsHandOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	if err := w.dispatch.PauseLane(reset.LaneMail, true); err != nil {
		t.Fatal(err)
	}
	w.start("ada")
	w.until("the mail waits", func() bool { return w.stats().Lanes[reset.LaneMail].Waiting[reset.ClassInteractive] == 1 })
	handOff := w.now()
	if err := w.dispatch.PauseLane(reset.LaneMail, false); err != nil {
		t.Fatal(err)
	}
	w.until("a mail was sent", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	links, _ := w.mails.to("ada@example.com")
	claims, err := w.verifier.Verify(links[0], w.now())
	if err != nil {
		t.Fatal(err)
	}
	if claims.IssueTime.Before(handOff) || !claims.ExpireTime.Equal(claims.IssueTime.Add(time.Hour)) {
		t.Errorf("handed off after %v, but issued at %v and good until %v", handOff, claims.IssueTime, claims.ExpireTime)
	}
}

// TestAStartChangesNothingInTheStore: asking, by whomever and however often, changes nothing in the account (SECURITY.md 5).
func TestAStartChangesNothingInTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	before := w.password("1")
	for range 3 {
		w.start("ada")
		w.drained()
	}
	w.stop()
	w.store.on(func(s *store) {
		if len(s.sets) != 0 || len(s.revoked) != 0 {
			t.Errorf("the store was asked to set %v and to revoke %v", s.sets, s.revoked)
		}
	})
	if after := w.password("1"); after != before {
		t.Error("the password changed")
	}
}
