package report

import (
	"fmt"
	"strings"

	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/loadtest/measure"
)

const (
	labelWidth  = 12
	figureWidth = 9
	mostWidth   = 16  // of "most 123,456/s"
	wide        = 110 // columns from which rows tell their most too
	// verdictLines bounds the thresholds: the frame must fit a terminal of 24 lines.
	verdictLines = 6
)

// row is one figure over the run.
type row struct {
	label  string
	colour screen.Colour
	text   func(float64) string
}

const rowCount = 7

// point is a row's values at one moment, or the highest of several.
type point [rowCount]float64

func rows() [rowCount]row {
	perSecond := func(n float64) string { return count(int(n+.5)) + "/s" }
	return [rowCount]row{
		{"offered", screen.Blue, perSecond},
		{"accepted", screen.Cyan, perSecond},
		{"shed", screen.Yellow, perSecond},
		{"failed", screen.Red, perSecond},
		{"done", screen.Green, perSecond},
		{"backlog", screen.Magenta, func(n float64) string { return count(int(n)) }},
		{"oldest wait", "", duration},
	}
}

// pointOf is a sample's, in the order of rows. Who is done is counted where people are, so that it is known of every store.
func (v *LiveView) pointOf(s measure.Sample) point {
	done := 0.0
	if took := s.Seconds - v.before.Seconds; took > 0 {
		done = float64(s.Completed-v.before.Completed) / max(took, .1)
	}
	return point{s.OfferedRate, s.AcceptedRate, s.RefusedRate, failed(s), done, float64(s.Backlog), s.OldestS}
}

// failed are errors that are no refusals.
func failed(s measure.Sample) float64 { return max(0, s.FailedRate-s.RefusedRate) }

func (v *LiveView) keep(p point) {
	if v.in == 0 || v.in == v.per {
		v.points, v.in = append(v.points, p), 1
	} else {
		last := &v.points[len(v.points)-1]
		*last, v.in = highest(*last, p), v.in+1
	}
	if len(v.points) <= maxPoints {
		return
	}
	half := v.points[:0]
	for i := 0; i < len(v.points)-1; i += 2 {
		half = append(half, highest(v.points[i], v.points[i+1]))
	}
	if len(v.points)%2 == 1 {
		half = append(half, v.points[len(v.points)-1]) // it goes on: it has only half its samples
	}
	v.points, v.per = half, 2*v.per
}

func highest(a, b point) point {
	for i := range a {
		a[i] = max(a[i], b[i])
	}
	return a
}

// frame is what a terminal shows, no line wider than width.
func (v *LiveView) frame(s measure.Sample, verdicts []measure.Verdict, width int) []string {
	lines := []string{"", v.colour(screen.Bold, v.cfg.Title), " " + v.people(s)}
	for i, r := range rows() {
		lines = append(lines, v.row(i, r, v.now[i], width))
	}
	lines = append(lines, fmt.Sprintf(" %-*s%s", labelWidth, "store", v.store(s)))
	lines = append(lines, v.thresholds(verdicts, width)...)
	for i := range lines {
		lines[i] = screen.Fit(lines[i], width)
	}
	return lines
}

func (v *LiveView) people(s measure.Sample) string {
	came := "came " + count(s.Came)
	if v.cfg.People > 0 {
		came += " of " + count(v.cfg.People)
	}
	share := ""
	if s.Came > 0 {
		share = fmt.Sprintf(" (%d %%)", 100*s.Completed/s.Came)
	}
	return fmt.Sprintf("%s · %s · done %s%s · gave up %s", duration(s.Seconds), came, count(s.Completed), share, count(s.GaveUp))
}

func (v *LiveView) row(i int, r row, now float64, width int) string {
	line := fmt.Sprintf(" %-*s%*s  ", labelWidth, r.label, figureWidth, r.text(now))
	if width >= wide {
		top := 0.0
		for _, p := range v.points {
			top = max(top, p[i])
		}
		line += fmt.Sprintf("%-*s", mostWidth, "most "+r.text(top))
	}
	return line + v.colour(r.colour, sparkline(v.points, i, max(0, width-screen.Visible(line))))
}

func (v *LiveView) store(s measure.Sample) string {
	state := storeState(s)
	switch {
	case !s.StoreSeen:
		return state
	case !s.Up:
		return v.colour(screen.Red, state)
	}
	colour := screen.Green
	if s.Cold {
		colour = screen.Yellow
	}
	return v.colour(colour, state) + fmt.Sprintf(" · %s passwords/s · %s inside", count(int(s.AppliedRate+.5)), count(int(s.Inside)))
}

func storeState(s measure.Sample) string {
	state := "up"
	switch {
	case !s.StoreSeen:
		return "not visible from here"
	case !s.Up:
		state = "DOWN"
	case s.Cold:
		state = "up, cold"
	}
	switch s.Crashes {
	case 0:
		return state + ", no crash"
	case 1:
		return state + ", 1 crash"
	default:
		return fmt.Sprintf("%s, %s crashes", state, Count(s.Crashes))
	}
}

// thresholds fills lines with what is broken first.
func (v *LiveView) thresholds(all []measure.Verdict, width int) []string {
	if len(all) == 0 {
		return nil
	}
	var broken, ok []string
	for _, verdict := range all {
		text := fmt.Sprintf("%s %s (%s)", verdict.Name, verdict.Value, verdict.Bound)
		if verdict.OK {
			ok = append(ok, v.colour(screen.Green, "ok")+" "+text)
		} else {
			broken = append(broken, v.colour(screen.Red, "broken")+" "+text)
		}
	}
	const gap = 3
	indent := strings.Repeat(" ", labelWidth+1)
	lines := []string{fmt.Sprintf(" %-*s%s", labelWidth, "thresholds", soFar(all))}
	line, shown := indent, 0
	for _, text := range append(broken, ok...) {
		if screen.Visible(line) > len(indent) && screen.Visible(line)+gap+screen.Visible(text) > width {
			if len(lines) == verdictLines-1 {
				break
			}
			lines, line = append(lines, line), indent
		}
		if screen.Visible(line) > len(indent) {
			line += strings.Repeat(" ", gap)
		}
		line += text
		shown++
	}
	lines = append(lines, line)
	if left := len(all) - shown; left > 0 {
		lines[0] += fmt.Sprintf(" (%d of them not shown)", left)
	}
	return lines
}

// soFar counts.
func soFar(all []measure.Verdict) string {
	ok := 0
	for _, verdict := range all {
		if verdict.OK {
			ok++
		}
	}
	return fmt.Sprintf("so far %d ok, %d broken", ok, len(all)-ok)
}

// plainLine is the same for a file or a pipe.
func plainLine(s measure.Sample, verdicts []measure.Verdict) string {
	line := fmt.Sprintf("%6s  offered %5.0f/s  accepted %5.0f/s  shed %5.0f/s  failed %5.0f/s",
		duration(s.Seconds), s.OfferedRate, s.AcceptedRate, s.RefusedRate, failed(s))
	line += fmt.Sprintf("  came %6d  done %6d  gave up %5d  backlog %6d  oldest wait %s  store %s",
		s.Came, s.Completed, s.GaveUp, s.Backlog, duration(s.OldestS), storeState(s))
	if len(verdicts) > 0 {
		line += "  thresholds " + soFar(verdicts)
	}
	return line + "\n"
}
