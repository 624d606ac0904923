package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/surgegate/surgegate/loadtest/report"
)

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
	if err := os.WriteFile(to, page, 0o644); err != nil { //nolint:gosec // as the report beside the result: for everybody
		return fmt.Errorf("storm: %w", err)
	}
	return nil
}
