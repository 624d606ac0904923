package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Run's verdicts.
var (
	// ErrBroken is returned when surgegate's arm did not keep its promises.
	ErrBroken = errors.New("demo: surgegate broke a promise")
	// ErrInvalid is returned when the load generator was too late for a run to say anything.
	ErrInvalid = errors.New("demo: INVALID: this machine was too busy to generate the load on time")
)

// Run replays the storm once for each arm and writes report.html and result.json.
func Run(ctx context.Context, cfg Config, deps Deps) error {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	out, err := filepath.Abs(cfg.Out)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	cfg.Out = out
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	arrivals, err := cfg.Scenario.Arrivals(
		model.Window{From: cfg.Scenario.Peak() - cfg.Lead, Length: cfg.Length, Thin: cfg.Thin}, cfg.Seed)
	if err != nil {
		return err
	}
	result := report.Result{Storm: describe(cfg, arrivals)}
	intro(deps.Out, result.Storm)
	for i, name := range cfg.Arms {
		a := &arm{
			name: name, cfg: cfg, deps: deps, arrivals: arrivals, recorder: measure.New(measure.Config{Keep: true}),
			view: newView(deps.Out, deps.Terminal, name, fmt.Sprintf("%d/%d", i+1, len(cfg.Arms)), result.Storm),
		}
		done, err := a.run(ctx)
		if err != nil {
			return err
		}
		result.Arms = append(result.Arms, done)
	}
	if err := write(cfg.Out, result); err != nil {
		return err
	}
	compare(deps.Out, result, cfg.Out)
	var verdict error
	for _, a := range result.Arms {
		if len(a.Broken) > 0 {
			return ErrBroken
		}
		if a.Invalid != "" {
			verdict = ErrInvalid
		}
	}
	return verdict
}

func describe(cfg Config, arrivals []model.Arrival) report.Storm {
	s := report.Storm{
		Scenario: cfg.Scenario.Name, Seconds: cfg.Length.Seconds(), Thin: cfg.Thin, Seed: cfg.Seed,
		Capacity: cfg.Victim.Capacity(), Workers: cfg.Victim.Workers, HashMS: cfg.Victim.HashTime.Milliseconds(),
		MemoryBound: int64(cfg.Victim.MemoryBound), InsideBound: cfg.Victim.MemoryBound / cfg.Victim.RequestMemory,
		PeakRate: cfg.Scenario.At(cfg.Scenario.Peak()).People() / cfg.Thin,
	}
	for _, a := range arrivals {
		if a.Source == model.SourceAttack {
			s.Attackers++
		} else {
			s.People++
		}
	}
	return s
}

func write(dir string, r report.Result) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	page, err := report.HTML(r)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "result.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "report.html"), page, 0o644))
}
