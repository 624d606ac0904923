package live

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/threshold"
)

const (
	labelWidth  = 11
	figureWidth = 12
	plainEvery  = 10 // samples between two lines where there is no terminal: 5 s
	minWidth    = 60
	maxWidth    = 160 // a longer line is no easier to read
)

// Config of a view.
type Config struct {
	Out      io.Writer
	Terminal func() (width int, ok bool) // nil: there is none
	Title    string
	People   int // who will come; 0: not known
}

// View shows one run. Make it with New, and Close it.
type View struct {
	cfg     Config
	colour  bool
	painted int // lines on the screen
	shown   int
	samples []measure.Sample
}

// New shows the title at once where there is no terminal.
func New(cfg Config) *View {
	if cfg.Terminal == nil {
		cfg.Terminal = func() (int, bool) { return 0, false }
	}
	v := &View{cfg: cfg, colour: os.Getenv("NO_COLOR") == ""}
	if _, ok := cfg.Terminal(); !ok {
		v.write("\n" + cfg.Title + "\n")
	}
	return v
}

// write ignores an error: a terminal that is gone is no reason to stop.
func (v *View) write(s string) { _, _ = io.WriteString(v.cfg.Out, s) }

// Show is told each sample, with the thresholds as they stand.
func (v *View) Show(s measure.Sample, verdicts []threshold.Verdict) {
	v.samples = append(v.samples, s)
	if len(v.samples) > maxWidth*2 {
		v.samples = v.samples[len(v.samples)-maxWidth:]
	}
	v.shown++
	width, ok := v.cfg.Terminal()
	if !ok {
		if v.shown%plainEvery == 0 {
			v.write(plain(s) + "\n")
		}
		return
	}
	v.paint(v.frame(s, verdicts, min(max(width-1, minWidth), maxWidth)))
}

// Close leaves the last block where it is and shows the cursor again.
func (v *View) Close() {
	if v.painted > 0 {
		v.write("\x1b[?25h")
	}
}

func plain(s measure.Sample) string {
	return fmt.Sprintf("%5.0f s  offered %5.0f/s  accepted %5.0f/s  shed %5.0f/s  failed %4.0f/s  set %4.0f/s  came %6d  new password %6d  gave up %5d  backlog %6d  oldest %4.0f s  store %s",
		s.Seconds, s.OfferedRate, s.AcceptedRate, s.RefusedRate, s.FailedRate, s.AppliedRate, s.Came, s.Completed, s.GaveUp, s.Backlog, s.OldestS, storeState(s))
}

// paint writes the frame over the one before it, in one write so that nobody sees half of it.
func (v *View) paint(lines []string) {
	var b strings.Builder
	if v.painted > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.painted)
	} else {
		b.WriteString("\x1b[?25l")
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[2K" + line + "\n")
	}
	b.WriteString("\x1b[J") // what a longer frame before it left
	v.painted = len(lines)
	v.write(b.String())
}

func (v *View) frame(s measure.Sample, verdicts []threshold.Verdict, width int) []string {
	spark := width - labelWidth - figureWidth - 2
	row := func(label, colour, figure string, of func(measure.Sample) float64) string {
		return fmt.Sprintf(" %-*s%*s  %s", labelWidth-1, label, figureWidth, figure, v.paintIn(colour, sparkline(v.samples, spark, of)))
	}
	rate := func(label, colour string, of func(measure.Sample) float64) string {
		return row(label, colour, count(int(of(s)))+"/s", of)
	}
	lines := []string{
		"",
		fit(v.paintIn(bold, v.cfg.Title), width),
		fit(" "+v.progress(s), width),
		rate("offered", blue, func(s measure.Sample) float64 { return s.OfferedRate }),
		rate("accepted", green, func(s measure.Sample) float64 { return s.AcceptedRate }),
		rate("shed", yellow, func(s measure.Sample) float64 { return s.RefusedRate }),
		rate("failed", red, func(s measure.Sample) float64 { return s.FailedRate }),
		rate("passwords", green, func(s measure.Sample) float64 { return s.AppliedRate }),
		row("backlog", yellow, count(s.Backlog), func(s measure.Sample) float64 { return float64(s.Backlog) }),
		row("oldest", magenta, (time.Duration(s.OldestS) * time.Second).String(), func(s measure.Sample) float64 { return s.OldestS }),
		fit(" store      "+v.store(s), width),
	}
	if len(verdicts) > 0 {
		lines = append(lines, fit(" so far     "+v.verdicts(verdicts), width))
	}
	return lines
}

func (v *View) progress(s measure.Sample) string {
	share, of := 0.0, ""
	if s.Came > 0 {
		share = 100 * float64(s.Completed) / float64(s.Came)
	}
	if v.cfg.People > 0 {
		of = " of " + count(v.cfg.People)
	}
	return fmt.Sprintf("%v · came %s%s · new password %s (%.0f %%) · gave up %s",
		time.Duration(s.Seconds)*time.Second, count(s.Came), of, count(s.Completed), share, count(s.GaveUp))
}

func (v *View) store(s measure.Sample) string {
	inside := fmt.Sprintf(" · %s inside", count(int(s.Inside)))
	switch {
	case !v.seen():
		return "not visible from here (--control shows a storm victim's)"
	case !s.Up:
		return v.paintIn(red, storeState(s))
	case s.Cold:
		return v.paintIn(yellow, storeState(s)) + inside
	default:
		return v.paintIn(green, storeState(s)) + inside
	}
}

// seen tells whether the store was ever visible.
func (v *View) seen() bool {
	for _, s := range v.samples {
		if s.Up || s.Crashes > 0 {
			return true
		}
	}
	return false
}

func (v *View) verdicts(all []threshold.Verdict) string {
	parts := make([]string, 0, len(all))
	for _, t := range all {
		if t.OK {
			parts = append(parts, v.paintIn(green, "ok ")+t.Name+" "+t.Value)
			continue
		}
		parts = append(parts, v.paintIn(red, "NOT ")+t.Name+" "+t.Value+" ("+t.Bound+")")
	}
	return strings.Join(parts, " · ")
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

const (
	reset   = "\x1b[0m"
	bold    = "\x1b[1m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	blue    = "\x1b[34m"
	magenta = "\x1b[35m"
)

func (v *View) paintIn(colour, text string) string {
	if !v.colour {
		return text
	}
	return colour + text + reset
}

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

// count writes 1234567 as 1,234,567.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
