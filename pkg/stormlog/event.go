package stormlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Errors of Reader and Writer. Test with errors.Is.
var (
	ErrFormat    = errors.New("stormlog: not a storm log")
	ErrVersion   = errors.New("stormlog: written in another format version")
	ErrOrder     = errors.New("stormlog: events are out of order")
	ErrTruncated = errors.New("stormlog: the file ends in the middle")
)

const (
	format  = "storm-trace"
	version = 1
	unit    = "us"
)

// Op is the call that an event records.
type Op uint8

// The calls.
const (
	OpStart Op = iota
	OpCheck
	OpComplete
	OpTicket
	OpScan
)

// Source is the reason why a person came.
type Source uint8

// The sources.
const (
	SourceLive Source = iota // not known
	SourceMail
	SourceRevoke
	SourceAttack
	SourceScan
	SourceOffice
	SourceLoop
)

// Cause says whether the person came unprompted or in answer to the system.
type Cause uint8

// The causes.
const (
	Exogenous  Cause = iota // the person came unprompted
	Endogenous              // the call followed from an earlier answer of the system
)

// The names in the file, in the order of the constants.
var (
	opNames     = [...]string{"start", "check", "complete", "ticket", "scan"}
	sourceNames = [...]string{"live", "mail", "revoke", "attack", "scan", "office", "loop"}
	causeNames  = [...]string{"exo", "endo"}
)

// String returns the name in the file.
func (o Op) String() string { return name(opNames[:], uint8(o)) }

// String returns the name in the file.
func (s Source) String() string { return name(sourceNames[:], uint8(s)) }

// String returns the name in the file.
func (c Cause) String() string { return name(causeNames[:], uint8(c)) }

func name(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("unknown(%d)", n)
}

// Event is one call.
type Event struct {
	T        int64  // µs since the header's T0, at least 0
	U        uint64 // pseudonym of the person
	Op       Op
	Source   Source
	Cause    Cause
	Attempt  uint32        // earlier attempts of the same call
	Deadline time.Duration // written in whole ms; 0: none
	Office   uint64        // the office whose people share one address; 0: none
}

// validate returns ErrFormat for a negative time or deadline and for an op, source or cause without a name.
func (e *Event) validate() error {
	if e.T < 0 || int(e.Op) >= len(opNames) || int(e.Source) >= len(sourceNames) || int(e.Cause) >= len(causeNames) || e.Deadline < 0 {
		return fmt.Errorf("%w: the event at %d µs has op %v, src %v, cause %v, deadline %v", ErrFormat, e.T, e.Op, e.Source, e.Cause, e.Deadline)
	}
	return nil
}

// Header is the first line of a storm log.
type Header struct {
	T0    time.Time       // the time from which events count
	Seed  uint64          // the seed of a synthetic log; 0 in a recorded one
	Model json.RawMessage // the model of a synthetic log; empty in a recorded one
	ID    string          // how pseudonyms were made: "hmac" or "number"
}

// header is the JSON form of Header.
type header struct {
	Format  string          `json:"fmt"`
	Version int             `json:"v"`
	T0      time.Time       `json:"t0"`
	Unit    string          `json:"unit"`
	Seed    uint64          `json:"seed"`
	Model   json.RawMessage `json:"model,omitempty"`
	ID      string          `json:"id"`
}
