package report

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/surgegate/surgegate/loadtest/measure"
)

// crowded is a result with all that a page can show: three arms, faults, thresholds, notes, refusals.
func crowded() Result {
	r := example()
	r.Kind = "compare"
	r.Faults = []Fault{{At: 10, For: 15, What: "store-slow 0.5 at 10s for 15s"}, {At: 40, What: "gateway-kill at 40s"}}
	r.Verdicts = []measure.Verdict{{Name: "completed_share", Bound: ">= 99 %", Value: "61 %"}}
	r.Notes = []string{"a note for readers"}
	r.Differences = []Difference{{
		Figure: "got their new password", Arm: "surgegate", Against: "direct", Difference: 38.2,
		Low: 37.3, High: 39.1, Unit: "percentage points", N: 10_565,
	}}
	third := measure.Arm{Name: "a-setting-with-a-name-that-is-long-enough-to-be-in-the-way", People: 10_565, Completed: 9000}
	r.Arms = append(r.Arms, third)
	for i := range r.Arms {
		a := &r.Arms[i]
		a.StoreSeen = true
		a.Samples = nil
		for n := range 120 {
			a.Samples = append(a.Samples, measure.Sample{
				Seconds: float64(n) / 2, Came: 88 * n, Completed: 50 * n, OfferedRate: float64(400 - n), AcceptedRate: float64(300 - n),
				Inside: int64(n % 30), Up: n < 20 || n > 30 || a.Name != "direct",
			})
		}
		a.Ops = []measure.Op{{Op: "start", Calls: 12_345, Refused: 678, Latency: measure.Quantiles{P50: 900, P99: 12_300, Max: 2_500_000}}}
		a.Reasons = []measure.Reason{{Reason: "SHED_LEVEL_2", Calls: 678}}
	}
	return r
}

// tab is a page in a browser.
type tab struct {
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the console said
}

// complaints are all that the page wrote to the console, or should not have done.
func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.problems)
}

func (b *tab) hear(event any) {
	var text string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		text = "console." + string(e.Type)
	case *log.EventEntryAdded:
		text = e.Entry.Text
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, text)
}

// open shows a result in a real browser, in a window of that width.
func open(t *testing.T, r Result, width int64) *tab {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		browser, err = exec.LookPath("google-chrome")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs Chromium: apt-get install chromium")
		}
		t.Skip("needs Chromium: apt-get install chromium")
	}
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, PageFile)
	if err := os.WriteFile(path, page, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.DisableGPU)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	b := &tab{}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate("file://"+path)); err != nil {
		t.Fatal(err)
	}
	return b
}

// ask evaluates an expression in the page.
func ask[T any](t *testing.T, b *tab, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func TestTheBrowserDrawsThePlots(t *testing.T) {
	t.Parallel()
	run := crowded()
	run.Kind, run.Arms, run.Storm = "run", run.Arms[1:2], Storm{Scenario: "blast-1h", Seconds: 60, People: 236}
	run.Arms[0].StoreSeen = false
	for name, c := range map[string]struct {
		result       Result
		width        int64
		plots, lines int // one line for each arm in each plot, and the people who came
		bounds       int
	}{
		"three arms":                 {crowded(), 1400, 9, 28, 2},
		"three arms, phone":          {crowded(), 360, 9, 28, 2},
		"store not known":            {run, 1400, 7, 8, 0},
		"store not known, phone":     {run, 360, 7, 8, 0},
		"samples of before, no call": {example(), 360, 4, 9, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, c.result, c.width)
			if n := ask[int](t, b, `document.querySelectorAll(".plot > svg").length`); n != c.plots {
				t.Errorf("%d plots, want %d", n, c.plots)
			}
			if n := ask[int](t, b, `document.querySelectorAll(".plot path.line").length`); n != c.lines {
				t.Errorf("%d lines, want %d", n, c.lines)
			}
			if n := ask[int](t, b, `document.querySelectorAll(".plot .bound").length`); n != c.bounds {
				t.Errorf("%d bounds of the store, want %d", n, c.bounds)
			}
			if n := ask[int](t, b, `document.querySelectorAll(".plot:not([aria-label])").length`); n != 0 {
				t.Errorf("%d plots have no label", n)
			}
			if wider := ask[int](t, b, `document.documentElement.scrollWidth - window.innerWidth`); wider > 0 {
				t.Errorf("the page is %d pixels wider than a window of %d", wider, c.width)
			}
			if all := b.complaints(); len(all) > 0 {
				t.Errorf("the console said: %q", all)
			}
		})
	}
}

// axis is what the plots' axes of time say, each once.
const axis = `[...new Set([...document.querySelectorAll(".plot")].map(
	p => [...p.querySelectorAll(".time")].map(t => t.textContent).join(" ")))].join("; ")`

func TestKeysAndMouseZoomAllPlots(t *testing.T) {
	t.Parallel()
	b := open(t, crowded(), 1400)
	const whole = "0 s 10 20 30 40 50 60"
	if got := ask[string](t, b, axis); got != whole {
		t.Fatalf("the axes say %q, want %q on all", got, whole)
	}
	ask[any](t, b, `document.querySelectorAll(".plot")[2].focus(), 0`)
	spoken := func() string {
		return ask[string](t, b, `document.querySelectorAll(".plot")[2].getAttribute("aria-valuetext")`)
	}
	keys := func(all string) {
		t.Helper()
		if err := chromedp.Do(b.ctx, chromedp.KeyEvent(all)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ keys, says, axis string }{
		{kb.Home + strings.Repeat(kb.PageUp, 2), "30", whole},
		{"+", "30", "15 30 45"},
		{kb.ArrowRight, "30", ""},
		{"-", "30", whole},
		{kb.End, "60", whole},
		{"++", "60", "45 50 55 60"},
		{kb.Home, "0", "0 s 5 10 15"},
		{kb.Escape, "", whole},
	} {
		keys(step.keys)
		got := ask[string](t, b, axis)
		if strings.Contains(got, ";") || step.axis != "" && !covers(got, step.axis) {
			t.Errorf("after %q the axes say %q, want %q on all", step.keys, got, step.axis)
		}
		if says := spoken(); !strings.HasPrefix(says, step.says) {
			t.Errorf("after %q the plot says %q, want %s", step.keys, says, step.says)
		}
	}

	box := ask[map[string]float64](t, b, `(plot => {
		plot.scrollIntoView();
		return plot.getBoundingClientRect().toJSON();
	})(document.querySelector(".plot"))`)
	x, y := box["left"]+42, box["top"]+100
	third := (box["width"] - 50) / 3
	if err := chromedp.Do(b.ctx,
		chromedp.MouseEvent("mousePressed", x+third, y, chromedp.ButtonLeft, chromedp.ClickCount(1)),
		chromedp.MouseEvent("mouseMoved", x+2*third, y, chromedp.ButtonLeft),
		chromedp.MouseEvent("mouseReleased", x+2*third, y, chromedp.ButtonLeft, chromedp.ClickCount(1))); err != nil {
		t.Fatal(err)
	}
	if got := ask[string](t, b, axis); strings.Contains(got, ";") || !strings.HasPrefix(got, "20 25 30") {
		t.Errorf("after a drag over the middle third the axes say %q", got)
	}
	if got := ask[string](t, b, `document.getElementById("shown").textContent`); got != "Shown: 20.0 s to 40.0 s" {
		t.Errorf("it says %q", got)
	}
	if err := chromedp.Do(b.ctx, chromedp.MouseClickXY(x+third, y, chromedp.ClickCount(2))); err != nil {
		t.Fatal(err)
	}
	if got := ask[string](t, b, axis); got != whole {
		t.Errorf("after a double click the axes say %q, want %q", got, whole)
	}
	if all := b.complaints(); len(all) > 0 {
		t.Errorf("the console said: %q", all)
	}
}

// covers tells whether an axis has these marks, and begins and ends with them.
func covers(axis, marks string) bool {
	have, want := strings.Fields(axis), strings.Fields(marks)
	if len(have) < len(want) || have[0] != want[0] || have[len(have)-1] != want[len(want)-1] {
		return false
	}
	return !slices.ContainsFunc(want, func(mark string) bool { return !slices.Contains(have, mark) })
}
