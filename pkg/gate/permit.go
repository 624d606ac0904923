package gate

import (
	"errors"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
)

// settleRefusal gives the permit of a refused call back if nobody is to blame for err, and returns what the caller sees.
func (g *Gate) settleRefusal(permit admission.Permit, err error) error {
	now := g.clock.Now()
	var e *reset.Error
	if !errors.As(err, &e) {
		e = &reset.Error{Kind: reset.KindInternal, Cause: err}
	}
	switch e.Kind {
	case reset.KindNotDurable, reset.KindQueueFull, reset.KindDraining:
		permit.GiveBack(now)
	case reset.KindKeyUnknown:
		permit.GiveBack(now)
		jittered := *e // token and seal do not spread their times
		jittered.RetryAfter = jitter(max(e.RetryAfter, retryKeyUnknown))
		e = &jittered
	default:
	}
	return e
}

// chargeRefusal is settleRefusal for calls with a token. If the token or the password is at fault, it also spends the client's buckets;
// once they are empty, the caller sees that limit instead.
func (g *Gate) chargeRefusal(permit admission.Permit, err error) error {
	switch reset.KindOf(err) {
	case reset.KindTokenInvalid, reset.KindTokenExpired, reset.KindTokenUsed, reset.KindWeakPassword, reset.KindInvalid:
		if limit := permit.Charge(g.clock.Now()); limit != nil {
			return limit
		}
	default: // the caller is not at fault
	}
	return g.settleRefusal(permit, err)
}
