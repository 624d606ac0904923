package reset

import (
	"fmt"
	"time"
)

// State is the state of a ticket; the package comment has its transitions. The values are written to disk and equal the API's.
type State uint8

// The states.
const (
	StateAccepted State = 1
	StateRunning  State = 2
	StateDone     State = 3
	StateRejected State = 4
	StateFailed   State = 5
)

// Final reports whether the state never changes again.
func (s State) Final() bool { return s >= StateDone }

// String returns the state's name as metrics and logs use it.
func (s State) String() string {
	switch s {
	case StateAccepted:
		return "accepted"
	case StateRunning:
		return "running"
	case StateDone:
		return "done"
	case StateRejected:
		return "rejected"
	case StateFailed:
		return "failed"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// Reason says why a ticket was rejected or failed. The values are written to disk and equal the API's.
type Reason uint8

// The reasons.
const (
	ReasonNone            Reason = 0
	ReasonPasswordReused  Reason = 1
	ReasonPasswordRefused Reason = 2
	ReasonAccountGone     Reason = 3
	ReasonExpired         Reason = 4
	ReasonOperator        Reason = 5
	ReasonSuperseded      Reason = 6
)

// String returns the reason's name as metrics and logs use it.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case ReasonPasswordReused:
		return "password_reused"
	case ReasonPasswordRefused:
		return "password_refused"
	case ReasonAccountGone:
		return "account_gone"
	case ReasonExpired:
		return "expired"
	case ReasonOperator:
		return "operator"
	case ReasonSuperseded:
		return "superseded"
	default:
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
}

// Ticket is what a caller sees of an accepted call.
type Ticket struct {
	ID         string // sealed Ref
	State      State
	Reason     Reason
	AcceptTime time.Time
	UpdateTime time.Time
	Position   uint64 // tickets ahead in the same line; 0 when running or final
	ETA        *ETA   // nil when final
}

// ETA is an interval from now. 90 % of tickets are done within it.
type ETA struct {
	Low, High time.Duration
}
