package control

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"strings"
)

//go:embed page.html
var page string

// JSON is the cells and the goals.
func (c Comparison) JSON() ([]byte, error) {
	js, err := json.MarshalIndent(struct {
		Comparison
		Goals []Goal `json:"goals"`
	}{c, c.Goals()}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return append(js, '\n'), nil
}

// HTML is one page that loads nothing from anywhere and needs no script.
func (c Comparison) HTML() ([]byte, error) {
	t, err := template.New("contest").Funcs(template.FuncMap{"number": number}).Parse(page)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c.view()); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return b.Bytes(), nil
}

// view is what the page shows.
type view struct {
	Comparison
	Goals  []Goal // but those of one model, which are in the table of goodput
	Judged int
	Missed int
	Tables []table
	Models []modelView
}

type modelView struct {
	Name, About string
	Plots       []plotView
}

type plotView struct {
	Title string
	SVG   template.HTML
}

// table is one figure of all controllers.
type table struct {
	Title, About string
	Rows         []row
}

type row struct {
	Shape, Speed string
	Cells        []pageEntry
}

// entry is one controller's figure in a row.
type pageEntry struct {
	Text   string
	Best   bool // of the row
	Missed bool // a goal; only the chart has any
}

// figure is how a table is made of cells: values that had better be small, the first of which decides who is best.
type figure struct {
	title, about string
	of           func(Cell) []Spread
	text         func(Spread) string
	goal         func(slow bool) float64 // on the chart's median; NaN: none
	high         bool                    // better high
	one          bool                    // best at 1: less inside than the knee is no better than more
}

func (c Comparison) view() view {
	v := view{Comparison: c}
	for _, g := range c.Goals() {
		v.Judged++
		if !g.OK {
			v.Missed++
		}
		if g.Shape == "" {
			v.Goals = append(v.Goals, g)
		}
	}
	always := func(goal float64) func(bool) float64 { return func(bool) float64 { return goal } }
	two := func(s Spread) string { return short(s.Median) + " / " + short(s.Worst) }
	count := func(n int) Spread { return Spread{Median: float64(n), Worst: float64(n)} }
	for _, f := range []figure{
		{
			title: "Goodput ÷ the store's best", about: "Median and worst seed, after the warm-up, in items. Goal: median ≥ 0.97 (2–20 ms) and ≥ 0.93 (250–500 ms), worst ≥ 0.85.",
			of: func(c Cell) []Spread { return []Spread{c.Goodput} }, goal: goodputGoal, high: true,
			text: func(s Spread) string {
				return strings.ReplaceAll(fmt.Sprintf("%.3f / %.3f", s.Median, s.Worst), "0.", ".")
			},
		},
		{
			title: "Seconds until within 10 % of the best again", about: "After each step: median / worst seed. Goal: ≤ 3 s (2–20 ms), ≤ 5 s (250–500 ms, knee ≥ 40: only those are shown).",
			of: Cell.judgedRecovery, goal: recoveryGoal, text: func(s Spread) string { return fmt.Sprintf("%.3g / %.3g", s.Median, s.Worst) },
		},
		{
			title: "Inside ÷ knee while holding", about: "Mean over time after the warm-up, of models without steps: median / worst seed. Goal: ≤ 1.25.",
			of: func(c Cell) []Spread {
				if c.Holding == nil {
					return nil
				}
				return []Spread{*c.Holding}
			}, goal: always(mostHolding), text: two, one: true,
		},
		{
			title: "Inside ÷ knee at its peak", about: "Before the first step: median / worst seed. Goal: ≤ 2.2.",
			of: func(c Cell) []Spread { return []Spread{c.Peak} }, goal: always(mostPeak), text: two,
		},
		{
			title: "Crashes", about: "The most in one run, and the most after its first minute. Goal: at 1.5 times the knee ≤ 1 and 0, at 3 times 0.",
			of: func(c Cell) []Spread {
				if !strings.HasPrefix(c.Shape, "crash") {
					return nil
				}
				return []Spread{count(c.Crashes), count(c.Late)}
			}, goal: always(math.NaN()), text: func(s Spread) string { return fmt.Sprint(s.Median) },
		},
	} {
		v.Tables = append(v.Tables, c.table(f))
	}
	for _, shape := range Shapes() {
		m := modelView{Name: shape.Name, About: shape.About}
		for _, slow := range []bool{false, true} {
			if cells := c.row(shape.Name, slow); len(cells) > 0 {
				e := cells[0].Example.Model
				title := fmt.Sprintf("%s, knee %.0f, %.3g ms alone, seed %d", speed(slow), e.Knee, 1000*e.Service, cells[0].Example.Seed)
				m.Plots = append(m.Plots, plotView{title, plot(cells)})
			}
		}
		if len(m.Plots) > 0 {
			v.Models = append(v.Models, m)
		}
	}
	return v
}

// row is a shape's cells in the order of the controllers.
func (c Comparison) row(shape string, slow bool) []Cell {
	var cells []Cell
	for _, name := range c.Controllers {
		if cell, ok := c.Find(shape, slow, name); ok {
			cells = append(cells, cell)
		}
	}
	return cells
}

func (c Comparison) table(f figure) table {
	t := table{Title: f.title, About: f.about}
	for _, shape := range Shapes() {
		for _, slow := range []bool{false, true} {
			cells := c.row(shape.Name, slow)
			if len(cells) == 0 || len(f.of(cells[0])) == 0 {
				continue
			}
			r := row{Shape: shape.Name, Speed: speed(slow)}
			best := math.Inf(1)
			for _, cell := range cells {
				best = min(best, f.rank(cell))
			}
			for _, cell := range cells {
				var texts []string
				for _, s := range f.of(cell) {
					texts = append(texts, f.text(s))
				}
				// What looks the same is as good.
				e := pageEntry{Text: strings.Join(texts, ", "), Best: f.rank(cell) <= best+.0005}
				e.Missed = cell.Controller == ChartName && f.missed(cell)
				r.Cells = append(r.Cells, e)
			}
			t.Rows = append(t.Rows, r)
		}
	}
	return t
}

// rank orders controllers within a row, the smallest first: by the slowest step's median where there are several.
func (f figure) rank(cell Cell) float64 {
	worst := math.Inf(-1)
	for _, s := range f.of(cell) {
		v := s.Median
		switch {
		case f.high:
			v = -v
		case f.one:
			v = math.Abs(math.Log(v))
		}
		worst = max(worst, v)
	}
	return worst
}

func (f figure) missed(cell Cell) bool {
	goal := f.goal(cell.Slow)
	for _, s := range f.of(cell) {
		if f.high && (s.Median < goal || s.Worst < goodputWorst) || !f.high && s.Median > goal {
			return true
		}
	}
	return cell.Shape == "crash-1.5" && math.IsNaN(goal) && (cell.Crashes > 1 || cell.Late > 0) ||
		cell.Shape == "crash-3" && math.IsNaN(goal) && cell.Crashes > 0
}

// short writes three digits at most.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// number writes three digits after the point, and none that say nothing.
func number(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}
