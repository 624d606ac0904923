// Package agreement holds the simulator to reality: the same thinned storm once through the real gateway and the real
// victim, as processes, and once in virtual time; peak backlog, 99th percentile of the wait and time to drain must agree
// within 15 %.
//
// The storm is not the demo's, whose figures everybody has seen while writing the simulator: other people (seed), fewer of
// them, a store with other workers and another speed. Drained means that the backlog stays below a twentieth of its peak.
// What is simulated takes nothing from the real run but its configuration, and the maildir's hand-off, which is real work of
// this machine: a mail's median of 3 ms, and 50 ms until the mailbox is looked at, ten times a second.
package agreement

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/surgegate/surgegate/loadtest/compare"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/simulate"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// Tolerance of each figure.
const Tolerance = .15

// Config of a comparison of the two.
type Config struct {
	Storm, Surgegate string // programs
	Out              string // folder of the real run
	Progress         io.Writer
}

// Figure is one, in both worlds.
type Figure struct {
	Name, Unit      string
	Simulated, Real float64
}

// Agrees tells whether they are within Tolerance of each other.
func (f Figure) Agrees() bool { return math.Abs(f.Simulated/f.Real-1) <= Tolerance }

// storm is what both run.
func storm(cfg Config) compare.Config {
	return compare.Config{
		Storm: cfg.Storm, Surgegate: cfg.Surgegate, Out: cfg.Out, Seed: 77, Thin: 24, Length: 25 * time.Second, Lead: time.Second,
		Arms:   []compare.Arm{{Name: compare.Surgegate, Front: compare.Surgegate}},
		Victim: victim.Config{Workers: 3, HashTime: 25 * time.Millisecond, LookupTime: 2 * time.Millisecond},
	}.WithDefaults()
}

// Run runs both, the real one first.
func Run(ctx context.Context, cfg Config) ([]Figure, error) {
	c := storm(cfg)
	if err := compare.Run(ctx, c, compare.Deps{Out: cfg.Progress, Terminal: func() (int, bool) { return 0, false }}); err != nil {
		return nil, fmt.Errorf("agreement: the real run: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(cfg.Out, report.ResultFile))
	if err != nil {
		return nil, fmt.Errorf("agreement: %w", err)
	}
	var happened report.Result
	if err := json.Unmarshal(data, &happened); err != nil {
		return nil, fmt.Errorf("agreement: %w", err)
	}
	simulated, err := Simulate(ctx, c)
	if err != nil {
		return nil, err
	}
	return compared(simulated, happened.Arms[0]), nil
}

// Simulate is the same storm in virtual time.
func Simulate(ctx context.Context, c compare.Config) (simulate.Result, error) {
	c.People.Seed = c.Seed
	sim, err := simulate.New(simulate.Config{
		Scenario: c.Scenario, Seed: c.Seed, People: c.People, Store: simulate.StoreLike(c.Victim), Headroom: -1,
		Window: model.Window{From: c.Scenario.Peak() - c.Lead, Length: c.Length, Thin: c.Thin}, Until: c.PatientLimit,
		Mail: simulate.Mail{Latency: 3 * time.Millisecond, Delay: 50 * time.Millisecond},
	}, simulate.Deps{})
	if err != nil {
		return simulate.Result{}, err
	}
	return sim.Run(ctx)
}

func compared(s simulate.Result, a measure.Arm) []Figure {
	var simulated, happened []moment
	for _, x := range s.Samples {
		simulated = append(simulated, moment{x.Seconds, x.Backlog})
	}
	for _, x := range a.Samples {
		happened = append(happened, moment{x.Seconds, x.Backlog})
	}
	return []Figure{
		{"peak backlog", "calls, mails and tickets", float64(s.PeakBacklog), float64(a.PeakBacklog)},
		{"wait, p99", "s", float64(s.WaitP99MS) / 1000, float64(a.WaitP99MS) / 1000},
		{"drained after", "s", drained(simulated), drained(happened)},
	}
}

// moment is a backlog at a time.
type moment struct {
	at      float64
	backlog int
}

// drained is when the backlog was last above a twentieth of its peak.
func drained(all []moment) (at float64) {
	peak := 0
	for _, m := range all {
		peak = max(peak, m.backlog)
	}
	for _, m := range all {
		if m.backlog*20 > peak {
			at = m.at
		}
	}
	return at
}
