package live

import (
	"fmt"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/report"
)

// The terminal's own colours, so that light and dark both work.
const (
	reset   = "\x1b[0m"
	bold    = "\x1b[1m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	blue    = "\x1b[34m"
	magenta = "\x1b[35m"
	cyan    = "\x1b[36m"
)

func (v *View) colour(code, text string) string {
	if v.cfg.NoColor || code == "" || text == "" {
		return text
	}
	return code + text + reset
}

// count is short enough for its column.
func count(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return report.Count(n)
}

// duration is in seconds below two minutes, and as on a clock above.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	s := int(d.Seconds())
	switch {
	case seconds < 9.95:
		return fmt.Sprintf("%.1f s", seconds)
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", s)
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	default:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
}

// sparkline draws one row of all points, at most width columns wide, scaled to the highest.
func sparkline(points []point, row, width int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	columns := min(len(points), width)
	if columns == 0 {
		return ""
	}
	most := 0.0
	heights := make([]float64, columns)
	for i := range heights {
		for _, p := range points[i*len(points)/columns : (i+1)*len(points)/columns] {
			heights[i] = max(heights[i], p[row])
		}
		most = max(most, heights[i])
	}
	var b strings.Builder
	for _, h := range heights {
		if h <= 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(bars[min(int(h/most*float64(len(bars))), len(bars)-1)])
	}
	return b.String()
}

// visible is how many columns a line takes: colours take none, and all else here takes one a rune.
func visible(line string) int {
	n, escape := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

// fit cuts a line to a width; its colours stay, so that the last is taken back.
func fit(line string, width int) string {
	if visible(line) <= width {
		return line
	}
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
			if width--; width == 0 {
				r = '…'
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}
