package downstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

func TestMetricsAreWellNamedAndThereFromTheStart(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	r.make(t, Spec{Name: "store", Pacer: fixed(t, pace.Config{}), Lanes: []reset.Lane{reset.LaneApply, reset.LaneStart}})
	problems, err := testutil.GatherAndLint(r.register)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for name, want := range map[string]int{
		"surgegate_downstream_calls_total": 5, "surgegate_downstream_items_total": 5, "surgegate_downstream_call_seconds": 1, "surgegate_downstream_in_flight": 1,
		"surgegate_downstream_cost_total": 2,
	} {
		if n, err := testutil.GatherAndCount(r.register, name); err != nil || n != want {
			t.Errorf("%s has %d series, not %d (%v)", name, n, want, err)
		}
	}
	if _, err := NewMetrics(r.register); err == nil {
		t.Error("registered twice")
	}
}

func TestSpeedGrowsWithTheRampAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{
			Name: "store", Pacer: fixed(t, pace.Config{Concurrency: 100, Batch: 100}), Breaker: once("store"),
		})
		permits := func() (granted []*Permit) {
			for {
				p := d.now(Ask{Items: 100})
				if p == nil {
					return granted
				}
				granted = append(granted, p)
			}
		}
		all := permits()
		if len(all) != 100 || all[0].Items() != 100 {
			t.Fatalf("%d permits at first, for %d items", len(all), all[0].Items())
		}
		for _, p := range all {
			p.Do(t.Context(), 1, answers(errBusy))
		}
		if p := d.now(Ask{Items: 100}); p != nil || d.Out().IsZero() {
			t.Fatalf("a permit while the breaker is open (out since %v)", d.Out())
		}
		if n := d.Limits().InFlight; n != 0 {
			t.Fatalf("%d in flight after a refusal", n)
		}
		pass(5 * time.Second)
		probes := permits()
		if len(probes) != 1 || probes[0].Items() != 1 {
			t.Fatalf("%d probes", len(probes))
		}
		probes[0].Do(t.Context(), 1, answers(nil))
		if !d.Out().IsZero() {
			t.Fatal("still out after the probe")
		}
		var steps []string
		for range 4 {
			ramped := permits()
			steps = append(steps, strconv.Itoa(len(ramped))+"x"+strconv.Itoa(ramped[0].Items()))
			for _, p := range ramped {
				p.Do(t.Context(), 1, answers(nil))
			}
			pass(4 * time.Second)
		}
		if got := strings.Join(steps, " "); got != "10x10 46x46 82x82 100x100" {
			t.Errorf("calls and items with the ramp: %s", got)
		}
	})
}

// One call at a time, everybody waits already: the heavier lane goes first, in between come the others by their weights,
// and inside a lane the order is that of coming.
func TestPermitsAreHandedOutByWeight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{
			Name: "store", Pacer: fixed(t, pace.Config{Concurrency: 1}),
			Weights: map[reset.Lane]float64{reset.LaneApply: 4, reset.LaneStart: 2, reset.LaneRevoke: 1},
			Cost:    func(pace.Kind, int) float64 { return 1 },
		})
		first := mustAcquire(t, d, Ask{Items: 1})
		q := &queue{t: t, d: d}
		for range 8 {
			for _, l := range []reset.Lane{reset.LaneRevoke, reset.LaneStart, reset.LaneApply} {
				q.join(t.Context(), Ask{Lane: l, Items: 1})
			}
		}
		first.Release()
		for range 24 {
			q.pop()
		}
		q.done.Wait()
		counts := map[reset.Lane]int{}
		for _, l := range q.order[:14] {
			counts[l]++
		}
		if q.order[0] != reset.LaneApply || counts[reset.LaneApply] != 8 || counts[reset.LaneStart] != 4 || counts[reset.LaneRevoke] != 2 {
			t.Errorf("the first 14 are %v, all in the order %v", counts, q.order)
		}
	})
}

// What is charged is what was leased, not what was granted; a call has a price of its own.
func TestShareIsOfCost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{
			Name: "store", Pacer: fixed(t, pace.Config{Concurrency: 1, Batch: 64}),
			Lanes: []reset.Lane{reset.LaneApply, reset.LaneStart, reset.LaneRevoke},
		})
		cost := map[reset.Lane]float64{}
		ctx, cancel := context.WithCancel(t.Context())
		var lanes sync.WaitGroup
		var mu sync.Mutex
		for lane, sends := range map[reset.Lane]struct {
			kind        pace.Kind
			asks, sends int
		}{
			reset.LaneApply: {KindMain, 64, 64}, reset.LaneStart: {KindLookup, 64, 64},
			reset.LaneRevoke: {KindRevoke, 64, 1}, // it asks for many and finds one
		} {
			for range 2 { // one waits while the other is under way
				lanes.Go(func() {
					for {
						p, err := d.Acquire(ctx, Ask{Lane: lane, Kind: sends.kind, Items: sends.asks})
						if err != nil {
							return
						}
						p.Use(sends.sends)
						p.Do(ctx, sends.sends, func(context.Context) error {
							pass(time.Millisecond)
							return nil
						})
						mu.Lock()
						cost[lane] += Cost(sends.kind, sends.sends)
						mu.Unlock()
					}
				})
			}
		}
		pass(10 * time.Second)
		cancel()
		lanes.Wait()
		d.Wait()
		for lane, got := range cost {
			if ratio := got / cost[reset.LaneApply]; ratio < .97 || ratio > 1.03 {
				t.Errorf("%s was served %.0f, apply %.0f, at equal weights", lane, got, cost[reset.LaneApply])
			}
		}
	})
}

func TestNobodyIsAskedInVain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		pacer := fixed(t, pace.Config{Concurrency: 2})
		d := newRegistry(t).make(t, Spec{Name: "store", Pacer: pacer})
		q := &queue{t: t, d: d}
		for range 50 {
			q.join(t.Context(), Ask{Lane: reset.LaneStart, Items: 1})
		}
		asked := pacer.asks
		pass(time.Hour)
		if pacer.asks != asked {
			t.Errorf("asked %d times while nothing happened", pacer.asks-asked)
		}
		q.pop()
		if n := pacer.asks - asked; n != 2 { // one gets it, the next is told to wait
			t.Errorf("asked %d times after the end of one call", n)
		}
		for range 49 {
			q.pop()
		}
		q.done.Wait()
		if n := d.Limits().InFlight; n != 0 {
			t.Errorf("%d in flight at the end", n)
		}
	})
}

// The one who is next has the timer. When it gives up, the next one has it.
func TestTheTimerIsHandedOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newRegistry(t).make(t, Spec{Name: "mail", Pacer: fixed(t, pace.Config{Rate: 1, Batch: 1, Burst: 1})})
		mustAcquire(t, d, Ask{Items: 1}).Do(t.Context(), 1, answers(nil))
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		q := &queue{t: t, d: d}
		q.join(ctx, Ask{Lane: reset.LaneMail, Items: 1})
		q.join(t.Context(), Ask{Lane: reset.LaneCampaign, Items: 1})
		cancel()
		q.done.Wait()
		if took := time.Since(begin); len(q.order) != 1 || q.order[0] != reset.LaneCampaign || took > 1001*time.Millisecond {
			t.Errorf("%v after %v", q.order, took)
		}
		q.pop()
	})
}

// Waiters come, give up and get permits at random: nothing is lost, nothing is kept.
func TestCancellationLosesNoPermit(t *testing.T) {
	t.Parallel()
	d := newRegistry(t).make(t, Spec{Name: "store", Pacer: fixed(t, pace.Config{Concurrency: 3, Rate: 50_000, Burst: 64})})
	var all sync.WaitGroup
	for n := range 16 {
		random := rand.New(rand.NewPCG(uint64(n), 1)) // a test's dice
		all.Go(func() {
			for range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(2) == 0 {
					all.Go(cancel)
				}
				p, err := d.Acquire(ctx, Ask{Lane: reset.Lane(1 + random.IntN(6)), Items: 1 + random.IntN(8)})
				switch {
				case err != nil:
				case random.IntN(2) == 0:
					p.Release()
				default:
					p.Do(t.Context(), 1, answers(nil))
				}
				cancel()
			}
		})
	}
	all.Wait()
	if n := d.Limits().InFlight; n != 0 {
		t.Errorf("%d in flight at the end", n)
	}
	for l, line := range d.lines {
		if len(line) != 0 {
			t.Errorf("%d still wait in line %d", len(line), l)
		}
	}
	mustAcquire(t, d, Ask{Items: 1}).Release()
}

// backend is a store and a revoker that are the same thing.
func backend(t *testing.T, store pace.Config) (s, r *Downstream, pacer *counted) {
	reg := newRegistry(t)
	pacer = fixed(t, store)
	s = reg.make(t, Spec{Name: "store", Pacer: pacer, Breaker: once("store")})
	r = reg.make(t, Spec{Name: "revoker", Host: s, Breaker: once("revoker")})
	return s, r, pacer
}

func TestRevocationsArePacedAsTheStoresCalls(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, r, _ := backend(t, pace.Config{Concurrency: 2, Batch: 10})
		revoke := mustAcquire(t, r, Ask{Lane: reset.LaneRevoke, Items: 500})
		if revoke.Items() != 10 || s.Limits().InFlight != 1 {
			t.Errorf("%d items, %d in flight at the store", revoke.Items(), s.Limits().InFlight)
		}
		apply := mustAcquire(t, s, Ask{Lane: reset.LaneApply, Items: 1})
		q := &queue{t: t, d: r}
		q.join(t.Context(), Ask{Lane: reset.LaneRevoke, Items: 1})
		if len(q.holds()) != 0 {
			t.Error("a third call of a store that takes two")
		}
		apply.Release()
		q.pop()
		revoke.Release()
		q.done.Wait()
		if a, b := s.Limits().InFlight, r.Limits().InFlight; a != 0 || b != 0 {
			t.Errorf("%d and %d in flight at the end", a, b)
		}
	})
}

func TestABrokenRevokerDoesNotStopTheStore(t *testing.T) {
	for name, broken := range map[string]func(context.Context) error{"refuses": answers(errBusy), "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, r, pacer := backend(t, pace.Config{Concurrency: 1})
				for range 2 {
					mustAcquire(t, r, Ask{Lane: reset.LaneRevoke, Items: 1}).Do(t.Context(), 1, broken)
				}
				if r.breaker.State() != breaker.Open || s.breaker.State() != breaker.Closed || s.Strained() != 0 {
					t.Fatalf("revoker %v, store %v", r.breaker.State(), s.breaker.State())
				}
				if pacer.canceled != 2 {
					t.Errorf("%d of 2 failures were kept from the store's pacer", pacer.canceled)
				}
				if s.Limits().InFlight != 0 {
					t.Error("a slot of the store is kept")
				}
				// A revocation waits for its breaker, and holds no slot of the store meanwhile.
				begin := time.Now()
				q := &queue{t: t, d: r}
				q.join(t.Context(), Ask{Lane: reset.LaneRevoke, Items: 9})
				for range 100 {
					mustAcquire(t, s, Ask{Lane: reset.LaneApply, Items: 1}).Do(t.Context(), 1, answers(nil))
				}
				if len(q.holds()) != 0 || time.Since(begin) != 0 {
					t.Fatalf("applies took %v", time.Since(begin))
				}
				q.done.Wait() // the probe
				if took := time.Since(begin); took < 500*time.Millisecond || q.holds()[0].Items() != 1 {
					t.Errorf("a probe of %d items after %v", q.holds()[0].Items(), took)
				}
				q.pop()
				if r.breaker.State() != breaker.Closed {
					t.Errorf("the revoker is %v after a good probe", r.breaker.State())
				}
			})
		})
	}
}

// While the store is busy no probe of the revoker is out, which would count as failed.
func TestAProbeDoesNotWaitForTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, r, _ := backend(t, pace.Config{Concurrency: 1})
		for range 2 {
			mustAcquire(t, r, Ask{Lane: reset.LaneRevoke, Items: 1}).Do(t.Context(), 1, answers(errBusy))
		}
		busy := mustAcquire(t, s, Ask{Lane: reset.LaneApply, Items: 1})
		q := &queue{t: t, d: r}
		q.join(t.Context(), Ask{Lane: reset.LaneRevoke, Items: 1})
		pass(time.Hour)
		busy.Release()
		q.pop()
		if r.breaker.State() != breaker.Closed {
			t.Errorf("the revoker is %v", r.breaker.State())
		}
	})
}

func TestAStoreThatIsOutShowsAtTheRevoker(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, r, _ := backend(t, pace.Config{Concurrency: 4})
		for range 2 {
			mustAcquire(t, s, Ask{Lane: reset.LaneApply, Items: 1}).Do(t.Context(), 1, answers(errBusy))
		}
		if out := r.Out(); out.IsZero() || !out.Equal(s.Out()) {
			t.Errorf("the revoker is out since %v, the store since %v", out, s.Out())
		}
		ctx, cancel := context.WithCancel(t.Context())
		q := &queue{t: t, d: r}
		q.join(ctx, Ask{Lane: reset.LaneRevoke, Items: 1})
		if len(q.holds()) != 0 {
			t.Error("a revocation while the store is out")
		}
		cancel()
		q.done.Wait()
		synctest.Wait()
		if n := fmt.Sprint(s.Limits().InFlight, r.Limits().InFlight); n != "0 0" {
			t.Errorf("in flight: %s", n)
		}
	})
}
