package simulate

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/reset"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// record is one person while they are there, and what gateway and store hold of their account: 88 bytes.
type record struct {
	people.Person
	budget uint32 // ms at which the identifier's budget is full again
	bucket uint32 // the same of the buckets of their address and device, which are theirs alone and so are one
	link   uint32 // ms of the last link's hand-off, and 1; 0: none
	place  uint32 // of their completion in its lane; once it is leased, when that was, in ms
	refs   uint8  // jobs and events that name them
	marks  marks
}

// marks are what is true of a person's work.
type marks uint16

const (
	startOpen marks = 1 << iota // a start job of theirs is in line
	mailOpen                    // a link mail
	held                        // their completion's answer is held
	leased                      // their completion is being worked, or between tries
	hashing                     // it is in the hash lane
	written                     // the store has it, whoever knows
	applied                     // and the gateway knows
	gone                        // the person has ended
)

func (r *record) is(m marks) bool { return r.marks&m != 0 }

// come is an arrival.
func (s *Simulation) come(a model.Arrival) {
	i := s.crowd.New()
	r := s.crowd.At(i)
	var next people.Next
	*r = record{}
	if a.Source == model.SourceAttack {
		r.Person, next = s.behaviour.Attacker(a.Person, a.At)
		s.result.arm.Attackers++
	} else {
		r.Person, next = s.behaviour.Person(a.Person, a.At)
		s.result.arm.People++
	}
	r.refs = 1 // the person
	s.follow(i, r, next, s.now)
}

// follow does what a person does next.
func (s *Simulation) follow(i int32, r *record, next people.Next, now int64) {
	switch next.Do {
	case people.End:
		s.result.ended(r.Outcome(time.Duration(now)), r.Attacker(), now)
		r.marks |= gone
		s.release(i, r)
	case people.Make:
		if now > s.now { // a client that calls again at once
			s.wheel.Add(now, s.event(eventOp+uint32(next.Op), i))
			r.refs++
			return
		}
		s.call(i, r, next.Op)
	case people.Wait:
		if r.Due != people.Never {
			s.wheel.Add(int64(r.Due), s.event(eventWake, i))
			r.refs++
		}
	}
}

// release takes away one of those who name the record.
func (s *Simulation) release(i int32, r *record) {
	if r.refs--; r.refs == 0 {
		s.crowd.Free(i)
	}
}

func (s *Simulation) wake(i int32) {
	r := s.crowd.At(i)
	if !r.is(gone) && int64(r.Due) == s.now {
		owed := r.Owed()
		next := s.behaviour.Wake(&r.Person)
		s.result.owe(owed, r.Owed())
		s.follow(i, r, next, s.now)
	}
	s.release(i, r)
}

func (s *Simulation) repeat(i int32, op people.Op) {
	r := s.crowd.At(i)
	s.call(i, r, op)
	s.release(i, r)
}

// call is a person's call.
func (s *Simulation) call(i int32, r *record, op people.Op) {
	s.result.sent(r.Attacker())
	var a people.Answer
	if s.cfg.Arm == ArmDirect {
		if !s.direct(i, r, op, &a) {
			return // answered when the handler's call ends
		}
	} else if !s.gateway.call(i, r, op, &a) {
		s.hold(i, r)
		return
	}
	s.answer(i, r, a, s.now+int64(s.cfg.Latency))
}

// answer tells a person the answer to the call that was out.
func (s *Simulation) answer(i int32, r *record, a people.Answer, now int64) {
	if a.Code != codes.OK {
		s.result.failed(r.Attacker())
	}
	owed := r.Owed()
	next := s.behaviour.Answered(&r.Person, time.Duration(now), a)
	s.result.owe(owed, r.Owed())
	s.follow(i, r, next, now)
}

// hold is an answer that is held; all are for the same time.
type hold struct {
	until int64
	who   int32
}

func (s *Simulation) hold(i int32, r *record) {
	r.marks |= held
	r.refs++
	s.result.flying(1)
	h := hold{s.now + int64(s.behaviour.Config().Wait), i}
	s.holds.Push(h)
	if !s.awaited {
		s.awaited = true
		s.wheel.Add(h.until, s.event(eventHeld, 0))
	}
}

// heldLongEnough ends the waits that are over. Most had ended before, with their completion: one event stands for them all.
func (s *Simulation) heldLongEnough() {
	for s.holds.Len() > 0 {
		h := s.holds.First()
		r := s.crowd.At(h.who)
		if r.is(held) && h.until > s.now {
			s.wheel.Add(h.until, s.event(eventHeld, 0))
			return
		}
		s.holds.Pop()
		if r.is(held) {
			s.unhold(h.who, r)
		}
		s.release(h.who, r)
	}
	s.awaited = false
}

// unhold answers a held completion with the ticket as it stands.
func (s *Simulation) unhold(i int32, r *record) {
	r.marks &^= held
	s.result.flying(-1)
	s.answer(i, r, s.gateway.ticket(r), s.now+int64(s.cfg.Latency))
}

// mailed is the hand-off of a link.
func (s *Simulation) mailed(i int32, r *record) {
	r.link = millis(s.now) + 1
	r.marks &^= mailOpen
	if s.state.mailDelay == 0 {
		s.deliver(i, r)
		return
	}
	s.wheel.Add(s.now+int64(s.state.mailDelay), s.event(eventMail, i))
	r.refs++
}

// inbox is a link's coming to the person.
func (s *Simulation) inbox(i int32) {
	r := s.crowd.At(i)
	s.deliver(i, r)
	s.release(i, r)
}

func (s *Simulation) deliver(i int32, r *record) {
	if r.is(gone) {
		return
	}
	owed, due := r.Owed(), r.Due
	next := s.behaviour.Mailed(&r.Person, time.Duration(s.now))
	s.result.owe(owed, r.Owed())
	if r.Due != due {
		s.follow(i, r, next, s.now)
	}
}

// linkGood tells whether the person's last link can be used.
func (s *Simulation) linkGood(r *record) bool {
	return r.link != 0 && s.now < (int64(r.link-1))*int64(time.Millisecond)+int64(s.cfg.Work.LinkTTL)
}

// millis is a moment in ms since the run began; Config bounds it to 30 days.
func millis(ns int64) uint32 { return uint32(ns / int64(time.Millisecond)) }

// proto is the ticket of a completion that is not final.
func (r *record) proto() resetv1.State {
	if r.is(leased) {
		return resetv1.State_STATE_RUNNING
	}
	return resetv1.State_STATE_ACCEPTED
}

// pollAfter draws when a person is told to ask again.
func (s *Simulation) pollAfter(eta reset.ETA) time.Duration {
	return gate.PollAfter(eta, s.rand.Float64())
}

// callers are those of a scenario who call a gateway by themselves: scanners only fetch links, and a client in a loop is
// refused by its own bucket after the first twenty calls, which costs a store nothing.
type callers struct{ all *model.Arrivals }

// Next implements arriving.
func (c callers) Next() (model.Arrival, bool) {
	for {
		a, ok := c.all.Next()
		if !ok || a.Source != model.SourceScan && a.Source != model.SourceLoop {
			return a, ok
		}
	}
}
