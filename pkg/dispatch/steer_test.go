package dispatch_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func hexKey(k reset.Key) string { return hex.EncodeToString(k[:]) }

// gateway blocks calls until it is opened.
type gateway struct {
	arrived chan struct{}
	open    chan struct{}
}

func newGateway() *gateway {
	return &gateway{arrived: make(chan struct{}, 100), open: make(chan struct{})}
}

func (g *gateway) pass(ctx context.Context) error {
	g.arrived <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// arrival waits for the next call.
func (g *gateway) arrival(t *testing.T) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(patience):
		t.Fatal("no call came")
	}
}

func TestPermitComesBeforeTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{store: pace.Config{Concurrency: 2, Batch: 2}})
	g := newGateway()
	w.store.on(func(s *store) {
		s.lookup = func(ctx context.Context, _, _ []string) error { return g.pass(ctx) }
	})
	for i := range 20 {
		w.start("nobody" + strconv.Itoa(i))
	}
	g.arrival(t)
	g.arrival(t)
	s := w.stats()
	// Two calls of two items hold at most 4 jobs; the rest are not leased.
	if l := s.Lanes[reset.LaneStart]; l.Leased > 4 || l.Leased+l.Waiting[0] != 20 {
		t.Errorf("%d leased, %v waiting", l.Leased, l.Waiting)
	}
	close(g.open)
	w.drained()
}

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	g := newGateway()
	w.store.on(func(s *store) {
		s.set = func(ctx context.Context, _ []credstore.Change) error { return g.pass(ctx) }
	})
	ref := w.apply("1", w.hash())
	g.arrival(t)
	var stopped sync.WaitGroup
	stopped.Go(w.stop)
	close(g.open)
	stopped.Wait()
	if s := w.status(ref); s.State != reset.StateDone {
		t.Errorf("the ticket is %s after the drain", s.State)
	}
}

func TestDrainAbandonsAfterTheGraceAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{DrainGrace: 10 * time.Millisecond}})
	g := newGateway()
	w.store.on(func(s *store) {
		s.set = func(ctx context.Context, _ []credstore.Change) error { return g.pass(ctx) }
	})
	ref := w.apply("1", w.hash())
	g.arrival(t)
	w.stop()
	if s := w.status(ref); s.State.Final() {
		t.Errorf("the ticket is %s", s.State)
	}
	w.store.on(func(s *store) { s.set = nil })
	next := newWorld(t, options{from: w, fs: w.closed()})
	next.ends(ref, reset.StateDone, reset.ReasonNone)
	next.drained()
}

// A process that must end does not wait for the grace.
func TestAbandonEndsCallsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{StoreTimeout: time.Hour, DrainGrace: time.Hour}})
	g := newGateway()
	w.store.on(func(s *store) {
		s.set = func(ctx context.Context, _ []credstore.Change) error { return g.pass(ctx) }
	})
	ref := w.apply("1", w.hash())
	g.arrival(t)
	w.dispatch.Abandon()
	w.stop()
	if s := w.status(ref); s.State.Final() {
		t.Errorf("the ticket is %s", s.State)
	}
}

// Somebody asks again and again while the store is busy; who comes after him does not pay for it.
func TestPlacesOfOneWhoAsksAgainDoNotHoldTheLaneUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{store: pace.Config{Concurrency: 1}})
	g := newGateway()
	w.store.on(func(s *store) {
		s.lookup = func(ctx context.Context, _, _ []string) error { return g.pass(ctx) }
	})
	w.start("ada")
	g.arrival(t)
	asks := make([]queue.Item, 5000)
	for i := range asks {
		asks[i].Job = w.startJob("ada")
	}
	for _, v := range w.queue.Enqueue(t.Context(), asks) {
		if v.Err != nil || !v.Joined {
			t.Fatalf("%+v", v)
		}
	}
	w.start("grace")
	close(g.open)
	w.until("a link was mailed", func() bool { links, _ := w.mails.to("grace@example.com"); return len(links) == 1 })
}

// The store has applied it, the process dies before the Finish is durable.
func TestCrashBetweenApplyAndFinishAppliesOnce(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	w := newWorld(t, options{fs: disk})
	var crashed *vfs.MemFS
	reached, goOn := make(chan struct{}), make(chan struct{})
	w.store.on(func(s *store) {
		s.after = func([]credstore.Change, []credstore.Result) error {
			close(reached)
			<-goOn
			return nil
		}
	})
	ref := w.complete("1", password)
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatal("the store was not called")
	}
	crashed = disk.CrashClone(vfs.CrashCloneCfg{})
	w.store.on(func(s *store) { s.after = nil })
	next := newWorld(t, options{from: w, fs: crashed})
	next.ends(ref, reset.StateDone, reset.ReasonNone)
	next.drained()
	w.store.on(func(s *store) {
		if n := len(s.applied["1"]); n != 1 {
			t.Errorf("applied %d times", n)
		}
		if n := len(s.revoked); n != 1 {
			t.Errorf("revoked %d times", n)
		}
	})
	if _, confirmations := w.mails.to("ada@example.com"); confirmations != 1 {
		t.Errorf("%d confirmations", confirmations)
	}
	close(goOn) // lets the dead process go
}

func TestBudgetWithholdsOnlyWhileALinkIsGood(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	w := newWorld(t, options{clock: c, config: dispatch.Config{
		Identifier: dispatch.Budget{Mails: 2, Per: 24 * time.Hour}, LinkTTL: time.Hour,
	}})
	mailed := func(want int, when string) {
		t.Helper()
		w.start("ada")
		w.drained()
		if links, _ := w.mails.to("ada@example.com"); len(links) != want {
			t.Fatalf("%s: %d links mailed, not %d", when, len(links), want)
		}
	}
	mailed(1, "first")
	mailed(2, "second")
	mailed(2, "over the budget, a link is good")
	mailed(2, "still")
	w.ends(w.complete("1", password), reset.StateDone, reset.ReasonNone)
	w.drained()
	mailed(3, "over the budget, but the links are spent")
	mailed(3, "over the budget, the newest link is good")
	c.Advance(time.Hour)
	mailed(4, "over the budget, but the link has expired")
	c.Advance(23 * time.Hour)
	mailed(5, "a new day")
	w.stop() // what is counted is counted then
	if n := w.metric("surgegate_mails_total", "link", "withheld"); n != 3 {
		t.Errorf("%v withheld counted", n)
	}
}

func TestStartsThatRaceForABudgetBothMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, store: pace.Config{Concurrency: 1}})
	// One batch of 1, one of 2, one of 4: the last holds both accounts of the shared address.
	for i := range 3 {
		w.start("nobody" + strconv.Itoa(i))
	}
	w.start("team-red")
	w.start("team-blue")
	w.start("TEAM@example.com")
	w.run()
	w.drained()
	links, _ := w.mails.to("team@example.com")
	if len(links) < 2 { // the third ask's may have joined those that were not sent yet
		t.Errorf("%d links mailed", len(links))
	}
	r, err := w.queue.Get(t.Context(), queue.RecordBudget, "r"+hexKey(w.keyring.Index().Recipient("team@example.com")))
	if err != nil || r.Version < 3 {
		t.Errorf("the recipient's budget was written %d times, %v", r.Version, err)
	}
}

func TestBrownoutDefersExtras(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.dispatch.SetLevel(1)
	w.ends(w.complete("1", password), reset.StateDone, reset.ReasonNone)
	w.start("grace") // people who ask are served
	w.until("a link was mailed", func() bool { links, _ := w.mails.to("grace@example.com"); return len(links) == 1 })
	s := w.stats()
	deferrable := s.Lanes[reset.LaneStart].Waiting[reset.ClassDeferrable] + s.Lanes[reset.LaneRevoke].Waiting[reset.ClassDeferrable]
	if _, confirmations := w.mails.to("ada@example.com"); deferrable != 2 || confirmations != 0 {
		t.Errorf("%d deferrable jobs wait, %d confirmations sent", deferrable, confirmations)
	}
	w.dispatch.SetLevel(0)
	w.drained()
	if _, confirmations := w.mails.to("ada@example.com"); confirmations != 1 {
		t.Errorf("%d confirmations", confirmations)
	}
}

func TestBrownoutDoesNotDeferReplacementLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.dispatch.SetLevel(1)
	w.store.on(func(s *store) {
		s.after = func(_ []credstore.Change, results []credstore.Result) error {
			results[0].Outcome = credstore.Refused
			return nil
		}
	})
	w.ends(w.complete("1", password), reset.StateRejected, reset.ReasonPasswordRefused)
	w.until("a new link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
}

// Nobody waits at a screen for a link that replaces an expired password, and after a long outage there may be a million.
func TestBrownoutDefersLinksForExpiredPasswords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.dispatch.SetLevel(1)
	expired := func(j *reset.Job, _ *reset.CompletionPayload) { j.ExpireTime = w.now().Add(-time.Second) }
	w.ends(w.complete("1", password, expired), reset.StateFailed, reset.ReasonExpired)
	w.until("the new link waits", func() bool { return w.stats().Lanes[reset.LaneStart].Waiting[reset.ClassDeferrable] == 1 })
	if links, _ := w.mails.to("ada@example.com"); len(links) != 0 {
		t.Errorf("%d links mailed in a brownout", len(links))
	}
	w.dispatch.SetLevel(0)
	w.until("a new link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
}

func TestAbandonedCallOccupiesItsPermitUntilItsDeadline(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	w := newWorld(t, options{clock: c, config: dispatch.Config{StoreTimeout: 5 * time.Second}, store: pace.Config{Concurrency: 1}})
	var once sync.Once
	w.store.on(func(s *store) {
		s.lookup = func(context.Context, []string, []string) (err error) {
			once.Do(func() { err = context.DeadlineExceeded }) // an adapter with a shorter patience of its own
			return err
		}
	})
	w.start("ada")
	w.until("it is put back", func() bool { return w.stats().Lanes[reset.LaneStart].Retrying == 1 })
	if l := w.dispatch.Status()[0].Limits; l.InFlight != 1 {
		t.Errorf("%d in flight", l.InFlight)
	}
	c.Advance(4900 * time.Millisecond)
	if l := w.dispatch.Status()[0].Limits; l.InFlight != 1 {
		t.Errorf("%d in flight just before the deadline", l.InFlight)
	}
	c.Advance(200 * time.Millisecond)
	w.until("a link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	w.drained()
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	r, err := w.queue.Get(t.Context(), queue.RecordDescribe, "store")
	var desc credstore.Description
	if err != nil || json.Unmarshal(r.Value, &desc) != nil || desc.Form != credstore.FormHash {
		t.Fatalf("recorded %s, %v", r.Value, err)
	}
	// The store goes dark; the next process starts on the recorded answer.
	w.store.on(func(s *store) {
		s.describe = func(d credstore.Description) (credstore.Description, error) { return d, credstore.ErrOverloaded }
	})
	next := newWorld(t, options{from: w, fs: w.closed()})
	if n := next.metric("surgegate_store_described"); n != 0 {
		t.Errorf("described is %v", n)
	}
	next.ends(next.complete("1", password), reset.StateDone, reset.ReasonNone)
	next.drained()
	// What cannot be met rests the store's lanes and says what to change, whatever is recorded.
	w.store.on(func(s *store) {
		s.describe = func(d credstore.Description) (credstore.Description, error) {
			d.HashSchemes = []string{"md5"}
			return d, nil
		}
	})
	next.dispatch.Prepare(t.Context())
	if got := next.dispatch.Status()[0].Misconfiguration; !strings.Contains(got, "hash_schemes") {
		t.Errorf("a store that verifies only md5 has the misconfiguration %q", got)
	}
}

func TestLanesRestUntilTheStoreHasDescribedItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true})
	var dark atomic.Bool
	dark.Store(true)
	w.store.on(func(s *store) {
		s.describe = func(d credstore.Description) (credstore.Description, error) {
			if dark.Load() {
				return d, credstore.ErrOverloaded
			}
			return d, nil
		}
	})
	blind := newWorld(t, options{from: w}) // its queue has no record
	ref := blind.complete("1", password)
	if s := blind.status(ref); s.State != reset.StateAccepted {
		t.Errorf("the ticket is %s", s.State)
	}
	dark.Store(false)
	blind.ends(ref, reset.StateDone, reset.ReasonNone)
	blind.drained()
}

func TestPacesArePublishedAndDoneAfterIsOnTheGrid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{Floors: map[reset.Lane]float64{reset.LaneMail: 7}}})
	w.start("ada")
	w.start("nobody")
	w.drained()
	w.until("all lanes are published", func() bool {
		all, err := w.queue.List(t.Context(), queue.RecordPace, "", 10)
		return err == nil && len(all) == 5
	})
	r, err := w.queue.Get(t.Context(), queue.RecordPace, "mail")
	var p reset.Pace
	if err != nil || p.Unmarshal(r.Value) != nil || p.Rate != 7 || !p.OutageSince.IsZero() {
		t.Errorf("published %s, %v", r.Value, err)
	}
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	for _, r := range w.queue.leases {
		if r.Lane == reset.LaneStart && (r.DoneAfter < 250*time.Millisecond || r.DoneAfter%(250*time.Millisecond) != 0) {
			t.Errorf("DoneAfter is %v", r.DoneAfter)
		}
	}
}

// Hit, miss and a store that does not answer: the end of the ticket is fixed before any of it can show.
func TestTicketsEndIsFixedBeforeTheStoreAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{store: pace.Config{Concurrency: 2}})
	g := newGateway()
	w.store.on(func(s *store) {
		s.lookup = func(ctx context.Context, _, _ []string) error { return g.pass(ctx) }
	})
	hit, miss := w.start("ada"), w.start("nobody")
	g.arrival(t)
	w.until("both are leased", func() bool { return w.stats().Lanes[reset.LaneStart].Leased == 2 })
	before := []time.Time{w.status(hit).DoneTime, w.status(miss).DoneTime}
	if before[0].IsZero() || before[1].IsZero() {
		t.Fatalf("the ends are not fixed: %v", before)
	}
	close(g.open)
	w.drained()
	if after := []time.Time{w.status(hit).DoneTime, w.status(miss).DoneTime}; !after[0].Equal(before[0]) || !after[1].Equal(before[1]) {
		t.Errorf("the ends moved from %v to %v", before, after)
	}
}
