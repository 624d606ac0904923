package rehearse

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/stormlog"
)

// attackersBelow keeps hashed numbers of attackers out of the range that people's draws do not use.
const attackersBelow = 1 << 62

// Trace is a recorded or a made storm as a stream. Endogenous events are left out, because people make their own in answer
// to what this system does; verbatim, each event is one call as it was recorded, and nobody acts. Of a truncated trace the
// whole events are replayed, and Cut tells so at the end.
type Trace struct {
	reader   *stormlog.Reader
	verbatim bool
	first    bool
	zero     int64 // time of the first event, µs
	LeftOut  int64 // endogenous events
	Cut      error // of a truncated trace
}

// OpenTrace opens a trace; "-" is the standard input.
func OpenTrace(path string, verbatim bool) (*Trace, error) {
	reader, err := stormlog.Open(path)
	if err != nil {
		return nil, err
	}
	return &Trace{reader: reader, verbatim: verbatim, first: true}, nil
}

// Notes are what a reader of a report must know of this trace.
func (t *Trace) Notes() (notes []string) {
	if t.Cut != nil {
		notes = append(notes, "the trace is cut off: "+t.Cut.Error())
	}
	if t.LeftOut > 0 {
		notes = append(notes, fmt.Sprintf("%d events that followed from others were left out: the people here made their own", t.LeftOut))
	}
	return notes
}

// Header is the trace's.
func (t *Trace) Header() stormlog.Header { return t.reader.Header() }

// Close implements Stream.
func (t *Trace) Close() error { return t.reader.Close() }

// Next implements crowd.Arrivals. The first event comes at 0, whenever it was.
func (t *Trace) Next() (crowd.Arrival, error) {
	for {
		e, err := t.reader.Next()
		switch {
		case errors.Is(err, stormlog.ErrTruncated):
			t.Cut = err
			return crowd.Arrival{}, io.EOF
		case err != nil:
			return crowd.Arrival{}, err // io.EOF, or an error that names the line
		case e.Op == stormlog.OpScan:
			continue
		case e.Cause == stormlog.Endogenous && !t.verbatim:
			t.LeftOut++
			continue
		}
		if t.first {
			t.first, t.zero = false, e.T
		}
		return t.arrival(e), nil
	}
}

func (t *Trace) arrival(e stormlog.Event) crowd.Arrival {
	a := crowd.Arrival{At: time.Duration(e.T-t.zero) * time.Microsecond, Number: e.U, Office: e.Office, Deadline: e.Deadline}
	switch {
	case t.verbatim || e.Source == stormlog.SourceLoop || e.Op != stormlog.OpStart:
		a.Who, a.Op = crowd.Lone, opOf(e.Op)
		if e.Source == stormlog.SourceLoop {
			a.Client = fmt.Sprintf("loop-%d", e.U)
		}
	case e.Source == stormlog.SourceAttack:
		a.Who, a.Number = crowd.Attacker, e.U%attackersBelow
	}
	return a
}

func opOf(op stormlog.Op) people.Op {
	switch op {
	case stormlog.OpCheck:
		return people.OpCheck
	case stormlog.OpComplete:
		return people.OpComplete
	case stormlog.OpTicket:
		return people.OpTicket
	default:
		return people.OpStart
	}
}
