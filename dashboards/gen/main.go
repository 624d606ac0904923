package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	folder := "grafana"
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	if err := write(folder); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	for _, b := range []board{storm(), internals()} {
		text, err := b.json()
		if err != nil {
			return fmt.Errorf("%s: %w", b.UID, err)
		}
		if err := os.WriteFile(filepath.Join(folder, b.File), text, 0o644); err != nil { //nolint:gosec // G306: anybody may read a dashboard
			return err
		}
	}
	return nil
}
