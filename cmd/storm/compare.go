package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/loadtest/compare"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/report"
)

func demoCommand() *cobra.Command {
	var cfg compare.Config
	cmd := &cobra.Command{
		Use: "demo", Args: cobra.NoArgs,
		Short: "Replay one storm twice, straight at a store that falls over and through surgegate, and compare",
	}
	arms := commonFlags(cmd, &cfg)
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", compare.Config{}.WithDefaults().Seed, "of all random draws: same seed, same people")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runCompare(cmd, cfg, *arms) }
	return cmd
}

func compareCommand() *cobra.Command {
	var cfg compare.Config
	cmd := &cobra.Command{
		Use: "compare", Args: cobra.NoArgs,
		Short: "Replay one storm through several arms against the same store, and say how sure the differences are",
	}
	arms := commonFlags(cmd, &cfg)
	defaults := compare.Config{}.WithDefaults()
	f := cmd.Flags()
	f.IntVar(&cfg.Rounds, "rounds", defaults.Rounds, "repeat with the next seeds; from 3 on the intervals are those of the rounds")
	f.DurationVar(&cfg.Length, "length", defaults.Length, "of the storm that is replayed")
	f.DurationVar(&cfg.Lead, "lead", defaults.Lead, "how much of it comes before the peak")
	f.DurationVar(&cfg.ArmLimit, "limit", defaults.ArmLimit, "when an arm without a gateway is cut off")
	f.DurationVar(&cfg.PatientLimit, "patient-limit", defaults.PatientLimit, "when an arm with a gateway is cut off")
	faults := f.StringArray("fault", nil, `something that goes wrong, such as "store-slow 0.5 at 10s for 20s"; may be repeated`)
	thresholds := f.String("thresholds", "", "file of bounds that every gateway's arm is held to")
	var scenario scenarioFlags
	scenario.register(f)
	peopleFlags(f, &cfg.People)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := refuseZeros(cmd.Flags(), append(peopleNames(), "lead", "length", "rounds", "limit", "patient-limit", "seed", "thin")...); err != nil {
			return err
		}
		s, err := scenario.scenario()
		if err != nil {
			return err
		}
		cfg.Scenario, cfg.Seed = s, scenario.seed
		cfg.Faults = since(s.Faults, s.Peak()-cfg.Lead)
		if cfg.Faults, err = parseFaults(cfg.Faults, *faults); err != nil {
			return err
		}
		if *thresholds != "" {
			if cfg.Thresholds, err = measure.LoadThresholds(*thresholds); err != nil {
				return err
			}
		}
		return runCompare(cmd, cfg, *arms)
	}
	return cmd
}

func commonFlags(cmd *cobra.Command, cfg *compare.Config) (arms *[]string) {
	defaults := compare.Config{}.WithDefaults()
	f := cmd.Flags()
	f.StringVar(&cfg.Surgegate, "surgegate", filepath.Join("build", "bin", "surgegate"), "the gateway's program")
	f.StringVar(&cfg.Out, "out", defaults.Out, "folder for report.html, result.json, logs and data")
	f.Float64Var(&cfg.Thin, "thin", defaults.Thin, "sample one person in so many")
	return f.StringSlice("arms", []string{compare.Direct, compare.Surgegate},
		"direct, surgegate, or NAME=FILE: surgegate with the settings of FILE laid over")
}

func runCompare(cmd *cobra.Command, cfg compare.Config, arms []string) error {
	for _, text := range arms {
		arm, err := compare.ParseArm(text)
		if err != nil {
			return err
		}
		cfg.Arms = append(cfg.Arms, arm)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	cfg.Storm = self
	out := cmd.OutOrStdout()
	return compare.Run(cmd.Context(), cfg, compare.Deps{Out: out, Terminal: terminal(out)})
}

// parseFaults adds those of flags to those of a scenario.
func parseFaults(all []model.Fault, texts []string) ([]model.Fault, error) {
	for _, text := range texts {
		f, err := model.ParseFault(text)
		if err != nil {
			return nil, fmt.Errorf("storm: --fault: %w", err)
		}
		all = append(all, f)
	}
	return all, model.ValidateFaults(all)
}

func reportCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "report RESULT.json", Args: cobra.ExactArgs(1),
		Short: "Make the page of a result.json again, of this version or an older one",
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				to = filepath.Join(filepath.Dir(args[0]), report.PageFile)
			}
			if err := writePage(args[0], to); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "report:", to)
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "out", "", "file of the page; default report.html beside the result")
	return cmd
}

func writePage(from, to string) error {
	result, err := report.Read(from)
	if err != nil {
		return err
	}
	page, err := report.HTML(result)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, page, 0o644); err != nil { // as the report beside the result: for everybody
		return fmt.Errorf("storm: %w", err)
	}
	return nil
}
