package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	maxPage = 1000 // the operator's most in one call
	// fewJobs are told one by one; more only in sum, with those that were not there.
	fewJobs = 20
)

func (o *options) parked() *cobra.Command {
	var lane string
	list := &cobra.Command{
		Use: "list", Short: "List the jobs whose tries are used up, oldest first", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				all, err := allParked(ctx, c, lane)
				if err != nil {
					return err
				}
				return o.show(cmd, all, func(st page.Style) []string { return parkedTable(st, all.GetJobs()) })
			})
		},
	}
	o.laneFlag(list, &lane)
	return group("parked", "Jobs whose tries are used up: list, requeue, give-up", list,
		o.decide(decision{
			use: "requeue", short: "Put parked jobs back in line with fresh tries", did: "requeued",
			do: func(ctx context.Context, c *connect.Client, ids []string, dryRun bool) ([]*operatorv1.ParkedResult, error) {
				r, err := c.RequeueParked(ctx, &operatorv1.RequeueParkedRequest{JobIds: ids, DryRun: dryRun})
				return r.GetResults(), err
			},
			response: func(r []*operatorv1.ParkedResult) proto.Message { return &operatorv1.RequeueParkedResponse{Results: r} },
		}),
		o.decide(decision{
			use: "give-up", short: "End parked jobs for good: their tickets fail", did: "given up",
			question: "Give up %s for good? Their people are told that it failed, and what they held is erased.",
			do: func(ctx context.Context, c *connect.Client, ids []string, dryRun bool) ([]*operatorv1.ParkedResult, error) {
				r, err := c.GiveUpParked(ctx, &operatorv1.GiveUpParkedRequest{JobIds: ids, DryRun: dryRun})
				return r.GetResults(), err
			},
			response: func(r []*operatorv1.ParkedResult) proto.Message { return &operatorv1.GiveUpParkedResponse{Results: r} },
		}))
}

func (o *options) laneFlag(cmd *cobra.Command, lane *string) {
	cmd.Flags().StringVar(lane, "lane", "", "only this lane")
	_ = cmd.RegisterFlagCompletionFunc("lane", func(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		return o.complete(laneNames)(cmd, nil, text)
	})
}

func allParked(ctx context.Context, c *connect.Client, lane string) (*operatorv1.ListParkedResponse, error) {
	all := &operatorv1.ListParkedResponse{}
	for token := ""; ; {
		var r *operatorv1.ListParkedResponse
		err := c.Do(ctx, func(ctx context.Context) (err error) {
			r, err = c.ListParked(ctx, &operatorv1.ListParkedRequest{Lane: lane, PageToken: token, PageSize: maxPage})
			return err
		})
		if err != nil {
			return nil, err
		}
		all.Jobs = append(all.Jobs, r.GetJobs()...)
		if token = r.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

func parkedTable(st page.Style, jobs []*operatorv1.ParkedJob) []string {
	if len(jobs) == 0 {
		return []string{"Nothing is parked."}
	}
	t := figures.NewTable("JOB", "LANE", "PARKED AT (UTC)", ">TRIES", "CAUSE")
	for _, j := range jobs {
		t.Add(j.GetJobId(), j.GetLane(), clockTime(j.GetParkTime().AsTime()), strconv.Itoa(int(j.GetAttempts())), j.GetCause())
	}
	const then = "When the cause is gone: surgectl parked requeue JOB… or --all. Else: surgectl parked give-up JOB…"
	return append(t.Lines(), figures.Wrap(then, st.Width)...)
}

// decision is one of the two about parked jobs.
type decision struct {
	use, short, did string
	question        string // with the jobs in it; empty: it does not ask
	do              func(ctx context.Context, c *connect.Client, ids []string, dryRun bool) ([]*operatorv1.ParkedResult, error)
	response        func([]*operatorv1.ParkedResult) proto.Message
}

func (o *options) decide(d decision) *cobra.Command {
	s := &steering{}
	var all bool
	var lane string
	cmd := &cobra.Command{
		Use: d.use + " JOB... | --all", Short: d.short,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return errors.New("give JOBs or --all, not both")
			case !all && lane != "":
				return errors.New("--lane goes with --all")
			case !all && len(args) == 0:
				return errors.New("give JOBs (surgectl parked list), or --all")
			}
			return nil
		},
		ValidArgsFunction: o.complete(func(ctx context.Context, c *connect.Client) ([]string, error) {
			r, err := c.ListParked(ctx, &operatorv1.ListParkedRequest{})
			var names []string
			for _, j := range r.GetJobs() {
				names = append(names, cobra.CompletionWithDesc(j.GetJobId(), j.GetLane()+": "+j.GetCause()))
			}
			return names, err
		}),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				asks := d.question != "" && !s.yes && !s.dryRun
				if asks {
					if err := askable(); err != nil {
						return err
					}
				}
				if all {
					jobs, err := allParked(ctx, c, lane)
					if err != nil {
						return err
					}
					for _, j := range jobs.GetJobs() {
						ids = append(ids, j.GetJobId())
					}
					if len(ids) == 0 {
						return connect.NothingDone("nothing is parked")
					}
				}
				if asks {
					if err := ask(ctx, fmt.Sprintf(d.question, parkedJobs(len(ids)))); err != nil {
						return err
					}
				}
				return o.doDecide(cmd, c, d, ids, s.dryRun)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all parked jobs")
	o.laneFlag(cmd, &lane)
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "say what would happen, and change nothing")
	if d.question != "" {
		s.asking(cmd)
	}
	return cmd
}

func parkedJobs(n int) string {
	if n == 1 {
		return "1 parked job"
	}
	return fmt.Sprintf("%d parked jobs", n)
}

// doDecide makes as many calls as the ids need. After an error it shows what was done before.
func (o *options) doDecide(cmd *cobra.Command, c *connect.Client, d decision, ids []string, dryRun bool) error {
	var results []*operatorv1.ParkedResult
	var fault error
	for len(ids) > 0 && fault == nil {
		some := ids[:min(maxPage, len(ids))]
		ids = ids[len(some):]
		fault = c.Do(cmd.Context(), func(ctx context.Context) error {
			r, err := d.do(ctx, c, some, dryRun)
			results = append(results, r...)
			return err
		})
	}
	if len(results) == 0 && fault != nil {
		return fault
	}
	did, found := d.did, 0
	if dryRun {
		did = "would be " + did
	}
	for _, r := range results {
		if r.GetFound() {
			found++
		}
	}
	err := o.show(cmd, d.response(results), func(page.Style) []string {
		var lines []string
		for _, r := range results {
			switch {
			case !r.GetFound():
				lines = append(lines, r.GetJobId()+"  not parked")
			case len(results) <= fewJobs:
				lines = append(lines, r.GetJobId()+"  "+did)
			}
		}
		if len(results) > fewJobs {
			lines = append(lines, fmt.Sprintf("%d jobs %s", found, did))
		}
		return lines
	})
	switch {
	case err != nil:
		return err
	case fault != nil:
		return fault
	case found < len(results):
		return connect.NothingDone("%d of %d jobs are not parked", len(results)-found, len(results))
	}
	return nil
}

func (o *options) ticket() *cobra.Command {
	return &cobra.Command{
		Use: "ticket TICKET", Short: "Show where a reset is, by its ticket", Args: exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				var r *operatorv1.GetTicketResponse
				err := c.Do(ctx, func(ctx context.Context) (err error) {
					r, err = c.GetTicket(ctx, &operatorv1.GetTicketRequest{TicketId: args[0]})
					return err
				})
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(page.Style) []string { return ticketLines(r, clock.System{}) })
			})
		},
	}
}

func ticketLines(r *operatorv1.GetTicketResponse, c clock.Clock) []string {
	state := r.GetState()
	if r.GetReason() != "" {
		state += ": " + r.GetReason()
	}
	lines := []string{"state     " + state}
	if r.GetLane() != "" {
		where := fmt.Sprintf("lane %s, %s before it", r.GetLane(), humanize.Count(r.GetPosition()))
		if r.GetRetrying() {
			where = "lane " + r.GetLane() + ", waits for its next try, or is parked (surgectl parked list --lane " + r.GetLane() + ")"
		}
		lines = append(lines, "where     "+where)
	}
	at := func(label string, t *timestamppb.Timestamp) {
		if t != nil {
			lines = append(lines, fmt.Sprintf("%s%s UTC, %s ago", label, clockTime(t.AsTime()), humanize.Duration(c.Now().Sub(t.AsTime()))))
		}
	}
	at("accepted  ", r.GetAcceptTime())
	at("changed   ", r.GetUpdateTime())
	if r.GetEtaHigh() != nil {
		lines = append(lines, fmt.Sprintf("told      %s to %s more",
			humanize.Duration(r.GetEtaLow().AsDuration()), humanize.Duration(r.GetEtaHigh().AsDuration())))
	}
	return lines
}
