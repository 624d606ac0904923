package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/clock"
)

func synthCommand() *cobra.Command {
	var (
		storm  scenarioFlags
		window windowFlags
		thin   float64
		start  string
		cfg    people.LogConfig
	)
	cmd := &cobra.Command{
		Use: "synth", Args: cobra.NoArgs,
		Short: "Make a trace of a scenario, at any size: same seed, same bytes",
		Example: `  storm synth --scenario plex-2022 --out plex.trace.zst
  storm synth --scenario blast-1h --people 2000000 --mailing 3h --length 12h --out ours.trace.zst`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := storm.scenario()
			if err != nil {
				return err
			}
			if cfg.Start, err = time.Parse(time.RFC3339, start); err != nil {
				return fmt.Errorf("storm: --t0: %q is no time such as 2022-08-24T03:00:00Z", start)
			}
			cfg.Scenario, cfg.Seed = s, storm.seed
			cfg.Window = model.Window{From: window.from, Length: window.length, Thin: thin}
			began := clock.System{}.Now()
			errOut := cmd.ErrOrStderr()
			if _, ok := terminal(errOut)(); ok {
				cfg.Progress = func(events int64, at time.Duration) {
					fmt.Fprintf(errOut, "\r\x1b[2K%s of %s of the storm, %s events", at.Round(time.Minute), window.length, report.Count(int(events)))
				}
				defer fmt.Fprint(errOut, "\r\x1b[2K")
			}
			sum, err := people.WriteLog(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			took := clock.System{}.Now().Sub(began)
			fmt.Fprintf(cmd.OutOrStdout(), `%s: %s events, %.1f MB, in %.1f s (%.2f M a second)
  %s people, at most %s in a second (%v in), %s attackers, %s scanners, %s calls of a loop
`,
				cfg.Path, report.Count(int(sum.Events)), float64(sum.Bytes)/1e6, took.Seconds(), float64(sum.Events)/1e6/took.Seconds(),
				report.Count(int(sum.People)), report.Count(int(sum.Peak)), sum.PeakAt, report.Count(int(sum.Attackers)),
				report.Count(int(sum.Scanners)), report.Count(int(sum.Loop)))
			return nil
		},
	}
	f := cmd.Flags()
	storm.register(f)
	window.register(f, 48*time.Hour, "default its beginning")
	f.Float64Var(&thin, "thin", 1, "sample one person in so many")
	f.StringVar(&cfg.Path, "out", "", "file to make; it must not be there")
	f.StringVar(&start, "t0", "2022-08-24T03:00:00Z", "the moment of the first mail, as it is written into the trace")
	f.DurationVar(&cfg.Deadline, "deadline", people.Config{}.WithDefaults().Deadline, "of each call, as it is written into the trace")
	_ = cmd.MarkFlagRequired("out") // it is there
	return cmd
}
