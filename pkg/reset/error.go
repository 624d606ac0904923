package reset

import (
	"errors"
	"fmt"
	"time"
)

// Kind says which row of the error table in proto/README.md an Error is.
type Kind uint8

// The kinds.
const (
	KindInternal     Kind = iota // a fault of surgegate's own; nothing of it is shown
	KindInvalid                  // a bad field: Field and Detail say which and why
	KindWeakPassword             // Reason is PASSWORD_TOO_SHORT, PASSWORD_COMMON, …
	KindTokenInvalid             // malformed, forged, other purpose
	KindTokenExpired
	KindTokenUsed
	KindLimitGlobal  // over the global bucket
	KindLimitClient  // over a client's bucket, by ip or id
	KindShed         // shed by brownout level: Level
	KindQueueFull    // over a bound of the queue, or it could not be finished in time
	KindNotDurable   // cannot make it durable: disk reserve, no quorum
	KindDraining     // shutting down
	KindKeyUnknown   // a key that has not reached this process yet
	KindStoreUnknown // the store has never described itself: completions cannot be accepted yet
	KindNotFound     // unknown ticket
	KindCanceled     // the caller went away
	KindPrecondition // an operator's call that the present state does not allow: Detail says what to do first
)

// Error is the one error type that leaves a package towards a caller. Zero RetryAfter means that no time is known.
type Error struct {
	Kind       Kind
	Reason     string // ErrorInfo.reason; set only for KindWeakPassword, else it follows from Kind
	Field      string // KindInvalid, KindWeakPassword
	Detail     string // public, one sentence that says what to do
	Level      int    // KindShed
	RetryAfter time.Duration
	Cause      error // for logs; never shown
}

// Error returns the public part, then the cause.
func (e *Error) Error() string {
	s := e.Info()
	if e.Field != "" {
		s += " " + e.Field
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Info returns the ErrorInfo reason.
func (e *Error) Info() string {
	switch e.Kind {
	case KindWeakPassword:
		return e.Reason
	case KindInvalid:
		return "INVALID"
	case KindTokenInvalid:
		return "TOKEN_INVALID"
	case KindTokenExpired:
		return "TOKEN_EXPIRED"
	case KindTokenUsed:
		return "TOKEN_USED"
	case KindLimitGlobal:
		return "LIMIT_GLOBAL"
	case KindLimitClient:
		return "LIMIT_CLIENT"
	case KindShed:
		return fmt.Sprintf("SHED_LEVEL_%d", e.Level)
	case KindQueueFull:
		return "QUEUE_FULL"
	case KindNotDurable:
		return "NOT_DURABLE"
	case KindDraining:
		return "DRAINING"
	case KindKeyUnknown:
		return "KEY_UNKNOWN"
	case KindStoreUnknown:
		return "STORE_UNKNOWN"
	case KindNotFound:
		return "NOT_FOUND"
	case KindCanceled:
		return "CANCELED"
	case KindPrecondition:
		return "PRECONDITION"
	default:
		return "INTERNAL"
	}
}

// KindOf returns the kind of the first Error in err's chain. Violations are KindInvalid, everything else is KindInternal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var bad Violations
	if errors.As(err, &bad) {
		return KindInvalid
	}
	return KindInternal
}
