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
	fmt.Fprintf(&b, "\n%s\n", r.Text())
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
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, v := range r.Verdicts {
		if !v.OK {
			fmt.Fprintf(&b, "BROKEN THRESHOLD %s: %s, it should be %s\n", v.Name, v.Value, v.Bound)
		}
	}
	fmt.Fprintf(&b, "report: %s\nresult: %s\n", filepath.Join(cfg.Out, report.PageFile), filepath.Join(cfg.Out, report.ResultFile))
	_, _ = io.WriteString(out, b.String()) // as for the live view
}
