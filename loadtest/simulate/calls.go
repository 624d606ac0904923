package simulate

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// refusal is how long a downstream takes to refuse a call, and a death to break one.
const refusal = int64(time.Millisecond)

// begin hands a call to its downstream.
func (s *Simulation) begin(number int32, c *call) {
	switch c.lane.down.number {
	case downStore:
		s.enter(number, c)
	case downMail:
		c.end = s.now + int64(s.cfg.Mail.Latency)
		if s.state.mailRefuses > 0 || !s.mail.Take(s.now, s.state.mailEach) {
			c.end, c.fails = s.now+refusal, true
			s.result.mailRefusals++
		}
	default:
		c.end = c.lane.down.pool.Enter(s.now, 1, s.cfg.Hash.Time)
	}
	s.expect(number, c, c.lane.down.timeout)
}

// expect waits for the call's end or its deadline, whichever comes first.
func (s *Simulation) expect(number int32, c *call, timeout int64) {
	c.next = min(c.end, c.start+timeout)
	s.wheel.Add(c.next, s.event(eventCall, number))
}

// enter is a call's way into the store.
func (s *Simulation) enter(number int32, c *call) {
	st := s.store
	if s.now < st.Down {
		c.end, c.fails = s.now+refusal, true
		return
	}
	items := len(c.jobs)
	c.inside = true
	st.Calls++
	st.Items += items
	cfg := s.cfg.Store
	if cfg.MemoryBound > 0 && st.Items*cfg.RequestMemory > cfg.MemoryBound {
		c.next = s.now // not in any event yet
		s.crash(cfg.Restart)
		return
	}
	each := cfg.WriteTime
	switch c.kind {
	case decide.KindLookup:
		each = cfg.LookupTime
	case decide.KindRevoke:
		each = cfg.RevokeTime
	}
	again := 0 // passwords that the store has already
	if c.kind == decide.KindMain {
		for _, j := range c.jobs {
			if s.crowd.At(int32(j.who - whoFirst)).is(written) {
				again++
			}
		}
	}
	switch {
	case cfg.Batched:
		c.end = st.Enter(s.now, 1, cfg.BatchTime+time.Duration(items-again)*each+time.Duration(again)*cfg.LookupTime)
	default:
		c.end = st.Enter(s.now, items-again, each)
		if again > 0 {
			c.end = max(c.end, st.Enter(s.now, again, cfg.LookupTime))
		}
	}
}

// crash breaks all that is in the store.
func (s *Simulation) crash(restart time.Duration) {
	s.result.arm.StoreCrashes++
	s.store.Die(s.now, restart, s.cfg.Store.ColdFor)
	for number := range s.calls.Used() {
		c := s.calls.At(number)
		if c.next == 0 || !c.inside {
			continue
		}
		c.inside, c.end = false, s.now+refusal
		if !c.ended {
			c.fails = true
		}
		if c.next > c.end {
			c.next = c.end
			s.wheel.Add(c.next, s.event(eventCall, number))
		}
	}
}

// callEvent is a call's end, its deadline, or the end of work that nobody waits for.
func (s *Simulation) callEvent(number int32) {
	c := s.calls.At(number)
	if c.next != s.now {
		return // it was broken before
	}
	done := s.now >= c.end
	if done && c.inside {
		c.inside = false
		s.store.Calls--
		s.store.Items -= len(c.jobs)
	}
	as := classOK
	switch {
	case c.fails:
		as = classOverload
	case !done:
		as = classTimeout
	}
	if !c.ended {
		c.ended = true
		if c.person > 0 {
			s.directEnded(c, as)
		} else {
			s.seen(c.lane.down, as)
			s.endPermit(c, as)
			if c.bulk {
				c.lane.budget.Done()
			}
			s.settle(c, as)
		}
	}
	if done {
		s.drop(number, c)
		return
	}
	c.next = c.end
	if c.end != never {
		s.wheel.Add(c.end, s.event(eventCall, number))
	}
}

func (s *Simulation) seen(d *downstream, as class) {
	if as == classOK {
		d.strain = 0
	} else {
		d.strain++
	}
}

// settle ends the jobs of a call, or puts them back.
func (s *Simulation) settle(c *call, as class) {
	l := c.lane
	l.leased -= len(c.jobs)
	if as != classOK {
		for _, j := range c.jobs {
			if as == classTimeout && l.name == reset.LaneApply {
				s.crowd.At(int32(j.who - whoFirst)).marks |= written
			}
		}
		s.putBack(l, c.jobs)
		return
	}
	took := time.Duration(s.now - c.start)
	for _, j := range c.jobs {
		l.meter.Ended(took)
		s.gateway.bytes -= jobBytes(l.name)
		s.gateway.disk -= jobOnDisk + payload(l.name)
		s.result.endedJobs++
		s.endJob(l, j)
	}
}

// putBack lets jobs rest, each call's together, until they are tried again.
func (s *Simulation) putBack(l *lane, jobs []job) {
	l.retrying += len(jobs)
	number := s.newCall()
	c := s.calls.At(number)
	c.lane, c.jobs, c.ended = l, append(c.jobs, jobs...), true
	wait := decide.Overloaded(s.cfg.Work.OverloadDelay, l.down.strain, s.rand.Float64())
	s.wheel.Add(s.now+int64(wait), s.event(eventBack, number))
}

// back puts jobs in line again.
func (s *Simulation) back(number int32) {
	c := s.calls.At(number)
	for _, j := range c.jobs {
		c.lane.due.Push(j)
	}
	if !c.lane.waiting {
		s.touched[c.lane.down.number] = true
	}
	s.drop(number, c)
}

// endJob is what follows a job that is done.
func (s *Simulation) endJob(l *lane, j job) {
	switch l.name {
	case reset.LaneStart:
		s.lookedUp(j)
	case reset.LaneMail:
		if j.who >= whoFirst {
			i := int32(j.who - whoFirst)
			r := s.crowd.At(i)
			s.result.mailed(millis(s.now) - j.asked)
			s.mailed(i, r)
			s.release(i, r)
		} else {
			s.result.bulkMails++
		}
	case reset.LaneHash:
		r := s.crowd.At(int32(j.who - whoFirst))
		r.marks &^= hashing | leased
		r.place = s.push(reset.LaneApply, reset.ClassInteractive, j)
	case reset.LaneApply:
		s.applied(j)
	default: // a revocation
	}
}

// lookedUp is a start job's end: a mail for who has an account.
func (s *Simulation) lookedUp(j job) {
	switch j.who {
	case whoStranger:
	case whoAccount:
		s.push(reset.LaneMail, reset.ClassDeferrable, j)
	default:
		i := int32(j.who - whoFirst)
		r := s.crowd.At(i)
		r.marks &^= startOpen
		if !s.spend(r) {
			s.result.withheld++
		} else if !r.is(mailOpen) { // one unsent link mail an account
			r.marks |= mailOpen
			r.refs++
			s.push(reset.LaneMail, reset.ClassInteractive, j)
		}
		s.release(i, r)
	}
}

// spend takes a link mail from the identifier's budget, as dispatch's ledger does: over it a mail is withheld only while
// the last link is good. The account's budget of a day is wider than what one person asks for.
func (s *Simulation) spend(r *record) bool {
	b := s.cfg.Work.Identifier
	interval := millis(int64(b.Per) / int64(b.Mails))
	now := millis(s.now)
	if r.budget > now+interval*uint32(b.Burst-1) {
		return !s.linkGood(r) || r.is(written|applied)
	}
	r.budget = max(r.budget, now) + interval
	return true
}

// applied is a completion's end: sessions and a confirmation follow, and whoever holds for it is told.
func (s *Simulation) applied(j job) {
	i := int32(j.who - whoFirst)
	r := s.crowd.At(i)
	r.marks = r.marks&^leased | applied | written
	s.result.applied++
	if s.behaviour.SignOut(&r.Person) != resetv1.SignOut_SIGN_OUT_KEEP {
		s.push(reset.LaneRevoke, reset.ClassDeferrable, job{asked: j.asked, who: whoAccount})
	}
	s.push(reset.LaneStart, reset.ClassDeferrable, job{asked: j.asked, who: whoAccount})
	if r.is(held) {
		s.unhold(i, r)
	}
	s.release(i, r)
}

// direct is the handler of the arm without a gateway; false: the answer comes when its call to the store ends.
func (s *Simulation) direct(i int32, r *record, op people.Op, a *people.Answer) bool {
	switch op {
	case people.OpStart:
		s.callDirectly(i, r, decide.KindLookup)
		return false
	case people.OpTicket:
		a.State = resetv1.State_STATE_DONE // nothing remembers it
		return true
	}
	if !s.linkGood(r) {
		a.Code = codes.FailedPrecondition
		return true
	}
	if op == people.OpComplete {
		s.callDirectly(i, r, decide.KindMain)
	}
	return op == people.OpCheck
}

func (s *Simulation) callDirectly(i int32, r *record, kind pace.Kind) {
	number := s.newCall()
	c := s.calls.At(number)
	who := whoPerson(i)
	if r.Attacker() {
		who = whoStranger
	}
	c.kind, c.start, c.person, c.jobs = kind, s.now, i+1, append(c.jobs, job{asked: millis(s.now), who: who})
	r.refs++
	r.marks &^= written // an UPDATE is new with every call
	s.result.flying(1)
	s.enter(number, c)
	s.expect(number, c, int64(s.cfg.Direct.Timeout))
}

// directEnded is the end of a handler's call to the store, or of its patience.
func (s *Simulation) directEnded(c *call, as class) {
	i := c.person - 1
	r := s.crowd.At(i)
	s.result.flying(-1)
	a := people.Answer{}
	switch {
	case as == classTimeout:
		a.Code = codes.DeadlineExceeded
		if c.kind == decide.KindMain {
			r.marks |= applied // it will be, and nobody is told
		}
	case as == classOverload:
		a.Code = codes.Unavailable
	case c.kind == decide.KindLookup && !r.Attacker():
		if s.state.mailRefuses > 0 || !s.mail.Take(s.now, s.state.mailEach) {
			s.result.mailRefusals++
			a.Code = codes.Internal
			break
		}
		s.result.mailed(millis(s.now) - c.jobs[0].asked)
		s.mailed(i, r)
	case c.kind == decide.KindMain:
		r.marks |= applied
		s.result.applied++
		if s.behaviour.SignOut(&r.Person) != resetv1.SignOut_SIGN_OUT_KEEP {
			s.callDirectly(i, r, decide.KindRevoke)
			s.release(i, r)
			return
		}
		a.State = resetv1.State_STATE_DONE
	case c.kind == decide.KindRevoke:
		a.State = resetv1.State_STATE_DONE
	}
	s.answer(i, r, a, s.now+int64(s.cfg.Latency))
	s.release(i, r)
}
