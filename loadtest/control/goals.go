package control

import (
	"fmt"
	"math"
	"strings"
)

// Goal is one figure of the chart beside what was aimed at.
type Goal struct {
	Name      string  `json:"name"`
	Shape     string  `json:"shape,omitempty"` // whose figure it is; else of them all
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Reference float64 `json:"reference,omitempty"` // the best baseline's figure in the same run
	Goal      string  `json:"goal"`
	OK        bool    `json:"ok"`
	// alone: there is no reference, because the least is not the best: a limiter that lets nothing in has none inside.
	alone bool
}

// speed names a class of stores to a reader.
func speed(slow bool) string {
	if slow {
		return "250–500 ms"
	}
	return "2–20 ms"
}

// The goals, of loadtest/README.md's table in the order fast, slow.
const (
	goodputFast, goodputSlow   = .97, .93
	goodputWorst               = .85
	recoveryFast, recoverySlow = 3, 5 // s; slow: with a knee of 40 or more
	mostHolding, mostPeak      = 1.25, 2.2
)

// goodputGoal is the median that a shape of the class should reach.
func goodputGoal(slow bool) float64 {
	if slow {
		return goodputSlow
	}
	return goodputFast
}

func recoveryGoal(slow bool) float64 {
	if slow {
		return recoverySlow
	}
	return recoveryFast
}

// Goals are the chart's figures, each beside the best baseline's.
func (c Comparison) Goals() []Goal {
	var goals []Goal
	for _, slow := range []bool{false, true} {
		for _, cell := range c.of(ChartName, slow) {
			goals = append(goals, c.goodput(cell))
		}
	}
	for _, slow := range []bool{false, true} {
		goals = append(goals, c.atLeast("goodput ÷ best, worst seed of all models, "+speed(slow), goodputWorst, slow,
			func(cell Cell) []float64 { return []float64{cell.Goodput.Worst} }))
	}
	for _, slow := range []bool{false, true} {
		most, name := recoveryGoal(slow), "within 10 % after a step, "+speed(slow)
		if slow {
			name += ", knee ≥ 40"
		}
		goals = append(goals,
			c.atMost(name+", median at the slowest step", "s", most, slow, func(cell Cell) []float64 { return medians(cell.judgedRecovery()) }),
			c.atMost(name+", worst seed", "s", most, slow, func(cell Cell) []float64 { return worsts(cell.judgedRecovery()) }))
	}
	for _, slow := range []bool{false, true} {
		holding := func(cell Cell) []Spread {
			if cell.Holding == nil {
				return nil
			}
			return []Spread{*cell.Holding}
		}
		peak := func(cell Cell) []Spread { return []Spread{cell.Peak} }
		goals = append(goals,
			c.atMost("inside ÷ knee while holding, median at the worst model, "+speed(slow), "", mostHolding, slow, func(cell Cell) []float64 { return medians(holding(cell)) }),
			c.atMost("inside ÷ knee while holding, worst seed, "+speed(slow), "", mostHolding, slow, func(cell Cell) []float64 { return worsts(holding(cell)) }),
			c.atMost("inside ÷ knee at its peak, median at the worst model, "+speed(slow), "", mostPeak, slow, func(cell Cell) []float64 { return medians(peak(cell)) }),
			c.atMost("inside ÷ knee at its peak, worst seed, "+speed(slow), "", mostPeak, slow, func(cell Cell) []float64 { return worsts(peak(cell)) }))
	}
	for _, slow := range []bool{false, true} {
		only := func(shape string, of func(Cell) int) func(Cell) []float64 {
			return func(cell Cell) []float64 {
				if cell.Shape != shape {
					return nil
				}
				return []float64{float64(of(cell))}
			}
		}
		crashes, late := func(cell Cell) int { return cell.Crashes }, func(cell Cell) int { return cell.Late }
		goals = append(goals,
			c.atMost("crashes at 1.5 times the knee, most in a run, "+speed(slow), "", 1, slow, only("crash-1.5", crashes)),
			c.atMost("crashes at 1.5 times the knee after the first minute, "+speed(slow), "", 0, slow, only("crash-1.5", late)),
			c.atMost("crashes at 3 times the knee, "+speed(slow), "", 0, slow, only("crash-3", crashes)))
	}
	return append(append(goals, c.mixGoals()...), c.groupGoals()...)
}

// The goals for mixes of look-ups, writes and revocations.
const (
	mixFast, mixSlow, mixWorst = .95, .90, .80
	// mostUnused is the most that a limit may be, when it is raised, of the calls that were in flight.
	mostUnused = 1.5
)

// mixGoals are the chart's figures with several kinds of work; the reference is in the figure.
func (c Comparison) mixGoals() []Goal {
	var goals []Goal
	add := func(cell Cell, what string, value, bound float64, ok bool, sign string) {
		goals = append(goals, Goal{
			Name: what + ", " + cell.Shape + ", " + speed(cell.Slow), Shape: cell.Shape, Value: value, Goal: fmt.Sprintf("%s %g", sign, bound), OK: ok,
		})
	}
	for _, cell := range c.Mixes {
		median := mixFast
		if cell.Slow {
			median = mixSlow
		}
		if cell.saturated {
			add(cell, "goodput ÷ best, median", cell.Goodput.Median, median, cell.Goodput.Median >= median, "≥")
			add(cell, "goodput ÷ best, worst seed", cell.Goodput.Worst, mixWorst, cell.Goodput.Worst >= mixWorst, "≥")
		}
		if cell.dies {
			add(cell, "crashes, most in a run", float64(cell.Crashes), 1, cell.Crashes <= 1, "≤")
			add(cell, "crashes after the first minute", float64(cell.Late), 0, cell.Late == 0, "≤")
		}
		add(cell, "limit ÷ calls in flight when it was raised, most", cell.Unused, mostUnused, cell.Unused <= mostUnused+1e-9, "≤")
	}
	return goals
}

// judgedRecovery is the recovery that the goals are about.
func (cell Cell) judgedRecovery() []Spread {
	if cell.Slow {
		return cell.RecoveryLarge
	}
	return cell.Recovery
}

func (c Comparison) goodput(cell Cell) Goal {
	goal := goodputGoal(cell.Slow)
	g := Goal{
		Name: "goodput ÷ best, " + cell.Shape + ", " + speed(cell.Slow), Shape: cell.Shape, Value: cell.Goodput.Median,
		Goal: fmt.Sprintf("≥ %g (worst seed %.3f)", goal, cell.Goodput.Worst), OK: cell.Goodput.Median >= goal,
	}
	for _, name := range c.Controllers {
		if other, ok := c.Find(cell.Shape, cell.Slow, name); ok && name != ChartName {
			g.Reference = max(g.Reference, other.Goodput.Median)
		}
	}
	return g
}

func (c Comparison) of(controller string, slow bool) []Cell {
	var cells []Cell
	for _, cell := range c.Cells {
		if cell.Controller == controller && cell.Slow == slow {
			cells = append(cells, cell)
		}
	}
	return cells
}

// extreme is the worst of a controller's figures and where it was; better tells which of two is.
func (c Comparison) extreme(controller string, slow bool, of func(Cell) []float64, worse func(a, b float64) bool) (value float64, where string) {
	value = math.NaN()
	for _, cell := range c.of(controller, slow) {
		for _, v := range of(cell) {
			if math.IsNaN(value) || worse(v, value) {
				value, where = v, cell.Shape
			}
		}
	}
	return value, where
}

func (c Comparison) judge(g Goal, slow bool, of func(Cell) []float64, worse func(a, b float64) bool, bound float64) Goal {
	var where string
	g.Value, where = c.extreme(ChartName, slow, of, worse)
	g.OK = !math.IsNaN(g.Value) && !worse(g.Value, bound)
	if where != "" {
		g.Goal += " (" + where + ")"
	} else {
		g.Value, g.Goal = 0, g.Goal+" (no such store drawn)"
	}
	first := true
	for _, name := range c.Controllers {
		if name == ChartName || g.alone {
			continue
		}
		if v, at := c.extreme(name, slow, of, worse); at != "" && (first || worse(g.Reference, v)) {
			g.Reference, first = v, false
		}
	}
	return g
}

func (c Comparison) atLeast(name string, bound float64, slow bool, of func(Cell) []float64) Goal {
	return c.judge(Goal{Name: name, Goal: fmt.Sprintf("≥ %g", bound)}, slow, of, func(a, b float64) bool { return a < b }, bound)
}

func (c Comparison) atMost(name, unit string, bound float64, slow bool, of func(Cell) []float64) Goal {
	return c.judge(Goal{Name: name, Unit: unit, Goal: fmt.Sprintf("≤ %g", bound), alone: strings.HasPrefix(name, "inside")}, slow, of, func(a, b float64) bool { return a > b }, bound)
}

func medians(spreads []Spread) (v []float64) {
	for _, s := range spreads {
		v = append(v, s.Median)
	}
	return v
}

func worsts(spreads []Spread) (v []float64) {
	for _, s := range spreads {
		v = append(v, s.Worst)
	}
	return v
}
