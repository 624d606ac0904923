package synth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/pkg/stormlog"
)

// Config of a trace.
type Config struct {
	Scenario model.Scenario
	Window   model.Window
	Seed     uint64
	Path     string    // required; must not be there
	Start    time.Time // the trace's t0; required
	// Deadline of each call, as recorded. Default: that of people.
	Deadline time.Duration
	// Progress hears of the events so far and the storm's time, about once in a million events. Nil: nobody does.
	Progress func(events int64, at time.Duration)
}

// Summary of a trace.
type Summary struct {
	Events, People, Attackers, Scanners, Loop int64
	Bytes                                     int64
	Peak                                      int64         // most people in one second
	PeakAt                                    time.Duration // which
}

const (
	lookEvery     = 1 << 14 // events between two looks at the context
	progressEvery = 1 << 20 // about half a second's work
)

// Write makes the file.
func Write(ctx context.Context, cfg Config) (sum Summary, err error) {
	arrivals, err := cfg.Scenario.Arrivals(cfg.Window, cfg.Seed)
	if err != nil {
		return sum, err
	}
	made, err := json.Marshal(cfg.Scenario)
	if err != nil {
		return sum, fmt.Errorf("synth: %w", err)
	}
	w, err := stormlog.Create(cfg.Path, stormlog.Header{T0: cfg.Start, Seed: cfg.Seed, Model: made, ID: "number"})
	if err != nil {
		return sum, err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(cfg.Path))
			return
		}
		if info, statErr := os.Stat(cfg.Path); statErr == nil {
			sum.Bytes = info.Size()
		}
	}()
	if cfg.Deadline == 0 {
		cfg.Deadline = people.Config{}.WithDefaults().Deadline
	}
	var second, inSecond int64
	e := stormlog.Event{Op: stormlog.OpStart, Deadline: cfg.Deadline}
	for {
		a, ok := arrivals.Next()
		if !ok {
			return sum, nil
		}
		e.T, e.U, e.Office = a.At.Microseconds(), a.Person, a.Office
		e.Op, e.Source = stormlog.OpStart, sourceOf(a.Source)
		switch {
		case a.Source.Human():
			sum.People++
			if now := int64(a.At / time.Second); now != second {
				second, inSecond = now, 0
			}
			if inSecond++; inSecond > sum.Peak {
				sum.Peak, sum.PeakAt = inSecond, time.Duration(second)*time.Second
			}
		case a.Source == model.SourceScan:
			sum.Scanners++
			e.Op = stormlog.OpScan
		case a.Source == model.SourceLoop:
			sum.Loop++
		default:
			sum.Attackers++
		}
		if err := w.Write(&e); err != nil {
			return sum, fmt.Errorf("synth: %s: %w", cfg.Path, err)
		}
		sum.Events++
		if sum.Events%lookEvery == 0 && ctx.Err() != nil {
			return sum, ctx.Err()
		}
		if sum.Events%progressEvery == 0 && cfg.Progress != nil {
			cfg.Progress(sum.Events, a.At)
		}
	}
}

func sourceOf(s model.Source) stormlog.Source {
	switch s {
	case model.SourceMail:
		return stormlog.SourceMail
	case model.SourceRevoke:
		return stormlog.SourceRevoke
	case model.SourceAttack:
		return stormlog.SourceAttack
	case model.SourceScan:
		return stormlog.SourceScan
	case model.SourceLoop:
		return stormlog.SourceLoop
	default:
		return stormlog.SourceLive
	}
}
