package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/observe"
	"github.com/surgegate/surgegate/loadtest/report"
)

// observe makes faults that nobody announces and tells how long it takes until an alert names them.
func (s *suite) observe(ctx context.Context) ([]report.Figure, error) {
	rows, _, err := s.faults(ctx, "observe", observe.DiagnoseConfig{Alerts: true, AtOnce: 6})
	return rows, err
}

// diagnosis makes every fault on a quiet machine and on a busy one, and fails where surgectl status does not tell the truth.
func (s *suite) diagnosis(ctx context.Context) (rows []report.Figure, err error) {
	missed := 0
	for _, machine := range []string{"quiet", "busy"} {
		more, n, e := s.faults(ctx, machine, observe.DiagnoseConfig{Busy: machine == "busy"})
		rows, missed, err = append(rows, more...), missed+n, errors.Join(err, e)
	}
	if missed > 0 {
		err = errors.Join(err, fmt.Errorf("surgectl status did not tell the truth about %d faults", missed))
	}
	return rows, err
}

// faults observes faults, prints them as a table, and tells how many of them surgectl status missed.
func (s *suite) faults(ctx context.Context, name string, cfg observe.DiagnoseConfig) (rows []report.Figure, missed int, err error) {
	cfg.Config = observe.Config{
		Programs:   observe.Programs{Surgegate: s.Surgegate, Surgectl: s.Surgectl, Storm: s.Self, Prometheus: s.Prometheus},
		Dashboards: s.Dashboards, Dir: filepath.Join(s.dir, name),
	}
	cfg.Only = s.Faults
	all, err := observe.Diagnose(ctx, cfg, s.Clock)
	fmt.Fprintln(s.Output, observe.Header())
	for _, o := range all {
		fmt.Fprintln(s.Output, o)
		if !o.OK() {
			missed++
		}
	}
	for _, f := range observe.Figures(all) {
		rows = append(rows, report.Figure(f))
	}
	return rows, missed, err
}

// loops make a machine of two cores busy.
const loops = 4

// starved runs a storm through a gateway that shares its core with a busy loop, before a store that dies of too many calls.
func (s *suite) starved(ctx context.Context) ([]report.Figure, error) {
	o, err := rehearseBusy(ctx, busyConfig{
		Surgegate: s.Surgegate, Storm: s.Self, Dir: filepath.Join(s.dir, "starved"), People: 2_000_000, Thin: 1, Length: 2 * time.Minute,
		Loops: 1, SharedCore: true,
		// It sets 66 passwords a second, a little less than people ask for, and dies of 1024 items inside.
		Victim: []string{"--hash", "60ms", "--memory", fmt.Sprint(64 << 20)},
	}, s.Clock)
	if err != nil {
		return nil, err
	}
	for _, p := range o.Paced {
		fmt.Fprintf(s.Output, "  %3.0f s  limit %3.0f  in flight %3.0f\n", p.At.Seconds(), p.Limit, p.InFlight)
	}
	const where = "gateway and a busy loop on one core: "
	return []report.Figure{
		{Name: where + "store crashes after the first minute", Value: float64(o.LateCrashes), Unit: "crashes", Goal: "0", OK: o.LateCrashes == 0},
		{
			Name: where + "people served; beside it people accepted", Value: float64(o.Arm.Completed), Unit: "people", Reference: float64(o.Arm.Accepted),
			Goal: "all", OK: o.Arm.Completed == o.Arm.Accepted,
		},
	}, broken("starved", o)
}

// rehearsals makes the README's demo and rehearsals again and again on a busy machine.
func (s *suite) rehearsals(ctx context.Context) (rows []report.Figure, err error) {
	for _, kind := range []struct {
		name string
		run  func(cfg busyConfig) (busyOutcome, error)
	}{
		{"make demo", func(cfg busyConfig) (busyOutcome, error) { return demoBusy(ctx, cfg) }},
		{"rehearsal, one person in 12", func(cfg busyConfig) (busyOutcome, error) {
			cfg.Thin = 12
			return rehearseBusy(ctx, cfg, s.Clock)
		}},
		{"rehearsal, one person in 5", func(cfg busyConfig) (busyOutcome, error) {
			cfg.Thin = 5
			return rehearseBusy(ctx, cfg, s.Clock)
		}},
	} {
		good := 0
		for n := range s.Rounds {
			o, e := kind.run(busyConfig{Surgegate: s.Surgegate, Storm: s.Self, Dir: filepath.Join(s.dir, "rehearsal"), Loops: loops})
			if e == nil {
				e = broken(fmt.Sprintf("%s, run %d", kind.name, n+1), o)
			}
			if e == nil {
				good++
			}
			fmt.Fprintf(s.Output, "  %s, run %d of %d: %d accepted, %d served, %d store crashes, %s\n",
				kind.name, n+1, s.Rounds, o.Arm.Accepted, o.Arm.Completed, o.Arm.StoreCrashes, orGood(e))
			err = errors.Join(err, e)
			if ctx.Err() != nil {
				return rows, err
			}
		}
		rows = append(rows, report.Figure{
			Name: kind.name + " beside 4 busy loops: runs without a crash in which everybody who was accepted was served", Value: float64(good),
			Unit: "runs", Reference: float64(s.Rounds), Ratio: float64(good) / float64(s.Rounds), Goal: "all", OK: good == s.Rounds,
		})
	}
	return rows, err
}

// broken is an error where something was promised and not kept.
func broken(name string, o busyOutcome) error {
	if len(o.Broken) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", name, strings.Join(o.Broken, "; "))
}

func orGood(err error) string {
	if err == nil {
		return "good"
	}
	return err.Error()
}
