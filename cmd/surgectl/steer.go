package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// steering are the flags of commands that change something.
type steering struct {
	duration time.Duration
	reason   string
	dryRun   bool
	yes      bool
}

// standing adds the flags of a command that sets an override.
func (s *steering) standing(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&s.duration, "duration", time.Hour, "how long the override lasts, 1m to 168h")
	s.lifting(cmd)
}

// lifting adds the flags of a command that ends an override.
func (s *steering) lifting(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.reason, "reason", "", "why, for the audit trail and the next person on duty; it must not name anybody")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "say what would happen, and change nothing")
}

// asking adds the flag of a command that asks first.
func (s *steering) asking(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.yes, "yes", false, "do it without asking")
}

func (s *steering) proto() *operatorv1.Steering {
	return &operatorv1.Steering{Duration: durationpb.New(s.duration), Reason: s.reason, DryRun: s.dryRun}
}

// changer is the response of a call that changes something.
type changer interface {
	proto.Message
	GetChange() *operatorv1.Change
}

// setter makes one call that sets an override.
type setter func(ctx context.Context, c *connect.Client, s *operatorv1.Steering) (changer, error)

// set sets an override. If there is a question, it makes a dry run first and shows the result, so that the operator knows what
// the override would do, and is not asked about one that would be refused.
func (o *options) set(cmd *cobra.Command, s *steering, question string, call setter) error {
	return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
		do := func(steering *operatorv1.Steering) (changer, error) {
			var r changer
			err := c.Do(ctx, func(ctx context.Context) (err error) {
				r, err = call(ctx, c, steering)
				return err
			})
			return r, err
		}
		if question != "" && !s.yes && !s.dryRun {
			if err := askable(); err != nil {
				return err
			}
			dry := s.proto()
			dry.DryRun = true
			r, err := do(dry)
			if err != nil {
				return err
			}
			change := r.GetChange()
			change.DryRun = false
			for _, line := range style(os.Stderr).Change(change, clock.System{}.Now()) {
				fmt.Fprintln(cmd.ErrOrStderr(), line)
			}
			if err := ask(ctx, question); err != nil {
				return err
			}
		}
		r, err := do(s.proto())
		if err != nil {
			return err
		}
		return o.show(cmd, r, func(st page.Style) []string { return st.Change(r.GetChange(), clock.System{}.Now()) })
	})
}

// lift ends the override on a target, or all overrides if target is empty.
func (o *options) lift(cmd *cobra.Command, s *steering, target string) error {
	return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
		var r *operatorv1.LiftOverrideResponse
		err := c.Do(ctx, func(ctx context.Context) (err error) {
			r, err = c.LiftOverride(ctx, &operatorv1.LiftOverrideRequest{Target: target, Reason: s.reason, DryRun: s.dryRun})
			return err
		})
		if err != nil {
			return err
		}
		return o.show(cmd, r, func(st page.Style) []string {
			var lines []string
			for _, change := range r.GetChanges() {
				lines = append(lines, st.Change(change, clock.System{}.Now())...)
			}
			return lines
		})
	})
}

// lifter returns a command that ends the override on the target that its arguments name.
func (o *options) lifter(use, short string, names completer, target func(name string) string) *cobra.Command {
	s := &steering{}
	n := len(strings.Fields(use)) - 1
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactly(n), ValidArgsFunction: o.complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.lift(cmd, s, target(strings.Join(args, "")))
		},
	}
	s.lifting(cmd)
	return cmd
}

// askable returns an error if there is no terminal to ask on.
func askable() error {
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return connect.Usage(errors.New("refused: this asks first, and there is no terminal to ask on. " +
		"Add --yes, or --dry-run to see what it would do"))
}

// ask asks a question and returns an error of kind nothing_done unless the answer is yes.
func ask(ctx context.Context, question string) error {
	answer, err := screen.Ask(ctx, question+" [y/N] ")
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NothingDone("nothing is changed")
	case err != nil:
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return connect.NothingDone("nothing is changed")
	}
}

// forHowLong returns the duration as part of a question.
func (s *steering) forHowLong() string { return "for " + humanize.Duration(s.duration) }

// completeTimeout is short because the shell waits for every completion.
const completeTimeout = 2 * time.Second

// completer returns the values to choose from, each with a description after a tab.
type completer func(ctx context.Context, c *connect.Client) ([]string, error)

// complete completes the first argument with what the surgegate knows. If it does not answer, there is nothing to choose from.
func (o *options) complete(names completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || names == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cfg := o.Config
		cfg.Timeout = completeTimeout
		c, err := connect.New(cfg)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer func() { _ = c.Close() }()
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		var list []string
		err = c.Do(ctx, func(ctx context.Context) (err error) {
			list, err = names(ctx, c)
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

func laneNames(ctx context.Context, c *connect.Client) ([]string, error) {
	s, err := c.GetStatus(ctx, &operatorv1.GetStatusRequest{})
	var names []string
	for _, l := range s.GetLanes() {
		if l.GetWeight() == 0 { // nobody works it: campaigns, until there are some
			continue
		}
		names = append(names, cobra.CompletionWithDesc(l.GetLane(), humanize.Count(l.GetWaiting())+" wait"))
	}
	return names, err
}

// downstreamNames returns the downstreams with a pace of their own. Revocations have the pace of the store.
func downstreamNames(ctx context.Context, c *connect.Client) ([]string, error) {
	s, err := c.GetStatus(ctx, &operatorv1.GetStatusRequest{})
	var names []string
	for _, d := range s.GetDownstreams() {
		if d.GetDownstream() == "revoker" {
			continue
		}
		names = append(names, cobra.CompletionWithDesc(d.GetDownstream(),
			fmt.Sprintf("%d of %d calls, breaker %s", d.GetInFlight(), d.GetConcurrencyLimit(), d.GetBreaker())))
	}
	return names, err
}

func breakerNames(ctx context.Context, c *connect.Client) ([]string, error) {
	s, err := c.GetStatus(ctx, &operatorv1.GetStatusRequest{})
	var names []string
	for _, d := range s.GetDownstreams() {
		if d.GetBreaker() != "none" {
			names = append(names, cobra.CompletionWithDesc(d.GetDownstream(), d.GetBreaker()))
		}
	}
	return names, err
}

func limitNames(ctx context.Context, c *connect.Client) ([]string, error) {
	r, err := c.GetLimits(ctx, &operatorv1.GetLimitsRequest{})
	var names []string
	for _, l := range r.GetLimits() {
		names = append(names, cobra.CompletionWithDesc(l.GetName(), strings.TrimSpace(l.GetRate()+" refuses "+humanize.Rate(l.GetRefusedRate()))))
	}
	return names, err
}

func overrideTargets(ctx context.Context, c *connect.Client) ([]string, error) {
	r, err := c.ListOverrides(ctx, &operatorv1.ListOverridesRequest{})
	var names []string
	for _, o := range r.GetOverrides() {
		names = append(names, cobra.CompletionWithDesc(o.GetTarget(), o.GetSetting()))
	}
	return names, err
}
