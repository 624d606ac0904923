package crowd

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/wire"
)

// arrival is an Arrival as an event.
type arrival struct {
	crowd *Crowd
	Arrival
}

// Fire implements schedule.Event.
func (a *arrival) Fire(_ *schedule.Loop, at time.Duration) {
	c := a.crowd
	switch a.Who {
	case Lone:
		c.report.Lone++
		c.out++
		c.send(&entry{crowd: c, lone: true, office: a.Office, client: a.Client, person: people.Person{ID: a.Number}}, a.Op, at, a.deadline())
	case Attacker:
		c.report.Attackers++
		p, next := c.behaviour.Attacker(a.Number, at)
		c.enter(&entry{crowd: c, person: p}, next, at, a.deadline())
	default:
		p, next := c.behaviour.Person(a.Number, at)
		c.deps.Recorder.Came()
		e := &entry{crowd: c, person: p, identifier: c.deps.Identifier(a.Number), office: a.Office}
		e.sharing = c.byMail[e.identifier]
		c.byMail[e.identifier] = e
		c.queue(e, at)
		c.enter(e, next, at, a.deadline())
	}
}

func (a *arrival) deadline() time.Duration {
	if a.Deadline > 0 {
		return a.Deadline
	}
	return a.crowd.cfg.People.Deadline
}

// entry is somebody inside. As an event it is the person's waking.
type entry struct {
	crowd      *Crowd
	person     people.Person
	identifier string
	office     uint64
	client     string
	mail       string // the token of the newest mail
	token      string // that is being used
	ticket     string
	sharing    *entry // the next of those with the same identifier, where there are fewer accounts than people
	came       time.Duration
	older      *entry // of people inside, in the order of their coming
	younger    *entry
	owed       bool
	lone       bool
}

// Fire implements schedule.Event. A person who has been moved by something else since is not due any more.
func (e *entry) Fire(_ *schedule.Loop, at time.Duration) {
	if e.person.Due == at {
		e.crowd.move(e, e.crowd.behaviour.Wake(&e.person), at)
	}
}

func (c *Crowd) enter(e *entry, next people.Next, at, deadline time.Duration) {
	c.inside[e] = struct{}{}
	c.send(e, next.Op, at, deadline)
}

// move does what a person does next; at is when they decided on it.
func (c *Crowd) move(e *entry, next people.Next, at time.Duration) {
	c.moved = c.loop.Now()
	c.owe(e, e.person.Owed())
	switch next.Do {
	case people.Make:
		c.send(e, next.Op, at, c.cfg.People.Deadline)
	case people.End:
		c.leave(e)
	case people.Wait:
		switch {
		case e.person.Due != people.Never:
			c.loop.At(e.person.Due, e)
		case c.deps.Mails == nil:
			c.leave(e) // nothing can move them any more
		}
	}
}

func (c *Crowd) leave(e *entry) {
	c.owe(e, false)
	delete(c.inside, e)
	if !e.person.Attacker() {
		c.forget(e)
		c.unqueue(e)
		c.deps.Recorder.Ended(e.person.Outcome(c.loop.Now()))
	}
	c.endIfOver()
}

// queue adds a person who has just come to those inside.
func (c *Crowd) queue(e *entry, at time.Duration) {
	e.came, e.older = at, c.youngest
	if c.youngest != nil {
		c.youngest.younger = e
	} else {
		c.oldest = e
		c.deps.Recorder.Oldest(at)
	}
	c.youngest = e
}

func (c *Crowd) unqueue(e *entry) {
	if e.younger != nil {
		e.younger.older = e.older
	} else {
		c.youngest = e.older
	}
	if e.older != nil {
		e.older.younger = e.younger
		return
	}
	c.oldest = e.younger
	if c.oldest == nil {
		c.deps.Recorder.Oldest(measure.Nobody)
		return
	}
	c.deps.Recorder.Oldest(c.oldest.came)
}

// forget takes somebody out of those who may get a mail.
func (c *Crowd) forget(e *entry) {
	first := c.byMail[e.identifier]
	switch {
	case first != e:
		for ; first != nil; first = first.sharing {
			if first.sharing == e {
				first.sharing = e.sharing
			}
		}
	case e.sharing == nil:
		delete(c.byMail, e.identifier)
	default:
		c.byMail[e.identifier] = e.sharing
	}
	e.sharing = nil
}

func (c *Crowd) owe(e *entry, owed bool) {
	switch {
	case owed && !e.owed:
		c.deps.Recorder.Owes(1)
	case !owed && e.owed:
		c.deps.Recorder.Owes(-1)
	}
	e.owed = owed
}

func (c *Crowd) mailed(to, token string, now time.Duration) {
	for e := c.byMail[to]; e != nil; {
		other := e.sharing
		e.mail = token
		due := e.person.Due
		next := c.behaviour.Mailed(&e.person, now)
		if e.person.Due != due {
			c.move(e, next, now)
		}
		c.owe(e, e.person.Owed())
		e = other
	}
}

// call is one that is out. As an event it is its answer.
type call struct {
	entry          *entry
	op             people.Op
	intended       time.Duration
	end            time.Time
	answer         people.Answer
	reason, ticket string
}

func (c *Crowd) send(e *entry, op people.Op, intended, deadline time.Duration) {
	if op == people.OpCheck {
		e.token = e.mail
	}
	out := &call{entry: e, op: op, intended: intended}
	c.loop.Hold()
	c.deps.Recorder.Sent(e.person.Attacker() || e.lone)
	c.deps.Caller.Call(c.methods[op], c.message(e, op), deadline, out)
}

// Done implements wire.Done.
func (o *call) Done(r *wire.Reply) {
	o.end = r.EndAt
	o.read(r)
	o.entry.crowd.loop.Post(o) // false: the run is over, and the answer nobody's
}

// Fire implements schedule.Event.
func (o *call) Fire(l *schedule.Loop, now time.Duration) {
	e, c := o.entry, o.entry.crowd
	l.Release()
	// The person acts when the answer came, not when the loop got round to it: what that is late shows in the next call.
	came := min(now, o.end.Sub(l.Start()))
	c.deps.Recorder.Called(measure.Call{
		Op: o.op, Intended: o.intended, End: came, Code: o.answer.Code, Reason: o.reason,
		FromAttack: e.person.Attacker() || e.lone,
	})
	if e.lone {
		c.out--
		c.endIfOver()
		return
	}
	if o.answer.Code == codes.OK && o.op == people.OpComplete {
		e.ticket = o.ticket
	}
	c.move(e, c.behaviour.Answered(&e.person, came, o.answer), came)
}
