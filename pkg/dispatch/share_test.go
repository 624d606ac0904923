package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// calls remembers the order of a store's calls.
type calls struct {
	mu    sync.Mutex
	order []string
}

func (c *calls) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order = append(c.order, what)
}

func (c *calls) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

// A store that takes one call at a time, one item each, with a backlog of everything: of its time applies get 4 parts and
// starts 1, so, a look-up costing a quarter, of each 10 calls 5; and revocations are not forgotten.
func TestLanesShareTheStoreByTheirWeights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, oneBackend: true, store: pace.Config{Concurrency: 1, Batch: 1}})
	const n = 60
	ids, phc := w.many(n), w.hash()
	for i, id := range ids {
		w.apply(id, phc)
		w.start("nobody" + strconv.Itoa(i))
	}
	var c calls
	w.store.on(func(s *store) {
		s.lookup = func(context.Context, []string, []string) error { c.add("start"); return nil }
		s.set = func(context.Context, []credstore.Change) error { c.add("apply"); return nil }
		s.revoke = func(context.Context) error { c.add("revoke"); return nil }
	})
	w.run()
	w.drained()
	first := c.all()[:n]
	count := map[string]int{}
	for _, what := range first {
		count[what]++
	}
	if count["apply"] < n*4/10 || count["start"] < n*4/10 || count["revoke"] < 1 || count["revoke"] > n/10 {
		t.Errorf("the first %d calls are %v: %v", n, count, first)
	}
}

// Who is probably automated stands behind everybody else, and what nobody waits for behind them.
func TestSuspectsStandBehindTheOthersOfTheirLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, store: pace.Config{Concurrency: 1}})
	for i := range 20 {
		for _, c := range []reset.Class{reset.ClassDeferrable, reset.ClassSuspect, reset.ClassInteractive} {
			name := fmt.Sprintf("%s-%02d", c, i)
			j := w.startJob(name)
			j.Class = c
			w.enqueue(j, nil)
		}
	}
	var c calls
	w.store.on(func(s *store) {
		s.lookup = func(_ context.Context, identifiers, _ []string) error {
			for _, name := range identifiers {
				c.add(name)
			}
			return nil
		}
	})
	w.run()
	w.drained()
	var want []string
	for _, class := range reset.Classes() {
		for i := range 20 {
			want = append(want, fmt.Sprintf("%s-%02d", class, i))
		}
	}
	if got := c.all(); !slices.Equal(got, want) {
		t.Errorf("served in the order %v", got)
	}
}

// The further calls of a poisoned batch wait for their turn like everybody else.
func TestABisectedBatchDoesNotKeepTheStoreToItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{
		idle: true, config: dispatch.Config{MaxTries: 1}, store: pace.Config{Concurrency: 1},
	})
	const n = 64
	ids, phc := w.many(n), w.hash()
	for i, id := range ids {
		w.apply(id, phc)
		for j := range 4 {
			w.start(fmt.Sprintf("nobody-%d-%d", i, j))
		}
	}
	var c calls
	w.store.on(func(s *store) {
		s.lookup = func(context.Context, []string, []string) error { c.add("start"); return nil }
		s.set = func(_ context.Context, changes []credstore.Change) error {
			for _, change := range changes {
				if change.AccountID == ids[n/2+8] {
					c.add("poisoned")
					return errPoison
				}
			}
			c.add("apply")
			return nil
		}
	})
	w.run()
	w.until("the poisonous one is parked", func() bool { return len(w.parked()) == 1 })
	order := c.all()
	from, to := slices.Index(order, "poisoned"), len(order)-1
	for order[to] != "poisoned" {
		to--
	}
	if between := order[from:to]; len(between) < 4 || !slices.Contains(between, "start") {
		t.Errorf("while the batch was bisected: %v", between)
	}
	w.onlyParked(1)
}

// onlyParked waits until nothing but so many parked jobs is held.
func (w *world) onlyParked(parked uint64) {
	w.t.Helper()
	w.until("only parked jobs are held", func() bool { return w.stats().Held == parked })
}

// One backend stores and revokes. Its RevokeSessions is broken: applies go on as if nothing were, and the revocations
// are made once it is mended.
func TestABrokenRevokerOfTheSameBackendDoesNotStopApplies(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(context.Context) error{
		"overloaded": func(context.Context) error { return credstore.ErrOverloaded },
		"hangs":      func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{oneBackend: true, store: pace.Config{Concurrency: 2}, config: dispatch.Config{
				RevokeTimeout: 20 * time.Millisecond,
				Breaker:       breaker.Config{Consecutive: 3, OpenWait: 20 * time.Millisecond, MaxOpenWait: 40 * time.Millisecond},
			}})
			w.store.on(func(s *store) { s.revoke = broken })
			phc := w.hash()
			var refs []reset.Ref
			for _, id := range w.many(50) {
				refs = append(refs, w.apply(id, phc))
			}
			for _, ref := range refs {
				w.ends(ref, reset.StateDone, reset.ReasonNone)
			}
			w.until("the revoker's breaker has opened", func() bool {
				return w.metric("surgegate_breaker_transitions_total", "revoker", "open") >= 1
			})
			if n := w.metric("surgegate_breaker_transitions_total", "store", "open"); n != 0 {
				t.Errorf("the store's breaker opened %v times", n)
			}
			for _, d := range w.dispatch.Status() {
				if out := !d.OutageSince.IsZero(); out != (d.Name == "revoker") {
					t.Errorf("%s is out: %v", d.Name, out)
				}
			}
			w.store.on(func(s *store) { s.revoke, s.revoked = nil, nil })
			w.drained()
			w.store.on(func(s *store) {
				made := map[string]bool{}
				for _, r := range s.revoked {
					made[r.AccountID] = true
				}
				if len(made) == 0 {
					t.Error("no revocation was made after it was mended")
				}
			})
			if n := w.metric("surgegate_jobs_parked_total", "revoke"); n != 0 {
				t.Errorf("%v revocations parked", n)
			}
		})
	}
}

// A lane that gets one job after the other never asks for two at once; with a backlog a call carries what the pacer says.
func TestBatchesFollowTheBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{store: pace.Config{Concurrency: 1, Batch: 1}})
	for i := range 40 {
		w.start("nobody" + strconv.Itoa(i))
		w.drained()
	}
	if got := slices.Max(w.asks.take()); got > 1 {
		t.Errorf("asked for %d items at once with one job in line", got)
	}

	for calls, want := range map[int]string{1: "32 32 32 32 22", 4: "32 32 32 32 22"} {
		next := newWorld(t, options{idle: true, store: pace.Config{Concurrency: calls, Batch: 32}})
		next.dispatch.SetLevel(1) // no confirmations in between
		ids, phc := next.many(150), next.hash()
		var refs []reset.Ref
		for _, id := range ids {
			refs = append(refs, next.apply(id, phc))
		}
		g := newGateway() // all calls that there are begin before one ends
		next.store.on(func(s *store) { s.set = func(ctx context.Context, _ []credstore.Change) error { return g.pass(ctx) } })
		next.run()
		for range calls {
			g.arrival(t)
		}
		close(g.open)
		for _, ref := range refs {
			next.ends(ref, reset.StateDone, reset.ReasonNone)
		}
		next.store.on(func(s *store) {
			if got := strings.Trim(fmt.Sprint(s.sets), "[]"); got != want {
				t.Errorf("%d calls at once: batches of %s", calls, got)
			}
		})
	}
}

// A small backlog is spread over the calls that are free.
func TestASmallBacklogUsesTheCallsThatAreFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, store: pace.Config{Concurrency: 4}})
	w.dispatch.SetLevel(1)
	ids, phc := w.many(20), w.hash()
	for _, id := range ids {
		w.apply(id, phc)
	}
	g := newGateway()
	w.store.on(func(s *store) { s.set = func(ctx context.Context, _ []credstore.Change) error { return g.pass(ctx) } })
	w.run()
	for range 4 {
		g.arrival(t)
	}
	w.store.on(func(s *store) {
		if got := fmt.Sprint(s.sets); got != "[5 5 5 5]" {
			t.Errorf("batches of %s", got)
		}
	})
	close(g.open)
	w.until("all are applied", func() bool { return w.stats().Lanes[reset.LaneApply].Ended == 20 })
}
