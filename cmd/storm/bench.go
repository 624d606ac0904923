package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/loadtest/bench"
	"github.com/surgegate/surgegate/loadtest/capacity"
	"github.com/surgegate/surgegate/loadtest/observe"
)

func benchCommand() *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use: "bench", Args: cobra.NoArgs,
		Short: "Measure what surgegate costs, each figure with its reference in the same run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("storm: %w", err)
			}
			o.Self, o.Output = self, cmd.OutOrStdout()
			return bench.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Surgegate, "surgegate", filepath.Join("build", "bin", "surgegate"), "the gateway's program")
	f.StringVar(&o.GHZ, "ghz", filepath.Join("build", "bin", "ghz"), "ghz, for the generator part (make bench-tools)")
	f.StringVar(&o.K6, "k6", filepath.Join("build", "bin", "k6"), "k6, for the generator part (make bench-tools)")
	f.StringVar(&o.Prometheus, "prometheus", filepath.Join("build", "bin", "prometheus"), "Prometheus, for the observe part (make bench-tools)")
	f.StringVar(&o.Surgectl, "surgectl", filepath.Join("build", "bin", "surgectl"), "surgectl, for the parts observe and diagnosis")
	f.StringVar(&o.Dashboards, "dashboards", "dashboards", "the folder with grafana and prometheus, for the observe part")
	f.StringSliceVar(&o.Faults, "faults", nil, fmt.Sprintf("of the parts observe and diagnosis, some of %v", observe.FaultNames()))
	f.StringVar(&o.Out, "out", filepath.Join("build", "bench"), "folder of summary.json")
	f.IntVar(&o.Rounds, "rounds", 5, "rounds of the accept benchmark, whose median counts, and of the rehearsals")
	f.IntVar(&o.Jobs, "jobs", 15_000_000, "tickets queued")
	f.StringSliceVar(&o.Only, "only", nil, fmt.Sprintf("parts to run, of %v; diagnosis, starved and rehearsals run only if they are named", bench.Names()))
	f.StringSliceVar(&o.CapacityParts, "capacity-parts", nil, fmt.Sprintf("of the capacity part, some of %v", capacity.Names()))
	f.StringSliceVar(&o.CapacityModels, "capacity-models", nil, fmt.Sprintf("of its models, some of %v", capacity.ModelNames()))
	return cmd
}

// benchServeCommand is what bench starts as processes of its own.
func benchServeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bench-serve", Hidden: true}
	cmd.AddCommand(
		&cobra.Command{Use: "echo ADDRESS", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return bench.ServeEcho(cmd.Context(), args[0])
		}},
		&cobra.Command{Use: "store ADDRESS", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return bench.ServeStore(cmd.Context(), args[0])
		}},
		&cobra.Command{Use: "queue DIR JOBS", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			jobs, err := strconv.Atoi(args[1])
			if err != nil {
				return fmt.Errorf("JOBS: %w", err)
			}
			return bench.FillQueue(cmd.Context(), cmd.OutOrStdout(), args[0], jobs)
		}},
		&cobra.Command{Use: "generate LOAD", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			var l bench.Load
			if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
				return fmt.Errorf("LOAD: %w", err)
			}
			return bench.Drive(cmd.Context(), cmd.OutOrStdout(), l)
		}})
	return cmd
}
