package crowd

import (
	"io"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
)

// loopClient is the id of the client gone wrong.
const loopClient = "refresh-loop"

// OfScenario lets those of a scenario come. Scanners make no calls and are left out.
func OfScenario(a *model.Arrivals) Arrivals { return ofScenario{a} }

type ofScenario struct{ arrivals *model.Arrivals }

// Next implements Arrivals.
func (s ofScenario) Next() (Arrival, error) {
	for {
		a, ok := s.arrivals.Next()
		if !ok {
			return Arrival{}, io.EOF
		}
		next := Arrival{At: a.At, Number: a.Person, Office: a.Office}
		switch a.Source {
		case model.SourceScan:
			continue
		case model.SourceAttack:
			next.Who = Attacker
		case model.SourceLoop:
			next.Who, next.Op, next.Client = Lone, people.OpStart, loopClient
		}
		return next, nil
	}
}
