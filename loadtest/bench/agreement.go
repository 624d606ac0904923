package bench

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

// tolerance is how far simulated ÷ real may be from 1.
const tolerance = .15

// agreementConfig says what measureAgreement runs.
type agreementConfig struct {
	Storm, Surgegate string // programs
	Out              string // folder of the real run
	Progress         io.Writer
}

// agreementFigure is one figure, simulated and real.
type agreementFigure struct {
	Name, Unit      string
	Simulated, Real float64
}

// Agrees reports whether the two are within the tolerance.
func (f agreementFigure) Agrees() bool { return math.Abs(f.Simulated/f.Real-1) <= tolerance }

// storm is what both run: not the demo's storm, whose figures the simulator was written with, but other people, fewer of them, and a
// store with other workers and another speed.
func storm(cfg agreementConfig) compare.Config {
	return compare.Config{
		Storm: cfg.Storm, Surgegate: cfg.Surgegate, Out: cfg.Out, Seed: 77, Thin: 24, Length: 25 * time.Second, Lead: time.Second,
		Arms:   []compare.Arm{{Name: compare.Surgegate, Front: compare.Surgegate}},
		Victim: victim.Config{Workers: 3, HashTime: 25 * time.Millisecond, LookupTime: 2 * time.Millisecond},
	}.WithDefaults()
}

// measureAgreement runs the storm through the real gateway and the real victim, then in virtual time, and returns peak backlog, 99th
// percentile of the wait and time to drain. Drained means that the backlog stays below a twentieth of its peak. The simulator gets
// the configuration of the real run, and the time that the maildir takes: a median of 3 ms for a mail, and 50 ms until the mailbox
// is looked at, ten times a second.
func measureAgreement(ctx context.Context, cfg agreementConfig) ([]agreementFigure, error) {
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
	simulated, err := simulateRun(ctx, c)
	if err != nil {
		return nil, err
	}
	return compared(simulated, happened.Arms[0]), nil
}

// simulateRun runs the same storm in virtual time.
func simulateRun(ctx context.Context, c compare.Config) (simulate.Result, error) {
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

func compared(s simulate.Result, a measure.Arm) []agreementFigure {
	var simulated, happened []moment
	for _, x := range s.Samples {
		simulated = append(simulated, moment{x.Seconds, x.Backlog})
	}
	for _, x := range a.Samples {
		happened = append(happened, moment{x.Seconds, x.Backlog})
	}
	return []agreementFigure{
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
