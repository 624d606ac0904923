package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/loadtest/simulate"
	"github.com/surgegate/surgegate/pkg/clock"
)

// simulateFlags are what simulate is told.
type simulateFlags struct {
	storm                  scenarioFlags
	json                   string
	storeRate              float64
	storeLatency, duration time.Duration
	maxWait                time.Duration
	thin                   float64
	faults                 []string
	cost                   bool
	cfg                    simulate.Config
}

// simulated is the file that --json writes.
type simulated struct {
	Arms []simulate.Result `json:"arms"`
	Plan *simulate.Answer  `json:"plan,omitempty"`
	Cost *simulatedCost    `json:"cost,omitempty"`
}

// simulatedCost is what the run took; apart, because all else is the same each time.
type simulatedCost struct {
	Seconds        float64 `json:"seconds"`
	SecondsOfCPU   float64 `json:"seconds_of_cpu"`
	EventNS        float64 `json:"event_ns"`
	PeakResidentMB float64 `json:"peak_resident_mb"`
}

func simulateCommand() *cobra.Command {
	f := simulateFlags{}
	cmd := &cobra.Command{
		Use: "simulate", Args: cobra.NoArgs,
		Short: "Simulate a whole storm in virtual time: how long the line, how big the disk, when is it over",
		Example: `  storm simulate --scenario plex-2022 --people 15e6 --store-rate 800 --mail-rate 5000 --max-wait 10m
  storm simulate --people 1e6 --store-rate 100 --fault "store-dark at 1h for 30m" --json dark.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), clock.System{})
		},
	}
	fl := cmd.Flags()
	f.storm.register(fl)
	fl.DurationVar(&f.duration, "duration", 48*time.Hour, "how much of the storm")
	fl.Float64Var(&f.storeRate, "store-rate", 800, "passwords a second that the store writes at its best")
	fl.DurationVar(&f.storeLatency, "store-latency", 20*time.Millisecond, "of one write; with the rate it makes the number of workers")
	fl.Float64Var(&f.cfg.Headroom, "headroom", 0.2, "share of the store left for sign-ins, as store.headroom; below 0: none")
	fl.Float64Var(&f.cfg.Mail.Rate, "mail-rate", 0, "mails a second that the provider takes; default the scenario's, or any number")
	fl.DurationVar(&f.cfg.Mail.Latency, "mail-latency", 50*time.Millisecond, "of one hand-off")
	fl.DurationVar(&f.cfg.Mail.Delay, "mail-delay", 0, "from the hand-off to the inbox")
	fl.BoolVar(&f.cfg.Mail.Unpaced, "mail-unpaced", false, "the gateway is not told the provider's rate")
	fl.IntVar(&f.cfg.Hash.Slots, "hash-cores", 0, "cores of the hash pool; 0: the store takes plaintext and hashes itself")
	fl.StringArrayVar(&f.faults, "fault", nil, `something that goes wrong, such as "store-dark at 1h for 30m" or "mail-rate 0.1 at 0s for 2h"; may be repeated`)
	fl.StringVar(&f.cfg.Arm, "arm", simulate.ArmSurgegate, "surgegate, or direct: no gateway")
	fl.Float64Var(&f.thin, "thin", 1, "one person in so many, before a store and a provider of as much less; the table is told times that")
	fl.DurationVar(&f.maxWait, "max-wait", 0, "find how slowly to mail so that nobody waits longer")
	fl.StringVar(&f.json, "json", "", "file for the result")
	fl.BoolVar(&f.cost, "cost", false, "tell in the file what the run took; it is then not the same each time")
	return cmd
}

func (f *simulateFlags) config() (simulate.Config, error) {
	c := f.cfg
	var err error
	if c.Scenario, err = f.storm.scenario(); err != nil {
		return c, err
	}
	c.Seed = f.storm.seed
	if c.Mail.Rate == 0 {
		c.Mail.Rate = c.Scenario.MailRate
	}
	c.Window.Length = f.duration
	if f.storeRate <= 0 || f.storeLatency <= 0 {
		return c, fmt.Errorf("storm: --store-rate is %v and --store-latency %v; both must be above 0", f.storeRate, f.storeLatency)
	}
	c.Store = simulate.StoreOf(f.storeRate, f.storeLatency)
	all, err := parseFaults(c.Scenario.Faults, f.faults)
	if err != nil {
		return c, err
	}
	if c.Faults, err = simulate.FaultsOf(all); err != nil {
		return c, err
	}
	return c, nil
}

func (f *simulateFlags) run(ctx context.Context, out, errOut io.Writer, c clock.Clock) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	begin := c.Now()
	line := progressLine{out: errOut, clock: c, begin: begin}
	sim, err := simulate.New(simulate.Thin(cfg, f.thin), simulate.Deps{Progress: line.show})
	if err != nil {
		return err
	}
	result, err := sim.Run(ctx)
	line.end()
	if err != nil {
		return err
	}
	took, cpu := c.Now().Sub(begin), usage()
	file := simulated{Arms: []simulate.Result{result}}
	if f.cost {
		file.Cost = &simulatedCost{
			Seconds: took.Seconds(), SecondsOfCPU: cpu.seconds, EventNS: cpu.seconds * 1e9 / float64(result.Events), PeakResidentMB: cpu.peakMB,
		}
	}
	if f.maxWait > 0 {
		told := func(s string) { fmt.Fprintf(errOut, "\r\x1b[K%s\n", s) }
		answer, err := simulate.Mailing(ctx, simulate.Question{Config: simulate.Thin(cfg, f.thin), MaxWait: f.maxWait}, told)
		if err != nil {
			return err
		}
		file.Plan = &answer
	}
	for _, s := range simulate.Words(cfg, result, file.Plan) {
		fmt.Fprintln(out, s)
	}
	fmt.Fprintf(out, "Run       %s events in %.1f s (%.1f s of a core, %.0f ns an event), at most %.0f MB.\n",
		simulate.Count(float64(result.Events)), took.Seconds(), cpu.seconds, cpu.seconds*1e9/float64(result.Events), cpu.peakMB)
	if f.json == "" {
		return nil
	}
	js, err := json.MarshalIndent(file, "", " ")
	if err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	if err := os.WriteFile(f.json, append(js, '\n'), 0o600); err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	return nil
}

type used struct{ seconds, peakMB float64 }

// usage is what this process has used.
func usage() used {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return used{}
	}
	return used{seconds: float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9, peakMB: float64(r.Maxrss) / 1024}
}

// progressLine is one line that is written over, twice a second at most.
type progressLine struct {
	out   io.Writer
	clock clock.Clock
	begin time.Time
	last  time.Time
	shown bool
}

const progressEvery = 500 * time.Millisecond

func (p *progressLine) show(s simulate.Progress) {
	now := p.clock.Now()
	if now.Sub(p.last) < progressEvery {
		return
	}
	p.last, p.shown = now, true
	of := strings.TrimSuffix(s.Of.String(), "0m0s")
	fmt.Fprintf(p.out, "\r\x1b[K%5.1f h of %s  %s came, %s not done  %s events  %.0f s", s.At.Hours(), of, simulate.Count(float64(s.Came)), simulate.Count(float64(s.Waiting)),
		simulate.Count(float64(s.Events)), now.Sub(p.begin).Seconds())
}

func (p *progressLine) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
