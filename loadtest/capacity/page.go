package capacity

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/surgegate/surgegate/loadtest/report"
)

// Report is capacity.json.
type Report struct {
	Figures []report.Figure `json:"figures"`
	Results []Result        `json:"models"`
}

//go:embed page.html
var pageText string

// page is one file that loads nothing from anywhere; its plots are drawn here, so it needs no script.
func page(r Report) ([]byte, error) {
	t, err := template.New("capacity").Funcs(template.FuncMap{"plot": plot, "number": number, "seconds": seconds}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("capacity: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("capacity: %w", err)
	}
	return b.Bytes(), nil
}

func number(v float64) string { return fmt.Sprintf("%.4g", v) }

func seconds(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 0:
		return "never"
	default:
		return fmt.Sprintf("%.1f s", v)
	}
}

// The size of a plot, in its own units.
const (
	plotWidth, plotHeight         = 640, 190
	plotLeft, plotBottom, plotTop = 44, 22, 8
	plotRight                     = 8
	smoothing                     = 4 // points: 2 s, as the eye wants of counts
)

// line of a plot.
type line struct {
	class  string
	values []float64
}

// plot draws what the store delivered and what was inside, one below the other, with a line for each bound.
func plot(r Result) template.HTML {
	var done, best, inside, limit, knee []float64
	for i, p := range r.Points {
		sum, n := 0.0, 0
		for j := max(0, i-smoothing+1); j <= i; j++ {
			sum, n = sum+r.Points[j].Done, n+1
		}
		done, best = append(done, sum/float64(n)), append(best, p.Best)
		inside, limit, knee = append(inside, p.Inside), append(limit, p.Limit), append(knee, r.Knee)
	}
	// A limit far above everything would press the rest flat: the plot is cut at three knees.
	return chart(r, "delivered, passwords' worth a second", math.Inf(1), line{"bound", best}, line{"done", done}) +
		chart(r, "calls inside the store", 3*r.Knee, line{"bound", knee}, line{"limit", limit}, line{"done", inside})
}

func chart(r Result, title string, cut float64, lines ...line) template.HTML {
	last := 1.0
	if n := len(r.Points); n > 0 {
		last = max(1, math.Ceil(r.Points[n-1].At/10)*10)
	}
	top := 1.0
	for _, l := range lines {
		for _, v := range l.values {
			top = max(top, min(cut, v))
		}
	}
	step := niceStep(top)
	top = math.Ceil(top/step) * step
	x := func(s float64) float64 { return plotLeft + s/last*(plotWidth-plotLeft-plotRight) }
	y := func(v float64) float64 {
		return plotHeight - plotBottom - min(v, top)/top*(plotHeight-plotBottom-plotTop)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<figure><figcaption>%s</figcaption><svg viewBox="0 0 %d %d" role="img" aria-label="%s: %s">`,
		template.HTMLEscapeString(title), plotWidth, plotHeight, template.HTMLEscapeString(r.Name), template.HTMLEscapeString(title))
	for v := 0.0; v <= top+step/2; v += step {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			plotLeft, plotWidth-plotRight, y(v), y(v), plotLeft-6, y(v)+4, number(v))
	}
	for s := 0.0; s <= last; s += 10 {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`, x(s), plotHeight-6, s)
	}
	for _, l := range lines {
		var d strings.Builder
		for i, v := range l.values {
			fmt.Fprintf(&d, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x(max(0, r.Points[i].At)), y(v))
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`, l.class, d.String())
	}
	b.WriteString("</svg></figure>")
	return template.HTML(b.String()) //nolint:gosec // numbers, and two strings that are escaped
}

// niceStep divides an axis into about four.
func niceStep(most float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= most/4 {
			return m * power
		}
	}
	return 10 * power
}
