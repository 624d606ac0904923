package simulate

import (
	"time"

	"github.com/surgegate/surgegate/loadtest/breakermodel"
	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/fair"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// The downstreams.
const (
	downStore int32 = iota
	downMail
	downHash
	downstreams int = 3
)

// downstream hands out the right to call a thing with its own capacity, as dispatch does.
type downstream struct {
	number  int32
	timeout int64
	most    int
	pacer   pace.Pacer
	breaker *breakermodel.Model // nil: nothing to break
	share   *fair.Scheduler
	lanes   []*lane
	pool    *station // of the hash pool
	askAt   int64    // when pacer or breaker said to ask again; 0: when a call ends
	strain  int      // overloads and time-outs in a row
	outage  int64    // since when the breaker is not closed, and 1; 0: it is
}

func (d *downstream) out() time.Time {
	if d.outage == 0 {
		return time.Time{}
	}
	return at(d.outage - 1)
}

// class is how a call ended.
type class uint8

const (
	classOK class = iota
	classOverload
	classTimeout
	classUnused // the permit was given back
)

// call is one call under a permit; it lives until its work has left the store.
type call struct {
	lane    *lane
	kind    pace.Kind
	granted int
	start   int64
	ticket  breakermodel.Ticket
	jobs    []job
	bulk    bool
	inside  bool  // counted in the store
	ended   bool  // its permit is free: what is left is work that nobody waits for
	fails   bool  // it ends as an overload
	next    int64 // when something is due: the deadline, or the end; 0: not in use
	end     int64 // when the work is done
	person  int32 // of the direct arm, and 1; 0: none
}

func (s *Simulation) makeWork() error {
	cfg := s.cfg
	var err error
	mailRate := cfg.Mail.Rate
	if cfg.Mail.Unpaced {
		mailRate = 0
	}
	storePacer, err := pace.NewChart(pace.ChartConfig{Max: cfg.StoreMax, Headroom: max(0, cfg.Headroom)})
	if err != nil {
		return err
	}
	mailPacer, err := pace.NewChart(pace.ChartConfig{Max: cfg.Mail.Connections, Rate: mailRate, Batch: 1})
	if err != nil {
		return err
	}
	slots := max(1, cfg.Hash.Slots)
	hashPacer, err := pace.NewFixed(pace.Config{Concurrency: slots, Batch: 1})
	if err != nil {
		return err
	}
	for _, d := range []*downstream{
		{number: downStore, timeout: int64(cfg.Work.StoreTimeout), pacer: storePacer},
		{number: downMail, timeout: int64(cfg.Work.MailTimeout), pacer: mailPacer},
		{number: downHash, timeout: int64(cfg.Work.HashTimeout), pacer: hashPacer, most: 2 * slots, pool: newStation(slots, nil)},
	} {
		if d.most == 0 {
			d.most = decide.MostCalls
		}
		if d.pool == nil {
			b := cfg.Work.Breaker
			def(&b.ProbeTimeout, time.Duration(d.timeout)+time.Second) // as downstream.New: the call's own deadline comes first
			def(&b.Window, 2*time.Duration(d.timeout))
			d.breaker = breakermodel.New(b, s.rand.Float64)
		}
		weights := make([]float64, laneCount)
		for i := range weights {
			weights[i] = 1
			if w, ok := cfg.Work.Weights[reset.Lane(i)]; ok {
				weights[i] = w
			}
		}
		if d.share, err = fair.New(weights...); err != nil {
			return err
		}
		s.down[d.number] = d
	}
	s.makeLanes()
	return nil
}

func (s *Simulation) makeLanes() {
	store := s.cfg.Store
	bulk := s.cfg.Work.MailBudget
	if share := bulk.BulkShare * s.cfg.Mail.Rate; share > 0 && !s.cfg.Mail.Unpaced && bulk.Bulk.PerSecond == 0 {
		bulk.Bulk.PerSecond = share // as pkg/config keeps what nobody waits for within its share of the pace
		bulk.Bulk.Burst = 0
	}
	for _, l := range []*lane{
		{name: reset.LaneStart, down: s.down[downStore], kind: decide.KindLookup, limit: store.MaxLookup},
		{name: reset.LaneMail, down: s.down[downMail], kind: decide.KindMain, limit: 1, budget: decide.NewMailBudget(bulk)},
		{name: reset.LaneHash, down: s.down[downHash], kind: decide.KindMain, limit: 1},
		{name: reset.LaneApply, down: s.down[downStore], kind: decide.KindMain, limit: store.MaxSet},
		{name: reset.LaneRevoke, down: s.down[downStore], kind: decide.KindRevoke, limit: store.MaxRevoke, deferred: true},
	} {
		l.meter = decide.NewMeter(s.cfg.Work.Floors[l.name])
		l.down.lanes = append(l.down.lanes, l)
		s.lanes[l.name] = l
	}
}

// serve hands out what permits there are, to every downstream that the turn has touched.
func (s *Simulation) serve() {
	for again := true; again; {
		again = false
		for i := range s.touched {
			if s.touched[i] {
				s.touched[i] = false
				s.handOut(s.down[i])
				again = true
			}
		}
	}
}

func (s *Simulation) handOut(d *downstream) {
	for {
		for _, l := range d.lanes {
			if !l.waiting {
				s.offer(l)
			}
		}
		flow, ok := d.share.Next()
		if !ok || !s.permit(d, s.lanes[flow]) {
			return
		}
	}
}

// minWait is pkg/dispatch's: it keeps a controller that answers with a time just past from spinning.
const minWait = int64(time.Millisecond)

// permit asks pacer and breaker once for the lane that is next, and makes the call; false: not now.
func (s *Simulation) permit(d *downstream, l *lane) bool {
	if d.pacer.Limits().InFlight >= d.most {
		return false
	}
	items := l.asks
	if d.breaker != nil && d.breaker.State() != breaker.Closed {
		items = 1 // a probe risks as little as it can
	}
	now := s.time
	v := d.pacer.Ask(now, l.kind, items)
	if !v.Go {
		if !v.RetryAt.IsZero() {
			s.askAgain(d, v.RetryAt.UnixNano()-epoch*int64(time.Second))
		}
		return false
	}
	var ticket breakermodel.Ticket
	if d.breaker != nil {
		t, retryAt, ok := d.breaker.Allow(time.Duration(s.now))
		if !ok {
			d.pacer.Done(now, pace.Call{Kind: l.kind, Start: now, Unused: v.Items, Outcome: pace.OutcomeCanceled})
			s.askAgain(d, int64(retryAt))
			return false
		}
		ticket = t
	}
	charged := decide.Cost(l.kind, v.Items)
	d.share.Serve(int(l.name), charged)
	l.waiting = false
	number := s.newCall()
	c := s.calls.At(number)
	c.lane, c.kind, c.granted, c.start, c.ticket = l, l.kind, v.Items, s.now, ticket
	if l.budget != nil {
		l.budget.Take(now, l.upTo)
	}
	interactive := l.popped
	c.jobs = s.lease(l, l.upTo, v.Items, c.jobs[:0])
	n := len(c.jobs)
	if l.budget != nil {
		c.bulk = n > 0 && c.jobs[0].who == whoAccount
		l.budget.Leased(now, l.upTo, n > 0, c.bulk)
	}
	l.size.Leased(n, v.Items)
	if n < v.Items {
		cost := 0.
		if n > 0 {
			cost = decide.Cost(l.kind, n)
		}
		d.share.Charge(int(l.name), cost-charged)
	}
	if n == 0 {
		s.endPermit(c, classUnused)
		s.drop(number, c)
		return true
	}
	if l.popped != interactive && (l.name == reset.LaneApply || l.name == reset.LaneHash) {
		for _, j := range c.jobs {
			r := s.crowd.At(int32(j.who - whoFirst))
			r.marks |= leased
			r.place = millis(s.now)
		}
	}
	s.begin(number, c)
	return true
}

func (s *Simulation) newCall() int32 {
	number := s.calls.New()
	c := s.calls.At(number)
	*c = call{jobs: c.jobs[:0]}
	return number
}

func (s *Simulation) drop(number int32, c *call) {
	c.next = 0
	s.calls.Free(number)
}

func (s *Simulation) askAgain(d *downstream, at int64) {
	at = max(at, s.now+minWait)
	if d.askAt == 0 || at < d.askAt {
		d.askAt = at
		s.wheel.Add(at, s.event(eventAsk, d.number))
	}
}

// endPermit gives the permit back.
func (s *Simulation) endPermit(c *call, as class) {
	d := c.lane.down
	s.touched[d.number] = true
	outcome, result := pace.OutcomeOK, breaker.Success
	switch as {
	case classOverload:
		outcome, result = pace.OutcomeOverload, breaker.Failure
	case classTimeout:
		outcome, result = pace.OutcomeTimeout, breaker.Failure
	case classUnused:
		outcome, result = pace.OutcomeCanceled, breaker.Ignored
	case classOK:
	}
	if as != classOK && c.kind == decide.KindRevoke && d.number == downStore { // says nothing of the store's own calls
		outcome, result = pace.OutcomeCanceled, breaker.Ignored
	}
	before := breaker.Closed
	if d.breaker != nil {
		if before = d.breaker.State(); before != breaker.Open {
			d.breaker.Report(time.Duration(s.now), c.ticket, result)
		}
	}
	items := len(c.jobs)
	d.pacer.Done(s.time, pace.Call{Kind: c.kind, Start: at(c.start), Items: items, Unused: c.granted - items, Outcome: outcome})
	if d.breaker == nil {
		return
	}
	after := d.breaker.State()
	if before != breaker.Closed && after == breaker.Closed {
		d.pacer.Resume(s.time)
	}
	switch {
	case after == breaker.Closed:
		d.outage = 0
	case d.outage == 0:
		d.outage = s.now + 1
		s.result.trips++
	}
}

const laneCount = int(reset.LaneCampaign) + 1

// job is one unit of work, in 12 bytes.
type job struct {
	accept uint32 // ms
	asked  uint32 // ms: when the person's call was accepted that it follows from
	who    uint32
}

// Who a job is for.
const (
	whoStranger uint32 = iota // no such account
	whoAccount                // an account whose person does not wait for it: confirmations, revocations
	whoFirst                  // the person with number 0
)

func whoPerson(i int32) uint32 { return uint32(i) + whoFirst }

// lane is jobs of one kind, and the runner that asks permits for them.
type lane struct {
	name  reset.Lane
	down  *downstream
	kind  pace.Kind
	limit int
	meter *decide.Meter
	size  decide.Size

	lines    [3]fifo[job] // by class
	due      fifo[job]    // whose time to be tried again has come
	retrying int          // between tries, due ones included
	leased   int
	pushed   uint32 // interactive ones so far
	popped   uint32
	peak     int

	budget   *decide.MailBudget // of the mail lane
	deferred bool               // rests from brownout level 1 on
	working  bool               // as the meter was told
	waiting  bool               // for a permit
	asks     int                // for so many jobs
	upTo     reset.Class        // of which classes
}

func (l *lane) held() int {
	return l.lines[0].Len() + l.lines[1].Len() + l.lines[2].Len() + l.retrying + l.leased
}

func (l *lane) stats() queue.LaneStats {
	s := queue.LaneStats{Leased: uint64(l.leased), Retrying: uint64(l.retrying)}
	for class := range l.lines {
		s.Waiting[class] = uint64(l.lines[class].Len())
	}
	if l.lines[reset.ClassInteractive].Len() > 0 {
		s.OldestAccept = at(int64(l.lines[reset.ClassInteractive].First().accept) * int64(time.Millisecond))
	}
	return s
}

// backlog is what could be leased.
func (l *lane) backlog(upTo reset.Class) int {
	n := l.due.Len()
	for class := range int(upTo) + 1 {
		n += l.lines[class].Len()
	}
	return n
}

// What a job takes. The engine counts its header and its sealed payload; a test holds the payloads to what seal makes of
// usual ones. On disk 15 million tickets took 1.67 GB (`storm bench --only tickets`), 111 bytes each, of which 16 are what
// its payloads hold beside zeros; a sealed payload is as long on disk as it is.
const (
	jobHeader     = 116
	jobOnDisk     = 111 - 16
	payloadStart  = 80
	payloadMail   = 128
	payloadSecret = 288 // token, password and account
	payloadRevoke = 80
)

func payload(l reset.Lane) int64 {
	switch l {
	case reset.LaneStart:
		return payloadStart
	case reset.LaneMail:
		return payloadMail
	case reset.LaneRevoke:
		return payloadRevoke
	default:
		return payloadSecret
	}
}

// jobBytes is what a job counts for in the queue's bytes.
func jobBytes(l reset.Lane) int64 { return jobHeader + payload(l) }

// push puts a job in line and returns its place.
func (s *Simulation) push(name reset.Lane, class reset.Class, j job) (place uint32) {
	l := s.lanes[name]
	j.accept = millis(s.now)
	l.lines[class].Push(j)
	s.gateway.bytes += jobBytes(name)
	s.gateway.disk += jobOnDisk + payload(name)
	s.result.enqueued++
	if class == reset.ClassInteractive {
		l.pushed++
	}
	if n := l.held(); n > l.peak {
		l.peak = n
	}
	s.result.peakBytes = max(s.result.peakBytes, s.gateway.disk)
	if !l.waiting {
		s.touched[l.down.number] = true
	}
	return l.pushed - 1
}

// lease takes up to n jobs out: those to be tried again, then class by class.
func (s *Simulation) lease(l *lane, upTo reset.Class, n int, jobs []job) []job {
	for ; n > 0 && l.due.Len() > 0; n-- {
		jobs = append(jobs, l.due.Pop())
		l.retrying--
	}
	for class := reset.ClassInteractive; class <= upTo && n > 0; class++ {
		line := &l.lines[class]
		for ; n > 0 && line.Len() > 0; n-- {
			jobs = append(jobs, line.Pop())
			if class == reset.ClassInteractive {
				l.popped++
			}
		}
	}
	l.leased += len(jobs)
	return jobs
}

// offer lets the runner of a lane ask for a permit, if it has work and does not wait for one.
func (s *Simulation) offer(l *lane) {
	if l.backlog(reset.ClassDeferrable) == 0 {
		s.meters(l, false)
		return
	}
	upTo := reset.ClassDeferrable
	if s.gateway.level >= 1 {
		upTo = reset.ClassSuspect
	}
	ok := !l.deferred || s.gateway.level == 0
	limits := l.down.pacer.Limits()
	if upTo == reset.ClassDeferrable && l.lines[upTo].Len() == 0 && l.due.Len() == 0 {
		upTo = reset.ClassSuspect // the same, and the bulk budget need not be asked
	}
	if ok && l.budget != nil {
		t := l.budget.Terms(s.time, upTo, limits.Concurrency)
		upTo, ok = t.UpTo, t.OK
		if t.Wait > 0 {
			s.askAgain(l.down, s.now+int64(t.Wait))
		}
	}
	backlog := l.backlog(upTo)
	s.meters(l, backlog > 0 && (ok || l.budget != nil))
	if !ok || backlog == 0 {
		return
	}
	l.asks, l.upTo, l.waiting = l.size.Want(backlog, limits.Concurrency-limits.InFlight, l.limit), upTo, true
	l.down.share.Wait(int(l.name))
}

// meters tells the lane's meter whether it has work.
func (s *Simulation) meters(l *lane, working bool) {
	if working == l.working {
		return
	}
	if l.working = working; working {
		l.meter.Busy(s.time)
	} else {
		l.meter.Idle(s.time)
	}
}

// termsChanged makes every runner that waits for a permit look again at what it may ask for.
func (s *Simulation) termsChanged() {
	for _, l := range s.lanes {
		if l == nil {
			continue
		}
		if l.waiting {
			l.waiting = false
			l.down.share.Leave(int(l.name))
		}
		s.touched[l.down.number] = true
	}
}
