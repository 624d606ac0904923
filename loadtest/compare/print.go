package compare

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/report"
)

func intro(out io.Writer, s report.Storm) {
	fmt.Fprintf(out, "storm  %s, %.0f s around its peak at real speed, thinned 1:%.0f\n", s.Scenario, s.Seconds, s.Thin)
	fmt.Fprintf(out, "       %s people, up to %.0f/s, and %s attackers\n", report.Count(s.People), s.PeakRate, report.Count(s.Attackers))
	fmt.Fprintf(out, "store  %d workers, %d ms a password: %.0f/s at its very best\n", s.Workers, s.HashMS, s.Capacity)
	fmt.Fprintf(out, "       its process dies past %d MiB of requests, and comes back cold\n", s.MemoryBound>>20)
}

// compare prints the arms side by side.
func compare(out io.Writer, r report.Result, cfg Config) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-34s", "")
	for _, a := range r.Arms {
		fmt.Fprintf(&b, "%14s", a.Name)
	}
	b.WriteByte('\n')
	for _, row := range r.Rows() {
		label := row.Label
		if row.Sub {
			label = "  " + label
		}
		fmt.Fprintf(&b, "%-34s", label)
		for _, value := range row.Values {
			fmt.Fprintf(&b, "%14s", value)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "%s against %s, %s: %+.3g %s (95 %%: %+.3g to %+.3g)\n", d.Arm, d.Against, d.Figure, d.Difference, d.Unit, d.Low, d.High)
	}
	if len(r.Differences) > 0 {
		b.WriteByte('\n')
	}
	for i, a := range r.Arms {
		if a.Invalid != "" {
			fmt.Fprintf(&b, "INVALID (%s): %s\n", a.Name, a.Invalid)
		}
		for _, broken := range a.Broken {
			fmt.Fprintf(&b, "BROKEN PROMISE (%s): %s\n", a.Name, broken)
		}
		if cfg.Arms[i].Front == Surgegate && len(a.Broken) == 0 && a.Completed == a.Accepted && a.StoreCrashes == 0 {
			fmt.Fprintf(&b, "%s: everybody who was accepted has their new password after %v;\n", a.Name, time.Duration(a.Seconds)*time.Second)
			b.WriteString("nothing lost, nothing applied twice, the store never down\n")
		}
	}
	fmt.Fprintf(&b, "report: %s\nresult: %s\n", filepath.Join(cfg.Out, "report.html"), filepath.Join(cfg.Out, "result.json"))
	_, _ = io.WriteString(out, b.String()) // as for the live view
}
