package reset

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the kind of an Error: its row in the error table of proto/README.md.
type Kind uint8

// The kinds.
const (
	KindInternal     Kind = iota // a fault of surgegate itself; callers see no detail
	KindInvalid                  // a bad field: Field and Detail say which one and why
	KindWeakPassword             // Reason is PASSWORD_TOO_SHORT, PASSWORD_COMMON, …
	KindTokenInvalid             // malformed, forged, other purpose
	KindTokenExpired
	KindTokenUsed
	KindLimitGlobal  // the global bucket is empty
	KindLimitClient  // a client's bucket, by ip or id, is empty
	KindShed         // shed by brownout level: Level
	KindQueueFull    // a bound of the queue is reached, or the work could not be finished in time
	KindNotDurable   // the call cannot be stored durably now
	KindDraining     // shutting down
	KindKeyUnknown   // a key has not reached this process yet
	KindStoreUnknown // the store has never described itself: completions cannot be accepted yet
	KindNotFound     // unknown ticket
	KindCanceled     // the caller has left
	KindPrecondition // an operator's call that the current state does not allow: Detail says what to do first
)

// Error is the only error type whose content a caller may see. A zero RetryAfter means that no time is known.
type Error struct {
	Kind       Kind
	Reason     string // ErrorInfo.reason for KindWeakPassword; otherwise Info derives it from Kind
	Field      string // KindInvalid, KindWeakPassword
	Detail     string // public: one sentence that says what to do
	Level      int    // KindShed
	RetryAfter time.Duration
	Cause      error // for logs; never shown
}

// Error returns the public part and the cause.
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

// Info returns the value of ErrorInfo.reason.
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
