package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// downstreamList returns the command pace list or breaker list. Both show the same table.
func (o *options) downstreamList(short string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: short, Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				s, err := getStatus(ctx, c)
				if err != nil {
					return err
				}
				downstreams, err := rawList(s.GetDownstreams())
				if err != nil {
					return err
				}
				return o.show(cmd, map[string]any{"downstreams": downstreams}, func(st page.Style) []string {
					return slices.Concat(st.Downstreams(s.GetDownstreams()), st.Kinds(s.GetDownstreams()),
						st.Outages(s.GetDownstreams(), s.GetTime().AsTime()))
				})
			})
		},
	}
}

func (o *options) pace() *cobra.Command {
	fs := &steering{}
	fixed := &operatorv1.FixedPace{}
	fix := &cobra.Command{
		Use: "fix DOWNSTREAM CALLS", Short: "Fix how many calls a downstream gets at once; nothing is measured meanwhile",
		Example: "  surgectl pace fix store 8 --rate 200 --batch 4 --duration 30m",
		Args:    exactly(2), ValidArgsFunction: o.complete(downstreamNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return connect.Usage(fmt.Errorf("calls: %q is not a number of calls at once", args[1]))
			}
			fixed.Concurrency = uint32(n)
			question := fmt.Sprintf("Fix %s at %d calls at once %s? Nothing will notice when it can take more, or less.",
				args[0], n, fs.forHowLong())
			return o.set(cmd, fs, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.SetPace(ctx, &operatorv1.SetPaceRequest{
					Downstream: args[0], Pace: &operatorv1.SetPaceRequest_Fixed{Fixed: fixed}, Steering: s,
				})
			})
		},
	}
	fix.Flags().Float64Var(&fixed.Rate, "rate", 0, "most items a second; 0 for no bound")
	fix.Flags().Uint32Var(&fixed.Batch, "batch", 0, "most items in a call; 0 for as many as the downstream takes")
	fs.standing(fix)
	fs.asking(fix)

	bs := &steering{}
	bounds := &operatorv1.PaceBounds{}
	bound := &cobra.Command{
		Use: "bound DOWNSTREAM", Short: "Bound the pace that is found by measuring",
		Example: "  surgectl pace bound mail --rate 20\n  surgectl pace bound store --min 4 --max 16",
		Args:    exactly(1), ValidArgsFunction: o.complete(downstreamNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if bounds.MinConcurrency == 0 && bounds.MaxConcurrency == 0 && bounds.Rate == 0 {
				return connect.Usage(errors.New("say what to bound: --min, --max or --rate"))
			}
			question := fmt.Sprintf("Bound the pace of %s %s? A bound below what it takes makes people wait longer.", args[0], bs.forHowLong())
			return o.set(cmd, bs, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.SetPace(ctx, &operatorv1.SetPaceRequest{
					Downstream: args[0], Pace: &operatorv1.SetPaceRequest_Bounds{Bounds: bounds}, Steering: s,
				})
			})
		},
	}
	bound.Flags().Uint32Var(&bounds.MinConcurrency, "min", 0, "fewest calls at once; 0 for the configured")
	bound.Flags().Uint32Var(&bounds.MaxConcurrency, "max", 0, "most calls at once; 0 for the configured")
	bound.Flags().Float64Var(&bounds.Rate, "rate", 0, "most items a second; 0 for the configured")
	bs.standing(bound)
	bs.asking(bound)
	return group("pace", "How fast downstreams are fed: list, fix, bound, auto",
		o.downstreamList("List the downstreams: calls in flight, their time, items done a second, and the limits"), fix, bound,
		o.lifter("auto DOWNSTREAM", "Go back to the configured pace", downstreamNames,
			func(name string) string { return "pace/" + name }))
}

func (o *options) breaker() *cobra.Command {
	hold := func(use, short string, state operatorv1.BreakerState, says string) *cobra.Command {
		s := &steering{}
		cmd := &cobra.Command{
			Use: use + " DOWNSTREAM", Short: short, Args: exactly(1), ValidArgsFunction: o.complete(breakerNames),
			RunE: func(cmd *cobra.Command, args []string) error {
				question := fmt.Sprintf("Hold the breaker of %s %s %s? %s", args[0],
					map[string]string{"open": "open", "close": "closed"}[use], s.forHowLong(), says)
				return o.set(cmd, s, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
					return c.ForceBreaker(ctx, &operatorv1.ForceBreakerRequest{Downstream: args[0], State: state, Steering: s})
				})
			},
		}
		s.standing(cmd)
		s.asking(cmd)
		return cmd
	}
	return group("breaker", "Circuit breakers: list, open, close, auto",
		o.downstreamList("List the downstreams: state of the breaker, and since when there is an outage"),
		hold("open", "Send nothing to a downstream, for example during its maintenance", operatorv1.BreakerState_BREAKER_STATE_OPEN,
			"Nothing is sent to it, and who needs it waits."),
		hold("close", "Keep sending to a downstream even if calls fail", operatorv1.BreakerState_BREAKER_STATE_CLOSED,
			"If it does not work, calls go on failing there."),
		o.lifter("auto DOWNSTREAM", "Let the breaker decide again", breakerNames, func(name string) string { return "breaker/" + name }))
}
