package pacelab

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/surgegate/surgegate/pkg/pace"
)

func TestTable(t *testing.T) {
	if os.Getenv("LAB") == "" {
		t.Skip()
	}
	seeds, _ := strconv.Atoi(os.Getenv("LAB"))
	only := os.Getenv("SHAPES")
	fmt.Printf("%-14s %-5s %6s %6s %6s | %6s %6s %6s | %6s %6s | %s\n", "shape", "", "med", "2nd", "worst", "hold", "peak", "max", "crash", "late", "recovery med/worst")
	for _, shape := range Shapes() {
		if only != "" && !slices.Contains(strings.Split(only, ","), shape.Name) {
			continue
		}
		for _, slow := range []bool{false, true} {
			res := make([]Result, seeds)
			ms := make([]Model, seeds)
			var wg sync.WaitGroup
			sem := make(chan struct{}, 2)
			for i := range seeds {
				wg.Add(1)
				go func() {
					defer wg.Done()
					sem <- struct{}{}
					defer func() { <-sem }()
					m := shape.Make(uint64(i), slow)
					p, _ := pace.NewChart(pace.ChartConfig{Batch: max(1, m.MaxBatch)})
					ms[i] = m
					res[i] = Run(m, p, uint64(i))
				}()
			}
			wg.Wait()
			var good, hold, peak, rec []float64
			crash, late, worst := 0, 0, 0
			for i, r := range res {
				good = append(good, r.Goodput)
				hold = append(hold, r.Holding)
				peak = append(peak, r.Peak)
				crash = max(crash, r.Crashes)
				late += r.Late
				rec = append(rec, r.Recovery...)
				if r.Goodput < res[worst].Goodput {
					worst = i
				}
			}
			slices.Sort(good)
			slices.Sort(hold)
			slices.Sort(peak)
			slices.Sort(rec)
			n := seeds
			name := "fast"
			if slow {
				name = "slow"
			}
			recs := ""
			if len(rec) > 0 {
				recs = fmt.Sprintf("%.0f / %.0f", rec[len(rec)/2], rec[len(rec)-1])
			}
			fmt.Printf("%-14s %-5s %6.3f %6.3f %6.3f | %6.2f %6.2f %6.2f | %6d %6d | %s   worst: seed %d s=%.0fms knee=%.0f\n", shape.Name, name, good[n/2], good[1], good[0], hold[n/2], peak[n/2], peak[n-1], crash, late, recs, worst, ms[worst].Service*1e3, ms[worst].Knee)
			if os.Getenv("TRACE") != "" {
				i, _ := strconv.Atoi(os.Getenv("TRACE"))
				for _, p := range res[i].Trace {
					fmt.Printf("  %4.0f done %8.1f best %8.1f inside %6.0f limit %5.0f batch %d\n", p.At, p.Done, p.Best, p.Inside, p.Limit, p.Batch)
				}
			}
		}
	}
}
