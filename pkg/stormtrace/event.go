package stormtrace

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// What is wrong with a trace.
var (
	ErrFormat    = errors.New("stormtrace: not a trace")
	ErrVersion   = errors.New("stormtrace: a trace of another version")
	ErrOrder     = errors.New("stormtrace: out of order")
	ErrTruncated = errors.New("stormtrace: the trace ends in the middle")
)

const (
	format  = "storm-trace"
	version = 1
	unit    = "us"
)

// Op is what was called.
type Op uint8

// The calls.
const (
	OpStart Op = iota
	OpCheck
	OpComplete
	OpTicket
	OpScan
)

// Source is why somebody came.
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

// Cause tells whether they came by themselves.
type Cause uint8

// The causes.
const (
	Exogenous  Cause = iota
	Endogenous       // in answer to what the system did
)

// names in the order of their constants.
//
//nolint:gochecknoglobals // tables that nobody writes, looked into for each event
var (
	opNames     = [...]string{"start", "check", "complete", "ticket", "scan"}
	sourceNames = [...]string{"live", "mail", "revoke", "attack", "scan", "office", "loop"}
	causeNames  = [...]string{"exo", "endo"}
)

// String is the name in a trace.
func (o Op) String() string { return name(opNames[:], uint8(o)) }

// String is the name in a trace.
func (s Source) String() string { return name(sourceNames[:], uint8(s)) }

// String is the name in a trace.
func (c Cause) String() string { return name(causeNames[:], uint8(c)) }

func name(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("unknown(%d)", n)
}

// Event is one call.
type Event struct {
	T        int64 // µs since the header's T0
	U        uint64
	Op       Op
	Source   Source
	Cause    Cause
	Attempt  uint32        // attempts of the same call before this one
	Deadline time.Duration // in ms; 0: none
	Office   uint64        // whose people share one address; 0: none
}

// valid tells whether the names of the event exist.
func (e *Event) valid() error {
	if e.T < 0 || int(e.Op) >= len(opNames) || int(e.Source) >= len(sourceNames) || int(e.Cause) >= len(causeNames) || e.Deadline < 0 {
		return fmt.Errorf("%w: an event at %d µs: op %v, src %v, cause %v, deadline %v", ErrFormat, e.T, e.Op, e.Source, e.Cause, e.Deadline)
	}
	return nil
}

// Header is a trace's first line.
type Header struct {
	T0    time.Time
	Seed  uint64
	Model json.RawMessage // what a made trace was made from; empty: none
	ID    string          // of what u is: "hmac" or "number"
}

// header is Header as it is written.
type header struct {
	Format  string          `json:"fmt"`
	Version int             `json:"v"`
	T0      time.Time       `json:"t0"`
	Unit    string          `json:"unit"`
	Seed    uint64          `json:"seed"`
	Model   json.RawMessage `json:"model,omitempty"`
	ID      string          `json:"id"`
}
