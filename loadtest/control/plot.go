package control

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// A plot is two panels over one time axis, in units of its view box.
const (
	plotWidth, plotHeight = 400, 300
	left, right           = 34, 394
	topFirst, endFirst    = 20, 136  // delivered ÷ best
	topSecond, endSecond  = 166, 280 // inside ÷ knee
	// Delivered ÷ best is smoothed over as many seconds: one of a slow store is all noise.
	smooth = 3
	// Inside ÷ knee is drawn on a logarithmic scale from a tenth to a thousand.
	leastInside, mostInside = .1, 1000.
	mostDelivered           = 1.2
)

// plot draws one seed's runs of all controllers with one store; the chart comes last, so that it is on top.
func plot(cells []Cell) template.HTML {
	m := cells[0].Example.Model
	x := func(s float64) float64 { return left + s/m.Length*(right-left) }
	delivered := func(v float64) float64 {
		return endFirst - min(v, mostDelivered)/mostDelivered*(endFirst-topFirst)
	}
	inside := func(v float64) float64 {
		v = max(leastInside, min(v, mostInside))
		return endSecond - math.Log(v/leastInside)/math.Log(mostInside/leastInside)*(endSecond-topSecond)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s, %s: delivered ÷ best and inside ÷ knee of each limiter over time">`,
		plotWidth, plotHeight, m.Name, speed(cells[0].Slow))
	rect := func(class string, from, to float64) {
		for _, panel := range [][2]int{{topFirst, endFirst}, {topSecond, endSecond}} {
			fmt.Fprintf(&b, `<rect class="%s" x="%.1f" width="%.1f" y="%d" height="%d"/>`, class, x(from), x(to)-x(from), panel[0], panel[1]-panel[0])
		}
	}
	rect("warm", 0, m.WarmUp)
	if len(m.Steps) == 2 {
		rect("step", m.Steps[0].At, m.Steps[1].At)
	}
	grid := func(y float64, class, label string) {
		fmt.Fprintf(&b, `<line class="%s" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			class, left, right, y, y, left-4, y+4, label)
	}
	grid(delivered(0), "axis", "0")
	grid(delivered(.5), "grid", ".5")
	grid(delivered(1), "best", "1")
	for _, v := range []float64{10, 100, 1000} {
		grid(inside(v), "grid", fmt.Sprint(v))
	}
	grid(inside(leastInside), "axis", ".1")
	grid(inside(1), "best", "1")
	for s := 0.0; s <= m.Length; s += 30 {
		label := fmt.Sprint(s)
		if s == 0 {
			label = "0 s"
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, min(x(s), right-8), plotHeight-6, label)
	}
	for i := len(cells) - 1; i >= 0; i-- {
		trace := cells[i].Example.Trace
		line := func(value func(int) (float64, bool), y func(float64) float64) {
			fmt.Fprintf(&b, `<path class="line %s" d="%s"/>`, cells[i].Controller, path(trace, value, x, y))
		}
		line(func(i int) (float64, bool) { return deliveredAt(trace, i) }, delivered)
		line(func(i int) (float64, bool) { return trace[i].Inside / trace[i].Knee, true }, inside)
	}
	fmt.Fprintf(&b, `<text class="label" x="%d" y="%d">delivered ÷ best</text>`, left, topFirst-8)
	fmt.Fprintf(&b, `<text class="label" x="%d" y="%d">inside ÷ knee</text></svg>`, left, topSecond-8)
	return template.HTML(b.String()) //nolint:gosec // made of numbers and of this package's names
}

// deliveredAt is what was delivered ÷ the best in the seconds up to the i-th; false: nothing could be.
func deliveredAt(trace []Point, i int) (float64, bool) {
	if trace[i].Best == 0 {
		return 0, false
	}
	done, best := 0.0, 0.0
	for _, p := range trace[max(0, i-smooth+1) : i+1] {
		done, best = done+p.Done, best+p.Best
	}
	return done / best, true
}

func path(trace []Point, value func(int) (float64, bool), x, y func(float64) float64) string {
	var b strings.Builder
	next := byte('M')
	for i, p := range trace {
		v, ok := value(i)
		if !ok {
			next = 'M'
			continue
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", next, x(p.At), y(v))
		next = 'L'
	}
	return b.String()
}
