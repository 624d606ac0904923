package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/top"
	"github.com/surgegate/surgegate/pkg/clock"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func (o *options) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say what is wrong, for how long, and what you can do; then show all figures", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				s, err := getStatus(ctx, c)
				if err != nil {
					return err
				}
				return o.show(cmd, s, func(st page.Style) []string {
					lines := append([]string{page.Title(s, c.Address()), ""}, st.Answers(s.GetDiagnosis(), 0)...)
					return append(append(lines, ""), st.Tables(s)...)
				})
			})
		},
	}
}

func (o *options) top() *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use: "top", Short: "Show the status live: q quits, p freezes, tab shows all, history, overrides", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error { return o.runTop(ctx, cmd, c, interval) })
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "between two looks, 250ms to 1m")
	return cmd
}

func (o *options) runTop(ctx context.Context, cmd *cobra.Command, c *connect.Client, interval time.Duration) error {
	w := cmd.OutOrStdout()
	deps := top.Deps{Client: c, Clock: clock.System{}, Out: w, Explain: c.Explain}
	if o.output == "json" {
		deps.Line = jsonLine
	} else if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		deps.Size = func() (int, int, bool) {
			columns, rows, err := term.GetSize(int(file.Fd()))
			return columns, rows, err == nil
		}
	}
	t, err := top.New(top.Config{Address: c.Address(), Interval: interval, NoColor: os.Getenv("NO_COLOR") != ""}, deps)
	if err != nil {
		return connect.Usage(err)
	}
	if deps.Size == nil {
		return t.Run(ctx)
	}
	return t.RunOnTerminal(ctx)
}

// jsonLine is a status a line, for programs that follow.
func jsonLine(w io.Writer, s *operatorv1.GetStatusResponse) error {
	j, err := rawJSON(s)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(j)
}
