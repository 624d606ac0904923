package gate

import (
	"context"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
)

// bcryptMaxBytes is how much of a password bcrypt reads.
const bcryptMaxBytes = 72

// markMargin is how much longer than any token a mark is kept. A token that is signed while its account's completion is being
// accepted, or by a worker whose clock is ahead, expires a little later than the longest TTL from here. Without the margin it would
// be good again once the mark is gone.
const markMargin = time.Hour

// CompleteReset trades a token for a new password. The token is used up when the completion is accepted. Errors are *reset.Error, or
// reset.Violations that name every bad field.
func (g *Gate) CompleteReset(ctx context.Context, r CompleteRequest) (Answer, error) {
	begin := g.clock.Now()
	verdict, err := g.complete(ctx, begin, r)
	if err != nil {
		g.logRefusal(ctx, callComplete, r.Client, err)
		g.metrics.count(callComplete, "", err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
		return Answer{}, err
	}
	g.metrics.count(callComplete, verdictOf(verdict), nil, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	return g.answer(ctx, verdict, r.Wait), nil
}

func (g *Gate) complete(ctx context.Context, now time.Time, r CompleteRequest) (queue.Verdict, error) {
	if err := r.check(); err != nil {
		return queue.Verdict{}, err
	}
	if err := g.checkOpen(); err != nil {
		return queue.Verdict{}, err
	}
	permit, err := g.d.Admission.Admit(now, admissionRequest(admission.OpComplete, r.Client))
	if err != nil {
		return queue.Verdict{}, err
	}
	verdict, err := g.enqueueCompletion(ctx, now, r)
	if err != nil {
		return queue.Verdict{}, g.chargeRefusal(permit, err)
	}
	if !verdict.Replayed {
		g.completionsSinceView.Add(1)
	}
	return verdict, nil
}

// completion is a request for one whose token has been read.
type completion struct {
	CompleteRequest
	claims  token.Claims
	account reset.Key
	now     time.Time
}

// enqueueCompletion makes a completion durable, or finds the ticket of the earlier call that it repeats.
func (g *Gate) enqueueCompletion(ctx context.Context, now time.Time, r CompleteRequest) (queue.Verdict, error) {
	claims, expired, err := g.verify(r, now)
	if err != nil {
		return queue.Verdict{}, err
	}
	c := completion{CompleteRequest: r, claims: claims, account: g.d.Index.Account(claims.AccountID), now: now}
	mark, err := g.d.Queue.Mark(ctx, c.account)
	switch {
	case err != nil:
		return queue.Verdict{}, g.queueError(err, reset.LaneHash)
	case isSpent(mark, claims) && r.RequestID != "":
		return g.replay(ctx, c, expired)
	case isSpent(mark, claims):
		return queue.Verdict{}, refuseUsed(nil)
	case expired != nil:
		return queue.Verdict{}, expired
	}
	return g.acceptCompletion(ctx, c)
}

// verify reads the token of a request. A token that has expired can still lead to a replay, so it is no error if the request has an id:
// its claims are returned, and expired is the refusal for all other cases.
func (g *Gate) verify(r CompleteRequest, now time.Time) (claims token.Claims, expired, err error) {
	claims, err = g.d.Tokens.Verify(r.Token, now)
	if err == nil {
		return claims, nil, nil
	}
	if reset.KindOf(err) != reset.KindTokenExpired || r.RequestID == "" {
		return token.Claims{}, nil, err
	}
	expired = err
	// No token had expired at the zero time, so this judges everything else about the token.
	if claims, err = g.d.Tokens.Verify(r.Token, time.Time{}); err != nil {
		return token.Claims{}, nil, expired
	}
	return claims, expired, nil
}

// acceptCompletion judges the password and makes the completion durable if it can be finished in time.
func (g *Gate) acceptCompletion(ctx context.Context, c completion) (queue.Verdict, error) {
	view := g.view.Load()
	lane := reset.LaneHash
	description, err := g.description(ctx, view)
	if err != nil {
		return queue.Verdict{}, g.queueError(err, lane)
	}
	// The policy comes before what may pass later: with a weak password there is no sense in coming back.
	password, err := g.d.Policy.Check(c.NewPassword, maxPasswordBytes(description))
	if err != nil {
		return queue.Verdict{}, err
	}
	if description == nil {
		return queue.Verdict{}, refuseStoreUnknown()
	}
	if description.Form == credstore.FormPlaintext {
		lane = reset.LaneApply
	}
	eta := g.newcomerETA(view, lane, classOf(c.Client), c.now)
	if over, late := g.cfg.missedBy(lane, eta); late {
		return queue.Verdict{}, refuseFull(over, g.missedBound(lane, eta, over))
	}
	return g.enqueuePassword(ctx, c, lane, password, g.cfg.MaxSealedWait)
}

// replay returns the ticket of an earlier call with the same request id. The mark has moved past the token's, so the queue refuses
// everything but a repeat of the request that moved it last. expired is the refusal if there was no such call and the token has
// expired; nil: the refusal is TOKEN_USED.
//
// Should the mark be dropped before the queue looks, the replay gets into the queue as a new job. So it carries no password (nobody has
// judged the one that was sent), and it has expired before any worker sees it.
func (g *Gate) replay(ctx context.Context, c completion, expired error) (queue.Verdict, error) {
	verdict, err := g.enqueuePassword(ctx, c, reset.LaneHash, "", -g.cfg.MaxSealedWait)
	switch {
	case err != nil && reset.KindOf(err) == reset.KindTokenUsed && expired != nil:
		return queue.Verdict{}, expired
	case err != nil:
		return queue.Verdict{}, err
	case verdict.Replayed:
		return verdict, nil
	case expired != nil: // the mark was dropped
		return queue.Verdict{}, expired
	default: // the mark was dropped
		return queue.Verdict{}, refuseUsed(nil)
	}
}

// enqueuePassword seals the token and the password to a job that expires after life, and makes the job durable together with the raise
// of the account's mark.
func (g *Gate) enqueuePassword(ctx context.Context, c completion, lane reset.Lane, password string, life time.Duration) (queue.Verdict, error) {
	accepted := c.now.UTC().Truncate(time.Microsecond)
	job := reset.Job{
		ID:         reset.NewID(),
		Ticket:     reset.NewID(),
		Lane:       lane,
		Class:      classOf(c.Client),
		Key:        c.account,
		Account:    c.account,
		AcceptTime: accepted,
		ExpireTime: accepted.Add(life),
	}
	payload := reset.CompletionPayload{AccountID: c.claims.AccountID, Token: c.Token, Password: password, SignOut: c.SignOut,
		Locale: c.Client.Locale}
	sealed, err := g.d.Sealer.Seal(ctx, seal.AudiencePassword, seal.BindingOf(job), payload.Marshal())
	if err != nil {
		return queue.Verdict{}, g.queueError(err, lane)
	}
	job.Payload = sealed
	raise := &queue.MarkRaise{Account: c.account, TokenMark: c.claims.Mark, ExpireTime: accepted.Add(token.LongestTTL + markMargin)}
	if c.RequestID != "" {
		raise.Request = g.d.Index.Request(c.Token, strings.ToLower(c.RequestID))
	}
	return g.enqueue(ctx, queue.Item{Job: job, Mark: raise})
}

// maxPasswordBytes returns 72 if bcrypt is the store's best scheme that surgegate can make, and otherwise 0: no bound.
func maxPasswordBytes(d *credstore.Description) int {
	if d == nil || d.Form != credstore.FormHash {
		return 0
	}
	for _, scheme := range d.HashSchemes {
		switch scheme {
		case "argon2id":
			return 0
		case "2b":
			return bcryptMaxBytes
		}
	}
	return 0
}
