package measure

import (
	"math"
	"slices"

	"github.com/surgegate/surgegate/loadtest/people"
)

// figure reads one number of a run; false: the run could not see it.
type figure struct {
	unit unit
	of   func(Arm) (float64, bool)
}

// ThresholdNames lists the figures that can be bounded, sorted.
func ThresholdNames() []string {
	var names []string
	for name := range figures() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func figures() map[string]figure {
	all := map[string]figure{
		"people":             counted(func(a Arm) int { return a.People }),
		"completed":          counted(func(a Arm) int { return a.Completed }),
		"completed_share":    shared(func(a Arm) (int, int) { return a.Completed, a.People }),
		"accepted_share":     shared(func(a Arm) (int, int) { return a.Accepted, a.People }),
		"gave_up_share":      shared(func(a Arm) (int, int) { return a.GaveUp, a.People }),
		"failed_calls_share": shared(func(a Arm) (int, int) { return a.FailedCalls, a.PeopleCalls }),
		"peak_backlog":       counted(func(a Arm) int { return a.PeakBacklog }),
		"store_crashes":      seen(func(a Arm) (int, bool) { return a.StoreCrashes, a.StoreSeen }),
		"lost":               seen(func(a Arm) (int, bool) { return a.Lost, a.Audited }),
		"applied_twice":      seen(func(a Arm) (int, bool) { return a.AppliedTwice, a.Audited }),
		"out_of_order":       seen(func(a Arm) (int, bool) { return a.OutOfOrder, a.Audited }),
		"wait_p50":           waited(func(a Arm) int64 { return a.WaitP50MS }),
		"wait_p99":           waited(func(a Arm) int64 { return a.WaitP99MS }),
		"everybody_wait_p50": everybody(func(a Arm) int64 { return a.EverybodyP50MS }),
		"everybody_wait_p99": everybody(func(a Arm) int64 { return a.EverybodyP99MS }),
	}
	for op := range people.Ops {
		name := op.String()
		for quantile, of := range map[string]func(Quantiles) int64{
			"p50": func(q Quantiles) int64 { return q.P50 }, "p90": func(q Quantiles) int64 { return q.P90 },
			"p99": func(q Quantiles) int64 { return q.P99 }, "p999": func(q Quantiles) int64 { return q.P999 },
			"max": func(q Quantiles) int64 { return q.Max },
		} {
			all[name+"_"+quantile] = ofOp(name, latency, func(o Op) float64 { return float64(of(o.Latency)) / 1e6 })
		}
		all[name+"_refused_share"] = ofOp(name, share, func(o Op) float64 { return float64(o.Refused) / float64(o.Calls) })
		all[name+"_failed_share"] = ofOp(name, share, func(o Op) float64 { return float64(o.Failed) / float64(o.Calls) })
		all[name+"_refusal_p99"] = ofOp(name, latency, func(o Op) float64 { return float64(o.Refusal.P99) / 1e6 })
	}
	return all
}

func counted(of func(Arm) int) figure {
	return figure{countBound, func(a Arm) (float64, bool) { return float64(of(a)), true }}
}

// seen is a count that not every run can see.
func seen(of func(Arm) (int, bool)) figure {
	return figure{countBound, func(a Arm) (float64, bool) {
		n, known := of(a)
		return float64(n), known
	}}
}

func shared(of func(Arm) (part, whole int)) figure {
	return figure{share, func(a Arm) (float64, bool) {
		part, whole := of(a)
		return float64(part) / float64(max(whole, 1)), whole > 0
	}}
}

func waited(of func(Arm) int64) figure {
	return figure{latency, func(a Arm) (float64, bool) { return float64(of(a)) / 1e3, a.Completed > 0 }}
}

func everybody(of func(Arm) int64) figure {
	return figure{latency, func(a Arm) (float64, bool) {
		if of(a) < 0 {
			return math.Inf(1), a.People > 0
		}
		return float64(of(a)) / 1e3, a.People > 0
	}}
}

// ofOp reads a figure of the calls of one kind, if there were any.
func ofOp(name string, u unit, of func(Op) float64) figure {
	return figure{u, func(a Arm) (float64, bool) {
		i := slices.IndexFunc(a.Ops, func(o Op) bool { return o.Op == name })
		if i < 0 {
			return 0, false
		}
		return of(a.Ops[i]), true
	}}
}
