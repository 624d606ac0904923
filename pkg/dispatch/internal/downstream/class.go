package downstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/credstore"
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
	unused   // the permit was given back without a call
)

// String returns the value of the metric label.
func (c Class) String() string {
	return [...]string{"ok", "overload", "timeout", "error", "canceled", "unused"}[c]
}

// UsesTry tells whether the class says something about the items rather than about the downstream.
func (c Class) UsesTry() bool { return c == Error }

func (c Class) outcome() pace.Outcome {
	switch c {
	case OK:
		return pace.OutcomeOK
	case Overload:
		return pace.OutcomeOverload
	case Timeout:
		return pace.OutcomeTimeout
	case Error:
		return pace.OutcomeError
	default:
		return pace.OutcomeCanceled
	}
}

func (c Class) result() breaker.Result {
	switch c {
	case OK, Error: // an error that is not about load is an answer: one poisonous job must not stop a lane
		return breaker.Success
	case Overload, Timeout:
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

// Classify sorts a downstream's error. Configuration errors count as overload: no retry of one job mends them, and
// using up every job's tries until somebody creates the missing table would park the whole queue.
func Classify(err error) Class {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, credstore.ErrOverloaded), errors.Is(err, credstore.ErrConfig), errors.Is(err, mail.ErrOverloaded):
		return Overload
	default:
		return Error
	}
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
