package audit

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metric is what Prometheus would hold of one name.
type Metric struct {
	// Grows: a counter, a histogram, or one of a histogram's parts.
	Grows bool
	// Labels by name, with the values that occur.
	Labels map[string]map[string]bool
}

// World is what dashboards may ask for.
type World struct {
	Metrics  map[string]Metric
	Recorded map[string]bool // recording rules
	Runbooks map[string]bool // by the alert's name
}

// ReadMetrics reads what a program exports, and adds what Prometheus makes of it by itself.
func ReadMetrics(exposition io.Reader) (map[string]Metric, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(exposition)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	metrics := map[string]Metric{
		"up":     {Labels: map[string]map[string]bool{}},
		"ALERTS": {Labels: map[string]map[string]bool{"alertname": nil, "alertstate": {"firing": true, "pending": true}}},
	}
	for name, family := range families {
		labels := map[string]map[string]bool{}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				if labels[l.GetName()] == nil {
					labels[l.GetName()] = map[string]bool{}
				}
				labels[l.GetName()][l.GetValue()] = true
			}
		}
		switch family.GetType() {
		case dto.MetricType_COUNTER:
			metrics[name] = Metric{Grows: true, Labels: labels}
		case dto.MetricType_HISTOGRAM:
			for _, part := range []string{"", "_sum", "_count"} {
				metrics[name+part] = Metric{Grows: true, Labels: labels}
			}
			bounds := maps.Clone(labels)
			bounds["le"] = nil // whatever
			metrics[name+"_bucket"] = Metric{Grows: true, Labels: bounds}
		case dto.MetricType_SUMMARY:
			quantiles := maps.Clone(labels)
			quantiles["quantile"] = nil
			metrics[name] = Metric{Labels: quantiles}
		default:
			metrics[name] = Metric{Labels: labels}
		}
	}
	return metrics, nil
}

// has tells whether a label can have a value that passes; a label without known values has any.
func (m Metric) has(label string, passes func(string) bool) bool {
	values, ok := m.Labels[label]
	if !ok {
		return false
	}
	return values == nil || slices.ContainsFunc(slices.Collect(maps.Keys(values)), passes)
}

// Unshown are the program's own metrics that no text mentions.
func (w World) Unshown(texts ...string) []string {
	all := strings.Join(texts, "\n")
	var unshown []string
	for name := range w.Metrics {
		if !strings.HasPrefix(name, "surgegate_") && !strings.HasPrefix(name, "grpc_") {
			continue
		}
		if w.part(name) {
			continue // its histogram is looked for
		}
		if !mentions(all, name) {
			unshown = append(unshown, name)
		}
	}
	slices.Sort(unshown)
	return unshown
}

// part of a histogram?
func (w World) part(name string) bool {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			if _, ok := w.Metrics[base]; ok {
				return true
			}
		}
	}
	return false
}

// mentions finds a name that is not the beginning of a longer one, but for a histogram's parts.
func mentions(text, name string) bool {
	for rest := text; ; {
		_, after, found := strings.Cut(rest, name)
		if !found {
			return false
		}
		next := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(after, "_bucket"), "_sum"), "_count")
		if next == "" || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_", rune(next[0])) {
			return true
		}
		rest = after
	}
}
