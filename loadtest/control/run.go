package control

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/loadtest/breakermodel"
	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/pace"
)

// deadline of a call in s, as pkg/dispatch's default for stores.
const deadline = 5.0

const (
	// minWait in s keeps a pacer that answers with a time just past from spinning, as in pkg/dispatch.
	minWait = 1e-3
	// refusal in s is how long a store that is down takes to say so, and at most a crash to break a connection.
	refusal = 1e-3
)

// Result of one run.
type Result struct {
	Goodput  float64   // items completed ÷ best, after warm-up
	Recovery []float64 // s until within 10 % of the best, one for each step but those to a standstill; the time to the next step where never
	Holding  float64   // inside ÷ knee, time average after warm-up
	Peak     float64   // inside ÷ knee, at its highest before any step
	Crashes  int
	Late     int // crashes after the first minute
	Trips    int // times that the breaker opened after it was closed
	Calls    int // calls made
	// Unused is the most that the limit was, when it was raised, of the calls that had been in flight shortly before: 1 to
	// one step. A limit that is at most one call over them counts as 1.
	Unused float64
	Trace  []Point
}

// Point is a second of a run.
type Point struct {
	At         float64 // the second's end
	Done, Best float64 // items
	Inside     float64 // calls, at its end
	Load, Knee float64 // in full calls of kind 0, at its end
	Limit      int     // the pacer's, at its end
	Batch      int
}

// call is one call; it is used again when nothing holds it any more.
type call struct {
	kind    pace.Kind
	items   int
	start   float64
	ticket  breakermodel.Ticket
	fails   bool // for no reason of load
	ended   bool // its permit is free
	holders int  // of the store, the line of deadlines and the schedule of refusals
	driver  *driver
}

// driver is one caller of the store, with its own pacer and breaker.
type driver struct {
	pacer   pace.Pacer
	breaker *breakermodel.Model
	poll    float64 // when to ask again; +Inf: when a call ends
	done    float64 // items since the warm-up
	away    bool    // starts no calls
	out     int     // calls
	demand  *demand
	stops   *stops
	missed  []ending // while it was stopped
	limit   watched
}

// ending is the end of a call that its driver has not taken note of.
type ending struct {
	call    *call
	outcome pace.Outcome
}

// backlog is what there is to send. Without one the run has a backlog that never ends.
type backlog interface {
	waiting(now float64) int // items
	take(now float64, items int)
	next(now float64) float64 // when there is more
	changed(now float64, state breaker.State)
}

// wire carries what the pacers of several drivers tell each other.
type wire interface {
	next() float64 // when something arrives, or is to be told
	turn(now float64)
}

type run struct {
	m       Model
	store   *store
	drivers []*driver
	backlog backlog
	wire    wire // nil: they tell each other nothing
	rand    *rand.Rand

	now       float64
	deadlines line
	refusals  schedule
	seq       uint64
	free      []*call
	ends      float64 // when the present second ends
	steps     []Step  // to come

	done, best float64 // items since the warm-up
	holding    float64 // ∫ inside ÷ knee dt since the warm-up
	peak       float64 // before the first step; 0: none has come
	calls      int
	second     Point
	trace      []Point
}

// Run drives the pacer against the model. The same seed gives the same run.
func Run(m Model, pacer pace.Pacer, seed uint64) Result {
	r := newRun(m, seed, pacer)
	r.drive()
	return r.result()
}

// drive runs it to its end.
func (r *run) drive() {
	for _, d := range r.drivers {
		r.ask(d)
	}
	for r.now < r.m.Length {
		r.turn()
	}
}

func newRun(m Model, seed uint64, pacers ...pace.Pacer) *run {
	random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
	r := &run{
		m: m, rand: random(1), store: newStore(m, random(2)),
		ends: 1, steps: m.Steps, trace: make([]Point, 0, int(m.Length)),
	}
	for i, p := range pacers {
		stream := 100 + 2*uint64(i)
		// As pkg/dispatch makes it: the call's own deadline comes before the probe's.
		b := breakermodel.New(breaker.Config{ProbeTimeout: seconds(deadline) + time.Second}, random(3+uint64(i)).Float64)
		r.drivers = append(r.drivers, &driver{
			pacer: p, breaker: b, poll: math.Inf(1), demand: newDemand(m.Mix, random(stream)), stops: newStops(m.Stops, random(stream+1)),
			limit: watched{within: math.Max(2, 20*m.Service)},
		})
	}
	return r
}

// seconds is a time of the run for the code under test.
func seconds(t float64) time.Duration { return time.Duration(math.Round(t * 1e9)) }

// at is the same as a time; every run begins at the same one.
func at(t float64) time.Time { return time.Unix(1_600_000_000, 0).Add(seconds(t)) }

// happening is what happens next.
type happening uint8

const (
	nothing happening = iota // but the store changes by itself
	leaving
	overdue
	refused
	asking
	stopping
	resuming
	telling
	secondEnds
	stepping
)

// upcoming is the next thing that happens. Of what happens at once the first in the list goes first.
func (r *run) upcoming() (at float64, what happening, who *driver) {
	at, done := r.store.next()
	if done {
		what = leaving
	}
	earlier := func(t float64, w happening) {
		if t < at {
			at, what = t, w
		}
	}
	for c := r.deadlines.first(); c != nil; c = r.deadlines.first() {
		if !c.ended {
			earlier(c.start+deadline, overdue)
			break
		}
		r.deadlines.pop()
		r.release(c)
	}
	if len(r.refusals) > 0 {
		earlier(r.refusals[0].due, refused)
	}
	for _, d := range r.drivers {
		if d.stops.during(r.now) {
			if d.stops.to < at {
				at, what, who = d.stops.to, resuming, d
			}
		} else if d.poll < at {
			at, what, who = d.poll, asking, d
		}
		if d.stops.from > r.now {
			earlier(d.stops.from, stopping)
		}
	}
	if r.wire != nil {
		earlier(r.wire.next(), telling)
	}
	// Creep changes the speed all the time: it is taken anew every second at least.
	earlier(r.ends, secondEnds)
	if len(r.steps) > 0 {
		earlier(r.steps[0].At, stepping)
	}
	return at, what, who
}

// turn goes to the next thing that happens.
func (r *run) turn() {
	at, what, who := r.upcoming()
	r.advance(at)
	switch what {
	case leaving:
		r.leave(r.store.leave())
	case overdue:
		c := r.deadlines.first()
		r.deadlines.pop()
		r.finish(c, pace.OutcomeTimeout)
		r.release(c)
	case refused:
		c := r.refusals.pop().call
		r.finish(c, pace.OutcomeOverload)
		r.release(c)
	case asking:
		r.ask(who)
	case resuming:
		r.resume(who)
	case telling:
		r.wire.turn(r.now)
	case stepping:
		if r.peak == 0 {
			r.peak = r.store.peak
		}
		r.store.change(r.steps[0])
		r.steps = r.steps[1:]
	case secondEnds:
		r.endSecond()
	case nothing, stopping:
	}
}

func (r *run) advance(t float64) {
	passed := t - r.now
	best := r.store.best() * passed
	if r.now >= r.m.WarmUp {
		r.best += best
		r.holding += r.store.load / r.store.knee() * passed
	}
	r.second.Best += best
	r.store.advance(t)
	r.now = t
}

func (r *run) endSecond() {
	p := r.second
	p.At, p.Inside, p.Load, p.Knee = r.now, float64(len(r.store.inside)), r.store.load, r.store.knee()
	for _, d := range r.drivers {
		l := d.pacer.Limits()
		p.Limit, p.Batch = p.Limit+l.Concurrency, l.Batch
	}
	r.trace = append(r.trace, p)
	r.second = Point{}
	r.ends++
}

// ask starts what a driver's pacer and breaker allow, as pkg/dispatch does.
func (r *run) ask(d *driver) {
	d.poll = math.Inf(1)
	for !d.away && !d.stops.during(r.now) && (r.m.Slots == 0 || d.out < r.m.Slots) {
		kind, items, later := d.demand.next(r.now, max(1, r.m.MaxBatch))
		if items == 0 {
			d.poll = later
			return
		}
		if r.backlog != nil {
			if items = min(items, r.backlog.waiting(r.now)); items == 0 {
				d.poll = r.backlog.next(r.now)
				return
			}
		}
		if d.breaker.State() != breaker.Closed {
			items = 1 // a probe risks as little as it can
		}
		now := at(r.now)
		v := d.pacer.Ask(now, kind, items)
		d.limit.watch(r.now, d.out, d.pacer.Limits().Concurrency)
		if !v.Go {
			if !v.RetryAt.IsZero() {
				d.poll = r.now + max(v.RetryAt.Sub(now).Seconds(), minWait)
			}
			return
		}
		t, retryAt, ok := d.breaker.Allow(seconds(r.now))
		if !ok {
			d.pacer.Done(now, pace.Call{Kind: kind, Start: now, Unused: v.Items, Outcome: pace.OutcomeCanceled})
			d.poll = max(retryAt.Seconds(), r.now+minWait)
			return
		}
		if r.backlog != nil {
			r.backlog.take(r.now, v.Items)
		}
		d.demand.sent(kind, v.Items)
		r.start(d, kind, v.Items, t)
	}
}

// resume ends a stop: what ended meanwhile is taken note of now.
func (r *run) resume(d *driver) {
	missed := d.missed
	d.missed = nil
	d.stops.plan()
	for _, e := range missed {
		r.finish(e.call, e.outcome)
		r.release(e.call)
	}
	r.ask(d)
}

func (r *run) start(d *driver, kind pace.Kind, items int, t breakermodel.Ticket) {
	var c *call
	if last := len(r.free) - 1; last >= 0 {
		c, r.free = r.free[last], r.free[:last]
	} else {
		c = new(call)
	}
	*c = call{driver: d, kind: kind, items: items, start: r.now, ticket: t, fails: r.m.Noise > 0 && r.rand.Float64() < r.m.Noise}
	r.calls++
	d.out++
	r.seq++
	taken, crashed := r.store.enter(c, r.seq)
	if !taken {
		r.refuse(c, r.now+refusal)
		return
	}
	c.holders = 2
	r.deadlines.push(c)
	for _, dead := range crashed {
		if !dead.call.ended {
			r.refuse(dead.call, r.now+refusal*r.rand.Float64())
		}
		r.release(dead.call)
	}
}

func (r *run) refuse(c *call, at float64) {
	c.holders++
	r.seq++
	r.refusals.push(entry{at, r.seq, c})
}

// release takes away one holder of a call.
func (r *run) release(c *call) {
	if c.holders--; c.holders == 0 {
		r.free = append(r.free, c)
	}
}

// leave is a call that the store has worked.
func (r *run) leave(c *call) {
	switch {
	case c.ended: // nobody waits for it any more
	case c.fails:
		r.finish(c, pace.OutcomeOverload)
	default:
		value := float64(c.items) * r.m.costOf(c.kind)
		if r.now >= r.m.WarmUp {
			r.done += value
			c.driver.done += value
		}
		r.second.Done += value
		r.finish(c, pace.OutcomeOK)
	}
	r.release(c)
}

// finish ends a call's permit, if it has not ended.
func (r *run) finish(c *call, o pace.Outcome) {
	if c.ended {
		return
	}
	d := c.driver
	if d.stops.during(r.now) {
		c.holders++
		d.missed = append(d.missed, ending{c, o})
		return
	}
	c.ended = true
	d.out--
	result := breaker.Failure
	if o == pace.OutcomeOK {
		result = breaker.Success
	}
	before := d.breaker.State()
	d.breaker.Report(seconds(r.now), c.ticket, result)
	d.pacer.Done(at(r.now), pace.Call{Kind: c.kind, Start: at(c.start), Items: c.items, Outcome: o})
	if before != breaker.Closed && d.breaker.State() == breaker.Closed {
		d.pacer.Resume(at(r.now))
	}
	if before != d.breaker.State() && r.backlog != nil {
		r.backlog.changed(r.now, d.breaker.State())
	}
	r.ask(d)
}

func (r *run) result() Result {
	res := Result{
		Goodput: r.done / max(1, r.best), Holding: r.holding / (r.m.Length - r.m.WarmUp), Peak: r.peak,
		Crashes: len(r.store.crashes), Calls: r.calls, Trace: r.trace,
	}
	for _, d := range r.drivers {
		res.Trips += d.breaker.Trips()
		res.Unused = max(res.Unused, d.limit.most)
	}
	if res.Peak == 0 {
		res.Peak = r.store.peak
	}
	for _, t := range r.store.crashes {
		const firstMinute = 60
		if t > firstMinute {
			res.Late++
		}
	}
	for i, s := range r.m.Steps {
		until := r.m.Length
		if i+1 < len(r.m.Steps) {
			until = r.m.Steps[i+1].At
		}
		if s.Speed > 0 {
			res.Recovery = append(res.Recovery, recovery(r.trace, s.At, until))
		}
	}
	return res
}

// startLimit is the limit that a chart begins with, which nothing has been in flight for.
const startLimit = 4

// watched follows a limit beside the calls in flight.
type watched struct {
	within float64 // s that calls in flight count for
	limit  int
	peaks  [2]int // calls in flight in the present and the last period of within
	period float64
	most   float64
}

func (w *watched) watch(now float64, out, limit int) {
	if p := math.Floor(now / w.within); p != w.period {
		w.peaks[1] = w.peaks[0]
		if p > w.period+1 {
			w.peaks[1] = 0
		}
		w.peaks[0], w.period = 0, p
	}
	if limit > w.limit && w.limit > 0 && limit > startLimit {
		peak := max(w.peaks[0], w.peaks[1])
		share := 1.
		if limit > peak+1 {
			share = float64(limit) / float64(max(1, peak))
		}
		w.most = max(w.most, share)
	}
	w.limit = limit
	w.peaks[0] = max(w.peaks[0], out)
}

// recovery is how long after from delivery is first within 10 % of the best for three seconds in a row, taken together;
// until − from where it never is.
func recovery(trace []Point, from, until float64) float64 {
	const window = 3
	for i := range trace {
		last := i + window - 1
		begin := trace[i].At - 1
		if begin < from || last >= len(trace) || trace[last].At > until {
			continue
		}
		done, best := 0.0, 0.0
		for _, p := range trace[i : last+1] {
			done, best = done+p.Done, best+p.Best
		}
		// Three seconds of a slow store are a few dozen calls: their Poisson noise is no fault of the pacer, so one
		// standard error is allowed.
		if done >= .9*best-math.Sqrt(best) {
			return begin - from
		}
	}
	return until - from
}
