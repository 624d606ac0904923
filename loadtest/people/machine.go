package people

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/model"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Never is the Due of a person whom only a mail or an answer can move.
const Never = time.Duration(1<<63 - 1)

// Do is what a person does next.
type Do uint8

// What there is to do.
const (
	Wait Do = iota // nothing, until Person.Due or a mail
	Make           // make the call Next.Op and tell its answer with Answered
	End            // it is over; Outcome says how
)

// Next is a person's move.
type Next struct {
	Do Do
	Op Op
}

// Op is what is called.
type Op uint8

// The calls.
const (
	OpStart Op = iota
	OpCheck
	OpComplete
	OpTicket
	Ops // how many there are
)

// String names the call as traces do.
func (o Op) String() string { return [...]string{"start", "check", "complete", "ticket"}[o] }

// Answer is how a call ended. The zero value is a success that says nothing.
type Answer struct {
	Code       codes.Code
	RetryAfter time.Duration // of RetryInfo; 0: none
	Pushback   time.Duration // grpc-retry-pushback-ms; below 0: do not try again; 0: none
	State      resetv1.State // of the ticket, from OpComplete and OpTicket
	PollAfter  time.Duration
}

// never tells whether the same call cannot work later either.
func (a Answer) never() bool {
	switch a.Code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.PermissionDenied, codes.Unimplemented, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// state is what a person is at.
type state uint8

const (
	asking    state = iota // for a link
	waiting                // for the mail
	resending              // asking once more while waiting
	reading                // the mail
	checking               // the link
	typing                 // the password
	completing
	following // the ticket
	ended
)

// call is what each state calls.
func (s state) call() Op {
	return [...]Op{asking: OpStart, resending: OpStart, checking: OpCheck, completing: OpComplete, following: OpTicket}[s]
}

// Person is where one person stands, in 64 bytes. The zero value does not work: Behaviour makes them.
type Person struct {
	ID   uint64
	came time.Duration // since the run's start, as all times here
	// Due is when Wake is due; Never when only a mail or an answer can move the person.
	Due      time.Duration
	thought  time.Duration // reading and typing so far
	resendAt time.Duration

	failures                     uint16
	comeBacks, returns, backoffs uint16 // draws of each kind so far
	state                        state
	attempt                      uint8 // of the client in this step
	try                          uint8 // of the person at this step
	links                        uint8 // used or being asked for
	ended                        resetv1.State
	flags                        flags
}

type flags uint8

const (
	attacker flags = 1 << iota
	impatient
	hasMail // that is not opened yet
	accepted
	promised
	completed
	gaveUp
)

func (p *Person) is(f flags) bool { return p.flags&f != 0 }

// Attacker tells whether this is not a person but somebody trying addresses.
func (p *Person) Attacker() bool { return p.is(attacker) }

// Owed tells whether the system has taken something on for the person (a mail, a ticket) that has not come.
func (p *Person) Owed() bool {
	switch p.state {
	case waiting, resending:
		return !p.is(hasMail)
	case following:
		return true
	default:
		return false
	}
}

// Outcome is how it ended for one person, or how far it has come.
type Outcome struct {
	Person    uint64
	Accepted  bool          // some request of theirs was accepted: a link was promised
	Promised  bool          // a completion was accepted: a ticket for the new password was handed out
	Completed bool          // they were told that the new password is in place
	GaveUp    bool          // tries used up, or patience
	Inside    bool          // the run ended first
	Ended     resetv1.State // of the ticket, where it ended other than DONE
	Failures  int           // steps that failed, all attempts of their client included
	Wait      time.Duration // intended start to Completed, less their own reading and typing
}

// Outcome at a moment.
func (p *Person) Outcome(now time.Duration) Outcome {
	o := Outcome{
		Person: p.ID, Accepted: p.is(accepted), Promised: p.is(promised), Completed: p.is(completed), GaveUp: p.is(gaveUp),
		Ended: p.ended, Failures: int(p.failures),
	}
	if o.Completed {
		o.Wait = now - p.came - p.thought
	}
	return o
}

// Behaviour moves people. It holds no person's state and may be used from many goroutines.
type Behaviour struct {
	cfg  Config
	draw model.Random
}

// New checks the configuration.
func New(cfg Config) (*Behaviour, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Behaviour{cfg: cfg, draw: model.NewRandom(cfg.Seed)}, nil
}

// Config is what the behaviour was made from, defaults filled.
func (b *Behaviour) Config() Config { return b.cfg }

// Person comes at the intended moment, whatever the time is by now: waits count from there. The first move is to ask for
// a link.
func (b *Behaviour) Person(id uint64, intended time.Duration) (Person, Next) {
	p := Person{ID: id, came: intended, Due: Never, resendAt: Never, links: 1}
	if b.uniform(&p, drawImpatient, 0) < b.cfg.Impatient {
		p.flags |= impatient
	}
	return p, Next{Do: Make, Op: OpStart}
}

// Attacker asks once for an address that is not there, with an impatient client, and does not come back.
func (b *Behaviour) Attacker(n uint64, intended time.Duration) (Person, Next) {
	return Person{ID: attackerNumbers + n, came: intended, Due: Never, resendAt: Never, flags: attacker | impatient}, Next{Do: Make, Op: OpStart}
}

// Answered tells the answer to the call that was out.
func (b *Behaviour) Answered(p *Person, now time.Duration, a Answer) Next {
	switch {
	case p.state == following:
		return b.followed(p, now, a)
	case a.Code == codes.OK:
		return b.worked(p, now, a)
	}
	p.attempt++
	if !a.never() && int(p.attempt) < b.cfg.Attempts {
		if p.is(impatient) {
			return Next{Do: Make, Op: p.state.call()}
		}
		if a.Pushback >= 0 {
			backoff := time.Duration(b.uniform(p, drawBackoff, count(&p.backoffs)) * float64(b.cfg.Backoff<<(p.attempt-1)))
			return p.sleep(now, max(backoff, a.Pushback, a.RetryAfter))
		}
	}
	return b.failed(p, now, a)
}

// worked ends a step that was a success.
func (b *Behaviour) worked(p *Person, now time.Duration, a Answer) Next {
	switch p.state {
	case asking:
		p.flags |= accepted
		if p.is(attacker) {
			return p.end()
		}
		p.resendAt = Never
		if b.uniform(p, drawResend, p.nth()) < b.cfg.Resend {
			p.resendAt = now + b.logNormal(p, drawResendAt, p.nth(), b.cfg.ResendAt, 0.5)
		}
		return b.await(p, now)
	case resending:
		return b.await(p, now)
	case checking:
		return b.think(p, now, typing, b.logNormal(p, drawType, p.nth(), b.cfg.Type, 0.5))
	default: // completing
		p.flags |= promised
		p.step(following)
		return b.followed(p, now, a)
	}
}

// failed ends a step whose client has used up its attempts, or was told that none can work.
func (b *Behaviour) failed(p *Person, now time.Duration, a Answer) Next {
	switch {
	case p.is(attacker):
		return p.end()
	case p.state == resending: // one more mail was welcome, not needed
		return b.await(p, now)
	}
	p.failures++
	if a.never() {
		if p.state == asking {
			return p.giveUp()
		}
		return b.again(p) // the link was refused: from the start
	}
	if int(p.try)+1 == b.cfg.Tries || b.uniform(p, drawComeBack, count(&p.comeBacks)) >= b.cfg.ComeBack {
		return p.giveUp()
	}
	p.try++
	p.attempt = 0
	if p.state == asking && p.is(hasMail) {
		p.flags |= accepted
		return b.open(p, now)
	}
	return p.sleep(now, max(b.logNormal(p, drawReturn, count(&p.returns), b.cfg.Return, 0.6), a.RetryAfter))
}

// again asks for another link, unless that many have been refused.
func (b *Behaviour) again(p *Person) Next {
	if int(p.links) == b.cfg.Tries {
		return p.giveUp()
	}
	p.links++
	p.step(asking)
	return Next{Do: Make, Op: OpStart}
}

// await waits for the mail, or opens the one that has come meanwhile.
func (b *Behaviour) await(p *Person, now time.Duration) Next {
	if p.is(hasMail) {
		return b.open(p, now)
	}
	p.step(waiting)
	p.Due = p.resendAt
	return Next{Do: Wait}
}

// Mailed tells that a mail with a link has come. It is opened at once by who waits for it or is away between two tries;
// others find it when they look. The link in the newest mail is the one that is used from the next OpCheck on.
func (b *Behaviour) Mailed(p *Person, now time.Duration) Next {
	away := p.state == asking && p.Due != Never && p.attempt == 0
	if away || p.state == waiting {
		p.flags |= accepted
		return b.open(p, now)
	}
	p.flags |= hasMail
	return Next{Do: Wait}
}

func (b *Behaviour) open(p *Person, now time.Duration) Next {
	p.flags &^= hasMail
	return b.think(p, now, reading, b.logNormal(p, drawRead, p.nth(), b.cfg.Read, 0.6))
}

// Wake tells that p.Due has come.
func (b *Behaviour) Wake(p *Person) Next {
	p.Due = Never
	switch p.state {
	case waiting:
		p.resendAt = Never
		p.step(resending)
	case reading:
		p.flags &^= hasMail // whatever came while reading is the mail that is read
		p.step(checking)
	case typing:
		p.step(completing)
	}
	return Next{Do: Make, Op: p.state.call()}
}

// followed looks at the ticket.
func (b *Behaviour) followed(p *Person, now time.Duration, a Answer) Next {
	switch {
	case a.never(): // nobody knows the ticket any more
		return p.giveUp()
	case a.Code != codes.OK:
		return p.sleep(now, max(a.Pushback, a.RetryAfter, b.cfg.Backoff))
	case a.State == resetv1.State_STATE_DONE:
		p.flags |= completed
		return p.end()
	case a.State == resetv1.State_STATE_REJECTED, a.State == resetv1.State_STATE_FAILED:
		p.ended = a.State
		return p.end()
	default:
		return p.sleep(now, max(a.PollAfter, leastPoll))
	}
}

const leastPoll = 250 * time.Millisecond

func (b *Behaviour) think(p *Person, now time.Duration, s state, d time.Duration) Next {
	p.thought += d
	p.step(s)
	return p.sleep(now, d)
}

func (p *Person) sleep(now, d time.Duration) Next {
	p.Due = now + d
	return Next{Do: Wait}
}

func (p *Person) step(s state) { p.state, p.attempt, p.try, p.Due = s, 0, 0, Never }

func (p *Person) giveUp() Next {
	p.flags |= gaveUp
	return p.end()
}

func (p *Person) end() Next {
	p.step(ended)
	return Next{Do: End}
}

// nth counts the links, from 0: draws that are made once for each.
func (p *Person) nth() uint32 { return uint32(p.links) - 1 }

func count(n *uint16) uint32 {
	*n++
	return uint32(*n) - 1
}

func (b *Behaviour) uniform(p *Person, kind, nth uint32) float64 {
	return b.draw.Uniform(p.ID, model.Draw{Kind: kind, Nth: nth})
}

func (b *Behaviour) logNormal(p *Person, kind, nth uint32, median time.Duration, sigma float64) time.Duration {
	return time.Duration(b.draw.LogNormal(p.ID, model.Draw{Kind: kind, Nth: nth}, float64(median), sigma))
}
