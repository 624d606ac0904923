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

// bcryptMaxBytes is where bcrypt stops reading a password.
const bcryptMaxBytes = 72

// markMargin is how much longer than any token a mark is kept: a token signed while its account's completion is being
// accepted, or by a worker whose clock is ahead, expires a little later than the longest TTL from here, and would be
// good again once the mark is gone.
const markMargin = time.Hour

// CheckToken returns until when a good token can be used. It consumes nothing: mail scanners follow links.
func (g *Gate) CheckToken(ctx context.Context, tok string, c Client) (time.Time, error) {
	begin := g.clock.Now()
	expire, err := g.checkToken(ctx, begin, tok, c)
	g.decided(ctx, callCheckToken, c, err)
	g.metrics.count(callCheckToken, verdictOK, err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	return expire, err
}

func (g *Gate) checkToken(ctx context.Context, now time.Time, tok string, c Client) (time.Time, error) {
	if err := checkTokenRequest(tok, c); err != nil {
		return time.Time{}, err
	}
	permit, err := g.d.Admission.Admit(now, request(admission.OpCheckToken, c))
	if err != nil {
		return time.Time{}, err
	}
	claims, err := g.d.Tokens.Verify(tok, now)
	if err != nil {
		return time.Time{}, g.charged(permit, err)
	}
	mark, err := g.d.Queue.Mark(ctx, g.d.Index.Account(claims.AccountID))
	if err != nil {
		return time.Time{}, g.refused(permit, g.queueError(err, reset.LaneHash))
	}
	if spent(mark, claims) {
		return time.Time{}, g.charged(permit, refuseUsed(nil))
	}
	return claims.ExpireTime, nil
}

// spent tells whether a completion has been accepted since the token was signed.
func spent(mark uint64, claims token.Claims) bool { return mark != 0 && mark != claims.Mark }

// CompleteReset trades a token for a new password. The token is consumed when the completion is accepted.
func (g *Gate) CompleteReset(ctx context.Context, r CompleteRequest) (Answer, error) {
	begin := g.clock.Now()
	verdict, err := g.complete(ctx, begin, r)
	if err != nil {
		g.decided(ctx, callComplete, r.Client, err)
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
	if err := g.ready(); err != nil {
		return queue.Verdict{}, err
	}
	permit, err := g.d.Admission.Admit(now, request(admission.OpComplete, r.Client))
	if err != nil {
		return queue.Verdict{}, err
	}
	verdict, err := g.enqueueCompletion(ctx, now, r)
	if err != nil {
		return queue.Verdict{}, g.charged(permit, err)
	}
	if !verdict.Replayed {
		g.completeSince.Add(1)
	}
	return verdict, nil
}

func (g *Gate) enqueueCompletion(ctx context.Context, now time.Time, r CompleteRequest) (queue.Verdict, error) {
	claims, refusal := g.d.Tokens.Verify(r.Token, now)
	expired := refusal != nil && reset.KindOf(refusal) == reset.KindTokenExpired
	if expired && r.RequestID != "" {
		// Only a replay is left to it: read who it was for, as of a time when no token had expired.
		var err error
		if claims, err = g.d.Tokens.Verify(r.Token, time.Time{}); err != nil {
			return queue.Verdict{}, refusal
		}
	} else if refusal != nil {
		return queue.Verdict{}, refusal
	}
	account := g.d.Index.Account(claims.AccountID)
	mark, err := g.d.Queue.Mark(ctx, account)
	if err != nil {
		return queue.Verdict{}, g.queueError(err, reset.LaneHash)
	}
	if spent(mark, claims) {
		if r.RequestID == "" {
			return queue.Verdict{}, refuseUsed(nil)
		}
		return g.replay(ctx, now, r, claims, account, refusal)
	}
	if expired {
		return queue.Verdict{}, refusal
	}
	lane := reset.LaneHash
	description, err := g.description(ctx, g.view.Load())
	if err != nil {
		return queue.Verdict{}, g.queueError(err, lane)
	}
	// Policy comes first: with a weak password there is no sense in coming back later.
	password, err := g.d.Policy.Check(r.NewPassword, maxPasswordBytes(description))
	if err != nil {
		return queue.Verdict{}, err
	}
	if description == nil {
		return queue.Verdict{}, refuseStoreUnknown()
	}
	if description.Form == credstore.FormPlaintext {
		lane = reset.LaneApply
	}
	eta := g.newcomer(g.view.Load(), lane, classOf(r.Client), now)
	if over, full := g.cfg.over(lane, eta); full {
		return queue.Verdict{}, refuseFull(over, g.missed(lane, eta, over))
	}
	item, err := g.completion(ctx, now, r, claims, account, lane, password)
	if err != nil {
		return queue.Verdict{}, err
	}
	return g.enqueue(ctx, item)
}

// replay asks the queue for the ticket of an earlier call. The mark has moved past the token's, so the queue refuses
// anything but a repeat of the request that moved it last; so the password, which nobody has judged, stays out of it.
func (g *Gate) replay(ctx context.Context, now time.Time, r CompleteRequest, claims token.Claims, account reset.Key, refusal error) (queue.Verdict, error) {
	item, err := g.completion(ctx, now, r, claims, account, reset.LaneHash, "")
	if err != nil {
		return queue.Verdict{}, err
	}
	verdict, err := g.enqueue(ctx, item)
	switch {
	case err != nil && reset.KindOf(err) == reset.KindTokenUsed && refusal != nil:
		return queue.Verdict{}, refusal
	case err != nil:
		return queue.Verdict{}, err
	case !verdict.Replayed: // the mark was dropped meanwhile (see the package comment)
		if refusal == nil {
			refusal = refuseUsed(nil)
		}
		return queue.Verdict{}, refusal
	default:
		return verdict, nil
	}
}

func (g *Gate) completion(ctx context.Context, now time.Time, r CompleteRequest, claims token.Claims, account reset.Key, lane reset.Lane, password string) (queue.Item, error) {
	accepted := now.UTC().Truncate(time.Microsecond)
	job := reset.Job{
		ID:         reset.NewID(),
		Ticket:     reset.NewID(),
		Lane:       lane,
		Class:      classOf(r.Client),
		Key:        account,
		Account:    account,
		AcceptTime: accepted,
		ExpireTime: accepted.Add(g.cfg.MaxSealedWait),
	}
	if password == "" { // a replay: there is nothing that may be applied, so it is over before any worker sees it
		job.ExpireTime = accepted.Add(-g.cfg.MaxSealedWait)
	}
	payload := reset.CompletionPayload{AccountID: claims.AccountID, Token: r.Token, Password: password, SignOut: r.SignOut,
		Locale: r.Client.Locale}
	sealed, err := g.d.Sealer.Seal(ctx, seal.AudiencePassword, binding(job), payload.Marshal())
	if err != nil {
		return queue.Item{}, g.queueError(err, lane)
	}
	job.Payload = sealed
	raise := &queue.MarkRaise{Account: account, TokenMark: claims.Mark, ExpireTime: accepted.Add(g.cfg.MaxTokenTTL + markMargin)}
	if r.RequestID != "" {
		raise.Request = g.d.Index.Request(r.Token, strings.ToLower(r.RequestID))
	}
	return queue.Item{Job: job, Mark: raise}, nil
}

// maxPasswordBytes is 72 where the store's best scheme that surgegate can make is bcrypt, 0 (none) elsewhere.
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
