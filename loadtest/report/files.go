package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The files of a report.
const (
	PageFile   = "report.html"
	ResultFile = "result.json"
)

// WriteFiles makes a folder with the page, result.json, and for each arm a file of its histograms (ARM.hlog, the
// HdrHistogram interval log, in µs).
func WriteFiles(dir string, r Result, histograms map[string]map[string]*hdrhistogram.Histogram) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	page, err := HTML(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, ResultFile), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, PageFile), page, 0o644)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for arm, named := range histograms {
		if err := writeHistograms(filepath.Join(dir, arm+".hlog"), named); err != nil {
			return err
		}
	}
	return nil
}

// Read reads a result.json, also one of before it named its kind: there were only demo and compare then, which see the store
// and look into it afterwards.
func Read(path string) (r Result, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("report: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("report: %s is no result.json: %w", path, err)
	}
	if len(r.Arms) == 0 || r.Storm.Scenario == "" {
		return r, fmt.Errorf("report: %s is no result.json of demo, compare or run: it names no storm, or has no arm", path)
	}
	for i := range r.Arms {
		if r.Kind == "" {
			r.Arms[i].StoreSeen, r.Arms[i].Audited = true, true
		}
	}
	return r, nil
}

func writeHistograms(path string, named map[string]*hdrhistogram.Histogram) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	log := hdrhistogram.NewHistogramLogWriter(file)
	if err := log.OutputLogFormatVersion(); err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	if err := log.OutputLegend(); err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		h := named[name]
		h.SetTag(strings.ReplaceAll(name, ",", "-"))
		if err := log.OutputIntervalHistogram(h); err != nil {
			return fmt.Errorf("report: %s: %w", path, err)
		}
	}
	return nil
}

// Text is the comparison as a table for a terminal.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-34s", "")
	for _, a := range r.Arms {
		fmt.Fprintf(&b, " %13s", a.Name)
	}
	b.WriteByte('\n')
	for _, row := range r.Rows() {
		label := row.Label
		if row.Sub {
			label = "  " + label
		}
		fmt.Fprintf(&b, "%-34s", label)
		for _, value := range row.Values {
			fmt.Fprintf(&b, " %13s", value)
		}
		b.WriteByte('\n')
	}
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "%s against %s, %s: %+.3g %s (95 %%: %+.3g to %+.3g)\n", d.Arm, d.Against, d.Figure, d.Difference, d.Unit, d.Low, d.High)
	}
	return b.String()
}
