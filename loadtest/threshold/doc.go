// Package threshold judges a run by bounds from a file, so that a rehearsal can fail a build (exit code 99).
//
// The file is strict YAML, a figure and its bound a line; an unknown figure, an unknown unit or a bound that can never be
// met is an error with file and line:
//
//	completed_share:   ">= 99 %"
//	everybody_wait_p99: "<= 10m"
//	start_p99:         "<= 250ms"
//	store_crashes:     "== 0"
//
// Figures are those of Names. Shares are of the people who came, or of the calls of their kind; latencies count from the
// intended time. A figure that the run could not see (nobody completed, so nobody waited) breaks its threshold: no
// evidence is not good news. "never" (everybody_wait when too few got there) is above every bound.
package threshold
