package rehearse

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/model"
)

// Stream is a storm's arrivals, to be closed when they are not read to the end.
type Stream interface {
	crowd.Arrivals
	io.Closer
}

// NoClose makes a stream of arrivals that need no closing.
func NoClose(a crowd.Arrivals) Stream { return unclosed{a} }

type unclosed struct{ crowd.Arrivals }

func (unclosed) Close() error { return nil }

// Shape changes a stream.
type Shape struct {
	Speed   float64 // compresses time; default 1
	Thin    float64 // keeps one person in so many; default 1
	Amplify int     // clones of each person, themselves included; default 1
	Seed    uint64  // which people are kept
}

// WithDefaults fills zero fields.
func (s Shape) WithDefaults() Shape {
	if s.Speed == 0 {
		s.Speed = 1
	}
	if s.Thin == 0 {
		s.Thin = 1
	}
	if s.Amplify == 0 {
		s.Amplify = 1
	}
	return s
}

// Validate names the field that makes no sense.
func (s Shape) Validate() error {
	if !(s.Speed > 0 && s.Speed <= 1e6) || !(s.Thin >= 1) || s.Amplify < 1 || s.Amplify > 1000 {
		return fmt.Errorf("rehearse: Speed is %v, Thin %v and Amplify %d; they must be above 0, at least 1, and 1 to 1000", s.Speed, s.Thin, s.Amplify)
	}
	return nil
}

// shaped applies a Shape. A person is kept or not whatever comes before: the same people are in every thinning of one seed.
type shaped struct {
	Stream
	shape  Shape
	draw   model.Random
	clones int     // of last that are still to come
	lone   float64 // calls with nobody behind them, so far
	last   crowd.Arrival
}

// drawThin is the number of the draw that keeps a person. People's own begin at 100.
const drawThin = 50

// NewShaped changes a stream; the Shape must be valid.
func NewShaped(s Stream, shape Shape) Stream {
	shape = shape.WithDefaults()
	return &shaped{Stream: s, shape: shape, draw: model.NewRandom(shape.Seed)}
}

// Next implements crowd.Arrivals.
func (s *shaped) Next() (crowd.Arrival, error) {
	if s.clones > 0 {
		s.clones--
		return s.clone(), nil
	}
	for {
		a, err := s.Stream.Next()
		if err != nil {
			return a, err
		}
		if s.shape.Thin > 1 && a.Who == crowd.Lone { // nobody is behind them who could be sampled whole
			s.lone++
			if math.Mod(s.lone, s.shape.Thin) >= 1 {
				continue
			}
		} else if s.shape.Thin > 1 && s.draw.Uniform(a.Number, model.Draw{Kind: drawThin, Nth: uint32(a.Who)})*s.shape.Thin >= 1 {
			continue
		}
		a.At = time.Duration(float64(a.At) / s.shape.Speed)
		s.last, s.clones = a, s.shape.Amplify-1
		return s.clone(), nil
	}
}

// clone numbers the clones of a person so that no two people have one number.
func (s *shaped) clone() crowd.Arrival {
	a := s.last
	a.Number = a.Number*uint64(s.shape.Amplify) + uint64(s.clones)
	return a
}
