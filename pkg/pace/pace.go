package pace

import "time"

// Outcome says how a call ended, as far as the downstream's load is concerned.
type Outcome uint8

// The outcomes.
const (
	OutcomeOK       Outcome = iota
	OutcomeError            // failed, but not because of load
	OutcomeOverload         // refused or broken by load: RESOURCE_EXHAUSTED, connection refused, too many connections
	OutcomeTimeout          // no answer within the deadline
	OutcomeCanceled         // the caller gave up, or had nothing to send: it says nothing about the downstream
)

// String returns the value of the metric label.
func (o Outcome) String() string {
	switch o {
	case OutcomeOK:
		return "ok"
	case OutcomeError:
		return "error"
	case OutcomeOverload:
		return "overload"
	case OutcomeTimeout:
		return "timeout"
	case OutcomeCanceled:
		return "canceled"
	default:
		return "unknown"
	}
}

// Kind is a kind of call that the downstream is asked for, such as a look-up or a write: calls of one kind cost alike.
// The caller numbers them from 0.
type Kind uint8

// MaxKinds bounds the kinds of one downstream.
const MaxKinds = 4

// Verdict answers an Ask.
type Verdict struct {
	// Go says that the call may start now. It holds a slot until Done.
	Go bool
	// Items is how many items the call may carry, 1 to as many as were asked for. Set only with Go.
	Items int
	// RetryAt is when asking again makes sense. Zero: when a call ends. Set only without Go.
	RetryAt time.Time
	// Grant goes into the Call: it tells which bucket the items' tokens were taken from. Set only with Go.
	Grant uint64
}

// Call is one ended call.
type Call struct {
	Kind    Kind
	Start   time.Time
	Items   int // items sent
	Unused  int // items granted but not sent: their tokens are given back
	Grant   uint64
	Outcome Outcome
}

// Limits is what a Pacer presently allows.
type Limits struct {
	Concurrency int     // calls at once; 0: unlimited
	InFlight    int     // calls that hold a slot
	Rate        float64 // items/s; 0: unlimited
	Batch       int     // the largest number of items worth asking for in one call, at least 1
	Ramp        float64 // share of full speed while it comes back after an outage; else 1
}

// Pacer decides how fast one downstream is fed. The caller serialises the calls.
type Pacer interface {
	// Ask asks to start a call of at least 1 item now.
	Ask(now time.Time, kind Kind, items int) Verdict
	// Done reports the end of a call that was told Go.
	Done(now time.Time, c Call)
	// Resume says that the downstream takes calls again after an outage: speed begins low and grows from there.
	Resume(now time.Time)
	// Limits returns what is presently allowed.
	Limits() Limits
}
