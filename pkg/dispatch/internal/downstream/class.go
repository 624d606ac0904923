package downstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
)

// Class is how a call ended.
type Class uint8

// The classes.
const (
	OK       Class = iota
	Overload       // it says that it cannot now
	Timeout
	Error    // it answered, but not what was asked for
	Canceled // ended by us
	Item     // it answered, and the item that the call carried cannot be done
	Outage   // as Error, but no job is at fault: somebody has to change something, or nothing succeeds
	unused   // the permit was given back without a call
)

// String returns the value of the metric label.
func (c Class) String() string {
	return [...]string{"ok", "overload", "timeout", "error", "canceled", "ok", "error", "unused"}[c]
}

// UsesTry tells whether the class says something about the items rather than about the downstream.
func (c Class) UsesTry() bool { return c == Error }

// Answered tells whether the call did what was asked for, or said for good that it cannot be done for its item.
func (c Class) Answered() bool { return c == OK || c == Item }

func (c Class) outcome() pace.Outcome {
	switch c {
	case OK, Item:
		return pace.OutcomeOK
	case Overload:
		return pace.OutcomeOverload
	case Timeout:
		return pace.OutcomeTimeout
	case Error, Outage: // less load would not help
		return pace.OutcomeError
	default:
		return pace.OutcomeCanceled
	}
}

func (c Class) result() breaker.Result {
	switch c {
	case OK, Error, Item: // an error that is not about load is an answer: one poisonous job must not stop a lane
		return breaker.Success
	case Overload, Timeout, Outage:
		return breaker.Failure
	default:
		return breaker.Ignored
	}
}

// ofHost is what the end of a call says of the downstream that it stood on.
func (c Class) ofHost() Class {
	if c == OK || c == unused {
		return c
	}
	return Canceled
}

// ending is how a call ended, before it is compared with others.
type ending struct {
	class   Class
	failure failure.Error
	// refusal tells that the class Error is a refusal of one recipient, or of all alike.
	refusal bool
}

// classify sorts a downstream's error.
func classify(err error) ending {
	if err == nil {
		return ending{}
	}
	var coded *failure.Error
	e := ending{class: Error, failure: failure.Of(err)}
	refused := errors.Is(err, mail.ErrRefused)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.class = Timeout
	case errors.Is(err, mail.ErrDeferred), refused && (!errors.As(err, &coded) || coded.Scope == failure.Item):
		e.class = Item
	case refused:
		e.refusal = true
	case e.failure.Class == failure.Config, errors.Is(err, credstore.ErrConfig):
		e.class = Outage
	case e.failure.Class == failure.Overload, errors.Is(err, credstore.ErrOverloaded), errors.Is(err, mail.ErrOverloaded):
		e.class = Overload
	case errors.Is(err, ErrPanic):
		e.failure.Code = failure.Panicked
	case e.failure.Scope == failure.Downstream:
		e.class = Outage
	}
	return e
}

// ErrPanic stands for a panic in a call or in the handling of one job.
var ErrPanic = errors.New("dispatch: panic")

// Guard turns a panic into an error. The panic's value may quote what the job carries, so only its type is kept.
func Guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %T", ErrPanic, v)
		}
	}()
	return f()
}
