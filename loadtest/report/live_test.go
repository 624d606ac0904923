package report

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/pkg/clock"
)

// The test binary is also the program in the terminal.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "live-child" {
		child()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child shows a storm, 25 times as fast as it was, until it is interrupted.
func child() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	v, err := NewLive(LiveConfig{Out: os.Stdout, Terminal: windowSize, Title: "1/1  surgegate: a storm", People: 5678})
	if err != nil {
		panic(err)
	}
	defer v.Close()
	for n := 0; (clock.System{}).Sleep(ctx, 20*time.Millisecond) == nil; n++ {
		v.Show(storm(n), verdicts)
	}
}

var verdicts = []measure.Verdict{
	{Name: "start_p99", Value: "312ms", Bound: "<= 250ms"}, {Name: "completed_share", Value: "82 %", Bound: ">= 99 %"},
	{Name: "lost", Value: "0", Bound: "== 0", OK: true}, {Name: "store_crashes", Value: "0", Bound: "== 0", OK: true},
	{Name: "everybody_wait_p99", Value: "8m20.5s", Bound: "<= 10m", OK: true},
}

// storm is the nth sample of one that comes and goes.
func storm(n int) measure.Sample {
	s := float64(n) / 2
	rate := 593 * math.Exp(-s/40) * (1 + .2*math.Sin(s))
	return measure.Sample{
		Seconds: s, OfferedRate: 3 * rate, AcceptedRate: rate, RefusedRate: 2 * rate, FailedRate: 2*rate + 20, AppliedRate: 49,
		Came: min(5678, 60*n), Completed: min(5678, 24*n), GaveUp: n, Backlog: 60 * n, Inside: 12, OldestS: s / 2,
		StoreSeen: true, Up: n%60 > 20, Cold: n%60 < 30, Crashes: n / 60,
	}
}

func newTestView(t *testing.T, out *bytes.Buffer, width *int, plain bool) *LiveView {
	t.Helper()
	v, err := NewLive(LiveConfig{
		Out: out, Terminal: func() (int, bool) { return *width, *width > 0 }, NoColor: plain,
		Title: "2/2  " + strings.Repeat("a long title ", 12), People: 10_565,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFitsEveryWidth(t *testing.T) {
	t.Parallel()
	most := measure.Sample{
		Seconds: 7 * 3600, OfferedRate: 123_456, AcceptedRate: 99_999, FailedRate: 99_999, RefusedRate: 50_000, AppliedRate: 12_345,
		Came: 77_000_000, Completed: 77_000_000, GaveUp: 10_565_000, Backlog: 15_000_000, Inside: 123_456, StoreSeen: true, Up: true,
		Crashes: 1234, OldestS: 90_000,
	}
	for _, width := range []int{1, 20, 60, 80, 120, 200, 400} {
		var out bytes.Buffer
		v := newTestView(t, &out, &width, false)
		for n := range 3000 {
			v.keep(v.pointOf(storm(n)))
		}
		for _, s := range []measure.Sample{storm(7), most, {}} {
			widest := 0
			for _, line := range v.frame(s, verdicts, width-1) {
				widest = max(widest, screen.Visible(line))
			}
			if widest > width-1 || width >= 80 && width <= 200 && widest < width-2 {
				t.Errorf("at %d columns the widest line has %d", width, widest)
			}
		}
		if len(v.points) > maxPoints {
			t.Errorf("it remembers %d points", len(v.points))
		}
	}
	for _, line := range newTestView(t, &bytes.Buffer{}, new(int), false).frame(most, verdicts, 79) {
		if strings.Contains(line, "…") && !strings.Contains(line, "long title") {
			t.Errorf("cut at 80 columns: %q", line)
		}
	}
}

// The line is the whole run, whatever its length: its highest sample is in it.
func TestNoPeakIsLost(t *testing.T) {
	t.Parallel()
	width := 80
	v := newTestView(t, &bytes.Buffer{}, &width, true)
	for n := range 100_000 {
		s := measure.Sample{Seconds: float64(n), OfferedRate: 1}
		if n == 50_000 {
			s.OfferedRate = 1000
		}
		v.keep(v.pointOf(s))
	}
	line := []rune(sparkline(v.points, 0, 50))
	for i, r := range line {
		if peak := i == 24 || i == 25; (r == '█') && !peak || !strings.ContainsRune("▁█", r) {
			t.Errorf("column %d is %q in %q", i, r, string(line))
		}
	}
	if len(line) != 50 || strings.Count(string(line), "█") != 1 {
		t.Errorf("line %q", string(line))
	}
}

func TestPlainLinesWithoutATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := newTestView(t, &out, new(int), false)
	for n := 1; n <= 41; n++ { // 20.5 s
		v.Show(measure.Sample{Seconds: float64(n) / 2, OfferedRate: 1234, Came: n}, verdicts)
	}
	v.Close()
	v.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if strings.ContainsAny(out.String(), "\x1b\r") || len(lines) != 1+4+1 { // title, one every 5 s, the last
		t.Fatalf("shown: %q", out.String())
	}
	for i, want := range []string{"a long title", "5.0 s", "10 s", "15 s", "20 s", "21 s"} {
		const end = "store not visible from here  thresholds so far 3 ok, 2 broken"
		if !strings.Contains(lines[i], want) || i > 0 && !strings.HasSuffix(lines[i], end) {
			t.Errorf("line %d: %q, want %q in it", i, lines[i], want)
		}
	}
}

func TestTheCursorComesBackAndColoursCanBeOff(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		var out bytes.Buffer
		width := 80
		v := newTestView(t, &out, &width, plain)
		v.Close()
		if out.Len() > 0 {
			t.Errorf("closed before it showed anything, it wrote %q", out.String())
		}
		v.Show(storm(30), verdicts)
		v.Show(storm(31), verdicts)
		if strings.Count(out.String(), "\x1b[?25l") != 1 || strings.Contains(out.String(), "\x1b[?25h") {
			t.Errorf("shown: %q", out.String())
		}
		v.Close()
		before, after, back := strings.Cut(out.String(), "\x1b[?1049l\x1b[?25h")
		if !back || !strings.HasPrefix(before, "\x1b[?1049h") || strings.Count(after, " offered ") != 1 ||
			strings.Contains(after, string(screen.Red)) == plain || strings.Contains(before, string(screen.Bold)) == plain {
			t.Errorf("colours off %v, shown: %q", plain, out.String())
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if _, err := NewLive(LiveConfig{}); err == nil || !strings.Contains(err.Error(), "Out") {
		t.Error(err)
	}
	if _, err := NewLive(LiveConfig{Out: os.Stderr, People: -1}); err == nil || !strings.Contains(err.Error(), "People") {
		t.Error(err)
	}
}

func TestThresholdsTooManyForTheScreenAreCounted(t *testing.T) {
	t.Parallel()
	var many []measure.Verdict
	for n := range 60 {
		many = append(many, measure.Verdict{Name: fmt.Sprintf("figure_%02d", n), Value: "1", Bound: "<= 2", OK: n != 59})
	}
	width := 80
	lines := newTestView(t, &bytes.Buffer{}, &width, true).frame(storm(1), many, 79)
	text := strings.Join(lines, "\n")
	if len(lines) > 20 || !strings.Contains(text, "broken figure_59") || !strings.Contains(text, "not shown") {
		t.Errorf("%d lines:\n%s", len(lines), text)
	}
}
