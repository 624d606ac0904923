package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func (o *options) limits() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the limits in force and how many calls each refuses a second", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				var r *operatorv1.GetLimitsResponse
				err := c.Do(ctx, func(ctx context.Context) (err error) {
					r, err = c.GetLimits(ctx, &operatorv1.GetLimitsRequest{})
					return err
				})
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(page.Style) []string { return limitTable(r.GetLimits()) })
			})
		},
	}
	clients := &cobra.Command{
		Use: "clients", Short: "List the clients that were refused most in the last minute, at most 20", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				var r *operatorv1.ListLimitedClientsResponse
				err := c.Do(ctx, func(ctx context.Context) (err error) {
					r, err = c.ListLimitedClients(ctx, &operatorv1.ListLimitedClientsRequest{})
					return err
				})
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(page.Style) []string { return clientTable(r.GetClients()) })
			})
		},
	}
	return group("limits", "Limits of calls: list, set, count-only, enforce, auto, clients", list, o.setLimit(),
		o.enforcement("count-only", "Let a limit count what it would refuse, and refuse nothing", true, "Nothing is refused by it any more."),
		o.enforcement("enforce", "Let a limit refuse again what was only counted", false, "Who is over it is refused."),
		o.lifter("auto LIMIT", "Go back to the configured limit", limitNames, func(name string) string { return "limit/" + name }), clients)
}

func (o *options) setLimit() *cobra.Command {
	s := &steering{}
	var rate string
	var burst uint32
	cmd := &cobra.Command{
		Use: "set LIMIT", Short: "Change a limit: global, client or identifier",
		Example: "  surgectl limits set client --rate 5/m --duration 30m --reason 'flood from many addresses'",
		Args:    exactly(1), ValidArgsFunction: o.complete(limitNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rate == "" && burst == 0 {
				return connect.Usage(errors.New("say what to set: --rate or --burst"))
			}
			to := rate
			if to == "" {
				to = fmt.Sprintf("a burst of %d", burst)
			}
			question := fmt.Sprintf("Set the limit %s to %s %s? Who is over it is refused.", args[0], to, s.forHowLong())
			return o.set(cmd, s, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.SetLimit(ctx, &operatorv1.SetLimitRequest{Limit: args[0], Rate: rate, Burst: burst, Steering: s})
			})
		},
	}
	cmd.Flags().StringVar(&rate, "rate", "", "a count and a unit of time: 20000/s, 20/m, 5/h")
	cmd.Flags().Uint32Var(&burst, "burst", 0, "most calls at once after a pause; 0 keeps it, or takes it from the rate")
	s.standing(cmd)
	s.asking(cmd)
	return cmd
}

func (o *options) enforcement(use, short string, countOnly bool, says string) *cobra.Command {
	s := &steering{}
	cmd := &cobra.Command{
		Use: use + " LIMIT", Short: short, Args: exactly(1), ValidArgsFunction: o.complete(limitNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			verb := map[bool]string{true: "Only count", false: "Enforce"}[countOnly]
			question := fmt.Sprintf("%s the limit %s %s? %s", verb, args[0], s.forHowLong(), says)
			return o.set(cmd, s, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.SetLimit(ctx, &operatorv1.SetLimitRequest{Limit: args[0], CountOnly: proto.Bool(countOnly), Steering: s})
			})
		},
	}
	s.standing(cmd)
	s.asking(cmd)
	return cmd
}

func limitTable(limits []*operatorv1.Limit) []string {
	t := figures.NewTable("LIMIT", ">RATE", ">BURST", ">REFUSES", "")
	for _, l := range limits {
		rate, burst, state := "-", "-", ""
		if l.GetRate() != "" {
			rate, burst = l.GetRate(), humanize.Count(uint64(l.GetBurst()))
		}
		if l.GetCountOnly() {
			state = "only counted"
		}
		if l.GetOverridden() {
			if state != "" {
				state += ", "
			}
			state += "override"
		}
		t.Add(l.GetName(), rate, burst, humanize.Rate(l.GetRefusedRate()), state)
	}
	return t.Lines()
}

func clientTable(clients []*operatorv1.LimitedClient) []string {
	if len(clients) == 0 {
		return []string{"No client was refused in the last minute."}
	}
	t := figures.NewTable("KIND", "CLIENT", ">REFUSED IN A MINUTE, ABOUT")
	for _, c := range clients {
		t.Add(c.GetKind(), c.GetClient(), humanize.Count(c.GetRefused()))
	}
	return t.Lines()
}
