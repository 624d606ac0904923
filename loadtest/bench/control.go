package bench

import (
	"context"
	"os"
	"path/filepath"

	"github.com/surgegate/surgegate/loadtest/contest"
)

// controlSeeds is as many stores of each shape and speed as two cores run in about two minutes, with
// contest's default bound of calls, also when half of them is taken.
const controlSeeds = 12

// control sets the chart beside the other limiters on every store model, in virtual time, and writes control.html and
// control.json.
func (s *suite) control(ctx context.Context) ([]Row, error) {
	c, err := contest.Run(ctx, contest.Options{Seeds: controlSeeds})
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
	var rows []Row
	for _, g := range c.Goals() {
		r := Row{Name: g.Name, Value: g.Value, Unit: g.Unit, Reference: g.Reference, Goal: g.Goal, OK: g.OK}
		if g.Reference > 0 {
			r.Ratio = g.Value / g.Reference
		}
		rows = append(rows, r)
	}
	return rows, nil
}
