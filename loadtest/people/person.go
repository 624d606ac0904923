package people

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/draw"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Outcome is how it ended for one person.
type Outcome struct {
	Person    uint64
	Accepted  bool          // some request of theirs was accepted: a link was promised
	Promised  bool          // a completion was accepted: a ticket for the new password was handed out
	Completed bool          // they were told that the new password is in place
	GaveUp    bool          // tries used up, or patience; neither: the run ended first
	Ended     resetv1.State // of the ticket, where it ended other than DONE
	Failures  int           // steps that failed, all attempts of their client included
	Wait      time.Duration // intended start to Completed, less their own reading and typing
}

type person struct {
	crowd     *Crowd
	id        uint64
	attacker  bool
	impatient bool
	draws     map[uint32]uint32
	device    *resetv1.Client
	out       Outcome
	thought   time.Duration // reading and typing so far
	owed      int           // what the system owes, as told to the Observer
}

// attackerNumbers keep attackers' draws apart from people's.
const attackerNumbers = 1 << 62

// Attacker asks once for an address that is not there, with an impatient client, and does not come back.
func (c *Crowd) Attacker(ctx context.Context, n uint64) {
	p := &person{crowd: c, id: attackerNumbers + n, attacker: true, impatient: true}
	p.device = &resetv1.Client{Ip: address(11, n), Id: fmt.Sprintf("bot-%d", n)}
	if p.uniform(drawFlagged) < c.cfg.BotFlagged {
		p.device.Verdict = resetv1.Verdict_VERDICT_SUSPECT
	}
	p.step(ctx, OpStart, p.start(fmt.Sprintf("nobody-%d@elsewhere.example", n)))
}

// Person runs one person until they have their new password, give up, or ctx ends.
func (c *Crowd) Person(ctx context.Context, n uint64, intended time.Time) Outcome {
	p := &person{crowd: c, id: n, out: Outcome{Person: n}}
	p.impatient = p.uniform(drawImpatient) < c.cfg.Impatient
	p.device = &resetv1.Client{Ip: address(10, n), Id: fmt.Sprintf("device-%d", n), Locale: "en", Verdict: resetv1.Verdict_VERDICT_HUMAN}
	identifier := c.deps.Identifier(n)
	mails := c.deps.Mailbox.Open(identifier)
	defer c.deps.Mailbox.Close(identifier)
	defer func() { p.owe(-p.owed) }()
	for links := 0; !p.out.Completed && !p.out.GaveUp && ctx.Err() == nil; links++ {
		if links == c.cfg.Tries {
			p.out.GaveUp = true // that many links were refused
			break
		}
		token, ok := p.askForLink(ctx, identifier, mails)
		if !ok {
			break
		}
		ticket, ok := p.useLink(ctx, token)
		if !ok {
			continue // refused: from the start, unless that was the last try
		}
		p.follow(ctx, ticket)
		if p.out.Ended != resetv1.State_STATE_UNSPECIFIED {
			break
		}
	}
	if p.out.Completed {
		p.out.Wait = c.deps.Clock.Now().Sub(intended) - p.thought
	}
	return p.out
}

// try makes up to Tries tries of a step. Between them the person goes away; a mail that comes meanwhile ends the tries.
func (p *person) try(ctx context.Context, op Op, call attempt, mails <-chan string) (token string, ok bool, last *refusal) {
	cfg := p.crowd.cfg
	for i := range cfg.Tries {
		if last = p.step(ctx, op, call); last == nil {
			return "", true, nil
		}
		if ctx.Err() != nil {
			return "", false, last
		}
		p.out.Failures++
		if last.never() {
			return "", false, last
		}
		if i+1 == cfg.Tries || p.uniform(drawComeBack) >= cfg.ComeBack {
			break
		}
		away := p.crowd.deps.Clock.NewTimer(max(p.logNormal(drawReturn, cfg.Return, 0.6), last.after))
		select {
		case <-away.C():
		case token = <-mails:
		case <-ctx.Done():
		}
		away.Stop()
		if token != "" || ctx.Err() != nil {
			return token, token != "", last
		}
	}
	p.out.GaveUp = true
	return "", false, last
}

func (p *person) askForLink(ctx context.Context, identifier string, mails <-chan string) (token string, ok bool) {
	token, ok, last := p.try(ctx, OpStart, p.start(identifier), mails)
	if !ok {
		p.out.GaveUp = p.out.GaveUp || last.never()
		return "", false
	}
	p.out.Accepted = true
	if token != "" {
		return p.read(ctx, token)
	}
	p.owe(1)
	var resend <-chan time.Time
	if p.uniform(drawResend) < p.crowd.cfg.Resend {
		timer := p.crowd.deps.Clock.NewTimer(p.logNormal(drawResendAt, p.crowd.cfg.ResendAt, 0.5))
		defer timer.Stop()
		resend = timer.C()
	}
	for {
		select {
		case token = <-mails:
			p.owe(-1)
			return p.read(ctx, token)
		case <-resend:
			p.step(ctx, OpStart, p.start(identifier)) // one more mail is welcome, not needed
		case <-ctx.Done():
			return "", false
		}
	}
}

func (p *person) read(ctx context.Context, token string) (string, bool) {
	return token, p.think(ctx, p.logNormal(drawRead, p.crowd.cfg.Read, 0.6))
}

// useLink checks the link, types the password and sends it. False: the link was refused, or the person gave up.
func (p *person) useLink(ctx context.Context, token string) (*resetv1.CompleteResetResponse, bool) {
	_, ok, _ := p.try(ctx, OpCheck, func(ctx context.Context, client resetv1.PasswordResetClient, opts ...grpc.CallOption) error {
		_, err := client.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: token, Client: p.device}, opts...)
		return err
	}, nil)
	if !ok || !p.think(ctx, p.logNormal(drawType, p.crowd.cfg.Type, 0.5)) {
		return nil, false
	}
	req := &resetv1.CompleteResetRequest{
		Token: token, NewPassword: p.crowd.Password(p.id), Client: p.device, Wait: durationpb.New(p.crowd.cfg.Wait),
		RequestId: p.requestID(), SignOut: resetv1.SignOut_SIGN_OUT_KEEP,
	}
	if p.crowd.draw.Uniform(p.id, draw.Number{Kind: drawSignOut}) < p.crowd.cfg.SignOut {
		req.SignOut = resetv1.SignOut_SIGN_OUT_EVERYWHERE
	}
	var resp *resetv1.CompleteResetResponse
	_, ok, _ = p.try(ctx, OpComplete, func(ctx context.Context, client resetv1.PasswordResetClient, opts ...grpc.CallOption) (err error) {
		resp, err = client.CompleteReset(ctx, req, opts...)
		return err
	}, nil)
	return resp, ok
}

// follow asks for the ticket as often as it is told to, until it is final.
func (p *person) follow(ctx context.Context, resp *resetv1.CompleteResetResponse) {
	p.out.Promised = true
	p.owe(1)
	ticket, pollAfter := resp.GetTicket(), resp.GetPollAfter()
	for {
		switch ticket.GetState() {
		case resetv1.State_STATE_DONE:
			p.out.Completed = true
		case resetv1.State_STATE_REJECTED, resetv1.State_STATE_FAILED:
			p.out.Ended = ticket.GetState()
		default:
			if p.crowd.deps.Clock.Sleep(ctx, max(pollAfter.AsDuration(), 250*time.Millisecond)) != nil {
				return
			}
			r, pushback, _ := p.once(ctx, OpTicket, func(ctx context.Context, client resetv1.PasswordResetClient, opts ...grpc.CallOption) error {
				got, err := client.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: ticket.GetId()}, opts...)
				if err == nil {
					ticket, pollAfter = got.GetTicket(), got.GetPollAfter()
				}
				return err
			})
			if r.code != codes.OK {
				pollAfter = durationpb.New(max(pushback, r.after, p.crowd.cfg.Backoff))
			}
			continue
		}
		p.owe(-1)
		return
	}
}

func (p *person) start(identifier string) attempt {
	req := &resetv1.StartResetRequest{Identifier: identifier, Client: p.device}
	return func(ctx context.Context, client resetv1.PasswordResetClient, opts ...grpc.CallOption) error {
		_, err := client.StartReset(ctx, req, opts...)
		return err
	}
}

func (p *person) think(ctx context.Context, d time.Duration) bool {
	p.thought += d
	return p.crowd.deps.Clock.Sleep(ctx, d) == nil
}

func (p *person) owe(delta int) {
	if delta != 0 {
		p.owed += delta
		p.crowd.deps.Observer.Owes(delta)
	}
}

// requestID is one UUID for each link used, as a front end that keeps its form open makes it.
func (p *person) requestID() string {
	n := p.next(drawRequestID)
	var id uuid.UUID
	for i := range 8 {
		id[i] = byte(p.crowd.draw.Bits(p.id, n) >> (8 * i))
		id[8+i] = byte(p.crowd.draw.Bits(p.id+1, n) >> (8 * i))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4, RFC 4122
	return id.String()
}
