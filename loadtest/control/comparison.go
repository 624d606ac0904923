package control

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/pkg/pace"
)

// ChartName is the name of surgegate's own controller.
const ChartName = "chart"

// Controllers lists what Compare compares, the chart first. Each has the same breaker in front of it: without one, no limiter would
// ever leave a stalled store alone, and a store that refuses at once would be asked again at once.
func Controllers() []string { return append([]string{ChartName}, LimiterNames()...) }

// Options of a comparison.
type Options struct {
	Seeds     int      // stores of each shape and class; default 12
	MostCalls float64  // of a run, about; default 600 000. See Draw
	Shapes    []string // default: all
	// Controllers: default all.
	Controllers []string
	// Replicas of a gateway that share a store: default 2, 4, 8 and 16.
	Replicas []int
}

// Spread is a figure over the seeds. Worst is the one farthest on the bad side.
type Spread struct {
	Median float64 `json:"median"`
	Worst  float64 `json:"worst"`
}

// Cell is what one controller did with all the stores of one shape and class.
type Cell struct {
	Shape      string `json:"shape"`
	Slow       bool   `json:"slow"`
	Controller string `json:"controller"`
	// Goodput ÷ the store's best, in items, after the warm-up, and the seed of the worst.
	Goodput   Spread `json:"goodput"`
	WorstSeed uint64 `json:"worst_seed"`
	// Recovery in s, for each step but those to a standstill; RecoveryLarge of the stores with a knee of 40 or more,
	// empty if no seed has one.
	Recovery      []Spread `json:"recovery_seconds,omitempty"`
	RecoveryLarge []Spread `json:"recovery_seconds_knee_40,omitempty"`
	Holding       *Spread  `json:"inside_holding,omitempty"` // inside ÷ knee after the warm-up; shapes without steps only
	Peak          Spread   `json:"inside_peak"`              // inside ÷ knee at its highest before the first step
	Crashes       int      `json:"crashes"`                  // the most in one run
	Late          int      `json:"crashes_late"`             // the most in one run after its first minute
	Unused        float64  `json:"limit_unused"`             // the most in one run; see Result
	Example       Example  `json:"-"`

	dies      bool // the store, with too much inside
	saturated bool // the caller always has something to send, and sends as much as it may
}

// Example is the run of one seed.
type Example struct {
	Seed  uint64
	Model Model
	Trace []Point
}

// Comparison is what Run measured, cells in the order of shapes, fast before slow, controllers.
type Comparison struct {
	Seeds       int            `json:"seeds"`
	MostCalls   float64        `json:"most_calls"`
	Calls       int            `json:"calls"` // made in all runs
	Controllers []string       `json:"controllers"`
	Cells       []Cell         `json:"cells"`
	Mixes       []Cell         `json:"mixes"` // of the chart alone: the baselines know no kinds of work
	Groups      []GroupSummary `json:"replicas"`
}

// exampleSeed has a knee of 93 and slow calls of 398 ms, neither near a bound: neither the first looks nor the bound of
// calls make its picture.
const exampleSeed = 9

// Compare runs every controller against the stores of every shape in virtual time, each with the same seeds:
//
//	every shape × {2–20 ms, 250–500 ms} × seed × controller
//
// All have the same store, a backlog that never ends, deadlines of 5 s whose work stays inside, and the same breaker. Batches are as
// large as the store takes them; only the chart looks for a size. The fixed bucket is told the store's best rate at the start. The
// chart's limit may go to 1000, the others' to 2000. Beside them, 2 to 16 replicas of a gateway share one store, with one chart for all
// (pkg/pace/replica, half a second of lag each way) and with a chart each. The result has the median and the worst over the seeds. A
// missed goal is no error.
func Compare(ctx context.Context, o Options) (Comparison, error) {
	if o.Seeds == 0 {
		o.Seeds = 12
	}
	if o.MostCalls == 0 {
		o.MostCalls = 6e5
	}
	if len(o.Controllers) == 0 {
		o.Controllers = Controllers()
	}
	if o.Replicas == nil {
		o.Replicas = []int{2, 4, 8, 16}
	}
	c := Comparison{Seeds: o.Seeds, MostCalls: o.MostCalls, Controllers: o.Controllers}
	jobs, mixes := o.jobs(Shapes(), o.Controllers), o.jobs(Mixes(), []string{ChartName})
	groups := groupJobs(o)
	var work []func() error
	for _, j := range slices.Concat(jobs, mixes) {
		work = append(work, j.run)
	}
	for _, j := range groups {
		work = append(work, j.run)
	}
	if err := runAll(ctx, work); err != nil {
		return Comparison{}, err
	}
	c.Groups = summariseGroups(groups)
	for cell := range slices.Chunk(jobs, o.Seeds) {
		c.Cells = append(c.Cells, summarise(cell))
	}
	for cell := range slices.Chunk(mixes, o.Seeds) {
		c.Mixes = append(c.Mixes, summarise(cell))
	}
	for _, j := range slices.Concat(jobs, mixes) {
		c.Calls += j.result.Calls
	}
	return c, nil
}

// jobs are the runs of every controller with the wanted ones of the shapes, those of a cell one after the other.
func (o Options) jobs(shapes []Shape, controllers []string) []*job {
	var jobs []*job
	for _, shape := range shapes {
		if len(o.Shapes) > 0 && !slices.Contains(o.Shapes, shape.Name) {
			continue
		}
		for _, slow := range []bool{false, true} {
			for _, name := range controllers {
				for seed := range uint64(o.Seeds) {
					m := shape.Make(Draw{Seed: seed, Slow: slow, MostCalls: o.MostCalls})
					jobs = append(jobs, &job{name: name, slow: slow, seed: seed, m: m, example: seed == min(exampleSeed, uint64(o.Seeds)-1)})
				}
			}
		}
	}
	return jobs
}

// job is one run.
type job struct {
	example bool // its trace is kept
	name    string
	slow    bool
	seed    uint64
	m       Model
	result  Result
}

func (j *job) run() error {
	p, err := newPacer(j.name, j.m, j.seed)
	if err != nil {
		return fmt.Errorf("control: %s: %w", j.name, err)
	}
	j.result = Run(j.m, p, j.seed)
	if !j.example {
		j.result.Trace = nil
	}
	return nil
}

// newPacer makes a controller. Of the store's capacity only the fixed bucket is told: its rate is the store's best at the
// start, as an operator would configure who has measured it. Batches may be as large as the store takes them for all.
func newPacer(name string, m Model, seed uint64) (pace.Pacer, error) {
	batch := max(1, m.MaxBatch)
	if name == ChartName {
		return pace.NewChart(pace.ChartConfig{Batch: batch})
	}
	return NewLimiter(name, LimiterConfig{Batch: batch, Rate: m.Best(), Seed: seed})
}

func runAll(ctx context.Context, work []func() error) error {
	workers, failed := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range work {
		if failed.Err() != nil {
			break
		}
		workers.Go(w) // waits until a worker is free, which is within seconds
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// summarise makes a cell of its runs, one for each seed.
func summarise(runs []*job) Cell {
	first := runs[0]
	c := Cell{Shape: first.m.Name, Slow: first.slow, Controller: first.name, dies: first.m.Crash > 0, saturated: first.m.Saturated()}
	var goodput, holding, peak []float64
	recovery := make([][]float64, len(first.result.Recovery))
	large := make([][]float64, len(recovery))
	worst := math.Inf(1)
	for _, j := range runs {
		r := j.result
		if j.example {
			c.Example = Example{Seed: j.seed, Model: j.m, Trace: r.Trace}
		}
		goodput, holding, peak = append(goodput, r.Goodput), append(holding, r.Holding), append(peak, r.Peak)
		if r.Goodput < worst {
			worst, c.WorstSeed = r.Goodput, j.seed
		}
		c.Unused = max(c.Unused, r.Unused)
		c.Crashes, c.Late = max(c.Crashes, r.Crashes), max(c.Late, r.Late)
		for i, s := range r.Recovery {
			recovery[i] = append(recovery[i], s)
			if j.m.Knee >= 40 {
				large[i] = append(large[i], s)
			}
		}
	}
	c.Goodput = Spread{Median: median(goodput), Worst: worst}
	c.Peak = atMost(peak)
	if len(first.m.Steps) == 0 {
		s := atMost(holding)
		c.Holding = &s
	}
	for i := range recovery {
		c.Recovery = append(c.Recovery, atMost(recovery[i]))
		if len(large[i]) > 0 {
			c.RecoveryLarge = append(c.RecoveryLarge, atMost(large[i]))
		}
	}
	return c
}

// atMost is the spread of a figure that had better be small.
func atMost(values []float64) Spread {
	return Spread{Median: median(values), Worst: slices.Max(values)}
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Find is the cell of a shape, class and controller.
func (c Comparison) Find(shape string, slow bool, controller string) (Cell, bool) {
	for _, cell := range c.Cells {
		if cell.Shape == shape && cell.Slow == slow && cell.Controller == controller {
			return cell, true
		}
	}
	return Cell{}, false
}
