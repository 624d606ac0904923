package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/surgegate/surgegate/loadtest/capacity"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Options of a run.
type Options struct {
	Out       string // folder of summary.json
	Surgegate string // the binary
	GHZ, K6   string // the binaries, for the generator part
	// Surgectl and Prometheus are the binaries, Dashboards the folder, and Faults those to make (none: all), for the parts observe
	// and diagnosis.
	Surgectl, Prometheus, Dashboards string
	Faults                           []string
	Self                             string // this program, which serves the echo and the store when told to
	Rounds                           int    // of accepts, and of rehearsals; default 5
	Jobs                             int    // tickets queued; default 15 000 000
	Only                             []string
	// CapacityParts and CapacityModels are what to run of the capacity part; none: all.
	CapacityParts, CapacityModels []string
	Output                        io.Writer
	Clock                         clock.Clock
}

type suite struct {
	Options
	dir string
}

type part struct {
	name    string
	run     func(*suite, context.Context) ([]report.Figure, error)
	isAsked bool // it runs only where Options.Only names it: it makes the machine busy, for long
}

func parts() []part {
	return []part{
		{name: "accept", run: (*suite).accept},
		{name: "complete", run: (*suite).complete},
		{name: "control", run: (*suite).control},
		{name: "simulate", run: (*suite).simulate},
		{name: "agreement", run: (*suite).agreement},
		{name: "synth", run: (*suite).synth},
		{name: "record", run: (*suite).recording},
		{name: "metrics", run: (*suite).metrics},
		{name: "sqlite", run: (*suite).sqlite},
		{name: "postgres", run: (*suite).postgres},
		{name: "tickets", run: (*suite).tickets},
		{name: "backlog", run: (*suite).backlog},
		{name: "capacity", run: (*suite).capacity},
		{name: "generator", run: (*suite).generator},
		{name: "observe", run: (*suite).observe},
		{name: "diagnosis", run: (*suite).diagnosis, isAsked: true},
		{name: "starved", run: (*suite).starved, isAsked: true},
		{name: "rehearsals", run: (*suite).rehearsals, isAsked: true},
	}
}

// Names lists the parts that Options.Only may name.
func Names() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// Run measures, prints a table and writes summary.json, also when a part failed.
func Run(ctx context.Context, o Options) error {
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Jobs == 0 {
		o.Jobs = 15_000_000
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("bench: %q is no part: use some of %v", name, Names())
		}
	}
	if err := os.MkdirAll(o.Out, 0o750); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.Out, "run-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &suite{Options: o, dir: dir}
	var rows []report.Figure
	var errs []error
	for _, p := range parts() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, p.name) || len(o.Only) == 0 && p.isAsked {
			continue
		}
		fmt.Fprintf(o.Output, "measuring: %s\n", p.name)
		got, err := p.run(s, ctx)
		rows = append(rows, got...)
		if err != nil {
			errs = append(errs, fmt.Errorf("bench: %s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	printRows(o.Output, rows)
	js, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	errs = append(errs, os.WriteFile(filepath.Join(o.Out, "summary.json"), append(js, '\n'), 0o600))
	return errors.Join(errs...)
}

// capacity runs the whole program against stores that fall over; capacity.json and capacity.html have the details.
func (s *suite) capacity(ctx context.Context) ([]report.Figure, error) {
	return capacity.Run(ctx, capacity.Options{
		Out: s.Out, Surgegate: s.Surgegate, Self: s.Self, Parts: s.CapacityParts, Models: s.CapacityModels, Output: s.Output, Clock: s.Clock,
	})
}

// generator sets the load generator beside ghz and k6.
func (s *suite) generator(ctx context.Context) ([]report.Figure, error) {
	return compareGenerators(ctx, generatorOptions{
		Dir: filepath.Join(s.dir, "generator"), Self: s.Self, GHZ: s.GHZ, K6: s.K6, Output: s.Output, Clock: s.Clock,
	})
}

// backlog runs the whole program before PostgreSQL, with a line of completions whose hashes are made already.
func (s *suite) backlog(ctx context.Context) ([]report.Figure, error) {
	f, err := measureBacklog(ctx, backlogOptions{
		Dir: filepath.Join(s.dir, "backlog"), Surgegate: s.Surgegate, Output: s.Output, Clock: s.Clock,
	})
	if err != nil {
		return nil, err
	}
	ratio := f.Through / f.OneRow
	return []report.Figure{{
		Name:  fmt.Sprintf("PostgreSQL through surgegate with a backlog ÷ one-row transactions over their best %d connections", f.Connections),
		Value: f.Through, Unit: "resets/s", Reference: f.OneRow, Ratio: ratio, Goal: "ratio ≥ 1.5", OK: ratio >= 1.5,
	}}, nil
}

func printRows(w io.Writer, rows []report.Figure) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tvalue\tunit\treference\tratio\tgoal\t")
	for _, r := range rows {
		reference, ratio, verdict := "", "", "ok"
		if r.Reference != 0 {
			reference = fmt.Sprintf("%.4g", r.Reference)
		}
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.3f", r.Ratio)
		}
		if !r.OK {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%.4g\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Value, r.Unit, reference, ratio, r.Goal, verdict)
	}
	_ = t.Flush() // to a terminal or a log: nobody to tell
}

// agreement holds the simulator to a real run.
func (s *suite) agreement(ctx context.Context) ([]report.Figure, error) {
	figures, err := measureAgreement(ctx, agreementConfig{
		Storm: s.Self, Surgegate: s.Surgegate, Out: filepath.Join(s.dir, "agreement"), Progress: s.Output,
	})
	var rows []report.Figure
	for _, f := range figures {
		rows = append(rows, report.Figure{
			Name: "simulated ÷ real, " + f.Name, Value: f.Simulated, Unit: f.Unit, Reference: f.Real, Ratio: f.Simulated / f.Real,
			Goal: "ratio 0.85 to 1.15", OK: f.Agrees(),
		})
	}
	return rows, err
}

// synth makes a trace of 15 million people.
func (s *suite) synth(ctx context.Context) ([]report.Figure, error) {
	begin := s.Clock.Now()
	sum, err := people.WriteLog(ctx, people.LogConfig{
		Scenario: model.Plex2022(), Window: model.Window{Length: 48 * time.Hour}, Seed: 1, Path: filepath.Join(s.dir, "plex.trace.zst"), Start: begin,
	})
	rate := float64(sum.Events) / s.Clock.Now().Sub(begin).Seconds()
	return []report.Figure{{
		Name: "synth, 15 M people mailed, 48 h, to disk", Value: rate, Unit: "events/s", Goal: "≥ 1,000,000", OK: rate >= 1e6,
	}}, err
}
