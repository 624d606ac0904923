package control

import (
	"fmt"
	"slices"
)

// GroupSummary is what some replicas of a gateway did with one store in a case, over all its stores.
type GroupSummary struct {
	Case     string `json:"case"`
	Replicas int    `json:"replicas"`
	Shared   bool   `json:"shared"` // one chart for all, told with half a second of lag each way; else one each
	// Goodput of all together ÷ the store's best, and Jain's index of what each got, after the warm-up.
	Goodput Spread `json:"goodput"`
	Jain    Spread `json:"jain"`
	sums    []float64
	jains   []float64
}

// Goals of replicas on one store, of loadtest/README.md's table.
const (
	groupGoodput = .93
	groupJain    = .95
	// mostGroupCalls bounds a run of them: there are 32 of each store.
	mostGroupCalls = 1e5
)

// groupJob is one run of replicas.
type groupJob struct {
	which    string
	replicas int
	shared   bool
	seed     uint64
	m        Model
	result   GroupResult
}

func (j *groupJob) run() (err error) {
	if j.result, err = RunGroup(NewGroup(j.m, j.replicas, j.shared, j.which), j.seed); err != nil {
		return fmt.Errorf("control: %d replicas: %w", j.replicas, err)
	}
	j.result.Trace = nil
	return nil
}

func groupJobs(o Options) (jobs []*groupJob) {
	for _, which := range Cases() {
		for _, k := range o.Replicas {
			for _, shared := range []bool{true, false} {
				for _, shape := range Shapes() {
					if shape.Name != "usl" && shape.Name != "workers" {
						continue
					}
					for seed := range uint64(2 * o.Seeds) {
						d := Draw{Seed: seed / 2, Slow: seed%2 == 1, MostCalls: min(o.MostCalls, mostGroupCalls)}
						jobs = append(jobs, &groupJob{which: which, replicas: k, shared: shared, seed: d.Seed, m: shape.Make(d)})
					}
				}
			}
		}
	}
	return jobs
}

// summariseGroups makes a GroupSummary of each case, number of replicas and way.
func summariseGroups(jobs []*groupJob) (groups []GroupSummary) {
	for _, j := range jobs {
		if last := len(groups) - 1; last < 0 || groups[last].Case != j.which || groups[last].Replicas != j.replicas || groups[last].Shared != j.shared {
			groups = append(groups, GroupSummary{Case: j.which, Replicas: j.replicas, Shared: j.shared})
		}
		g := &groups[len(groups)-1]
		g.sums, g.jains = append(g.sums, j.result.Goodput), append(g.jains, j.result.Jain)
	}
	for i := range groups {
		g := &groups[i]
		g.Goodput = Spread{Median: median(g.sums), Worst: slices.Min(g.sums)}
		g.Jain = Spread{Median: median(g.jains), Worst: slices.Min(g.jains)}
	}
	return groups
}

// groupGoals are those of one shared chart, with charts of their own as the reference.
func (c Comparison) groupGoals() (goals []Goal) {
	for _, g := range c.Groups {
		if !g.Shared {
			continue
		}
		i := slices.IndexFunc(c.Groups, func(o GroupSummary) bool { return !o.Shared && o.Case == g.Case && o.Replicas == g.Replicas })
		own := c.Groups[i]
		add := func(name string, s, reference Spread, bound float64) {
			goals = append(goals, Goal{
				Name: fmt.Sprintf("%d replicas, %s: %s", g.Replicas, g.Case, name), Value: s.Median, Reference: reference.Median,
				Goal: fmt.Sprintf("≥ %g (worst seed %.3f; of independent charts %.3f)", bound, s.Worst, reference.Worst), OK: s.Median >= bound,
			})
		}
		add("sum ÷ best", g.Goodput, own.Goodput, groupGoodput)
		add("Jain", g.Jain, own.Jain, groupJain)
	}
	return goals
}
