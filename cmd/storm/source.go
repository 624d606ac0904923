package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/rehearse"
)

// stormFlags say which storm is replayed.
type stormFlags struct {
	scenario     string
	seed         uint64
	from, length time.Duration
	people       float64
}

func (o *stormFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.scenario, "scenario", "plex-2022", "which storm")
	f.Uint64Var(&o.seed, "seed", 2022, "of all random draws: same seed, same people")
	f.DurationVar(&o.from, "from", 0, "where to begin, after the first mail; default: 2 s before the peak")
	f.DurationVar(&o.length, "length", 30*time.Second, "of the part that is replayed")
}

func (o *stormFlags) open(shape rehearse.Shape) (rehearse.Storm, error) {
	shape.Seed = o.seed
	s := model.Plex2022()
	return rehearse.Storm{Name: s.Name, Seed: o.seed, Open: func() (rehearse.Stream, error) {
		arrivals, err := s.Arrivals(model.Window{From: s.Peak() - 2*time.Second, Length: o.length, Thin: shape.Thin}, o.seed)
		if err != nil {
			return nil, fmt.Errorf("storm: %w", err)
		}
		shape.Thin = 1
		return rehearse.NewShaped(closer{crowd.Slice(arrivals)}, shape), nil
	}}, nil
}

type closer struct{ crowd.Arrivals }

func (closer) Close() error { return nil }
