package simulate

import (
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// gateway is the request side.
type gateway struct {
	s         *Simulation
	admission *admission.Admission
	ladder    *admission.Ladder
	level     int
	stats     queue.Stats
	published [laneCount]reset.Pace
	seen      map[reset.Lane]reset.Pace // of what was published, the view's
	view      *gate.View
	since     [laneCount]uint64 // accepted since the view was read, by the lane that they enter first
	free      [laneCount]uint64 // for so many since then there is room in time, by the view
	first     reset.Lane        // of completions
	bytes     int64             // of the jobs held, as the engine counts them
	disk      int64             // and as they are on disk
}

func newGateway(s *Simulation) (*gateway, error) {
	rules := s.cfg.Admission
	// People's own buckets are in their records. This one they would all share: it never empties, nor fills.
	rules.Client = admission.Rule{Rate: admission.Rate{Count: 1, Per: 24 * time.Hour}, Burst: 2_000_000_000}
	a, err := admission.New(rules, admission.Deps{Random: s.rand.Float64})
	if err != nil {
		return nil, err
	}
	g := &gateway{
		s: s, admission: a, ladder: admission.NewLadder(admission.LadderConfig{}), first: reset.LaneApply,
		stats: queue.Stats{Lanes: map[reset.Lane]queue.LaneStats{}, MaxBytes: uint64(s.cfg.QueueBytes)},
		seen:  map[reset.Lane]reset.Pace{},
	}
	g.view = gate.NewView(g.stats, g.seen)
	if s.cfg.Hash.Slots > 0 {
		g.first = reset.LaneHash
	}
	g.read()
	return g, nil
}

// read brings the view up to date, as pkg/gate reads a new one twice a second.
func (g *gateway) read() {
	held := 0
	for _, l := range g.s.lanes {
		if l == nil {
			continue
		}
		g.stats.Lanes[l.name] = l.stats()
		held += l.held()
		if p := g.published[l.name]; p.Lane == l.name {
			g.seen[l.name] = p
		}
	}
	g.stats.Bytes, g.stats.Held = uint64(g.bytes), uint64(held)
	g.since = [laneCount]uint64{}
	g.free = [laneCount]uint64{}
	for _, lane := range [...]reset.Lane{reset.LaneStart, g.first} {
		// ETAs grow with time and with what is ahead: where there is room for many until the next read, nobody needs to ask.
		soon := at(g.s.now + int64(lookEvery))
		if _, full := g.view.Over(g.s.cfg.Gate, lane, reset.ClassSuspect, many, soon); !full {
			g.free[lane] = many
		}
	}
}

// many is more than come between two reads.
const many = 1 << 17

// held counts the jobs held.
func (g *gateway) held() int {
	n := 0
	for _, l := range g.s.lanes {
		if l != nil {
			n += l.held()
		}
	}
	return n
}

// look is the ladder's and the view's turn.
func (g *gateway) look() {
	g.read()
	now := g.s.time
	signals := g.s.cfg.Gate.Signals(g.stats, now)
	level, cause := g.ladder.Step(now, signals)
	g.s.result.looked(g.s, signals.OldestInteractiveWait, level)
	if level == g.level {
		return
	}
	g.level = level
	g.admission.SetLevel(level, cause)
	g.s.termsChanged()
}

// publish tells the request side what the lanes can do, once a second as pkg/dispatch does.
func (g *gateway) publish() {
	now := g.s.time
	for _, l := range g.s.lanes {
		if l != nil {
			g.published[l.name] = decide.Published(l.name, l.stats(), l.down.out(), l.meter, now)
		}
	}
}

// call answers a call; false: the answer is held.
func (g *gateway) call(i int32, r *record, op people.Op, a *people.Answer) bool {
	var err error
	switch op {
	case people.OpStart:
		err = g.start(i, r)
	case people.OpCheck:
		err = g.check(r)
	case people.OpComplete:
		if err = g.complete(i, r); err == nil {
			if g.level == 0 && g.s.behaviour.Config().Wait > 0 {
				return false
			}
			*a = g.ticket(r)
		}
	default:
		*a = g.ticket(r)
	}
	if err != nil {
		*a = g.refused(err)
	}
	return true
}

// spend takes a token of the person's own bucket, whose address and device nobody shares.
func (g *gateway) spend(r *record) error {
	var ok bool
	var wait time.Duration
	if r.bucket, wait, ok = spend(g.s.cfg.Admission.Client, r.bucket, g.s.now); ok || g.s.cfg.Admission.Client.DryRun {
		return nil
	}
	wait = max(wait, time.Second) // as pkg/admission's jitter
	return &reset.Error{Kind: reset.KindLimitClient, RetryAfter: wait + time.Duration(g.s.rand.Float64()*float64(wait)/2)}
}

// spend takes a token of a bucket that is full again at a time, in ms; or tells how long until it holds one.
func spend(rule admission.Rule, full uint32, now int64) (after uint32, wait time.Duration, ok bool) {
	each := float64(time.Second/time.Millisecond) / rule.Rate.PerSecond() // ms a token
	ms := float64(now) / float64(time.Millisecond)
	f := max(float64(full), ms)
	if over := f + each - ms - each*float64(rule.Burst); over > 0.5 { // the half that full was rounded by
		return full, time.Duration(over * float64(time.Millisecond)), false
	}
	return uint32(f + each + .5), 0, true
}

func (g *gateway) start(i int32, r *record) error {
	class := reset.ClassInteractive
	if r.Attacker() && g.s.behaviour.Flagged(&r.Person) {
		class = reset.ClassSuspect
	}
	now := g.s.time
	permit, err := g.admission.Admit(now, admission.Request{Op: admission.OpStart, Suspect: class == reset.ClassSuspect})
	if err != nil {
		return err
	}
	if err := g.spend(r); err != nil {
		permit.GiveBack(now)
		return err
	}
	if err := g.room(reset.LaneStart, class, now); err != nil {
		permit.GiveBack(now)
		return err
	}
	g.since[reset.LaneStart]++
	who := whoStranger
	if !r.Attacker() {
		if r.is(startOpen) { // one open start job an identifier
			g.s.result.coalesced++
			return nil
		}
		r.marks |= startOpen
		r.refs++
		who = whoPerson(i)
	}
	g.s.push(reset.LaneStart, class, job{asked: millis(g.s.now), who: who})
	return nil
}

// room is what cannot be finished in time, or finds no place.
func (g *gateway) room(lane reset.Lane, class reset.Class, now time.Time) error {
	random := g.s.rand.Float64
	if g.since[lane] < g.free[lane] && g.bytes+jobBytes(lane) <= g.s.cfg.QueueBytes {
		return nil
	}
	if over, full := g.view.Over(g.s.cfg.Gate, lane, class, g.since[lane], now); full {
		return &reset.Error{Kind: reset.KindQueueFull, RetryAfter: gate.FullAfter(over, random())}
	}
	if g.bytes+jobBytes(lane) > g.s.cfg.QueueBytes {
		rate := max(1, g.seen[lane].Rate)
		room := time.Duration(min(3600, float64(g.held())/100/rate) * float64(time.Second))
		return &reset.Error{Kind: reset.KindQueueFull, RetryAfter: gate.FullAfter(room, random())}
	}
	return nil
}

func (g *gateway) check(r *record) error {
	now := g.s.time
	_, err := g.admission.Admit(now, admission.Request{Op: admission.OpCheckToken})
	if err != nil || g.s.linkGood(r) {
		return err
	}
	return g.expired(r)
}

// expired is the answer to a link that has expired; guessing costs the client.
func (g *gateway) expired(r *record) error {
	if limit := g.spend(r); limit != nil {
		return limit
	}
	return &reset.Error{Kind: reset.KindTokenExpired}
}

func (g *gateway) complete(i int32, r *record) error {
	now := g.s.time
	permit, err := g.admission.Admit(now, admission.Request{Op: admission.OpComplete})
	if err != nil {
		return err
	}
	if !g.s.linkGood(r) {
		return g.expired(r)
	}
	if err := g.room(g.first, reset.ClassInteractive, now); err != nil {
		permit.GiveBack(now)
		return err
	}
	g.since[g.first]++
	if g.first == reset.LaneHash {
		r.marks |= hashing
	}
	r.refs++
	r.place = g.s.push(g.first, reset.ClassInteractive, job{asked: millis(g.s.now), who: whoPerson(i)})
	return nil
}

// ticket is where a completion stands.
func (g *gateway) ticket(r *record) people.Answer {
	if r.is(applied) {
		return people.Answer{State: resetv1.State_STATE_DONE}
	}
	lane := reset.LaneApply
	if r.is(hashing) {
		lane = reset.LaneHash
	}
	st := queue.Status{State: reset.StateAccepted, Lane: lane}
	if r.is(leased) {
		st.State, st.UpdateTime = reset.StateRunning, at(int64(r.place)*int64(time.Millisecond))
	} else {
		st.Ahead = uint64(r.place - g.s.lanes[lane].popped + 1)
	}
	eta := g.view.ETA(reset.Ref{Lane: g.first}, st, g.s.time)
	return people.Answer{State: r.proto(), PollAfter: g.s.pollAfter(eta)}
}

// maxPushback is pkg/resetapi's: the longest time that a client is made to hold a call for its retry.
const maxPushback = 30 * time.Second

// refused is what a person's client gets of a refusal.
func (g *gateway) refused(err error) people.Answer {
	var e *reset.Error
	if !errors.As(err, &e) {
		panic("simulate: a refusal that is none: " + err.Error())
	}
	g.s.result.refused(e)
	a := people.Answer{Code: codes.ResourceExhausted, RetryAfter: e.RetryAfter, Pushback: e.RetryAfter}
	switch {
	case e.Kind == reset.KindTokenExpired:
		a = people.Answer{Code: codes.FailedPrecondition}
	case e.RetryAfter >= maxPushback || e.RetryAfter >= g.s.behaviour.Config().Deadline:
		a.Pushback = -1
	}
	return a
}
