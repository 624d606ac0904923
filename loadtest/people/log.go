package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/pkg/stormlog"
)

// LogConfig says which arrivals WriteLog writes.
type LogConfig struct {
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

// LogSummary says what WriteLog wrote.
type LogSummary struct {
	Events, People, Attackers, Scanners, Loop int64
	Bytes                                     int64
	Peak                                      int64         // most people in one second
	PeakAt                                    time.Duration // which
}

const (
	lookEvery     = 1 << 14 // events between two looks at the context
	progressEvery = 1 << 20 // about half a second's work
)

// WriteLog writes a scenario's arrivals as a storm log: first attempts only, in the order of time. It streams, so memory does not grow
// with the log. The same scenario, window and seed give the same bytes. People are numbered from 0 in the order of their coming, attackers
// and scanners by themselves; the source tells them apart. A replay leaves scanners out: they fetch links, whose fragment never reaches
// a server. A file that exists is not overwritten, and one that could not be finished is removed.
func WriteLog(ctx context.Context, cfg LogConfig) (sum LogSummary, err error) {
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
		cfg.Deadline = Config{}.WithDefaults().Deadline
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
