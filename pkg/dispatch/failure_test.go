package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

var errPoison = errors.New("constraint violated somewhere in the batch")

// many puts n accounts into the store and returns their ids.
func (w *world) many(n int) []string {
	w.t.Helper()
	var ids []string
	var accounts []sqlite.Account
	for i := range n {
		id := "m" + strconv.Itoa(i)
		ids = append(ids, id)
		accounts = append(accounts, sqlite.Account{Login: id, Account: credstore.Account{ID: id, Address: id + "@example.com"}})
	}
	if err := w.sqlite.PutAccounts(w.t.Context(), accounts...); err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// apply enqueues a completion whose password is hashed already.
func (w *world) apply(account, phc string) reset.Ref {
	return w.complete(account, phc, func(j *reset.Job, p *reset.CompletionPayload) {
		j.Lane, p.Hashed = reset.LaneApply, true
	})
}

func (w *world) hash() string {
	w.t.Helper()
	phc, err := w.hashes.Hash(w.t.Context(), "argon2id", []byte(password))
	if err != nil {
		w.t.Fatal(err)
	}
	return phc
}

func (w *world) parked() []queue.ParkedJob {
	w.t.Helper()
	p, err := w.queue.Parked(w.t.Context(), 0, reset.ID{}, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestPoisonousItemIsFoundAndParkedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, config: dispatch.Config{MaxTries: 3}, store: pace.Config{Concurrency: 1}})
	ids := w.many(40)
	var singles atomic.Int32
	w.store.on(func(s *store) {
		s.set = func(_ context.Context, changes []credstore.Change) error {
			for _, c := range changes {
				if c.AccountID == ids[30] {
					if len(changes) == 1 {
						singles.Add(1)
					}
					return errPoison
				}
			}
			return nil
		}
	})
	phc := w.hash()
	refs := make(map[string]reset.Ref)
	for _, id := range ids {
		refs[id] = w.apply(id, phc)
	}
	w.run()
	for _, id := range ids {
		if id != ids[30] {
			w.ends(refs[id], reset.StateDone, reset.ReasonNone)
		}
	}
	w.until("the poisonous one is parked", func() bool { return len(w.parked()) == 1 })
	p := w.parked()[0]
	if s := w.status(refs[ids[30]]); s.State.Final() || !s.Retrying {
		t.Errorf("its ticket is %+v", s)
	}
	if p.Job.Ticket != refs[ids[30]].ID || p.Cause != "out of tries: the store failed to apply it" {
		t.Errorf("parked %v, %q", p.Job.Ticket, p.Cause)
	}
	if n := singles.Load(); n != 3 {
		t.Errorf("it was tried alone %d times, not 3", n)
	}
	w.stop()
	w.store.on(func(s *store) {
		// 1, 2, 4, 8, 16, then the 9 left: the batch that holds the item costs at most 2·log2(16)+1 calls.
		if n := len(s.sets); n > 30 || slices.Max(s.sets) < 8 {
			t.Errorf("%d calls: %v", n, s.sets)
		}
	})
	if n := w.metric("surgegate_jobs_parked_total", "apply"); n != 1 {
		t.Errorf("%v parks counted", n)
	}
	// An operator requeues it once the store is mended.
	w.store.on(func(s *store) { s.set = nil })
	for _, err := range w.queue.Requeue(t.Context(), []reset.ID{p.Job.ID}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	next := newWorld(t, options{from: w, fs: w.closed()})
	next.ends(refs[ids[30]], reset.StateDone, reset.ReasonNone)
	next.drained()
}

// A store that answers nonsense about one account must not make its job go round and round.
func TestOversizeAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{MaxTries: 3}})
	var lookups atomic.Int32
	w.store.on(func(s *store) {
		s.lookup = func(context.Context, []string, []string) error {
			lookups.Add(1)
			return nil
		}
	})
	long := strings.Repeat("x", 100_000)
	for _, a := range []credstore.Account{
		{ID: "address", Address: long + "@example.com"}, {ID: long, Address: "id@example.com"},
		{ID: "locale", Address: "locale@example.com", Locale: long},
	} {
		if err := w.sqlite.PutAccounts(t.Context(), sqlite.Account{Login: "user-" + a.ID[:2], Account: a}); err != nil {
			t.Fatal(err)
		}
	}
	w.start("user-ad")
	w.start("user-xx")
	w.drained()
	w.start("user-lo")
	w.until("the one with a locale that no queue takes is parked", func() bool { return len(w.parked()) == 1 })
	if p := w.parked()[0]; p.Job.Lane != reset.LaneStart || p.Cause != "out of tries: what follows it is too large for the queue" {
		t.Errorf("parked %v, %q", p.Job.Lane, p.Cause)
	}
	if n := lookups.Load(); n > 5 {
		t.Errorf("%d look-ups, want one each for two jobs and three for the third", n)
	}
}

func TestOverloadUsesNoTryAndHeals(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name string
		err  func(ctx context.Context) error
	}{
		{"overload", func(context.Context) error { return fmt.Errorf("busy: %w", credstore.ErrOverloaded) }},
		{"configuration", func(context.Context) error { return fmt.Errorf("no table: %w", credstore.ErrConfig) }},
		{"timeout", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{config: dispatch.Config{
				MaxTries: 1, StoreTimeout: 20 * time.Millisecond,
				Breaker: breaker.Config{Consecutive: 3, OpenWait: 5 * time.Millisecond},
			}})
			var sick atomic.Bool
			sick.Store(true)
			describes := atomic.Int32{}
			w.store.on(func(s *store) {
				s.lookup = func(ctx context.Context, _, _ []string) error {
					if sick.Load() {
						return fault.err(ctx)
					}
					return nil
				}
				s.describe = func(d credstore.Description) (credstore.Description, error) {
					describes.Add(1)
					if sick.Load() {
						return d, credstore.ErrOverloaded
					}
					return d, nil
				}
			})
			for i := range 8 {
				w.start("nobody" + strconv.Itoa(i))
			}
			w.start("ada")
			w.until("the breaker has opened twice", func() bool {
				return w.metric("surgegate_breaker_transitions_total", "store", "open") >= 2
			})
			if w.dispatch.Status()[0].OutageSince.IsZero() {
				t.Error("no outage is shown")
			}
			sick.Store(false)
			w.until("a mail was sent", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
			w.drained()
			if n := len(w.parked()); n != 0 {
				t.Errorf("%d jobs parked", n)
			}
			if n := w.metric("surgegate_jobs_retried_total", "start", "used"); n != 0 {
				t.Errorf("%v tries used", n)
			}
			if st := w.dispatch.Status()[0]; !st.OutageSince.IsZero() || st.Breaker != breaker.Closed.String() {
				t.Errorf("the store is shown as %+v", st)
			}
		})
	}
}

func TestPanicCountsAsTheJobsFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{MaxTries: 2}})
	w.store.on(func(s *store) {
		s.lookup = func(_ context.Context, identifiers, _ []string) error {
			if slices.Contains(identifiers, "boom") {
				panic("boom")
			}
			return nil
		}
	})
	w.start("boom")
	for range 5 {
		w.start("ada")
	}
	w.until("it is parked", func() bool { return len(w.parked()) == 1 })
	w.until("a mail was sent", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) >= 1 })
}

func TestForgedOrBrokenCompletionsNeverReachTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	foreign := newWorld(t, options{idle: true})
	tok, _ := foreign.token("1")
	other, _ := w.token("2")
	expired := func(j *reset.Job, _ *reset.CompletionPayload) { j.AcceptTime = j.AcceptTime.Add(2 * time.Hour) }
	w.complete("1", password, func(_ *reset.Job, p *reset.CompletionPayload) { p.Token = tok })
	w.complete("1", password, func(_ *reset.Job, p *reset.CompletionPayload) { p.Token = other })
	w.until("both are parked or superseded", func() bool { return len(w.parked()) == 1 })
	w.complete("3", password, expired)
	w.complete("4", "x", func(j *reset.Job, p *reset.CompletionPayload) {
		j.Lane, p.Hashed, p.Password, p.Token = reset.LaneApply, true, w.hash(), "not a token"
	})
	w.until("all are parked", func() bool { return len(w.parked()) == 3 })
	for _, p := range w.parked() {
		if p.Cause != "the spent token does not verify" {
			t.Errorf("parked because %q", p.Cause)
		}
	}
	w.store.on(func(s *store) {
		if len(s.sets) != 0 {
			t.Errorf("the store was touched: %v", s.sets)
		}
	})
}

func TestEmptyPasswordsNeverReachTheStore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		lane   reset.Lane
		hashed bool
		form   credstore.Form
	}{
		{"to be hashed", reset.LaneHash, false, credstore.FormHash},
		{"hashed", reset.LaneApply, true, credstore.FormHash},
		{"plaintext", reset.LaneApply, false, credstore.FormPlaintext},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{idle: true})
			w.wants(c.form)
			w.run()
			w.complete("1", "", func(j *reset.Job, p *reset.CompletionPayload) { j.Lane, p.Hashed = c.lane, c.hashed })
			w.until("it is parked", func() bool { return len(w.parked()) == 1 })
			if cause := w.parked()[0].Cause; cause != "the password is empty" {
				t.Errorf("parked because %q", cause)
			}
			w.untouched()
		})
	}
}

// wants makes the store describe itself with the form from now on.
func (w *world) wants(form credstore.Form) {
	w.t.Helper()
	w.store.on(func(s *store) {
		s.describe = func(d credstore.Description) (credstore.Description, error) {
			d.Form = form
			return d, nil
		}
	})
	w.dispatch.Prepare(w.t.Context())
}

func (w *world) untouched() {
	w.t.Helper()
	w.store.on(func(s *store) {
		if len(s.sets) != 0 {
			w.t.Errorf("the store was touched: %v", s.sets)
		}
	})
}

// The store's form changes while completions wait for it: none is sent in the form of yesterday.
func TestFormThatChangedWhileItWaited(t *testing.T) {
	t.Parallel()
	t.Run("to hashes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, options{})
		ref := w.complete("1", password, func(j *reset.Job, _ *reset.CompletionPayload) { j.Lane = reset.LaneApply })
		w.ends(ref, reset.StateDone, reset.ReasonNone)
		if !w.hasPassword("1", password) {
			t.Error("the password was not hashed on its way")
		}
		w.drained()
	})
	t.Run("to plaintext", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, options{idle: true})
		w.wants(credstore.FormPlaintext)
		w.apply("1", w.hash())
		w.run()
		w.until("it is parked", func() bool { return len(w.parked()) == 1 })
		if cause := w.parked()[0].Cause; cause != "the store takes no hashes any more" {
			t.Errorf("parked because %q", cause)
		}
		w.untouched()
	})
	t.Run("to plaintext before it was hashed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, options{idle: true})
		w.wants(credstore.FormPlaintext)
		var got atomic.Value
		w.store.on(func(s *store) {
			s.after = func(c []credstore.Change, r []credstore.Result) error {
				got.Store(c[0].Password.Reveal())
				r[0].Outcome = credstore.Applied // SQLite stores no plaintext
				return nil
			}
		})
		w.run()
		w.ends(w.complete("1", password), reset.StateDone, reset.ReasonNone)
		if got.Load() != password {
			t.Errorf("the store got %q", got.Load())
		}
		w.drained()
	})
}

func TestPayloadThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	tampered := w.startJob("ada")
	tampered.Payload[len(tampered.Payload)-1] ^= 1
	w.enqueue(tampered, nil)
	w.until("it is parked", func() bool { return len(w.parked()) == 1 })
	if c := w.parked()[0].Cause; c != "the payload was tampered with" {
		t.Errorf("parked because %q", c)
	}
	key := w.keyring.Index().Account("1")
	gone := w.sealed(seal.AudiencePassword, reset.Job{
		ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneHash, Key: key, Account: key, AcceptTime: w.now(),
		ExpireTime: w.now().Add(time.Hour),
	}, reset.CompletionPayload{AccountID: "1"}.Marshal())
	copy(gone.Payload[1:17], make([]byte, 16)) // the data key's id
	w.ends(w.enqueue(gone, &queue.MarkRaise{Account: key, ExpireTime: w.now().Add(time.Hour)}), reset.StateFailed, reset.ReasonExpired)
}

func TestExpiredCompletionsFailAndGetANewLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{SweepEvery: 10 * time.Millisecond}})
	var sick atomic.Bool
	sick.Store(true)
	w.store.on(func(s *store) {
		s.lookup = func(context.Context, []string, []string) error {
			if sick.Load() {
				return credstore.ErrOverloaded
			}
			return nil
		}
	})
	soon := func(j *reset.Job, _ *reset.CompletionPayload) { j.ExpireTime = w.now().Add(30 * time.Millisecond) }
	waiting := w.complete("1", password, soon)
	bad := w.complete("2", password, func(j *reset.Job, p *reset.CompletionPayload) {
		soon(j, p)
		j.Lane, p.Hashed, p.Token = reset.LaneApply, true, "not a token"
	})
	w.ends(waiting, reset.StateFailed, reset.ReasonExpired)
	w.ends(bad, reset.StateFailed, reset.ReasonExpired)
	if links, _ := w.mails.to("ada@example.com"); len(links) != 0 {
		t.Error("a link was mailed while the store is dark")
	}
	sick.Store(false)
	w.until("a new link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	w.drained()
	w.stop()
	if n := w.metric("surgegate_jobs_expired_total"); n != 2 {
		t.Errorf("%v expiries counted", n)
	}
	if w.password("1") != "" {
		t.Error("the password was set nevertheless")
	}
}

func TestOutcomesOfTheStore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outcome credstore.Outcome
		state   reset.State
		reason  reset.Reason
		links   int
	}{
		{credstore.AlreadyApplied, reset.StateDone, reset.ReasonNone, 0},
		{credstore.Superseded, reset.StateRejected, reset.ReasonSuperseded, 0},
		{credstore.UnknownAccount, reset.StateRejected, reset.ReasonAccountGone, 0},
		{credstore.Refused, reset.StateRejected, reset.ReasonPasswordRefused, 1},
	} {
		t.Run(fmt.Sprint(c.outcome), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{})
			var first sync.Once
			w.store.on(func(s *store) {
				s.after = func(_ []credstore.Change, r []credstore.Result) error {
					r[0].Outcome = c.outcome
					first.Do(func() { r[0].Outcome = credstore.RetryItem })
					return nil
				}
			})
			w.ends(w.apply("1", w.hash()), c.state, c.reason)
			w.drained()
			if links, _ := w.mails.to("ada@example.com"); len(links) != c.links {
				t.Errorf("%d links mailed, not %d", len(links), c.links)
			}
			w.stop()
			if n := w.metric("surgegate_jobs_retried_total", "apply", "used"); n != 1 {
				t.Errorf("%v tries used by one RetryItem", n)
			}
		})
	}
}

func TestMailRefusedTellsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.mails.fail = func(mail.Message) error { return fmt.Errorf("no such mailbox: %w", mail.ErrRefused) }
	w.start("ada")
	w.drained()
	w.stop()
	if n := w.metric("surgegate_mails_total", "link", "refused"); n != 1 {
		t.Errorf("%v refusals counted", n)
	}
}

func TestMailProviderOverloadedUsesNoTry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{MaxTries: 1}})
	var n atomic.Int32
	w.mails.fail = func(mail.Message) error {
		if n.Add(1) < 15 {
			return mail.ErrOverloaded
		}
		return nil
	}
	w.start("ada")
	w.until("the mail was sent", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	w.drained()
}
