package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/surgegate/surgegate/loadtest/measure"
)

// The kinds of a Result.
const (
	kindRun      = "run"
	kindSimulate = "simulate"
)

// Pair tells whether the report is the demo's: the store alone, and behind surgegate.
func (r Result) Pair() bool {
	names := make([]string, 0, len(r.Arms))
	for _, a := range r.Arms {
		names = append(names, a.Name)
	}
	return len(names) == 2 && slices.Contains(names, "direct") && slices.Contains(names, "surgegate")
}

// Has tells whether there is an arm of that name.
func (r Result) Has(arm string) bool {
	return slices.ContainsFunc(r.Arms, func(a measure.Arm) bool { return a.Name == arm })
}

// Title of the page.
func (r Result) Title() string {
	switch {
	case r.Kind == kindRun:
		return "A rehearsed reset storm"
	case r.Kind == kindSimulate:
		return "A simulated reset storm"
	case r.Pair():
		return "A reset storm, with and without surgegate"
	case len(r.Arms) > 1:
		return fmt.Sprintf("A reset storm, %d ways", len(r.Arms))
	default:
		return "A reset storm"
	}
}

// Intro says what was run. What is not known is not said.
func (r Result) Intro() string {
	s := r.Storm
	var b strings.Builder
	switch {
	case r.Kind == kindRun:
		fmt.Fprintf(&b, "%s people reset their passwords through a system that was up: %s, in %.0f seconds",
			Count(s.People), s.Scenario, s.Seconds)
	case r.Kind == kindSimulate:
		fmt.Fprintf(&b, "%s people reset their passwords in virtual time: %s, %.0f seconds of it", Count(s.People), s.Scenario, s.Seconds)
	case len(r.Arms) > 1:
		fmt.Fprintf(&b, "The same %s people, with the same clients, reset their passwords at the same store: "+
			"%s, %.0f seconds around its peak at real speed", Count(s.People), s.Scenario, s.Seconds)
	default:
		fmt.Fprintf(&b, "%s people reset their passwords: %s, %.0f seconds around its peak at real speed", Count(s.People), s.Scenario, s.Seconds)
	}
	if s.Thin > 1 {
		fmt.Fprintf(&b, ", one person in %.4g", s.Thin)
	}
	if s.PeakRate > 0 {
		fmt.Fprintf(&b, ", up to %.0f people a second", s.PeakRate)
	}
	if s.Attackers > 0 {
		fmt.Fprintf(&b, ", and %s attackers beside them", Count(s.Attackers))
	}
	b.WriteByte('.')
	switch {
	case s.Capacity > 0 && s.InsideBound > 0:
		fmt.Fprintf(&b, " The store sets at most %.0f passwords a second, and its process dies past %s requests inside.",
			s.Capacity, Count(s.InsideBound))
	case s.Capacity > 0:
		fmt.Fprintf(&b, " The store sets at most %.0f passwords a second.", s.Capacity)
	case s.InsideBound > 0:
		fmt.Fprintf(&b, " The store's process dies past %s requests inside.", Count(s.InsideBound))
	}
	return b.String()
}

// Heading of an arm.
func (r Result) Heading(arm string) string {
	switch {
	case arm == "direct":
		return "Straight at the store"
	case arm == "surgegate":
		return "Through surgegate"
	case r.Kind == kindRun && len(r.Arms) == 1:
		return "The system under test"
	default:
		return arm
	}
}

// Valid tells whether the load was generated as meant in every arm.
func (r Result) Valid() bool {
	return !slices.ContainsFunc(r.Arms, func(a measure.Arm) bool { return a.Invalid != "" })
}

// Broken counts thresholds that do not hold.
func (r Result) Broken() (n int) {
	for _, v := range r.Verdicts {
		if !v.OK {
			n++
		}
	}
	return n
}

// Words are a difference as a sentence.
func (d Difference) Words() string {
	unit := " " + d.Unit
	if d.Unit == "" {
		unit = ""
	}
	between := fmt.Sprintf("between %s and %s%s", signed(d.Low), signed(d.High), unit)
	if d.Low <= 0 && d.High >= 0 {
		return fmt.Sprintf("%s, %s against %s: no difference that can be told from chance (%s%s; with 95 %% confidence %s; n = %s).",
			d.Figure, d.Arm, d.Against, signed(d.Difference), unit, between, Count(d.N))
	}
	than := "more"
	if d.Difference < 0 {
		than = "less"
	}
	return fmt.Sprintf("%s, %s against %s: %s%s %s (with 95 %% confidence %s; n = %s).",
		d.Figure, d.Arm, d.Against, strings.TrimLeft(signed(d.Difference), "+−"), unit, than, between, Count(d.N))
}

// signed writes a number with its sign and three digits or all before the point; 0 has no sign.
func signed(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 100:
		return strings.Replace(fmt.Sprintf("%+.0f", v), "-", "−", 1)
	default:
		return strings.Replace(fmt.Sprintf("%+.3g", v), "-", "−", 1)
	}
}
