package capacity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Options of a run.
type Options struct {
	Out       string   // folder of capacity.json and capacity.html
	Surgegate string   // the binary
	Self      string   // this program, whose "victim --child" is the store
	Parts     []string // of Names; none: all
	Models    []string // of ModelNames; none: all
	Seed      uint64
	Output    io.Writer
	Clock     clock.Clock
}

type suite struct {
	Options
	dir     string
	results []Result
}

type part struct {
	name string
	run  func(*suite, context.Context) ([]report.Figure, error)
}

func parts() []part {
	return []part{
		{"storm", (*suite).storm},
		{"answers", (*suite).answers},
		{"models", (*suite).models},
		{"quiet", (*suite).quiet},
	}
}

// Names are the parts that Options.Parts may name.
func Names() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// ModelNames are the models that Options.Models may name.
func ModelNames() (names []string) {
	for _, m := range models() {
		names = append(names, m.name)
	}
	return names
}

// Run makes the parts, one after the other, and writes capacity.json and capacity.html, also when a part failed.
func Run(ctx context.Context, o Options) ([]report.Figure, error) {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	for _, list := range []struct{ given, known []string }{{o.Parts, Names()}, {o.Models, ModelNames()}} {
		for _, name := range list.given {
			if !slices.Contains(list.known, name) {
				return nil, fmt.Errorf("capacity: %q is none of %v", name, list.known)
			}
		}
	}
	out, err := filepath.Abs(o.Out) // programs that are started have the same folder, but say so in their configuration
	if err != nil {
		return nil, err
	}
	o.Out = out
	if err := os.MkdirAll(o.Out, 0o750); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Out, "run-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &suite{Options: o, dir: dir}
	var rows []report.Figure
	var errs []error
	for _, p := range parts() {
		wanted := slices.Contains(o.Parts, p.name) || len(o.Parts) == 0
		if ctx.Err() != nil || !wanted {
			continue
		}
		fmt.Fprintf(o.Output, "measuring: capacity/%s\n", p.name)
		got, err := p.run(s, ctx)
		rows = append(rows, got...)
		if err != nil {
			errs = append(errs, fmt.Errorf("capacity: %s: %w", p.name, err))
		}
	}
	errs = append(errs, s.write(rows))
	return rows, errors.Join(errs...)
}

func (s *suite) write(rows []report.Figure) error {
	result := Report{Figures: rows, Results: s.results}
	js, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	html, err := page(result)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.Out, "capacity.json"), append(js, '\n'), 0o600),
		os.WriteFile(filepath.Join(s.Out, "capacity.html"), html, 0o600))
}

func least(name string, value float64, goal float64) report.Figure {
	return report.Figure{Name: name, Value: value, Unit: "ratio", Goal: fmt.Sprintf("≥ %.4g", goal), OK: value >= goal}
}

func most(name string, value float64, unit string, goal float64) report.Figure {
	return report.Figure{Name: name, Value: value, Unit: unit, Goal: fmt.Sprintf("≤ %.4g", goal), OK: value <= goal}
}

// invalid marks rows of a run whose load could not be made on time: whatever came out says nothing of surgegate.
func invalid(rows []report.Figure, late time.Duration) []report.Figure {
	for i := range rows {
		rows[i].Name = fmt.Sprintf("INVALID, the load was made %v late at p99: %s", late.Round(time.Millisecond), rows[i].Name)
		rows[i].OK = false
	}
	return rows
}

// judgeModels makes the rows of the models' runs.
func judgeModels(list []storeModel, all []*Result) (rows []report.Figure) {
	var together waits
	var tripped float64
	deaths, late, fragile := 0, 0, false
	for i, r := range all {
		m := list[i]
		prefix := "through surgegate, " + m.name + " (" + m.about + "): "
		if m.outage {
			row := most(prefix+"back to normal after it ends", r.Recovery, "s", 30)
			row.OK = row.OK && r.Recovery >= 0
			rows = append(rows, row)
			tripped += r.Reopens
		} else {
			row := least(prefix+"goodput ÷ best, standing backlog", r.Goodput, .95)
			row.Reference = r.Reference
			rows = append(rows, row)
		}
		if m.store.Latency == 0 && len(m.events) == 0 {
			rows = append(rows, most(prefix+"inside ÷ knee while holding, time average", r.Holding, "ratio", 1.25),
				most(prefix+"inside ÷ knee while finding out, peak", r.Peak, "ratio", 2.2))
		}
		if m.store.MaxCalls > 0 {
			deaths, late, fragile = deaths+r.Deaths, late+r.LateDeaths, true
		}
		if m.steady {
			together.Count += r.Waits.Count
			together.Inside += r.Waits.Inside
			together.errors = append(together.errors, r.Waits.errors...)
			together.WidestHigh = max(together.WidestHigh, r.Waits.WidestHigh)
		}
	}
	if fragile {
		rows = append(rows, most("crashes of a store that dies at 1.5x its knee", float64(deaths), "crashes", 1),
			most("crashes of it after the first minute", float64(late), "crashes", 0))
	}
	rows = append(rows, most("breaker trips after a store was back to normal", tripped, "trips", 0))
	if together.Count > 0 {
		share := least("ETA at acceptance, waits over 5 s: share inside the interval", together.share(), .9)
		share.Reference = float64(together.Count)
		rows = append(rows, share,
			most("ETA at acceptance, waits over 5 s: median error of its middle", report.Median(together.errors), "ratio", .15),
			most("ETA at acceptance: high ÷ low, at the most", together.WidestHigh, "ratio", 2))
	}
	return rows
}
