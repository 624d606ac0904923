package compare

import (
	"fmt"
	"io"
	"strings"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/report"
)

const (
	labelWidth  = 11
	figureWidth = 12
	plainEvery  = 10 // samples between two lines where there is no terminal: 5 s
	minWidth    = 60
	maxWidth    = 160 // a longer line is no easier to read
)

// view shows one arm while it runs: a block that is painted over on a terminal, lines elsewhere.
type view struct {
	out      io.Writer
	terminal func() (int, bool)
	title    string
	storm    report.Storm
	painted  int // lines on the screen
	shown    int
	samples  []measure.Sample
}

func newView(out io.Writer, terminal func() (int, bool), arm Arm, nth string, storm report.Storm) *view {
	what := map[string]string{
		Direct:    "every request calls the store inside its handler",
		Surgegate: "accepted durably, let through at the store's pace",
	}[arm.Front]
	v := &view{out: out, terminal: terminal, title: nth + "  " + arm.Name + ": " + what, storm: storm}
	if _, ok := terminal(); !ok {
		fmt.Fprintf(out, "\n%s\n", v.title)
	}
	return v
}

func (v *view) show(s measure.Sample) {
	v.samples = append(v.samples, s)
	v.shown++
	width, ok := v.terminal()
	if !ok {
		if v.shown%plainEvery == 0 {
			fmt.Fprintf(v.out, "%5.0f s  offered %5.0f/s  failed %5.0f/s  set %4.0f/s  came %6d  new password %6d  gave up %5d  backlog %6d  store %s\n",
				s.Seconds, s.OfferedRate, s.FailedRate, s.AppliedRate, s.Came, s.Completed, s.GaveUp, s.Backlog, storeState(s))
		}
		return
	}
	v.paint(v.frame(s, min(max(width-1, minWidth), maxWidth)))
}

// paint writes the frame over the one before it.
func (v *view) paint(lines []string) {
	var b strings.Builder
	if v.painted > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.painted)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[2K" + line + "\n")
	}
	v.painted = len(lines)
	_, _ = io.WriteString(v.out, b.String()) // a terminal that is gone is no reason to stop
}

func (v *view) frame(s measure.Sample, width int) []string {
	spark := width - labelWidth - figureWidth - 2
	rate := func(label, colour string, of func(measure.Sample) float64) string {
		return fmt.Sprintf(" %-*s%*s  %s%s%s", labelWidth-1, label, figureWidth, fmt.Sprintf("%s/s", report.Count(int(of(s)))),
			colour, sparkline(v.samples, spark, of), reset)
	}
	count := func(label, colour string, of func(measure.Sample) float64) string {
		return fmt.Sprintf(" %-*s%*s  %s%s%s", labelWidth-1, label, figureWidth, report.Count(int(of(s))), colour, sparkline(v.samples, spark, of), reset)
	}
	share := 0.0
	if s.Came > 0 {
		share = 100 * float64(s.Completed) / float64(s.Came)
	}
	return []string{
		"",
		fit(fmt.Sprintf("%s%s%s", bold, v.title, reset), width),
		fit(fmt.Sprintf(" %.0f s · came %s of %s · new password %s (%.0f %%) · gave up %s",
			s.Seconds, report.Count(s.Came), report.Count(v.storm.People), report.Count(s.Completed), share, report.Count(s.GaveUp)), width),
		rate("offered", blue, func(s measure.Sample) float64 { return s.OfferedRate }),
		rate("failed", red, func(s measure.Sample) float64 { return s.FailedRate }),
		rate("passwords", green, func(s measure.Sample) float64 { return s.AppliedRate }),
		count("backlog", yellow, func(s measure.Sample) float64 { return float64(s.Backlog) }),
		count("in store", magenta, func(s measure.Sample) float64 { return float64(s.Inside) }),
		fit(" store     "+v.store(s), width),
	}
}

func (v *view) store(s measure.Sample) string {
	switch {
	case !s.Up:
		return red + storeState(s) + reset
	case s.Cold:
		return yellow + storeState(s) + reset
	default:
		return green + storeState(s) + reset
	}
}

func storeState(s measure.Sample) string {
	state := "up"
	if s.Cold {
		state = "up, cold: half speed"
	}
	if !s.Up {
		state = "DOWN"
	}
	switch s.Crashes {
	case 0:
		return state + ", no crash"
	case 1:
		return state + ", 1 crash"
	default:
		return fmt.Sprintf("%s, %d crashes", state, s.Crashes)
	}
}

// The terminal's own colours, so that light and dark both work.
const (
	reset   = "\x1b[0m"
	bold    = "\x1b[1m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	blue    = "\x1b[34m"
	magenta = "\x1b[35m"
)

// sparkline draws the last width samples, scaled to the highest of all.
func sparkline(samples []measure.Sample, width int, of func(measure.Sample) float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	most := 0.0
	for _, s := range samples {
		most = max(most, of(s))
	}
	var b strings.Builder
	for _, s := range samples[max(0, len(samples)-width):] {
		if of(s) <= 0 || most == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(bars[min(int(of(s)/most*float64(len(bars))), len(bars)-1)])
	}
	return b.String()
}

// fit cuts a line to a width, colour codes not counted.
func fit(line string, width int) string {
	var b strings.Builder
	escape := false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		case width == 0:
			continue
		default:
			width--
		}
		b.WriteRune(r)
	}
	return b.String()
}
