package report

import (
	"fmt"
	"time"

	"github.com/surgegate/surgegate/internal/screen"
)

func (v *LiveView) colour(colour screen.Colour, text string) string {
	if v.cfg.NoColor {
		return text
	}
	return colour.Of(text)
}

// count is short enough for its column.
func count(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return Count(n)
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

// sparkline draws one row of all points, at most width columns wide.
func sparkline(points []point, row, width int) string {
	values := make([]float64, len(points))
	for i, p := range points {
		values[i] = p[row]
	}
	return screen.Sparkline(values, width)
}
