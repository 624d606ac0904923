package dispatch_test

import (
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	password = "seven lively otters juggle"
	another  = "nine sleepy herons whistle"
)

func TestStartMailsALinkThatIsGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start("ada")
	w.until("a mail was sent", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	links, _ := w.mails.to("ada@example.com")
	claims, err := w.verifier.Verify(links[0], w.now())
	if err != nil || claims.AccountID != "1" || claims.Mark != 0 {
		t.Fatalf("claims %+v, %v", claims, err)
	}
	w.drained()
	w.stop()
	if n := w.metric("surgegate_mails_total", "link", "sent"); n != 1 {
		t.Errorf("%v mails counted", n)
	}
}

func TestStartOfNobodyEndsWithoutAMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	for _, identifier := range []string{"nobody@example.com", "sso"} {
		ref := w.start(identifier)
		w.drained()
		if s := w.status(ref); s.DoneTime.IsZero() {
			t.Errorf("%s: no time at which the ticket is done: %+v", identifier, s)
		}
	}
	if n := len(w.mails.sent); n != 0 {
		t.Errorf("%d mails sent", n)
	}
}

func TestStartMailsEveryAccountOfAnAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start("team@example.com")
	w.until("both were mailed", func() bool { links, _ := w.mails.to("team@example.com"); return len(links) == 2 })
	w.drained()
}

func TestCompletionIsHashedAppliedRevokedAndConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	begun := w.now().Add(-1)
	if err := w.sqlite.BeginSession(t.Context(), "s", "1", begun); err != nil {
		t.Fatal(err)
	}
	ref := w.complete("1", password)
	w.ends(ref, reset.StateDone, reset.ReasonNone)
	if !w.hasPassword("1", password) {
		t.Error("the password is not the account's")
	}
	w.drained()
	if n, err := w.sqlite.Sessions(t.Context(), "1"); err != nil || n != 0 {
		t.Errorf("%d sessions left, %v", n, err)
	}
	if links, confirmations := w.mails.to("ada@example.com"); len(links) != 0 || confirmations != 1 {
		t.Errorf("%d links and %d confirmations mailed", len(links), confirmations)
	}
}

func TestSignOutKeepKeepsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	if err := w.sqlite.BeginSession(t.Context(), "s", "1", w.now().Add(-1)); err != nil {
		t.Fatal(err)
	}
	w.complete("1", password, func(_ *reset.Job, p *reset.CompletionPayload) { p.SignOut = reset.SignOutKeep })
	w.drained()
	if n, err := w.sqlite.Sessions(t.Context(), "1"); err != nil || n != 1 {
		t.Errorf("%d sessions left, %v", n, err)
	}
}

func TestCompletionsOfOneAccountAreAppliedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	for range 20 {
		w.complete("1", another)
	}
	last := w.complete("1", password)
	w.ends(last, reset.StateDone, reset.ReasonNone)
	w.drained()
	if !w.hasPassword("1", password) {
		t.Error("an older password won")
	}
	w.store.on(func(s *store) {
		for i := 1; i < len(s.applied["1"]); i++ {
			if s.applied["1"][i] <= s.applied["1"][i-1] {
				t.Errorf("applied out of order: %v", s.applied["1"])
			}
		}
	})
}

func TestPasswordThatHasToGoIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.ends(w.complete("1", password), reset.StateDone, reset.ReasonNone)
	w.ends(w.complete("1", password), reset.StateRejected, reset.ReasonPasswordReused)
	w.until("a replacement link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	w.drained()
}

func TestPlaintextStoreGetsPlaintext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true})
	var got credstore.Secret
	w.store.on(func(s *store) {
		s.describe = func(d credstore.Description) (credstore.Description, error) {
			d.Form = credstore.FormPlaintext
			return d, nil
		}
		s.after = func(c []credstore.Change, r []credstore.Result) error {
			got = c[0].Password
			r[0].Outcome = credstore.Applied // SQLite stores no plaintext
			return nil
		}
	})
	w.dispatch.Prepare(t.Context())
	w.run()
	ref := w.complete("1", password, func(j *reset.Job, _ *reset.CompletionPayload) { j.Lane = reset.LaneApply })
	w.ends(ref, reset.StateDone, reset.ReasonNone)
	if got.Reveal() != password {
		t.Errorf("the store got %q", got.Reveal())
	}
	w.drained()
}

func TestAccountThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.ends(w.complete("no such account", password), reset.StateRejected, reset.ReasonAccountGone)
	w.drained()
}
