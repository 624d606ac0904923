package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/surgegate/surgegate/loadtest/control"
	"github.com/surgegate/surgegate/loadtest/report"
)

// controlSeeds is as many stores of each shape and speed as two cores run in about two minutes, with
// contest's default bound of calls, also when half of them is taken.
const controlSeeds = 12

// control sets the chart beside the other limiters on every store model, in virtual time, and writes control.html and
// control.json.
func (s *suite) control(ctx context.Context) ([]report.Figure, error) {
	c, err := control.Compare(ctx, control.Options{Seeds: controlSeeds})
	if err != nil {
		return nil, err
	}
	for name, make := range map[string]func() ([]byte, error){"control.html": c.HTML, "control.json": c.JSON} {
		data, err := make()
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(s.Out, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	var rows []report.Figure
	for _, g := range c.Goals() {
		r := report.Figure{Name: g.Name, Value: g.Value, Unit: g.Unit, Reference: g.Reference, Goal: g.Goal, OK: g.OK}
		if g.Reference > 0 {
			r.Ratio = g.Value / g.Reference
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// simulated is what storm simulate tells of itself.
type simulated struct {
	Arms []struct {
		People int    `json:"people"`
		Events uint64 `json:"events"`
	} `json:"arms"`
	Cost struct {
		Seconds        float64 `json:"seconds"`
		PeakResidentMB float64 `json:"peak_resident_mb"`
	} `json:"cost"`
}

// simulate runs a whole storm of 30 million mailed people over 48 h in a process of its own with one core.
func (s *suite) simulate(ctx context.Context) ([]report.Figure, error) {
	path := filepath.Join(s.dir, "simulated.json")
	cmd := exec.CommandContext(ctx, s.Self, "simulate", "--people", "30e6", "--store-rate", "800", "--mail-rate", "5000",
		"--duration", "48h", "--cost", "--json", path)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	if out, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("storm simulate: %w: %s", err, out)
	}
	js, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r simulated
	if err := json.Unmarshal(js, &r); err != nil {
		return nil, err
	}
	if len(r.Arms) != 1 {
		return nil, fmt.Errorf("storm simulate told of %d arms", len(r.Arms))
	}
	name := fmt.Sprintf("simulating 30 M mailed people over 48 h (%.3g M came, %.0f M events) on one core", float64(r.Arms[0].People)/1e6, float64(r.Arms[0].Events)/1e6)
	return []report.Figure{
		{Name: name, Value: r.Cost.Seconds, Unit: "s", Goal: "≤ 60", OK: r.Cost.Seconds <= 60},
		{Name: "the same: peak memory of the process", Value: r.Cost.PeakResidentMB, Unit: "MiB", Goal: "≤ 2048", OK: r.Cost.PeakResidentMB <= 2048},
	}, nil
}
