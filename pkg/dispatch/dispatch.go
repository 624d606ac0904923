package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Dispatch is the work side. Make it with New, ask Prepare, then Run it once.
type Dispatch struct {
	cfg     Config
	deps    Deps
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics

	store, mail, revoker, hashPool *downstream
	lanes                          []*lane

	// calls and holds are the goroutines that work batches and that keep permits of abandoned calls.
	calls, holds sync.WaitGroup

	book  book  // what the store says of itself
	waits waits // as the lanes published them last

	mu    sync.Mutex
	level int
	news  chan struct{} // closed and replaced when the level or the store's description changes

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

	size  int // of the next batch; only the runner touches it
	meter *meter
}

// batch is what one goroutine works.
type batch struct {
	lane    *lane
	leases  []queue.Lease
	permits []*permit // as the lane needs; nil once handed to a call
	leased  time.Time
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
	d := &Dispatch{cfg: cfg, deps: deps, clock: deps.Clock, log: deps.Logger, news: make(chan struct{}),
		abandoned: make(chan struct{})}
	d.book.describe = make(chan struct{}, 1)
	var err error
	if d.metrics, err = newMetrics(deps.Register); err != nil {
		return nil, fmt.Errorf("dispatch: metrics: %w", err)
	}
	// Two jobs a slot: one is hashed while the next is leased, opened and looked up.
	slots := 2 * max(1, deps.Hasher.Slots())
	for _, s := range []downstreamSpec{
		{&d.store, "store", cfg.StoreTimeout, deps.Pacers.Store, mostCalls},
		{&d.mail, "mail", cfg.MailTimeout, deps.Pacers.Mail, mostCalls},
		{&d.revoker, "revoker", cfg.RevokeTimeout, deps.Pacers.Revoker, mostCalls},
		{&d.hashPool, "hash_pool", cfg.HashTimeout, deps.Pacers.HashPool, slots},
	} {
		down := newDownstream(s, d.clock, d.metrics.downstream(s.name))
		*s.at = down
		if down == d.hashPool {
			continue // bounded by itself, and in this process: nothing to break
		}
		bc := cfg.Breaker
		bc.Name = s.name
		if bc.ProbeTimeout == 0 {
			bc.ProbeTimeout = s.timeout + time.Second // the call's own deadline comes first
		}
		down.breaker, err = breaker.New(bc, breaker.Deps{
			Registerer: deps.Register, Logger: deps.Logger, OnChange: d.onBreaker(down),
		})
		if err != nil {
			return nil, fmt.Errorf("dispatch: breaker of %s: %w", s.name, err)
		}
	}
	d.lanes = d.makeLanes()
	return d, nil
}

func (d *Dispatch) makeLanes() []*lane {
	only := func(s *downstream, kind pace.Kind) func() []need {
		needs := []need{{s, kind}}
		return func() []need { return needs }
	}
	lanes := []*lane{
		{name: reset.LaneStart, needs: only(d.store, kindLookup), limit: d.book.lookups, work: d.workStart},
		{name: reset.LaneMail, needs: only(d.mail, kindMain), limit: func() int { return 1 }, work: d.workMail},
		{name: reset.LaneHash, needs: d.hashNeeds, limit: d.book.hashes, work: d.workHash},
		{name: reset.LaneApply, needs: only(d.store, kindMain), limit: d.book.sets, work: d.workApply},
		{name: reset.LaneRevoke, needs: only(d.revoker, kindMain), limit: d.revocations, work: d.workRevoke, deferrable: true},
	}
	for _, l := range lanes {
		var deadlines time.Duration
		for _, s := range []*downstream{d.store, d.mail, d.revoker, d.hashPool} {
			deadlines = max(deadlines, s.timeout)
		}
		// A hash job makes two calls; a bisected batch extends its leases before each call.
		l.visibility = 3*deadlines + 10*time.Second
		l.size = 1
		l.meter = newMeter(d.cfg.Floors[l.name])
	}
	return lanes
}

// revocations is the revoke lane's batch limit.
func (d *Dispatch) revocations() int {
	if d.deps.Revoker == nil {
		return 0
	}
	return d.book.revokes()
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
	close(d.news)
	d.news = make(chan struct{})
}

// terms are what the runner may lease now, and a channel that is closed when that changes.
func (d *Dispatch) terms(l *lane) (upTo reset.Class, ok bool, news <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	upTo = reset.ClassDeferrable
	if d.level >= 1 {
		upTo = reset.ClassSuspect
	}
	return upTo, l.limit() > 0 && (!l.deferrable || d.level < 1), d.news
}

// Abandon ends the calls under way once Run's context has ended, without the grace: for a process that must end now.
func (d *Dispatch) Abandon() { d.abandonOnce.Do(func() { close(d.abandoned) }) }

// Run works until ctx ends, then finishes what is under way within the grace. It returns nil then, or the error that
// ended it before.
func (d *Dispatch) Run(ctx context.Context) error {
	callCtx, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	g, runCtx := errgroup.WithContext(ctx)
	for _, l := range d.lanes {
		g.Go(func() error { return d.run(runCtx, callCtx, l) })
	}
	g.Go(func() error { return d.publish(runCtx) })
	g.Go(func() error { return d.describeLoop(runCtx) })
	g.Go(func() error { return d.sweepLoop(runCtx) })
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
	d.holds.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
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

// next waits for work and for the permits, then leases. Neither batch nor error: look again.
func (d *Dispatch) next(ctx context.Context, l *lane) (*batch, error) {
	upTo, ok, news := d.terms(l)
	if !ok {
		select {
		case <-news:
		case <-ctx.Done():
		}
		return nil, nil
	}
	waitCtx, stop := until(ctx, news)
	defer stop()
	l.meter.idle(d.clock.Now())
	err := d.deps.Queue.Wait(waitCtx, l.name, upTo)
	l.meter.busy(d.clock.Now())
	if err != nil {
		if waitCtx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	b := &batch{lane: l}
	size := min(l.size, l.limit())
	for _, n := range l.needs() {
		p, err := n.down.acquire(waitCtx, n.kind, max(1, size))
		if err != nil {
			b.giveBack()
			return nil, nil //nolint:nilerr // only the context's: the terms changed or Run ends
		}
		b.permits = append(b.permits, p)
		size = min(size, p.granted)
	}
	r := queue.LeaseRequest{Lane: l.name, UpTo: upTo, Max: size, Visibility: l.visibility}
	if l.name == reset.LaneStart {
		r.DoneAfter = d.waits.doneAfter(d.clock.Now())
	}
	if size < 1 || ctx.Err() != nil {
		b.giveBack()
		return nil, nil
	}
	b.leases, err = d.deps.Queue.Lease(ctx, r)
	b.leased = d.clock.Now()
	if n := len(b.leases); n == size || n == 0 && err == nil { // none: all of them were places
		l.size = min(2*max(size, l.size), max(1, l.limit()))
	} else if n > 0 {
		l.size = n
	}
	if len(b.leases) == 0 {
		b.giveBack()
		return nil, err
	}
	return b, nil
}

// until returns a context that ends with ctx or when news is closed.
func until(ctx context.Context, news <-chan struct{}) (context.Context, func()) {
	waitCtx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-news:
			cancel()
		case <-waitCtx.Done():
		}
	}()
	return waitCtx, func() {
		cancel()
		<-ended
	}
}

// giveBack ends the permits that no call has taken.
func (b *batch) giveBack() {
	for i, p := range b.permits {
		if p != nil {
			p.end(0, classUnused)
			b.permits[i] = nil
		}
	}
}

// take hands the i-th permit to a call.
func (b *batch) take(i int) *permit {
	p := b.permits[i]
	b.permits[i] = nil
	return p
}

// handle works one batch. What the lane's work leaves unsettled by a panic of ours has used up a try.
func (d *Dispatch) handle(ctx context.Context, b *batch) {
	err := guard(func() error {
		b.lane.work(ctx, b)
		return nil
	})
	b.giveBack()
	if err != nil {
		d.log.Error("a batch panicked", "lane", b.lane.name.String(), "err", err)
		s := d.settle(b)
		for _, l := range b.leases {
			s.fail(l, "panic")
		}
		s.commit(ctx)
	}
}

// backoff is exponential with full jitter (AWS architecture blog, "Exponential Backoff And Jitter"): at step n a time
// from all of 0 to base·2ⁿ, at most limit.
func backoff(base, limit time.Duration, n int) time.Duration {
	ceiling := limit
	if n < 63 && base < limit>>n {
		ceiling = base << n
	}
	return time.Duration(rand.Int64N(int64(ceiling)) + 1) //nolint:gosec // G404: jitter is no secret
}

// meter measures one lane.
type meter struct {
	mu       sync.Mutex
	rate     float64
	measured bool
	working  bool // the runner has work in hand: it does not wait for the queue
	since    time.Time
	worked   time.Duration
	last     time.Time // of the window's begin
	count    int
	took     [256]time.Duration // from lease to end, the last ones
	samples  int
	service  time.Duration // a high percentile of took
}

// newMeter starts with the rate that is published before any measurement.
func newMeter(floor float64) *meter { return &meter{rate: floor} }

// resume takes over what an earlier process measured.
func (m *meter) resume(rate float64, service time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service = max(service, 0)
	if rate > 0 {
		m.rate, m.measured = rate, true
	}
}

// idle says that the runner waits for work from now on.
func (m *meter) idle(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working {
		m.worked += now.Sub(m.since)
		m.working = false
	}
}

// busy says that the runner has work from now on.
func (m *meter) busy(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.working {
		m.since, m.working = now, true
	}
}

// ended counts a job that ended, and how long it took from its lease.
func (m *meter) ended(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	m.took[m.samples%len(m.took)] = took
	m.samples++
}

// smoothing of the rate: a window a second, so about the last five seconds of work.
const smoothing = .2

// read closes a window. A window says what the lane can do only if it had work all the time; else no more than that
// it can do at least as much. While the downstream is out nothing is measured. A window of fewer jobs than the least
// tells nothing: it goes on until it has them.
func (m *meter) read(now time.Time, out bool, least int) (rate float64, service time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working {
		m.worked += now.Sub(m.since)
		m.since = now
	}
	few := m.count < least
	if few && !out && !m.last.IsZero() {
		return max(m.rate, minRate), m.service
	}
	window := now.Sub(m.last)
	if !m.last.IsZero() && window > 0 && !out && !few {
		sample := float64(m.count) / window.Seconds()
		switch full := m.worked > window/2; {
		case full && m.measured:
			m.rate += smoothing * (sample - m.rate)
		case full && m.count > 0, sample > m.rate:
			m.rate, m.measured = sample, true
		}
	}
	m.last, m.count, m.worked = now, 0, 0
	if n := min(m.samples, len(m.took)); n > 0 && !few {
		sorted := slices.Sorted(slices.Values(m.took[:n]))
		m.service = sorted[(n*95)/100]
	}
	return max(m.rate, minRate), m.service
}

// minRate keeps an ETA finite: a job in 100 s.
const minRate = .01

// waits is what DoneAfter is computed from: what the lanes published last.
type waits struct {
	mu       sync.Mutex
	lookup   time.Duration
	mail     time.Duration
	outSince []time.Time
}

// set publishes: a high percentile of the look-up and of mails from their start job's end to their hand-off, and since
// when the start and the mail lane are out.
func (p *waits) set(lookup, mail time.Duration, outSince []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookup, p.mail, p.outSince = lookup, mail, outSince
}

const (
	doneGrid = 250 * time.Millisecond
	// doneMost ends a ticket that an outage would keep open: it promises no mail at that moment, it hides all.
	doneMost = time.Hour
)

// doneAfter is the published look-up and mail waits of the lanes as a whole, rounded up to the grid.
func (p *waits) doneAfter(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.lookup + p.mail
	for _, since := range p.outSince {
		sum += now.Sub(since)
	}
	return onGrid(min(sum, doneMost))
}

// onGrid rounds up to the grid, once at least.
func onGrid(d time.Duration) time.Duration {
	return (max(d, 1) + doneGrid - 1) / doneGrid * doneGrid
}
