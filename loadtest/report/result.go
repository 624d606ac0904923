package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
)

// Result is result.json.
type Result struct {
	Kind  string        `json:"kind"` // what was done: demo, compare, run, simulate
	Storm Storm         `json:"storm"`
	Arms  []measure.Arm `json:"arms"`

	Differences []Difference      `json:"differences,omitempty"`
	Faults      []Fault           `json:"faults,omitempty"`
	Verdicts    []measure.Verdict `json:"verdicts,omitempty"` // thresholds
	Notes       []string          `json:"notes,omitempty"`    // what a reader must know
	Interrupted bool              `json:"interrupted,omitempty"`
}

// Fault is what went wrong, and when.
type Fault struct {
	At   float64 `json:"at_s"`
	For  float64 `json:"for_s"` // 0: once
	What string  `json:"what"`
}

// Faults of a timeline.
func Faults(all []model.Fault) (list []Fault) {
	for _, f := range all {
		list = append(list, Fault{At: f.At.Seconds(), For: f.For.Seconds(), What: f.String()})
	}
	return list
}

// Difference of a figure between two arms, with its interval of 95 %.
type Difference struct {
	Figure     string  `json:"figure"`
	Arm        string  `json:"arm"`
	Against    string  `json:"against"`
	Difference float64 `json:"difference"` // Arm's less Against's
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Unit       string  `json:"unit"`
	N          int     `json:"n"` // people, or rounds
}

// Storm says what was replayed at what. What is not known of a store is 0.
type Storm struct {
	Scenario    string  `json:"scenario"` // or the trace's file
	Seconds     float64 `json:"seconds"`
	Thin        float64 `json:"thin"`
	Seed        uint64  `json:"seed"`
	People      int     `json:"people"`
	Attackers   int     `json:"attackers"`
	PeakRate    float64 `json:"peak_people_rate"`   // people a second
	Capacity    float64 `json:"store_capacity"`     // passwords a second
	Workers     int     `json:"store_workers"`      //
	HashMS      int64   `json:"store_hash_ms"`      // of a worker for a password
	MemoryBound int64   `json:"store_memory_bound"` // bytes
	InsideBound int     `json:"store_inside_bound"` // items that fit under it
}

// Row is one line of the comparison.
type Row struct {
	Label  string
	Sub    bool     // belongs to the row above
	Values []string // one for each arm
}

// Rows are the comparison.
func (r Result) Rows() []Row {
	rows := []struct {
		label string
		value func(measure.Arm) string
	}{
		{"people who came", func(a measure.Arm) string { return Count(a.People) }},
		{"got their new password", func(a measure.Arm) string { return Count(a.Completed) }},
		{"that is", func(a measure.Arm) string { return percent(a.Completed, a.People) }},
		{"gave up", func(a measure.Arm) string { return Count(a.GaveUp) }},
		{"still trying at the end", func(a measure.Arm) string { return Count(a.StillWaiting) }},
		{"calls offered by people", func(a measure.Arm) string { return Count(a.PeopleCalls) }},
		{"failures seen by people (calls)", func(a measure.Arm) string { return Count(a.FailedCalls) }},
		{"store crashes", func(a measure.Arm) string { return known(a.StoreSeen, a.StoreCrashes) }},
		{"wait for it, p50", func(a measure.Arm) string { return seconds(a.WaitP50MS) }},
		{"wait for it, p99", func(a measure.Arm) string { return seconds(a.WaitP99MS) }},
		{"p50 of everybody who came", func(a measure.Arm) string { return orNever(a.EverybodyP50MS) }},
		{"p99 of everybody who came", func(a measure.Arm) string { return orNever(a.EverybodyP99MS) }},
		{"peak backlog", func(a measure.Arm) string { return Count(a.PeakBacklog) }},
		{"accepted, then lost", func(a measure.Arm) string { return known(a.Audited, a.Lost) }},
		{"password changed, owner not told", func(a measure.Arm) string { return known(a.Audited, a.Untold) }},
		{"changes applied twice", func(a measure.Arm) string { return known(a.Audited, a.AppliedTwice) }},
	}
	table := make([]Row, 0, len(rows))
	for _, row := range rows {
		line := Row{Label: row.label, Sub: row.label == "that is" || strings.HasSuffix(row.label, "of everybody who came")}
		for _, a := range r.Arms {
			line.Values = append(line.Values, row.value(a))
		}
		table = append(table, line)
	}
	return table
}

// known writes a count that the run could see, or that it could not.
func known(seen bool, n int) string {
	if !seen {
		return "not known"
	}
	return Count(n)
}

// Count writes 1234567 as 1,234,567.
func Count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func percent(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

func seconds(ms int64) string {
	if ms == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}

func orNever(ms int64) string {
	if ms < 0 {
		return "never"
	}
	return seconds(ms)
}
