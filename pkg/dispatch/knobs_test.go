package dispatch_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func (w *world) laneStatus(l reset.Lane) dispatch.LaneStatus {
	w.t.Helper()
	for _, s := range w.dispatch.Lanes() {
		if s.Lane == l {
			return s
		}
	}
	w.t.Fatalf("lane %s is not there", l)
	return dispatch.LaneStatus{}
}

func (w *world) downstream(name string) dispatch.Downstream {
	w.t.Helper()
	for _, s := range w.dispatch.Status() {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("downstream %s is not there", name)
	return dispatch.Downstream{}
}

// pace is what a lane has published, if it has.
func (w *world) pace(l reset.Lane) (p reset.Pace, ok bool) {
	w.t.Helper()
	r, err := w.queue.Get(w.t.Context(), queue.RecordPace, l.String())
	ok = err == nil && p.Unmarshal(r.Value) == nil
	return p, ok
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// A paused lane accepts and holds; what was leased goes on, other lanes go on, and once it is let go all is done.
func TestPausedLaneAcceptsAndHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{store: pace.Config{Concurrency: 1, Batch: 1}})
	g := newGateway()
	w.store.on(func(s *store) {
		s.set = func(ctx context.Context, _ []credstore.Change) error { return g.pass(ctx) }
	})
	phc := w.hash()
	under := w.apply("1", phc)
	g.arrival(t)
	waits := w.apply("2", phc) // its runner waits for the permit
	w.do(w.dispatch.PauseLane(reset.LaneApply, true))
	w.do(w.dispatch.PauseLane(reset.LaneApply, true)) // twice is once
	if s := w.laneStatus(reset.LaneApply); s.PausedSince.IsZero() {
		t.Errorf("%+v", s)
	}
	if n := w.metric("surgegate_lane_paused", "apply"); n != 1 {
		t.Errorf("surgegate_lane_paused is %v", n)
	}
	close(g.open)
	w.ends(under, reset.StateDone, reset.ReasonNone)
	later := w.apply("1", phc)
	w.ends(w.start("nobody"), reset.StateDone, reset.ReasonNone) // over the same store
	if l := w.stats().Lanes[reset.LaneApply]; l.Leased != 0 || l.Waiting[0] != 2 {
		t.Errorf("a paused lane has %d leased, %v waiting", l.Leased, l.Waiting)
	}
	w.do(w.dispatch.PauseLane(reset.LaneApply, false))
	w.ends(waits, reset.StateDone, reset.ReasonNone)
	w.ends(later, reset.StateDone, reset.ReasonNone)
	w.drained()
	if n := w.metric("surgegate_lane_paused"); n != 0 {
		t.Errorf("surgegate_lane_paused is %v", n)
	}
}

// The pause falls between the permit and the lease: nothing is leased.
func TestPauseAfterThePermitLeasesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true})
	var once sync.Once
	w.asks.onAsk = func(k pace.Kind) {
		if k == decide.KindLookup {
			once.Do(func() { w.do(w.dispatch.PauseLane(reset.LaneStart, true)) })
		}
	}
	w.start("nobody")
	w.run()
	w.ends(w.apply("1", w.hash()), reset.StateDone, reset.ReasonNone)
	once.Do(func() { t.Error("no permit was asked for") })
	w.stop()
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	for _, r := range w.queue.leases {
		if r.Lane == reset.LaneStart {
			t.Errorf("%+v", r)
		}
	}
}

// The pause falls into a lease: it returns when that is over, so that whoever was told of it knows what is out.
func TestPauseWaitsForALeaseUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true})
	leasing, lease := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.queue.onLease = func(r queue.LeaseRequest) {
		if r.Lane == reset.LaneStart {
			once.Do(func() { close(leasing) })
			<-lease
		}
	}
	ref := w.start("nobody")
	w.run()
	<-leasing
	paused := make(chan error, 1)
	go func() { paused <- w.dispatch.PauseLane(reset.LaneStart, true) }()
	w.until("the pause is in force", func() bool {
		return !w.laneStatus(reset.LaneStart).PausedSince.IsZero() // who looks is answered meanwhile
	})
	select {
	case err := <-paused:
		t.Errorf("it returned in the middle of a lease: %v", err)
	default:
	}
	close(lease)
	w.do(<-paused)
	w.ends(ref, reset.StateDone, reset.ReasonNone) // leased before
}

// Nobody may find out by a pause how long a password can lie about: it expires all the same.
func TestPausedLaneStillExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, config: dispatch.Config{SweepEvery: 10 * time.Millisecond}})
	w.do(w.dispatch.PauseLane(reset.LaneHash, true))
	w.do(w.dispatch.PauseLane(reset.LaneApply, true))
	w.run()
	ref := w.complete("1", password, func(j *reset.Job, _ *reset.CompletionPayload) { j.ExpireTime = w.now().Add(30 * time.Millisecond) })
	w.ends(ref, reset.StateFailed, reset.ReasonExpired)
	w.until("a new link was mailed", func() bool { links, _ := w.mails.to("ada@example.com"); return len(links) == 1 })
	w.drained()
}

// The front is told that a paused lane stands still since so long, at the pace that was measured before.
func TestPauseIsPublishedAsAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true})
	w.do(w.dispatch.PauseLane(reset.LaneHash, true))
	w.complete("1", password)
	w.run()
	w.until("the outage is published", func() bool {
		p, ok := w.pace(reset.LaneHash)
		return ok && p.OutageSince.Equal(w.laneStatus(reset.LaneHash).PausedSince) && p.Rate == 20
	})
	w.do(w.dispatch.PauseLane(reset.LaneHash, false))
	w.until("its end is published", func() bool {
		p, ok := w.pace(reset.LaneHash)
		return ok && p.OutageSince.IsZero()
	})
	w.drained()
}

// Another weight is in force at once, for what waits already, and lifting it brings the configured one back.
func TestLaneWeightChangesWhoGoesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, store: pace.Config{Concurrency: 1, Batch: 1}})
	w.do(w.dispatch.SetLaneWeight(reset.LaneStart, 512)) // apply has 32: 16 times as much, at a quarter of the cost
	if s := w.laneStatus(reset.LaneStart); s.Weight != 512 || s.Configured != 8 {
		t.Errorf("%+v", s)
	}
	if n := w.metric("surgegate_lane_weight", "start"); n != 512 {
		t.Errorf("surgegate_lane_weight is %v", n)
	}
	ids, phc := w.many(40), w.hash()
	for i, id := range ids {
		w.apply(id, phc)
		w.start("nobody" + strconv.Itoa(i))
	}
	var c calls
	w.store.on(func(s *store) {
		s.lookup = func(context.Context, []string, []string) error { c.add("start"); return nil }
		s.set = func(context.Context, []credstore.Change) error { c.add("apply"); return nil }
	})
	w.run()
	w.drained()
	applies := 0
	for _, what := range c.all()[:30] {
		if what == "apply" {
			applies++
		}
	}
	if applies > 3 { // by the default weights 15 of 30
		t.Errorf("of the first 30 calls %d were for the lane that was to wait", applies)
	}
	w.do(w.dispatch.SetLaneWeight(reset.LaneStart, 0))
	if s := w.laneStatus(reset.LaneStart); s.Weight != 8 {
		t.Errorf("%+v", s)
	}
}

// A store that is held open is sent nothing and no try is used up; let go of, it comes back by a probe and the ramp.
func TestForcedBreakerStopsAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, config: dispatch.Config{MaxTries: 1}})
	w.do(w.dispatch.ForceBreaker("store", breaker.ForceOpen))
	w.run()
	var refs []reset.Ref
	ids, phc := w.many(10), w.hash()
	for _, id := range ids {
		refs = append(refs, w.apply(id, phc))
	}
	s := w.downstream("store")
	if s.Breaker != "open" || s.Forced != breaker.ForceOpen || s.OutageSince.IsZero() {
		t.Errorf("%+v", s)
	}
	if r := w.downstream("revoker"); r.Forced != breaker.ForceNone {
		t.Errorf("the revoker is held too: %+v", r)
	}
	w.store.on(func(s *store) {
		if len(s.sets) > 0 {
			t.Errorf("%v were sent to a store that is held open", s.sets)
		}
	})
	w.do(w.dispatch.ForceBreaker("store", breaker.ForceNone))
	for _, ref := range refs {
		w.ends(ref, reset.StateDone, reset.ReasonNone)
	}
	w.drained()
	if s := w.downstream("store"); s.Breaker != "closed" || !s.OutageSince.IsZero() {
		t.Errorf("%+v", s)
	}
}

// Held closed, a mail server that refuses everything is called all the same, and the jobs keep their tries.
func TestForcedClosedBreakerGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{MaxTries: 1, Breaker: breaker.Config{Consecutive: 2, OpenWait: time.Hour, MaxOpenWait: time.Hour}}})
	w.do(w.dispatch.ForceBreaker("store", breaker.ForceClosed))
	var c calls
	w.store.on(func(s *store) {
		s.set = func(context.Context, []credstore.Change) error {
			if c.add("set"); len(c.all()) < 20 {
				return credstore.ErrOverloaded
			}
			return nil
		}
	})
	w.ends(w.apply("1", w.hash()), reset.StateDone, reset.ReasonNone) // with the breaker in charge: in an hour
	if s := w.downstream("store"); s.Breaker != "closed" || s.Forced != breaker.ForceClosed {
		t.Errorf("%+v", s)
	}
}

func TestPaceOverrideIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{bare: true, idle: true, store: pace.Config{Concurrency: 1, Batch: 1}})
	ids, phc := w.many(30), w.hash()
	for _, id := range ids {
		w.apply(id, phc)
	}
	g := newGateway()
	var largest calls
	w.store.on(func(s *store) {
		s.set = func(ctx context.Context, changes []credstore.Change) error {
			largest.add(strconv.Itoa(len(changes)))
			return g.pass(ctx)
		}
	})
	w.run()
	g.arrival(t)
	o := pace.Override{Fixed: true, Concurrency: 4, Batch: 3}
	w.do(w.dispatch.SetPace("store", o))
	for range 3 { // beside the one that is out
		g.arrival(t)
	}
	s := w.downstream("store")
	if s.Mode != pace.ModeFixed || s.Override != o || s.Limits.Concurrency != 4 || s.Limits.Batch != 3 || s.Limits.InFlight != 4 {
		t.Errorf("%+v", s)
	}
	if want := (pace.Override{Fixed: true, Concurrency: 1, Batch: 1}); s.Configured != want {
		t.Errorf("configured: %+v, want %+v", s.Configured, want)
	}
	if n := w.metric("surgegate_downstream_concurrency_limit", "store"); n != 4 {
		t.Errorf("surgegate_downstream_concurrency_limit is %v", n)
	}
	w.do(w.dispatch.SetPace("store", pace.Override{}))
	close(g.open)
	w.drained()
	if s := w.downstream("store"); s.Limits.Concurrency != 1 || s.Limits.InFlight != 0 || s.Override != (pace.Override{}) {
		t.Errorf("%+v", s)
	}
}

func TestIdentifierBudgetChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: dispatch.Config{Identifier: dispatch.Budget{Mails: 1, Per: time.Hour}}})
	ask := func(mails int) {
		t.Helper()
		w.ends(w.start("ada"), reset.StateDone, reset.ReasonNone)
		w.drained()
		if links, _ := w.mails.to("ada@example.com"); len(links) != mails {
			t.Fatalf("%d links were mailed, want %d", len(links), mails)
		}
	}
	ask(1)
	ask(1) // over the budget
	wide := dispatch.Budget{Mails: 3600, Per: time.Hour, Burst: 3602}
	w.do(w.dispatch.SetIdentifierBudget(wide))
	if in, configured := w.dispatch.IdentifierBudget(); in != wide || configured.Mails != 1 {
		t.Errorf("%+v in force, %+v configured", in, configured)
	}
	ask(2)
	w.do(w.dispatch.SetIdentifierBudget(dispatch.Budget{}))
	ask(2)
	if err := w.dispatch.SetIdentifierBudget(dispatch.Budget{Mails: -1}); err == nil || !strings.Contains(err.Error(), "Identifier") {
		t.Errorf("%v", err)
	}
}

// What is hot is in force at once, under the overrides that stand; what is not is refused whole.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	of := func(change func(*dispatch.Config)) dispatch.Config {
		c := dispatch.Config{ // as the world makes it
			TryDelay: time.Millisecond, OverloadDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
			Breaker: breaker.Config{OpenWait: 10 * time.Millisecond, MaxOpenWait: 20 * time.Millisecond},
		}
		change(&c)
		return c
	}
	w := newWorld(t, options{bare: true})
	w.do(w.dispatch.Reconfigure(of(func(*dispatch.Config) {}))) // nothing
	w.do(w.dispatch.SetLaneWeight(reset.LaneMail, 3))
	c := of(func(c *dispatch.Config) {
		c.Weights = map[reset.Lane]float64{reset.LaneStart: 9, reset.LaneMail: 7}
		c.Identifier = dispatch.Budget{Mails: 7, Per: time.Hour}
		c.Account = dispatch.Budget{Mails: 1, Per: time.Hour}
	})
	w.do(w.dispatch.CanReconfigure(c))
	if s := w.laneStatus(reset.LaneStart); s.Weight != 8 {
		t.Errorf("to ask changed something: %+v", s)
	}
	w.do(w.dispatch.Reconfigure(c))
	if s := w.laneStatus(reset.LaneStart); s.Weight != 9 || s.Configured != 9 {
		t.Errorf("%+v", s)
	}
	if s := w.laneStatus(reset.LaneMail); s.Weight != 3 || s.Configured != 7 {
		t.Errorf("the override is gone: %+v", s)
	}
	if in, configured := w.dispatch.IdentifierBudget(); in.Mails != 7 || in.Burst != 7 || configured != in {
		t.Errorf("%+v in force, %+v configured", in, configured)
	}
	for range 2 { // one mail an hour for the account
		w.ends(w.start("ada"), reset.StateDone, reset.ReasonNone)
		w.drained()
	}
	if links, _ := w.mails.to("ada@example.com"); len(links) != 1 {
		t.Errorf("%d links were mailed", len(links))
	}
	for field, change := range map[string]func(*dispatch.Config){
		"LinkTTL":        func(c *dispatch.Config) { c.LinkTTL = time.Minute },
		"Floors":         func(c *dispatch.Config) { c.Floors = map[reset.Lane]float64{reset.LaneHash: 3} },
		"Breaker":        func(c *dispatch.Config) { c.Breaker.Probes = 9 },
		"Weights[apply]": func(c *dispatch.Config) { c.Weights = map[reset.Lane]float64{reset.LaneApply: math.NaN()} },
	} {
		c := of(func(c *dispatch.Config) {
			c.Weights = map[reset.Lane]float64{reset.LaneStart: 77}
			change(c)
		})
		err := w.dispatch.Reconfigure(c)
		if err == nil || !strings.Contains(err.Error(), field) || errors.Is(err, dispatch.ErrNotHot) != !strings.HasPrefix(field, "Weights") {
			t.Errorf("%s: %v", field, err)
		}
		if s := w.laneStatus(reset.LaneStart); s.Weight != 9 {
			t.Errorf("%s: half of it is in force: %+v", field, s)
		}
	}
	fixed, err := pace.NewFixed(pace.Config{Concurrency: 11})
	w.do(err)
	w.do(w.dispatch.ReconfigurePacers(dispatch.Pacers{Store: fixed}))
	if s := w.downstream("store"); s.Limits.Concurrency != 11 {
		t.Errorf("%+v", s)
	}
	if err := w.dispatch.ReconfigurePacers(dispatch.Pacers{Mail: struct{ pace.Pacer }{fixed}}); !errors.Is(err, pace.ErrNotSteerable) {
		t.Errorf("%v", err)
	}
}

func TestWhatCannotBeSteeredIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{idle: true, oneBackend: true})
	for what, tc := range map[string]struct{ got, want error }{
		"campaign": {w.dispatch.PauseLane(reset.LaneCampaign, true), dispatch.ErrUnknown},
		"lane":     {w.dispatch.SetLaneWeight(99, 1), dispatch.ErrUnknown},
		"nobody":   {w.dispatch.SetPace("nobody", pace.Override{}), dispatch.ErrUnknown},
		"no one":   {w.dispatch.ForceBreaker("no one", breaker.ForceOpen), dispatch.ErrUnknown},
		"hash":     {w.dispatch.ForceBreaker("hash_pool", breaker.ForceOpen), dispatch.ErrNoBreaker},
		"revoker":  {w.dispatch.SetPace("revoker", pace.Override{Max: 2}), dispatch.ErrNoPace},
		"mail":     {w.dispatch.SetPace("mail", pace.Override{Min: 9, Max: 2}), nil},
		"apply":    {w.dispatch.SetLaneWeight(reset.LaneApply, -1), nil},
		"pacer":    {w.dispatch.ReconfigurePacers(dispatch.Pacers{Revoker: w.asks}), dispatch.ErrNoPace},
	} {
		if tc.got == nil || tc.want != nil && !errors.Is(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", what, tc.got, tc.want)
		}
	}
	w.do(w.dispatch.ForceBreaker("revoker", breaker.ForceOpen)) // it has one of its own
}
