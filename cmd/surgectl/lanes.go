package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/pkg/diagnosis"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// getStatus returns the status. Several commands show a part of it.
func getStatus(ctx context.Context, c *connect.Client) (*operatorv1.GetStatusResponse, error) {
	var s *operatorv1.GetStatusResponse
	err := c.Do(ctx, func(ctx context.Context) (err error) {
		s, err = c.GetStatus(ctx, &operatorv1.GetStatusRequest{})
		return err
	})
	return s, err
}

func (o *options) lanes() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the lanes: how many jobs wait, for how long, and how many end a second", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				s, err := getStatus(ctx, c)
				if err != nil {
					return err
				}
				lanes, err := rawList(s.GetLanes())
				if err != nil {
					return err
				}
				return o.show(cmd, map[string]any{"lanes": lanes}, func(st page.Style) []string { return st.Lanes(s.GetLanes()) })
			})
		},
	}
	ps := &steering{}
	pause := &cobra.Command{
		Use: "pause LANE", Short: "Stop working on a lane; jobs are still accepted and wait", Args: exactly(1), ValidArgsFunction: o.complete(laneNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			question := fmt.Sprintf("Pause %s %s? %s", args[0], ps.forHowLong(), whoWaits(args[0]))
			return o.set(cmd, ps, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.PauseLane(ctx, &operatorv1.PauseLaneRequest{Lane: args[0], Steering: s})
			})
		},
	}
	ps.standing(pause)
	ps.asking(pause)
	ws := &steering{}
	weight := &cobra.Command{
		Use: "weight LANE WEIGHT", Short: "Change the share of a lane beside other lanes of the same downstream; auto for the configured share",
		Example: "  surgectl lanes weight start 32 --duration 30m\n  surgectl lanes weight start auto",
		Args:    exactly(2), ValidArgsFunction: o.complete(laneNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "auto" {
				return o.lift(cmd, ws, "lane/"+args[0]+"/weight")
			}
			w, err := strconv.ParseFloat(args[1], 64)
			if err != nil {
				return connect.Usage(fmt.Errorf("weight: %q is no number, 0.1 to 1000, and not auto", args[1]))
			}
			return o.set(cmd, ws, "", func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.SetLaneWeight(ctx, &operatorv1.SetLaneWeightRequest{Lane: args[0], Weight: w, Steering: s})
			})
		},
	}
	ws.standing(weight)
	return group("lanes", "Lanes of jobs: list, pause, resume, weight", list, pause,
		o.lifter("resume LANE", "End the pause of a lane", laneNames, func(lane string) string { return "lane/" + lane + "/paused" }), weight)
}

// whoWaits says what a pause of the lane means for people.
func whoWaits(lane string) string {
	switch lane {
	case "start":
		return "Nobody gets a mail with a link until it ends."
	case "mail":
		return "Nobody gets a mail until it ends."
	case "hash", "apply":
		return "People who set a password will wait."
	case "revoke":
		return "Sessions of people who reset stay signed in until it ends."
	case "campaign":
		return "Those who are to be told to reset hear of it later."
	default:
		return "What is accepted for it will wait."
	}
}

func (o *options) brownout() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Show the brownout level, its cause, and what each level means", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				s, err := getStatus(ctx, c)
				if err != nil {
					return err
				}
				j := map[string]any{
					"brownout_level": s.GetBrownoutLevel(), "brownout_cause": s.GetBrownoutCause(), "brownout_level_asked": s.GetBrownoutLevelAsked(),
				}
				return o.show(cmd, j, func(st page.Style) []string { return levels(st, s) })
			})
		},
	}
	s := &steering{}
	force := &cobra.Command{
		Use: "force LEVEL", Short: "Hold a brownout level from 0 (normal) to 4 (closed), whatever the signals ask for", Args: exactly(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var all []string
			for level := uint32(0); level <= 4 && len(args) == 0; level++ {
				all = append(all, cobra.CompletionWithDesc(strconv.Itoa(int(level)), diagnosis.LevelName(level)))
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			level, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil {
				return connect.Usage(fmt.Errorf("level: %q is no number from 0 to 4", args[0]))
			}
			says := diagnosis.Level(uint32(level)) + "."
			if level == 0 {
				says = "Nothing is shed even where the queue fills up."
			}
			question := fmt.Sprintf("Hold level %d (%s) %s? %s", level, diagnosis.LevelName(uint32(level)), s.forHowLong(), says)
			return o.set(cmd, s, question, func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error) {
				return c.ForceBrownout(ctx, &operatorv1.ForceBrownoutRequest{Level: uint32(level), Steering: s})
			})
		},
	}
	s.standing(force)
	s.asking(force)
	return group("brownout", "The brownout level: show, force, auto", show, force,
		o.lifter("auto", "Let the signals set the level again", nil, func(string) string { return "brownout" }))
}

func levels(st page.Style, s *operatorv1.GetStatusResponse) []string {
	lines := st.Summary(&operatorv1.GetStatusResponse{
		BrownoutLevel: s.GetBrownoutLevel(), BrownoutCause: s.GetBrownoutCause(), BrownoutLevelAsked: s.GetBrownoutLevelAsked(),
	})
	lines = append(lines, "")
	for level := uint32(0); level <= 4; level++ {
		mark := "   "
		if level == s.GetBrownoutLevel() {
			mark = " > "
		}
		lines = append(lines, fmt.Sprintf("%s%d %-17s %s", mark, level, diagnosis.LevelName(level), diagnosis.Level(level)))
	}
	return lines
}
