package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// book is what is known of the store.
type book struct {
	describe chan struct{} // asks for another Describe

	mu     sync.Mutex
	desc   credstore.Description
	known  bool
	dark   time.Time // since when it is asked without an answer; matters while nothing is known
	shares bool      // it has shown a current hash
	bare   int       // accounts that it has shown without one
}

// bareEnough is how many accounts without a current hash make a store one that does not share them. One look-up that
// was not needed costs a call; one that was left out lets the password that has to go come back.
const bareEnough = 64

func (b *book) get() credstore.Description {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.desc
}

func (b *book) limit(of func(credstore.Description) int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.known {
		return 0
	}
	return of(b.desc)
}

func (b *book) lookups() int {
	return b.limit(func(d credstore.Description) int { return max(1, d.MaxLookupBatch) })
}

func (b *book) sets() int {
	return b.limit(func(d credstore.Description) int { return max(1, d.MaxSetBatch) })
}
func (b *book) revokes() int {
	return b.limit(func(d credstore.Description) int { return d.MaxRevokeBatch })
}
func (b *book) hashes() int { return b.limit(func(credstore.Description) int { return 1 }) }

// learn notes whether the store shares current hashes: Describe does not say.
func (b *book) learn(accounts []credstore.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range accounts {
		switch {
		case a.CurrentHash != "":
			b.shares = true
		case !a.NotResettable:
			b.bare++
		}
	}
}

// unknownSince is since when the lanes of the store rest for want of a description; zero while they do not.
func (b *book) unknownSince() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known {
		return time.Time{}
	}
	return b.dark
}

func (b *book) asksCurrent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shares || b.bare < bareEnough
}

// set takes a description over; it tells whether that changes anything.
func (b *book) set(desc credstore.Description) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	same := b.known && b.desc.Form == desc.Form && b.desc.MaxLookupBatch == desc.MaxLookupBatch &&
		b.desc.MaxSetBatch == desc.MaxSetBatch && b.desc.MaxRevokeBatch == desc.MaxRevokeBatch &&
		slices.Equal(b.desc.HashSchemes, desc.HashSchemes)
	b.desc, b.known = desc, true
	return !same
}

// describeKey is the record's key: there is one store.
const describeKey = "store"

// Prepare asks the store what it needs, or takes its recorded answer where it does not answer. The only error is an
// answer that cannot be met: without any, the lanes of the store rest until there is one.
func (d *Dispatch) Prepare(ctx context.Context) error {
	for _, l := range d.lanes {
		var p reset.Pace
		r, err := d.deps.Queue.Get(ctx, queue.RecordPace, l.name.String())
		if err == nil && p.Unmarshal(r.Value) == nil {
			l.meter.resume(p.Rate, p.Service)
		}
	}
	if r, err := d.deps.Queue.Get(ctx, queue.RecordDescribe, describeKey); err == nil {
		var desc credstore.Description
		if json.Unmarshal(r.Value, &desc) == nil && d.meets(desc) == nil {
			d.book.set(desc)
		}
	}
	askCtx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	var desc credstore.Description
	err := guard(func() (err error) {
		desc, err = d.deps.Store.Describe(askCtx)
		return err
	})
	if err != nil {
		d.metrics.described.Set(0)
		d.book.mu.Lock()
		d.book.dark = d.clock.Now()
		d.book.mu.Unlock()
		d.log.Warn("the store does not describe itself", "recorded", d.book.lookups() > 0, "err", err)
		return nil
	}
	return d.described(ctx, desc)
}

// meets tells why surgegate cannot do what the store needs.
func (d *Dispatch) meets(desc credstore.Description) error {
	switch desc.Form {
	case credstore.FormPlaintext:
		return nil
	case credstore.FormHash:
		if _, ok := d.scheme(desc); !ok {
			return fmt.Errorf("dispatch: the store verifies only the hash schemes %q, none of which can be made",
				desc.HashSchemes)
		}
		return nil
	default:
		return fmt.Errorf("dispatch: the store wants passwords in the unknown form %d", desc.Form)
	}
}

// described takes a fresh answer over and records it.
func (d *Dispatch) described(ctx context.Context, desc credstore.Description) error {
	if err := d.meets(desc); err != nil {
		d.metrics.described.Set(0)
		return err
	}
	d.metrics.described.Set(1)
	if !d.book.set(desc) {
		return nil
	}
	d.announce()
	value, err := json.Marshal(desc)
	if err == nil {
		err = d.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordDescribe, Key: describeKey, Value: value, Version: queue.AnyVersion,
		})
	}
	if err != nil { // the lanes know it; the fronts will after the next one
		d.log.Error("cannot record the store's description", "err", err)
	}
	return nil
}

// describeLoop asks the store again from time to time, soon while it has not answered, and when its breaker closes.
// It asks under a permit, so that with no work at hand it is also the probe that finds the store back.
func (d *Dispatch) describeLoop(ctx context.Context) error {
	failures := 0
	if d.book.lookups() == 0 {
		failures = 1
	}
	for ctx.Err() == nil {
		wait := d.cfg.DescribeEvery
		if failures > 0 {
			wait = min(wait, backoff(time.Second, 30*time.Second, failures))
		}
		d.awaitDescribe(ctx, wait)
		p, err := d.store.acquire(ctx, kindLookup, 1)
		if err != nil {
			return nil //nolint:nilerr // Run ends
		}
		var desc credstore.Description
		c := d.do(ctx, p, 1, func(ctx context.Context) (err error) {
			desc, err = d.deps.Store.Describe(ctx)
			return err
		})
		if c != classOK {
			failures++
			d.metrics.described.Set(0)
			continue
		}
		failures = 0
		if err := d.described(ctx, desc); err != nil {
			failures++
			d.log.Error("the store's new description cannot be met: the last one stays in use", "err", err)
		}
	}
	return nil
}

func (d *Dispatch) awaitDescribe(ctx context.Context, wait time.Duration) {
	t := d.clock.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C():
	case <-d.book.describe:
	case <-ctx.Done():
	}
}

// onBreaker follows a downstream's breaker.
func (d *Dispatch) onBreaker(down *downstream) func(from, to breaker.State) {
	return func(_, to breaker.State) {
		down.breakerChanged()
		if down == d.store && to == breaker.Closed {
			select {
			case d.book.describe <- struct{}{}:
			default: // asked for already
			}
		}
	}
}

// publishEvery is how often the lanes' paces are written while they change.
const publishEvery = time.Second

// publish writes what the lanes can do for the request side, and for start tickets.
func (d *Dispatch) publish(ctx context.Context) error {
	last := make(map[reset.Lane]reset.Pace, len(d.lanes))
	for {
		stats, err := d.deps.Queue.Stats(ctx)
		if errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			d.log.Error("cannot read the queue's numbers", "err", err)
		} else {
			d.publishOnce(ctx, stats, last)
		}
		if d.clock.Sleep(ctx, publishEvery) != nil {
			return nil
		}
	}
}

func (d *Dispatch) publishOnce(ctx context.Context, stats queue.Stats, last map[reset.Lane]reset.Pace) {
	now := d.clock.Now()
	var lookup, mail time.Duration
	var outSince []time.Time
	for _, l := range d.lanes {
		p := reset.Pace{Lane: l.name, PublishTime: now}
		held := stats.Lanes[l.name]
		out := d.outage(l)
		// An idle lane has no outage: its downstream may be back, and only work would find out.
		if held.Waiting != [3]uint64{} || held.Leased+held.Retrying > 0 {
			p.OutageSince = out
		}
		asks := l.name == reset.LaneStart || l.name == reset.LaneMail
		least := 0
		if asks && held.Crowd() == 0 {
			least = queue.CrowdMin
		}
		p.Rate, p.Service = l.meter.read(now, !out.IsZero(), least)
		if asks {
			p.Service = onGrid(p.Service)
		}
		switch l.name {
		case reset.LaneStart:
			lookup = p.Service
		case reset.LaneMail: // only accounts have mails: fewer than a crowd must not show
			mail = p.Service
			if n := held.Crowd(); n > 0 {
				mail += time.Duration(float64(n) / p.Rate * float64(time.Second))
			} else {
				p.OutageSince = time.Time{}
			}
		default:
		}
		if !p.OutageSince.IsZero() && asks {
			outSince = append(outSince, p.OutageSince)
		}
		before := last[l.name]
		before.PublishTime = now
		if before == p {
			continue
		}
		err := d.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordPace, Key: l.name.String(), Value: p.Marshal(), Version: queue.AnyVersion,
		})
		if err != nil {
			if ctx.Err() == nil {
				d.log.Error("cannot publish a pace", "lane", l.name.String(), "err", err)
			}
			continue
		}
		last[l.name] = p
	}
	d.waits.set(lookup, mail, outSince)
}

// outage is since when any downstream of the lane is out; zero while all work.
func (d *Dispatch) outage(l *lane) time.Time {
	var since time.Time
	if l.name != reset.LaneMail {
		since = d.book.unknownSince()
	}
	for _, n := range l.needs() {
		if out := n.down.out(); !out.IsZero() && (since.IsZero() || out.Before(since)) {
			since = out
		}
	}
	return since
}

// Downstream is what an operator sees of one.
type Downstream struct {
	Name        string
	Breaker     string // closed, open, half_open; none where there is none
	Limits      pace.Limits
	OutageSince time.Time // zero while it works
}

// Status tells how the downstreams fare.
func (d *Dispatch) Status() []Downstream {
	var all []Downstream
	for _, s := range []*downstream{d.store, d.mail, d.revoker, d.hashPool} {
		st := Downstream{Name: s.name, Breaker: "none", OutageSince: s.out()}
		if s.breaker != nil {
			st.Breaker = s.breaker.State().String()
		}
		s.mu.Lock()
		st.Limits = s.pacer.Limits()
		s.mu.Unlock()
		all = append(all, st)
	}
	return all
}

// What became of a mail.
const (
	mailSent     = "sent"
	mailWithheld = "withheld"
	mailRefused  = "refused"
)

// metrics are the work side's series; every one is there from the start.
type metrics struct {
	calls       *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	items       *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	concurrency *prometheus.GaugeVec
	rate        *prometheus.GaugeVec
	ramp        *prometheus.GaugeVec
	age         *prometheus.HistogramVec
	retries     *prometheus.CounterVec
	parks       *prometheus.CounterVec
	expiries    *prometheus.CounterVec
	mailed      *prometheus.CounterVec
	described   prometheus.Gauge
}

// downstreamMetrics are one downstream's series.
type downstreamMetrics struct {
	calls                             []prometheus.Counter // by class
	seconds, items                    prometheus.Observer
	inFlight, concurrency, rate, ramp prometheus.Gauge
}

// newMetrics registers everything.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	const native = 1.1 // bucket growth: 5 % error at most
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"downstream"})
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: native,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, labels)
	}
	m := &metrics{
		calls: counter("surgegate_downstream_calls_total", "Calls of downstreams by how they ended.",
			"downstream", "outcome"),
		seconds: histogram("surgegate_downstream_call_seconds", "How long calls of downstreams took.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}, "downstream"),
		items: histogram("surgegate_downstream_batch_items", "Items in one call of a downstream.",
			prometheus.ExponentialBuckets(1, 2, 11), "downstream"),
		inFlight: gauge("surgegate_downstream_in_flight", "Calls that occupy the downstream now."),
		concurrency: gauge("surgegate_downstream_concurrency_limit",
			"Calls that the downstream's pacer allows at once; 0 for no limit."),
		rate: gauge("surgegate_downstream_rate_limit",
			"Items a second that the downstream's pacer allows; 0 for no limit."),
		ramp: gauge("surgegate_downstream_ramp_ratio",
			"Share of full speed that the downstream's pacer allows while it comes back after an outage; else 1."),
		// Dense around the promise of a few seconds, and out to the longest sealed wait.
		age: histogram("surgegate_ticket_age_seconds", "Age of jobs at their end, from acceptance.",
			[]float64{.01, .025, .05, .1, .25, .5, 1, 2, 3, 4, 5, 7.5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800,
				3600, 4 * 3600, 12 * 3600, 24 * 3600}, "lane", "state"),
		retries: counter("surgegate_jobs_retried_total",
			"Jobs put back in line, by whether that used up one of their tries.", "lane", "tries"),
		parks:    counter("surgegate_jobs_parked_total", "Jobs set aside for an operator.", "lane"),
		expiries: counter("surgegate_jobs_expired_total", "Completions whose sealed password waited too long.", "lane"),
		mailed:   counter("surgegate_mails_total", "Mails by what became of them.", "purpose", "outcome"),
		described: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "surgegate_store_described",
			Help: "1 if the store's last description was had and can be met.",
		}),
	}
	for _, l := range workedLanes() {
		for _, s := range []reset.State{reset.StateDone, reset.StateRejected, reset.StateFailed} {
			m.age.WithLabelValues(l.String(), s.String())
		}
		m.retries.WithLabelValues(l.String(), "kept")
		m.retries.WithLabelValues(l.String(), "used")
		m.parks.WithLabelValues(l.String())
		m.expiries.WithLabelValues(l.String())
	}
	for _, p := range []reset.Purpose{reset.PurposeLink, reset.PurposeConfirmation, reset.PurposeReplacement} {
		for _, o := range []string{mailSent, mailWithheld, mailRefused} {
			m.mailed.WithLabelValues(p.String(), o)
		}
	}
	for _, c := range []prometheus.Collector{
		m.calls, m.seconds, m.items, m.inFlight, m.concurrency, m.rate, m.ramp, m.age, m.retries, m.parks, m.expiries, m.mailed,
		m.described,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) downstream(name string) downstreamMetrics {
	d := downstreamMetrics{
		seconds: m.seconds.WithLabelValues(name), items: m.items.WithLabelValues(name),
		inFlight: m.inFlight.WithLabelValues(name), concurrency: m.concurrency.WithLabelValues(name),
		rate: m.rate.WithLabelValues(name), ramp: m.ramp.WithLabelValues(name),
	}
	for c := classOK; c < classUnused; c++ {
		d.calls = append(d.calls, m.calls.WithLabelValues(name, c.String()))
	}
	return d
}

// retried counts a job that was put back.
func (m *metrics) retried(l reset.Lane, usedTry bool) {
	tries := "kept"
	if usedTry {
		tries = "used"
	}
	m.retries.WithLabelValues(l.String(), tries).Inc()
}

// parked counts a job that was set aside.
func (m *metrics) parked(l reset.Lane) { m.parks.WithLabelValues(l.String()).Inc() }

// expired counts a completion that waited too long.
func (m *metrics) expired(l reset.Lane) { m.expiries.WithLabelValues(l.String()).Inc() }

// mails counts mails.
func (m *metrics) mails(purpose, outcome string, n int) {
	m.mailed.WithLabelValues(purpose, outcome).Add(float64(n))
}

// ended counts a final state; a job whose ticket lives on in a follow-up has not ended for anybody.
func (m *metrics) ended(l reset.Lane, s reset.State, age time.Duration) {
	if s.Final() {
		m.age.WithLabelValues(l.String(), s.String()).Observe(age.Seconds())
	}
}
