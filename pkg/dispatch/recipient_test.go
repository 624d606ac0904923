package dispatch_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

const shared = "office@example.com"

// sharing puts n accounts of one address into the store.
func (w *world) sharing(n int) {
	w.t.Helper()
	for i := range n {
		id := "s" + strconv.Itoa(i)
		if err := w.sqlite.PutAccounts(w.t.Context(), sqlite.Account{Login: id, Account: credstore.Account{ID: id, Address: shared}}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) sharedMails(want int, when string) {
	w.t.Helper()
	if links, _ := w.mails.to(shared); len(links) != want {
		w.t.Fatalf("%s: %d links mailed, not %d", when, len(links), want)
	}
}

func TestRecipientsBudgetHoldsAcrossAccounts(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	w := newWorld(t, options{clock: c, config: dispatch.Config{Recipient: dispatch.Budget{Mails: 3, Per: 24 * time.Hour}}})
	w.sharing(40)
	w.start(shared)
	w.drained()
	w.sharedMails(3, "one ask for all")
	for i := range 40 {
		w.start("s" + strconv.Itoa(i))
	}
	w.drained()
	w.sharedMails(3, "an ask for each")
	c.Advance(time.Hour)
	w.start(shared)
	w.drained()
	w.sharedMails(4, "over the budget, but the links have expired")
	var spent string
	for i := range 40 { // whoever's it was
		if w.hasLink("s" + strconv.Itoa(i)) {
			spent = "s" + strconv.Itoa(i)
		}
	}
	w.ends(w.complete(spent, password), reset.StateDone, reset.ReasonNone)
	w.drained()
	links, confirmations := w.mails.to(shared)
	w.start("s39")
	w.start("s38")
	w.drained()
	if confirmations != 1 {
		t.Errorf("%d confirmations", confirmations)
	}
	w.sharedMails(len(links)+1, "over the budget, but the link is spent")
}

// hasLink tells whether the last link that was mailed is the account's.
func (w *world) hasLink(account string) bool {
	w.t.Helper()
	links, _ := w.mails.to(shared)
	claims, err := w.verifier.Verify(links[len(links)-1], w.now())
	return err == nil && claims.AccountID == account
}

// While mails wait, no link is out yet; it counts nevertheless.
func TestRecipientsBudgetHoldsWhileMailsWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{
		store: pace.Config{Concurrency: 4}, config: dispatch.Config{Recipient: dispatch.Budget{Mails: 3, Per: 24 * time.Hour}},
	})
	w.sharing(40)
	var dark atomic.Bool
	dark.Store(true)
	w.mails.fail = func(mail.Message) error {
		if dark.Load() {
			return mail.ErrOverloaded
		}
		return nil
	}
	for i := range 40 {
		w.start("s" + strconv.Itoa(i))
	}
	w.until("all are looked up", func() bool {
		s := w.stats().Lanes[reset.LaneStart]
		return s.Waiting[0]+s.Leased+s.Retrying == 0
	})
	dark.Store(false)
	w.drained()
	w.sharedMails(3, "after the mail server came back")
}

func TestOneAskMailsTenAtMost(t *testing.T) {
	t.Parallel()
	plenty := dispatch.Budget{Mails: 1000, Per: time.Hour}
	w := newWorld(t, options{config: dispatch.Config{Identifier: plenty, Recipient: plenty}})
	w.sharing(40)
	w.start(shared)
	w.drained()
	w.sharedMails(10, "one ask")
	w.stop()
	if n := w.metric("surgegate_mails_total", "link", "withheld"); n != 30 {
		t.Errorf("%v withheld counted", n)
	}
}
