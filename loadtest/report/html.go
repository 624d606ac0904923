package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"slices"
	"strconv"

	"github.com/surgegate/surgegate/loadtest/measure"
)

//go:embed page.html page.css page.js
var files embed.FS

// view is what page.html reads: Result and what follows from it.
type view struct {
	Result

	Style  template.CSS
	Script template.JS
	Data   data
}

// data is what page.js reads.
type data struct {
	Result

	Tones   []string `json:"tones"`   // of the arms: the classes that colour them
	Answers bool     `json:"answers"` // whether samples say what was accepted and refused, and the oldest wait
}

// HTML is the whole page.
func HTML(r Result) ([]byte, error) {
	style, script, err := read("page.css", "page.js")
	if err != nil {
		return nil, err
	}
	t, err := template.New("page.html").Funcs(template.FuncMap{
		"count": Count, "duration": micros, "refused": refused, "rates": rates,
	}).ParseFS(files, "page.html")
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	v := view{
		Result: r, Data: data{Result: r, Tones: tones(r.Arms), Answers: answers(r.Arms)},
		Style: template.CSS(style), Script: template.JS(script), //nolint:gosec // both files are part of the program
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return b.Bytes(), nil
}

func read(first, second string) (a, b []byte, err error) {
	if a, err = files.ReadFile(first); err == nil {
		b, err = files.ReadFile(second)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("report: %w", err)
	}
	return a, b, nil
}

// hues and dashes of page.css, for arms beside direct and surgegate, whose lines are whole. Seven hues are not all far
// enough apart for every kind of colour blindness, so that every arm has a dash of its own as well; with 5 and 6, which share no
// factor, 30 arms are drawn in 30 ways.
const (
	hues   = 5
	dashes = 6
)

// tones are the classes that colour arms. A reader who knows direct's and surgegate's colours finds them in every report.
func tones(arms []measure.Arm) []string {
	list := make([]string, len(arms))
	next := 0
	gated := slices.ContainsFunc(arms, func(a measure.Arm) bool { return a.Name == "surgegate" })
	for i, a := range arms {
		switch {
		case a.Name == "direct" || a.Name == "surgegate":
			list[i] = a.Name
		case i == 0 && !gated:
			list[i] = "surgegate"
		default:
			list[i] = "hue-" + strconv.Itoa(next%hues) + " dash-" + strconv.Itoa(next%dashes)
			next++
		}
	}
	return list
}

// Tone of an arm, by its place.
func (v view) Tone(i int) string { return v.Data.Tones[i] }

// Answers tells whether samples say what was accepted.
func (v view) Answers() bool { return v.Data.Answers }

// answers tells the results of before samples had these figures: people got there, and no call was ever accepted.
func answers(arms []measure.Arm) bool {
	return !slices.ContainsFunc(arms, func(a measure.Arm) bool {
		return a.Completed > 0 && !slices.ContainsFunc(a.Samples, func(s measure.Sample) bool { return s.AcceptedRate > 0 })
	})
}

// Audited tells whether the store of any arm was looked into after the run.
func (v view) Audited() bool {
	return slices.ContainsFunc(v.Arms, func(a measure.Arm) bool { return a.Audited })
}

// Calls tells whether anything is known of calls by kind.
func (v view) Calls() bool {
	return slices.ContainsFunc(v.Arms, func(a measure.Arm) bool { return len(a.Ops) > 0 })
}

// tableRows is how many moments the table beside the plots has at most: what a reader can go through.
const tableRows = 60

// rates are an arm's samples, fewer of them: counts as they were at that moment, rates as means since the row before.
func rates(all []measure.Sample) []measure.Sample {
	every := max(1, (len(all)+tableRows-1)/tableRows)
	var rows []measure.Sample
	for part := range slices.Chunk(all, every) {
		row := part[len(part)-1]
		n := float64(len(part))
		row.OfferedRate, row.AcceptedRate, row.RefusedRate, row.FailedRate, row.AppliedRate = 0, 0, 0, 0, 0
		for _, s := range part {
			row.OfferedRate += s.OfferedRate / n
			row.AcceptedRate += s.AcceptedRate / n
			row.RefusedRate += s.RefusedRate / n
			row.FailedRate += s.FailedRate / n
			row.AppliedRate += s.AppliedRate / n
		}
		rows = append(rows, row)
	}
	return rows
}

func refused(a measure.Arm) (n int) {
	for _, op := range a.Ops {
		n += op.Refused
	}
	return n
}

// micros writes a latency of so many µs with three digits.
func micros(us int64) string {
	switch {
	case us == 0:
		return "–"
	case us < 1000:
		return fmt.Sprintf("%d µs", us)
	case us < 1_000_000:
		return fmt.Sprintf("%s ms", digits(float64(us)/1e3))
	default:
		return fmt.Sprintf("%s s", digits(float64(us)/1e6))
	}
}

func digits(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
