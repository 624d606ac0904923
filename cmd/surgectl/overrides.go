package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/pkg/clock"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func (o *options) overrides() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the overrides in force: who set them, why, and when they end", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				var r *operatorv1.ListOverridesResponse
				err := c.Do(ctx, func(ctx context.Context) (err error) {
					r, err = c.ListOverrides(ctx, &operatorv1.ListOverridesRequest{})
					return err
				})
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(st page.Style) []string {
					if len(r.GetOverrides()) == 0 {
						return []string{"No override stands: everything is as configured."}
					}
					return st.Overrides(r.GetOverrides(), clock.System{}.Now())
				})
			})
		},
	}
	s := &steering{}
	var all bool
	lift := &cobra.Command{
		Use: "lift TARGET | --all", Short: "End an override; what is configured applies again",
		Example: "  surgectl overrides lift lane/apply/paused\n  surgectl overrides lift --all",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return errors.New("give a TARGET or --all, not both")
			// To the surgegate an empty target is all of them, and here it is a variable that was not set.
			case !all && (len(args) != 1 || args[0] == ""):
				return errors.New("give the TARGET of one override (surgectl overrides list), or --all")
			}
			return nil
		},
		ValidArgsFunction: o.complete(overrideTargets),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !all {
				return o.lift(cmd, s, args[0])
			}
			if !s.yes && !s.dryRun {
				if err := askable(); err != nil {
					return err
				}
				if err := ask(cmd.Context(), "Lift all overrides? Everything goes back to what is configured at once."); err != nil {
					return err
				}
			}
			return o.lift(cmd, s, "")
		},
	}
	lift.Flags().BoolVar(&all, "all", false, "end all overrides; asks first")
	s.lifting(lift)
	s.asking(lift)
	return group("overrides", "Overrides that operators have set: list, lift", list, lift)
}

func (o *options) reload() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "reload", Short: "Read the configuration file again and put all of it into force, or nothing", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				var r *operatorv1.ReloadResponse
				err := c.Do(ctx, func(ctx context.Context) (err error) {
					r, err = c.Reload(ctx, &operatorv1.ReloadRequest{DryRun: dryRun})
					return err
				})
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(st page.Style) []string { return reloadLines(st, r) })
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

func reloadLines(st page.Style, r *operatorv1.ReloadResponse) []string {
	if len(r.GetChanges()) == 0 {
		return []string{"Nothing to change: the file says what is in force."}
	}
	t := figures.NewTable("KEY", "BEFORE", "AFTER")
	for _, c := range r.GetChanges() {
		t.Add(c.GetKey(), c.GetBefore(), c.GetAfter())
	}
	lines := st.Clip(t.Lines())
	if r.GetDryRun() {
		lines = append(lines, "dry run: nothing is changed")
	}
	return lines
}

func (o *options) audit() *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use: "audit", Short: "List what operators did, newest first", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if most < 1 {
				return connect.Usage(errors.New("limit: must be at least 1"))
			}
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				all := &operatorv1.ListAuditResponse{}
				for len(all.GetEntries()) < most {
					err := c.Do(ctx, func(ctx context.Context) error {
						size := int32(min(most-len(all.GetEntries()), maxPage))
						r, err := c.ListAudit(ctx, &operatorv1.ListAuditRequest{PageSize: size, PageToken: all.GetNextPageToken()})
						all.Entries, all.NextPageToken = append(all.Entries, r.GetEntries()...), r.GetNextPageToken()
						return err
					})
					if err != nil {
						return err
					}
					if all.GetNextPageToken() == "" {
						break
					}
				}
				return o.show(cmd, all, func(st page.Style) []string { return auditLines(st, all.GetEntries()) })
			})
		},
	}
	cmd.Flags().IntVarP(&most, "limit", "n", 20, "at most so many entries")
	return cmd
}

// auditLines are two for an entry: what, and the change with its reason under it.
func auditLines(st page.Style, entries []*operatorv1.AuditEntry) []string {
	if len(entries) == 0 {
		return []string{"Nobody has changed anything yet."}
	}
	var lines []string
	for _, e := range entries {
		targets := e.GetTargets()
		what := strings.Join(targets, ", ")
		if len(targets) > 2 {
			what = fmt.Sprintf("%s and %d more", targets[0], len(targets)-1)
		}
		who := e.GetWho()
		if e.GetFrom() != "" {
			who += " (" + e.GetFrom() + ")"
		}
		lines = append(lines, fmt.Sprintf("%s UTC  %s  %s  %s", clockTime(e.GetTime().AsTime()), who, e.GetAction(), what))
		detail := e.GetBefore() + " → " + e.GetAfter()
		if e.GetExpireTime() != nil {
			detail += ", until " + clockTime(e.GetExpireTime().AsTime()) + " UTC"
		}
		if e.GetReason() != "" {
			detail += fmt.Sprintf("  %q", e.GetReason())
		}
		for _, line := range figures.Wrap(detail, max(20, st.Width-6)) {
			lines = append(lines, "      "+line)
		}
	}
	return lines
}
