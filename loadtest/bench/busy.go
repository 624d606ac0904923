package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// busyConfig says what rehearseBusy and demoBusy run. Fields without a default are required.
type busyConfig struct {
	Surgegate, Storm string // the programs
	Dir              string // for everything that the run writes; made anew
	// People who are mailed, of whom one in Thin comes, in Length of the scenario blast-1h around its peak. Defaults 300000,
	// 12 and 70 s.
	People int
	Thin   float64
	Length time.Duration
	// Loops beside it. Default 0.
	Loops int
	// SharedCore pins the gateway and the loops to core 0. Default false: everything may run everywhere.
	SharedCore bool
	// Victim has further flags of storm victim. Default none: the README's.
	Victim []string
}

// WithDefaults returns the config with its zero fields set.
func (c busyConfig) WithDefaults() busyConfig {
	if c.People == 0 {
		c.People = 300_000
	}
	if c.Thin == 0 {
		c.Thin = 12
	}
	if c.Length == 0 {
		c.Length = 70 * time.Second
	}
	return c
}

// Validate names the field that makes no sense.
func (c busyConfig) Validate() error {
	switch {
	case c.Surgegate == "" || c.Storm == "" || c.Dir == "":
		return errors.New("bench: Surgegate, Storm and Dir are required")
	case c.People < 0 || c.Thin < 0 || c.Length < 0 || c.Loops < 0:
		return errors.New("bench: People, Thin, Length and Loops must not be below 0")
	}
	return nil
}

// busyOutcome is the result of one storm beside busy loops. Broken lists the promises that were not kept.
type busyOutcome struct {
	Arm         measure.Arm
	LateCrashes int       // of the store, after the first minute
	MostAhead   float64   // most limit of calls at once to the store ÷ calls in flight when it was last raised
	Paced       []pacedAt // one each second
	Broken      []string
}

const (
	core = 0 // of SharedCore
	// drain is how long people may take after the last one came: a line is worked off.
	drain = 4 * time.Minute
	// maxLag is wide, because everything here shares a machine that is meant to be busy; waits are seconds.
	busyLag = time.Second
)

// rehearseBusy runs the rehearsal of the README once, with the real programs as processes, where processor time is short: the busy loops run
// on every core, or share one core with the gateway, which is then pinned to it. It judges:
//
//   - The store does not die; where the gateway shares its core, not after the first minute, because the gateway first has to learn
//     what the store takes.
//   - Whoever was accepted got the new password: they were told so, and the store's ledger has as many accounts.
//   - No change was applied twice or out of order.
//
// An error means that a program did not start or an answer could not be read. All processes are ended before it returns.
func rehearseBusy(ctx context.Context, cfg busyConfig, c clock.Clock) (o busyOutcome, err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return o, err
	}
	p, err := open(ctx, cfg, c)
	defer func() { err = errors.Join(err, p.close()) }()
	if err != nil {
		return o, err
	}
	busy, err := startBusy(cfg, cfg.Length+drain)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, busy.Stop()) }()
	watching, over := context.WithCancel(ctx)
	defer over()
	group, watching := errgroup.WithContext(watching)
	group.Go(func() (err error) {
		o.Paced, o.LateCrashes, err = p.watch(watching)
		return err
	})
	group.Go(func() error {
		defer over()
		return p.storm(ctx, cfg)
	})
	if err := group.Wait(); err != nil {
		return o, err
	}
	o.MostAhead = mostAhead(o.Paced)
	o.Arm, err = readArm(cfg.Dir, "")
	if err != nil {
		return o, err
	}
	p.stop()
	audit, err := victim.ReadAudit(p.ledger)
	o.judge(cfg, audit)
	return o, err
}

// judge lists what was promised and not kept.
func (o *busyOutcome) judge(cfg busyConfig, audit victim.Audit) {
	add := func(yes bool, format string, args ...any) {
		if yes {
			o.Broken = append(o.Broken, fmt.Sprintf(format, args...))
		}
	}
	crashes := o.Arm.StoreCrashes
	if cfg.SharedCore {
		crashes = o.LateCrashes
	}
	add(crashes > 0, "the store crashed %d times", crashes)
	add(o.Arm.Completed == 0, "nobody got a new password")
	add(o.Arm.Completed != o.Arm.Accepted, "%d people were accepted, but %d were told that they have their new password", o.Arm.Accepted, o.Arm.Completed)
	add(len(audit.Passwords) < o.Arm.Completed, "the store has new passwords of %d accounts", len(audit.Passwords))
	add(audit.AppliedTwice > 0, "%d changes were applied twice", audit.AppliedTwice)
	add(audit.OutOfOrder > 0, "%d changes were applied out of order", audit.OutOfOrder)
	add(o.Arm.Invalid != "", "the run says nothing: %s", o.Arm.Invalid)
}

// demoBusy makes the demo of the README once, with cfg's programs, folder, loops and, where it is set, Thin.
func demoBusy(ctx context.Context, cfg busyConfig) (o busyOutcome, err error) {
	if err := cfg.Validate(); err != nil {
		return o, err
	}
	const most = 10 * time.Minute
	busy, err := startBusy(cfg, most)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, busy.Stop()) }()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	args := []string{"demo", "--surgegate", cfg.Surgegate, "--out", cfg.Dir}
	if cfg.Thin > 0 {
		args = append(args, thin(cfg.Thin)...)
	}
	verdict := runBusy(ctx, cfg.Storm, args...)
	if o.Arm, err = readArm(cfg.Dir, "surgegate"); err != nil {
		return o, errors.Join(verdict, err)
	}
	o.Broken = o.Arm.Broken
	if o.Arm.Invalid != "" {
		o.Broken = append(o.Broken, "the run says nothing: "+o.Arm.Invalid)
	}
	return o, nil // its verdict is in the result
}

func startBusy(cfg busyConfig, limit time.Duration) (*testbed.Busy, error) {
	if cfg.SharedCore {
		return testbed.StartBusy(cfg.Loops, core, limit)
	}
	return testbed.StartBusy(cfg.Loops, testbed.AnyCore, limit)
}

// storm lets people come and waits until all of them have ended.
func (p *programs) storm(ctx context.Context, cfg busyConfig) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Length+drain+time.Minute)
	defer cancel()
	people := strconv.Itoa(cfg.People)
	args := append([]string{
		"run", p.gateway.Address, "--scenario", "blast-1h", "--people", people, "--accounts", people, "--length", cfg.Length.String(),
		"--maildir", p.gateway.Maildir, "--control", p.controlAddress, "--max-lag", busyLag.String(), "--limit", (cfg.Length + drain).String(), "--out", cfg.Dir,
	}, thin(cfg.Thin)...)
	err := runBusy(ctx, cfg.Storm, args...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if _, e := os.Stat(filepath.Join(cfg.Dir, report.ResultFile)); e == nil {
			return nil // a verdict, and the result has it
		}
	}
	return err
}

func thin(one float64) []string { return []string{"--thin", strconv.FormatFloat(one, 'g', -1, 64)} }

// run runs one of our programs to its end; an error has its last words.
func runBusy(ctx context.Context, name string, args ...string) error {
	var output bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stdout, command.Stderr = &output, &output
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it stops what it started
	command.WaitDelay = 30 * time.Second
	if err := command.Run(); err != nil {
		words := output.Bytes()
		return fmt.Errorf("bench: %s %s: %w: %s", filepath.Base(name), args[0], err, words[max(0, len(words)-500):])
	}
	return nil
}

// readArm reads one arm of a result; without a name the only one.
func readArm(dir, name string) (measure.Arm, error) {
	result, err := report.Read(filepath.Join(dir, report.ResultFile))
	if err != nil {
		return measure.Arm{}, err
	}
	for _, arm := range result.Arms {
		if name == "" || arm.Name == name {
			return arm, nil
		}
	}
	return measure.Arm{}, fmt.Errorf("bench: the result has no arm %q", name)
}
