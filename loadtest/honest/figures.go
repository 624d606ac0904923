package honest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Figure is a row of summary.json.
type Figure struct {
	Name      string
	Value     float64
	Unit      string
	Reference float64
	Ratio     float64
	Goal      string
	OK        bool
}

// Figures are what was observed, as rows.
func Figures(all []Observed) (rows []Figure) {
	for _, o := range all {
		rows = append(rows, o.figures()...)
	}
	return rows
}

// figures are an Observed's rows.
func (o Observed) figures() []Figure {
	name := "observe, " + o.Scenario + ": "
	if o.Skipped != "" {
		return []Figure{{Name: name + "NOT RUN, " + o.Skipped, Unit: "s", Goal: "–", OK: true}}
	}
	byDesign := []string{"SurgegateBrownoutHigh", "SurgegateGlobalLimitHit"} // may fire in a storm that goes as designed
	var others []string
	for _, a := range o.Others {
		if !slices.Contains(byDesign, a.Name) {
			others = append(others, a.Name)
		}
	}
	if o.Alert == "" {
		n := len(others)
		return []Figure{{Name: name + "false alarms " + strings.Join(others, ", "), Value: float64(n), Unit: "alerts", Goal: "0", OK: n == 0}}
	}
	row := func(what string, d time.Duration, judged bool) Figure {
		r := Figure{Name: name + what, Value: d.Seconds(), Unit: "s", Goal: "–", OK: true}
		if d == Never {
			r.Name, r.Value = name+"NEVER, "+what, 0
		}
		if judged {
			r.Goal, r.OK = fmt.Sprintf("≤ %.0f", Within.Seconds()), d != Never && d <= Within
		}
		return r
	}
	named := row("until surgectl status names it", o.Named, true)
	if slices.Contains(o.Before, bySurgectl) {
		// A status has no past: where the store is what people wait for anyway, it says the same when the store gets slower.
		named.Name, named.Goal = named.Name+"; it did before the fault, too, so this is no evidence", "–"
	}
	return []Figure{
		row("until the expression of "+o.Alert+" holds", o.Crossed, true), row("until "+o.Alert+" fires", o.Fired, false), named,
	}
}
