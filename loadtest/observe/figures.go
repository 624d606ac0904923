package observe

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

// machine is where the fault was.
func (o Observed) machine() string {
	if o.Busy {
		return "busy"
	}
	return "quiet"
}

// figures are an Observed's rows.
func (o Observed) figures() []Figure {
	name := o.Fault + ", " + o.machine() + ": "
	if o.Skipped != "" {
		return []Figure{{Name: name + "NOT RUN, " + o.Skipped, Unit: "s", Goal: "–", OK: true}}
	}
	share := func(what string, v float64) Figure {
		return Figure{Name: name + what, Value: v, Unit: "share", Goal: "≥ 0.95", OK: v >= 1-mostFalse}
	}
	seen := fewest * float64(o.Expected)
	rows := []Figure{
		{
			Name: name + "samples from 10 s on", Value: float64(o.Samples), Unit: "samples", Goal: fmt.Sprintf("≥ %.0f", seen),
			OK: float64(o.Samples) >= seen,
		},
		share("of them the first cause is a true one (most often: "+orNothing(o.First)+")", o.True),
		{
			Name: name + "the longest time that a wrong culprit was named (" + orNothing(o.Wrong) + ")", Value: o.WrongFor.Seconds(), Unit: "s",
			Goal: fmt.Sprintf("≤ %.0f", mostWrong.Seconds()), OK: o.WrongFor <= mostWrong,
		},
	}
	if o.Pair {
		rows = append(rows, share("of them name both faults", o.All))
	}
	return append(rows, o.alertFigures(name)...)
}

// alertFigures are the rows of alerts; without a fault those of false alarms.
func (o Observed) alertFigures(name string) []Figure {
	byDesign := []string{"SurgegateBrownoutHigh", "SurgegateGlobalLimitHit"} // may fire in a storm that goes as designed
	var others []string
	for _, a := range o.Others {
		if !slices.Contains(byDesign, a.Name) {
			others = append(others, a.Name)
		}
	}
	if o.Fault == "none" {
		n := len(others)
		return []Figure{{Name: name + "false alarms " + strings.Join(others, ", "), Value: float64(n), Unit: "alerts", Goal: "0", OK: n == 0}}
	}
	if o.Alert == "" {
		return nil
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
	return []Figure{row("until the expression of "+o.Alert+" holds", o.Crossed, true), row("until "+o.Alert+" fires", o.Fired, false)}
}

// OK tells whether surgectl status told the truth, or the fault could not be made here.
func (o Observed) OK() bool { return o.Skipped != "" || o.judged.OK() }

// Header names the columns of String.
func Header() string {
	return fmt.Sprintf("%-26s %-7s %7s %6s %6s %7s  %-28s %-37s %s", "fault", "machine", "samples", "true", "both", "named", "first, most often", "longest wrong culprit", "verdict")
}

// String is a line of a table.
func (o Observed) String() string {
	if o.Skipped != "" {
		return fmt.Sprintf("%-26s %-7s not run: %s", o.Fault, o.machine(), o.Skipped)
	}
	both, verdict := "", "ok"
	if o.Pair {
		both = fmt.Sprintf("%.0f %%", 100*o.All)
	}
	if !o.OK() {
		verdict = "MISSED"
	}
	text := fmt.Sprintf("%-26s %-7s %7d %6s %6s %7s  %-28s %-37s %s", o.Fault, o.machine(), o.Samples, fmt.Sprintf("%.0f %%", 100*o.True), both,
		told(o.Named), orNothing(o.First), fmt.Sprintf("%s %s", orNothing(o.Wrong), o.WrongFor.Round(time.Second)), verdict)
	if o.True < 1 {
		text += " (else first: " + orNothing(o.False) + ")"
	}
	if o.Before {
		text += " (named before the fault, too)"
	}
	if o.Alert != "" {
		text += fmt.Sprintf("; %s crossed %s, fired %s", o.Alert, told(o.Crossed), told(o.Fired))
	}
	for _, a := range o.Others {
		text += "; also " + a.String()
	}
	return text
}

func orNothing(cause string) string {
	if cause == "" {
		return "nothing"
	}
	return cause
}

func told(d time.Duration) string {
	if d == Never {
		return "never"
	}
	return d.Round(time.Second).String()
}
