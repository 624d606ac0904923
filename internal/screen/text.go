package screen

import "strings"

// Colour is one of the terminal's own, so that light and dark both work.
type Colour string

// The colours, and bold.
const (
	None    Colour = ""
	Bold    Colour = "\x1b[1m"
	Red     Colour = "\x1b[31m"
	Green   Colour = "\x1b[32m"
	Yellow  Colour = "\x1b[33m"
	Blue    Colour = "\x1b[34m"
	Magenta Colour = "\x1b[35m"
	Cyan    Colour = "\x1b[36m"
)

const plain = "\x1b[0m"

// Of returns the text in the colour.
func (c Colour) Of(text string) string {
	if c == None || text == "" {
		return text
	}
	return string(c) + text + plain
}

// Visible is how many columns a line takes: colours take none, and all else one a rune, so it must hold no wide runes.
func Visible(line string) int {
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

// Fit cuts a line to a width; its colours stay, so that the last is taken back.
func Fit(line string, width int) string {
	if Visible(line) <= width {
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
		case width <= 0:
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

// Sparkline draws values at most width columns wide, scaled to the highest. Where there are more values than columns, a column
// is the highest of its values, so that no peak is lost. Zero is a blank.
func Sparkline(values []float64, width int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	columns := min(len(values), width)
	if columns <= 0 {
		return ""
	}
	most := 0.0
	heights := make([]float64, columns)
	for i := range heights {
		for _, v := range values[i*len(values)/columns : (i+1)*len(values)/columns] {
			heights[i] = max(heights[i], v)
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
