package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/book"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/mailbudget"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/meter"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/publish"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// Dispatch is the work side. Make it with New, ask Prepare, then Run it once.
type Dispatch struct {
	cfg     Config
	deps    Deps
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics

	store, mail, revoker, hashPool *downstream.Downstream
	lanes                          []*lane

	calls sync.WaitGroup // the goroutines that work batches

	book      *book.Book  // what the store says of itself
	waits     meter.Waits // as the lanes published them last
	publisher *publish.Publisher

	knobs knobs

	mu    sync.Mutex
	level int
	// running is Run's context. terms is made from it, and is cancelled and replaced when the level, the store's description or what is
	// paused changes: a lane that waits under it looks again.
	running  context.Context
	terms    context.Context
	endTerms context.CancelFunc

	abandonOnce sync.Once
	abandoned   chan struct{} // closed by Abandon
}

// lane is one runner.
type lane struct {
	name reset.Lane
	// needs tells the downstreams whose permits a batch takes, in order; the first one's sizes it.
	needs func() []need
	// limit is the largest batch of the downstream; 0 while the lane cannot be worked.
	limit func() int
	// deferrable lanes rest from brownout level 1 on.
	deferrable bool
	visibility time.Duration
	work       func(context.Context, *batch)

	paused time.Time // since when it leases nothing by an operator's will; zero: it leases. Guarded by Dispatch.mu
	// leasing is held while it leases, so that who pauses it knows when the last lease has been taken.
	leasing sync.Mutex

	budget *mailbudget.Budget // of the mail lane; nil elsewhere
	size   decide.Size        // only the runner touches it
	meter  *meter.Meter
	paced  *decision.Line // waits for a turn; nil: not logged
	parks  *decision.Line
}

// batch is what one goroutine works.
type batch struct {
	lane    *lane
	leases  []queue.Lease
	permits []*downstream.Permit // as the lane needs; nil once handed to a call
	leased  time.Time
	bulk    bool // it is in the bulk budget
	span    tracing.Span
}

// need is a permit that a batch takes.
type need struct {
	down *downstream.Downstream
	kind pace.Kind
}

func workedLanes() []reset.Lane {
	return []reset.Lane{reset.LaneStart, reset.LaneMail, reset.LaneHash, reset.LaneApply, reset.LaneRevoke}
}

// New makes the work side. It touches nothing yet.
func New(cfg Config, deps Deps) (*Dispatch, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := deps.validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Decisions == nil {
		var err error
		if deps.Decisions, err = decision.New(decision.Config{}, decision.Deps{Logger: deps.Logger, Clock: deps.Clock}); err != nil {
			return nil, fmt.Errorf("dispatch: %w", err)
		}
	}
	d := &Dispatch{cfg: cfg, deps: deps, clock: deps.Clock, log: deps.Logger, running: context.Background(),
		abandoned: make(chan struct{})}
	d.announceLocked()
	var err error
	if d.metrics, err = newMetrics(deps.Register, cfg.Promise); err != nil {
		return nil, fmt.Errorf("dispatch: metrics: %w", err)
	}
	d.book = book.New(book.Config{Timeout: cfg.StoreTimeout, Every: cfg.DescribeEvery}, book.Deps{
		Store: deps.Store, Queue: deps.Queue, Meets: d.meets, Changed: d.announce, Described: d.metrics.described, Clock: d.clock, Logger: d.log,
	})
	if err := d.makeDownstreams(); err != nil {
		return nil, fmt.Errorf("dispatch: %w", err)
	}
	d.lanes = d.makeLanes()
	published := make([]publish.Lane, 0, len(d.lanes))
	for _, l := range d.lanes {
		published = append(published, publish.Lane{Name: l.name, Meter: l.meter, Outage: func() time.Time { return d.outage(l) }})
	}
	d.publisher = publish.New(published, publish.Deps{Queue: deps.Queue, Waits: &d.waits, Clock: d.clock, Logger: d.log})
	d.knobs.configured = cfg
	d.knobs.budgets.Store(cfg.budgets())
	d.knobs.logText.Store(cfg.LogDownstreamText)
	d.showLanes()
	return d, nil
}

// revokeCalls are how many revocations the store gets at once where it is the revoker. They are put off in a storm and cost
// little: let go together at its end they made the measured limit seven times what the writes after them could bear.
const revokeCalls = 4

func (d *Dispatch) makeDownstreams() error {
	m, err := downstream.NewMetrics(d.deps.Register)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	cfg, pacers := d.cfg, d.deps.Pacers
	ofStore := []reset.Lane{reset.LaneApply, reset.LaneHash, reset.LaneStart}
	if pacers.Revoker == nil {
		ofStore = append(ofStore, reset.LaneRevoke)
	}
	mostRevokes, ofRevoker := 0, codesOf(d.deps.Revoker)
	if pacers.Revoker == nil {
		mostRevokes, ofRevoker = revokeCalls, nil // its codes are the store's: those are few enough to be other
	}
	for _, s := range []struct {
		at   **downstream.Downstream
		spec downstream.Spec
	}{
		{&d.store, downstream.Spec{
			Name: "store", Timeout: cfg.StoreTimeout, Pacer: pacers.Store, Lanes: ofStore, Breaker: &cfg.Breaker,
			OnClosed: d.book.AskAgain, Codes: append(codesOf(d.deps.Store), failure.AskedToRetry, failure.ItemRefused, failure.BadAnswer),
		}},
		{&d.mail, downstream.Spec{
			Name: "mail", Timeout: cfg.MailTimeout, Pacer: pacers.Mail, Lanes: []reset.Lane{reset.LaneMail}, Breaker: &cfg.Breaker,
			Codes: codesOf(d.deps.Mailer),
		}},
		{&d.revoker, downstream.Spec{
			Name: "revoker", Timeout: cfg.RevokeTimeout, Pacer: pacers.Revoker, Lanes: []reset.Lane{reset.LaneRevoke},
			Breaker: &cfg.Breaker, Most: mostRevokes, Codes: ofRevoker,
		}},
		// Bounded by itself, and in this process: nothing to break. Two jobs a slot: one is hashed while the next is leased,
		// opened and looked up.
		{&d.hashPool, downstream.Spec{
			Name: "hash_pool", Timeout: cfg.HashTimeout, Pacer: pacers.HashPool, Lanes: []reset.Lane{reset.LaneHash},
			Most: 2 * max(1, d.deps.Hasher.Slots()), Codes: codesOf(d.deps.Hasher),
		}},
	} {
		s.spec.Weights = cfg.Weights
		if s.spec.Pacer == nil { // the revoker is the store
			s.spec.Host = d.store
		}
		*s.at, err = downstream.New(s.spec, downstream.Deps{
			Clock: d.clock, Metrics: m, Register: d.deps.Register, Logger: d.log, LogText: d.knobs.logText.Load,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// codesOf are the failure codes that an adapter says it may answer with, none if it does not say.
func codesOf(adapter any) []string {
	if a, ok := adapter.(interface{ FailureCodes() []string }); ok {
		return a.FailureCodes()
	}
	return nil
}

func (d *Dispatch) downstreams() []*downstream.Downstream {
	return []*downstream.Downstream{d.store, d.mail, d.revoker, d.hashPool}
}

func (d *Dispatch) makeLanes() []*lane {
	only := func(s *downstream.Downstream, kind pace.Kind) func() []need {
		needs := []need{{s, kind}}
		return func() []need { return needs }
	}
	lanes := []*lane{
		{name: reset.LaneStart, needs: only(d.store, downstream.KindLookup), limit: d.book.Lookups, work: d.workStart},
		{name: reset.LaneMail, needs: only(d.mail, downstream.KindMain), limit: func() int { return 1 }, work: d.workMail,
			budget: mailbudget.New(d.cfg.MailBudget)},
		{name: reset.LaneHash, needs: d.hashNeeds, limit: d.book.Hashes, work: d.workHash},
		{name: reset.LaneApply, needs: only(d.store, downstream.KindMain), limit: d.book.Sets, work: d.workApply},
		{name: reset.LaneRevoke, needs: only(d.revoker, downstream.KindMain), limit: d.revocations, work: d.workRevoke, deferrable: true},
	}
	for _, l := range lanes {
		var deadlines time.Duration
		for _, s := range d.downstreams() {
			deadlines = max(deadlines, s.Timeout())
		}
		// A hash job makes two calls; a bisected batch extends its leases before each call.
		l.visibility = 3*deadlines + 10*time.Second
		l.meter = meter.New(d.cfg.Floors[l.name])
		l.paced = d.deps.Decisions.Line(decision.Paced, l.name.String())
		l.parks = d.deps.Decisions.Line(decision.Parked, l.name.String())
	}
	return lanes
}

// revocations is the revoke lane's batch limit.
func (d *Dispatch) revocations() int {
	if d.deps.Revoker == nil {
		return 0
	}
	return d.book.Revokes()
}

// SetLevel sets the brownout level: from 1 on, deferrable work waits.
func (d *Dispatch) SetLevel(level int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if level == d.level {
		return
	}
	d.level = level
	d.announceLocked()
}

// announce wakes the runners: what they may do has changed.
func (d *Dispatch) announce() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.announceLocked()
}

func (d *Dispatch) announceLocked() {
	if d.endTerms != nil {
		d.endTerms()
	}
	d.terms, d.endTerms = context.WithCancel(d.running)
}

// mayLease tells up to which class the lane may lease now, if at all, and returns a context that ends when that changes or Run ends.
func (d *Dispatch) mayLease(l *lane) (upTo reset.Class, ok bool, terms context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	upTo = reset.ClassDeferrable
	if d.level >= 1 {
		upTo = reset.ClassSuspect
	}
	return upTo, l.limit() > 0 && (!l.deferrable || d.level < 1) && l.paused.IsZero(), d.terms
}

// Prepare takes over what is recorded of an earlier process and asks the store what it needs. Without an answer that can
// be met, recorded or not, the lanes of the store rest until there is one.
func (d *Dispatch) Prepare(ctx context.Context) {
	d.publisher.Resume(ctx)
	d.book.Prepare(ctx)
}

// Abandon ends the calls under way once Run's context has ended, without the grace: for a process that must end now.
func (d *Dispatch) Abandon() { d.abandonOnce.Do(func() { close(d.abandoned) }) }

// Run works until ctx ends, then finishes what is under way within the grace. It returns nil then, or the error that
// ended it before.
func (d *Dispatch) Run(ctx context.Context) error {
	callCtx, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	g, runCtx := errgroup.WithContext(ctx)
	d.mu.Lock()
	d.running = runCtx
	d.announceLocked()
	d.mu.Unlock()
	for _, l := range d.lanes {
		g.Go(func() error { return d.run(runCtx, callCtx, l) })
	}
	g.Go(func() error { return d.publisher.Run(runCtx) })
	g.Go(func() error { return d.book.Run(runCtx, d.store) })
	g.Go(func() error { return d.sweepLoop(runCtx) })
	g.Go(func() error {
		d.logFailuresLoop(runCtx)
		return nil
	})
	err := g.Wait()

	finished := make(chan struct{})
	go func() { // ends with the calls, which Run waits for below
		d.calls.Wait()
		close(finished)
	}()
	grace := d.clock.NewTimer(d.cfg.DrainGrace)
	defer grace.Stop()
	select {
	case <-finished:
	case <-grace.C():
		d.log.Warn("grace is over: calls under way are abandoned, their jobs stay queued")
		abandon()
		<-finished
	case <-d.abandoned:
		abandon()
		<-finished
	}
	abandon()
	for _, s := range d.downstreams() {
		s.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// logFailuresLoop has failures logged that were held back because their class had a line within the last minute.
func (d *Dispatch) logFailuresLoop(ctx context.Context) {
	for d.clock.Sleep(ctx, 10*time.Second) == nil {
		for _, s := range d.downstreams() {
			s.LogFailures(ctx)
		}
	}
}

// run is one lane's runner.
func (d *Dispatch) run(ctx, callCtx context.Context, l *lane) error {
	faults := 0
	for ctx.Err() == nil {
		b, err := d.next(ctx, l)
		switch {
		case ctx.Err() != nil && b == nil:
			return nil
		case errors.Is(err, queue.ErrClosed):
			return fmt.Errorf("dispatch: lane %s: %w", l.name, err)
		case err != nil:
			faults++
			d.log.Error("cannot lease", "lane", l.name.String(), "err", err)
			_ = d.clock.Sleep(ctx, backoff(100*time.Millisecond, time.Second, faults-1))
		case b == nil:
			// Places of coalesced asks were passed, something was due and then was not, or the terms changed. Should an
			// engine's Wait and Lease disagree, this keeps the lane from spinning; longer it must not be, or everybody
			// would wait behind one who asks again and again.
			if faults++; faults > 3 {
				_ = d.clock.Sleep(ctx, minWait)
			}
		default:
			faults = 0
			d.calls.Go(func() { d.handle(callCtx, b) })
		}
	}
	return nil
}

// minWait keeps a lane from spinning.
const minWait = time.Millisecond

// next waits for work and for the permits, then leases. Neither batch nor error: look again.
func (d *Dispatch) next(ctx context.Context, l *lane) (*batch, error) {
	upTo, ok, waitCtx := d.mayLease(l)
	queueCtx := waitCtx
	if ok && l.budget != nil {
		t := l.budget.Terms(d.clock.Now(), upTo, d.mail.Limits().Concurrency)
		var stop func()
		queueCtx, stop = d.withTimer(waitCtx, t.Changed, t.Wait)
		defer stop()
		upTo, ok = t.UpTo, t.OK
	}
	if !ok {
		d.rest(queueCtx, l, upTo)
		return nil, nil
	}
	l.meter.Idle(d.clock.Now())
	err := d.deps.Queue.Wait(queueCtx, l.name, upTo)
	l.meter.Busy(d.clock.Now())
	backlog := 0
	if err == nil {
		backlog, err = d.deps.Queue.Backlog(queueCtx, l.name, upTo)
	}
	if err != nil {
		if queueCtx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	b, needs := &batch{lane: l}, l.needs()
	most := l.size.Want(backlog, needs[0].down.Free(), l.limit())
	for _, n := range needs {
		var asked time.Time
		if l.paced != nil {
			asked = d.clock.Now()
		}
		p, err := n.down.Acquire(waitCtx, downstream.Ask{Lane: l.name, Kind: n.kind, Items: most})
		if err != nil {
			b.giveBack()
			return nil, nil // only the context's: the terms changed or Run ends
		}
		d.waited(ctx, l, n.down, asked, backlog)
		b.permits = append(b.permits, p)
		most = min(most, p.Items())
	}
	if ctx.Err() != nil || l.limit() < 1 {
		b.giveBack()
		return nil, nil
	}
	if err := d.lease(ctx, b, upTo, most); err != nil || len(b.leases) == 0 {
		b.giveBack()
		return nil, err
	}
	return b, nil
}

// rest waits until the lane may work again. A lane that has work and is out of budget is measured as working: people who
// wait for it are told the pace that the budget allows.
func (d *Dispatch) rest(ctx context.Context, l *lane, upTo reset.Class) {
	l.meter.Idle(d.clock.Now())
	if l.budget != nil {
		if n, err := d.deps.Queue.Backlog(ctx, l.name, upTo); err == nil && n > 0 {
			l.meter.Busy(d.clock.Now())
			if l.paced.Due() {
				l.paced.Write(ctx, slog.String("waits_for", "its budget of mails"), slog.Int("backlog", n))
			}
		}
	}
	<-ctx.Done()
}

// lease fills the batch, unless the lane was paused while it waited for its permits.
func (d *Dispatch) lease(ctx context.Context, b *batch, upTo reset.Class, most int) (err error) {
	l := b.lane
	l.leasing.Lock()
	defer l.leasing.Unlock()
	if !d.pausedSince(l).IsZero() {
		return nil
	}
	r := queue.LeaseRequest{Lane: l.name, UpTo: upTo, Max: most, Visibility: l.visibility}
	if l.name == reset.LaneStart {
		r.DoneAfter = d.waits.DoneAfter(d.clock.Now())
	}
	if l.budget != nil {
		l.budget.Take(d.clock.Now(), upTo)
	}
	b.leases, err = d.deps.Queue.Lease(ctx, r)
	b.leased = d.clock.Now()
	n := len(b.leases)
	if l.budget != nil {
		b.bulk = n > 0 && b.leases[0].Job.Class == reset.ClassDeferrable
		l.budget.Leased(b.leased, upTo, n > 0, b.bulk)
	}
	for _, p := range b.permits {
		p.Use(n)
	}
	if err == nil {
		l.size.Leased(n, most)
	}
	return err
}

// withTimer returns a context that ends with ctx, when changed ends, or after the wait if it is positive. Only a wait takes a goroutine; stop
// waits for it.
func (d *Dispatch) withTimer(ctx, changed context.Context, wait time.Duration) (waitCtx context.Context, stop func()) {
	waitCtx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(changed, cancel)
	if wait <= 0 {
		return waitCtx, func() {
			forget()
			cancel()
		}
	}
	timer := d.clock.NewTimer(wait)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-timer.C():
			cancel()
		case <-waitCtx.Done():
		}
	})
	return waitCtx, func() {
		forget()
		cancel()
		waiting.Wait()
		timer.Stop()
	}
}

// giveBack ends the permits that no call has taken.
func (b *batch) giveBack() {
	for i, p := range b.permits {
		if p != nil {
			p.Release()
			b.permits[i] = nil
		}
	}
}

// take hands the i-th permit to a call.
func (b *batch) take(i int) *downstream.Permit {
	p := b.permits[i]
	b.permits[i] = nil
	return p
}

// handle works one batch. What the lane's work leaves unsettled by a panic of ours has used up a try.
func (d *Dispatch) handle(ctx context.Context, b *batch) {
	ctx, b.span = d.traced(ctx, b)
	defer b.span.End()
	err := downstream.Guard(func() error {
		b.lane.work(ctx, b)
		return nil
	})
	b.giveBack()
	if b.bulk {
		defer b.lane.budget.Done()
	}
	if err != nil {
		d.log.ErrorContext(ctx, "a batch panicked", "lane", b.lane.name.String(), "err", err)
		s := d.settle(b)
		for _, l := range b.leases {
			s.fail(l, "panic")
		}
		s.commit(ctx)
	}
}

// backoff is decide's with a draw of its own.
func backoff(base, limit time.Duration, n int) time.Duration {
	return decide.Backoff(base, limit, n, rand.Float64()) // jitter is no secret
}
