package gate

import (
	"context"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/token"
)

// CheckToken returns until when a token can be used. It uses nothing up, because mail scanners follow links. Errors are *reset.Error,
// or reset.Violations that name every bad field.
func (g *Gate) CheckToken(ctx context.Context, tok string, c Client) (time.Time, error) {
	begin := g.clock.Now()
	expire, err := g.checkToken(ctx, begin, tok, c)
	g.logRefusal(ctx, callCheckToken, c, err)
	g.metrics.count(callCheckToken, verdictOK, err, g.clock.Now().Sub(begin), g.d.Tracer.Of(ctx))
	return expire, err
}

func (g *Gate) checkToken(ctx context.Context, now time.Time, tok string, c Client) (time.Time, error) {
	if err := checkTokenRequest(tok, c); err != nil {
		return time.Time{}, err
	}
	permit, err := g.d.Admission.Admit(now, admissionRequest(admission.OpCheckToken, c))
	if err != nil {
		return time.Time{}, err
	}
	claims, err := g.d.Tokens.Verify(tok, now)
	if err != nil {
		return time.Time{}, g.chargeRefusal(permit, err)
	}
	mark, err := g.d.Queue.Mark(ctx, g.d.Index.Account(claims.AccountID))
	if err != nil {
		return time.Time{}, g.settleRefusal(permit, g.queueError(err, reset.LaneHash))
	}
	if isSpent(mark, claims) {
		return time.Time{}, g.chargeRefusal(permit, refuseUsed(nil))
	}
	return claims.ExpireTime, nil
}

// isSpent says whether a completion of the account has been accepted since the token was signed.
func isSpent(mark uint64, claims token.Claims) bool { return mark != 0 && mark != claims.Mark }
