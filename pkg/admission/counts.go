package admission

import "sync/atomic"

// Count is the number of calls since the start with one reason: "none" for those that were admitted, otherwise the rule that
// refused them.
type Count struct {
	Decision string // admitted, limited or shed
	Reason   string
	Calls    uint64
	// DryRun is the number of calls that the rule would have refused, but was in dry run.
	DryRun uint64
}

// Counts returns one Count for each reason. Reads are not counted.
func (a *Admission) Counts() []Count {
	counts := make([]Count, reasons)
	for r := range reasons {
		decision, name := r.labels()
		counts[r] = Count{
			Decision: decision, Reason: name, Calls: a.metrics.decisions[r].Load(), DryRun: a.metrics.dryRuns[r].Load(),
		}
	}
	return counts
}

// GlobalTokens returns the tokens that are left in the global bucket.
func (a *Admission) GlobalTokens() float64 { return a.global.TokensAt(a.clock.Now()) }

// paddedCounter has a cache line of its own: calls are counted on all processors at once.
type paddedCounter struct {
	atomic.Uint64
	_ [56]byte
}
