package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/connect"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/diagnose"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func (o *options) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "What is wrong, until when, what you can do; then every figure", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.call(cmd, func(ctx context.Context, c *connect.Client) error {
				s, err := getStatus(ctx, c)
				if err != nil {
					return err
				}
				r := diagnose.Of(s)
				j, err := statusJSON(s, r)
				if err != nil {
					return err
				}
				return o.show(cmd, j, func(st page.Style) []string {
					lines := append([]string{page.Title(s, c.Address()), ""}, st.Answers(r)...)
					return append(append(lines, ""), st.Tables(s)...)
				})
			})
		},
	}
}

// statusJSON is the status with the diagnosis as one more field.
func statusJSON(s *operatorv1.GetStatusResponse, r diagnose.Report) (map[string]any, error) {
	raw, err := rawJSON(s)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	all := map[string]any{}
	for name, value := range fields {
		all[name] = value
	}
	all["diagnosis"] = r.JSON()
	return all, nil
}

func (o *options) top() *cobra.Command {
	return &cobra.Command{Use: "top", Short: "The status, live", Args: exactly(0), RunE: func(*cobra.Command, []string) error { return nil }}
}
