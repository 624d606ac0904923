package observe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
)

// Alert is one that fired.
type Alert struct {
	Name     string
	Severity string
	At       time.Time
	Phase    string        // in which it began to fire
	After    time.Duration // since that phase began
}

// String is a line of a table.
func (a Alert) String() string {
	return fmt.Sprintf("%-28s %-7s in %s, after %v", a.Name, a.Severity, a.Phase, a.After.Round(time.Second))
}

// alerts are those that fired in the phases, the earliest first.
func (w *world) alerts(ctx context.Context, phases []Phase) (fired []Alert, err error) {
	const firing = `min by (alertname, severity) (ALERTS{alertstate="firing"})`
	matrix, _, err := w.prom.Between(ctx, firing, phases[0].From, phases[len(phases)-1].To)
	if err != nil {
		return nil, err
	}
	for _, series := range matrix {
		label := func(name model.LabelName) string { return string(series.Metric[name]) }
		a := Alert{Name: label("alertname"), Severity: label("severity"), At: series.Values[0].Timestamp.Time()}
		for _, phase := range phases {
			if !a.At.Before(phase.From) {
				a.Phase, a.After = phase.Name, a.At.Sub(phase.From)
			}
		}
		fired = append(fired, a)
	}
	slices.SortFunc(fired, func(a, b Alert) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name)) })
	return fired, nil
}
