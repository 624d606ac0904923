package crowd

import (
	"io"

	"github.com/surgegate/surgegate/loadtest/model"
)

// Slice gives the arrivals of a scenario's window.
func Slice(arrivals []model.Arrival) Arrivals { return &slice{arrivals} }

type slice struct{ left []model.Arrival }

func (s *slice) Next() (Arrival, error) {
	if len(s.left) == 0 {
		return Arrival{}, io.EOF
	}
	a := s.left[0]
	s.left = s.left[1:]
	next := Arrival{At: a.At, Number: a.Person}
	if a.Source == model.SourceAttack {
		next.Who = Attacker
	}
	return next, nil
}
