package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// small is one comparison for all tests: a race detector makes each cost seconds.
var small = sync.OnceValues(func() (Comparison, error) {
	return Compare(context.Background(), Options{Seeds: 1, MostCalls: 2000, Shapes: []string{"usl", "half-speed"}, Replicas: []int{2}})
})

func TestEveryControllerMeetsEveryStore(t *testing.T) {
	t.Parallel()
	c, err := small()
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * 2 * len(Controllers()); len(c.Cells) != want {
		t.Fatalf("%d cells, want %d", len(c.Cells), want)
	}
	for _, cell := range c.Cells {
		if len(cell.Example.Trace) == 0 || cell.Goodput.Worst > cell.Goodput.Median || cell.Peak.Worst < cell.Peak.Median {
			t.Errorf("%s, %s: %+v", cell.Shape, cell.Controller, cell.Goodput)
		}
		// Holding is told of shapes without steps only, recovery of those with steps.
		if stepped := cell.Shape == "half-speed"; stepped != (cell.Holding == nil) || stepped != (len(cell.Recovery) == 2) {
			t.Errorf("%s: holding %v, recovery %v", cell.Shape, cell.Holding, cell.Recovery)
		}
	}
}

func TestTheSameSeedsAreTheSameComparison(t *testing.T) {
	t.Parallel()
	o := Options{Seeds: 2, MostCalls: 2000, Shapes: []string{"crash-1.5"}, Controllers: []string{ChartName, "vegas", "gradient2"}, Replicas: []int{4}}
	a, errA := Compare(t.Context(), o)
	b, errB := Compare(t.Context(), o)
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("they differ (%v, %v)", errA, errB)
	}
}

func TestCancelEndsARun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	var runs []*job
	for i, goodput := range []float64{.9, .5, .7} {
		m := Model{Name: "half-speed", Knee: []float64{10, 40, 400}[i], Steps: make([]Step, 2)}
		r := Result{
			Goodput: goodput, Peak: float64(i), Holding: 1, Crashes: i, Late: 2 - i,
			Recovery: []float64{float64(i), float64(10 * i)},
		}
		runs = append(runs, &job{name: ChartName, seed: uint64(i), m: m, result: r})
	}
	got := summarise(runs)
	want := Cell{
		Shape: "half-speed", Controller: ChartName, Goodput: Spread{.7, .5}, WorstSeed: 1, Peak: Spread{1, 2}, Crashes: 2, Late: 2,
		Recovery: []Spread{{1, 2}, {10, 20}}, RecoveryLarge: []Spread{{1.5, 2}, {15, 20}}, saturated: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// cells of a comparison in which the chart and one baseline met two shapes, in one class.
func handMade() Comparison {
	cell := func(controller, shape string, median, worst float64) Cell {
		return Cell{
			Shape: shape, Controller: controller, Goodput: Spread{median, worst}, Peak: Spread{2, 2.3},
			Recovery: []Spread{{1, 3}, {3, 4}}, Crashes: 1,
		}
	}
	return Comparison{Controllers: []string{ChartName, "aimd", "vegas"}, Cells: []Cell{
		cell(ChartName, "crash-1.5", .98, .86), cell("aimd", "crash-1.5", .5, .2), cell("vegas", "crash-1.5", .99, .3),
		cell(ChartName, "crash-3", .96, .84), cell("aimd", "crash-3", .4, .1), cell("vegas", "crash-3", .2, .05),
	}}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	goals := map[string]Goal{}
	for _, g := range handMade().Goals() {
		goals[g.Name] = g
	}
	for name, want := range map[string]struct {
		value, reference float64
		ok               bool
	}{
		"goodput ÷ best, crash-1.5, 2–20 ms":                            {.98, .99, true},
		"goodput ÷ best, crash-3, 2–20 ms":                              {.96, .4, false},
		"goodput ÷ best, worst seed of all models, 2–20 ms":             {.84, .1, false},
		"within 10 % after a step, 2–20 ms, median at the slowest step": {3, 3, true},
		"within 10 % after a step, 2–20 ms, worst seed":                 {4, 4, false},
		"inside ÷ knee at its peak, median at the worst model, 2–20 ms": {2, 0, true},
		"inside ÷ knee at its peak, worst seed, 2–20 ms":                {2.3, 0, false},
		"crashes at 1.5 times the knee, most in a run, 2–20 ms":         {1, 1, true},
		"crashes at 3 times the knee, 2–20 ms":                          {1, 1, false},
		// What was not measured has not been reached.
		"crashes at 3 times the knee, 250–500 ms": {0, 0, false},
	} {
		if g := goals[name]; g.Value != want.value || g.Reference != want.reference || g.OK != want.ok {
			t.Errorf("%s: %+v, want %+v", name, g, want)
		}
	}
}

func TestTablesMarkTheBestAndTheMissed(t *testing.T) {
	t.Parallel()
	v := handMade().view()
	goodput := v.Tables[0]
	if goodput.Rows[0].Cells[0] != (pageEntry{".980 / .860", false, false}) || !goodput.Rows[0].Cells[2].Best {
		t.Errorf("%+v", goodput.Rows[0])
	}
	if goodput.Rows[1].Cells[0] != (pageEntry{".960 / .840", true, true}) {
		t.Errorf("%+v", goodput.Rows[1])
	}
	for _, e := range goodput.Rows[1].Cells[1:] {
		if e.Missed {
			t.Error("a baseline has missed a goal that it never had")
		}
	}
}

func TestThePageStandsAlone(t *testing.T) {
	t.Parallel()
	c, err := small()
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.HTML()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{"prefers-color-scheme", "width=device-width", "gradient2", "half-speed", "250–500 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, network := range []string{"http://", "https://", "src=", "@import", "url(", "<script"} {
		if strings.Contains(text, network) {
			t.Errorf("the page reaches out: it has %q", network)
		}
	}
	for _, broken := range []string{"NaN", "ZgotmplZ", "%!"} {
		if strings.Contains(text, broken) {
			t.Errorf("the page has %q", broken)
		}
	}
	// Two lines of every controller in a plot of each shape and class.
	if got, want := bytes.Count(page, []byte("<path")), 2*2*2*len(Controllers()); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

func TestJSONHasTheGoals(t *testing.T) {
	t.Parallel()
	js, err := handMade().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Cells []map[string]any
		Goals []Goal
	}
	if err := json.Unmarshal(js, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Cells) != 6 || !slices.ContainsFunc(got.Goals, func(g Goal) bool { return !g.OK }) {
		t.Errorf("%d cells, %d goals", len(got.Cells), len(got.Goals))
	}
}
