package live

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/threshold"
)

// The test binary is also the program that tmux shows.
func TestMain(m *testing.M) {
	if os.Getenv("LIVE_VIEW_IN_A_TERMINAL") == "" {
		os.Exit(m.Run())
	}
	v := New(Config{Out: os.Stdout, Title: "storm run: plex-2022", People: 10_565, Terminal: func() (int, bool) {
		width, _, err := term.GetSize(int(os.Stdout.Fd()))
		return width, err == nil
	}})
	for i := range 300 {
		v.Show(sample(i), verdicts)
	}
	v.Close()
	fmt.Println("the end")
	select {} // until tmux ends
}

var verdicts = []threshold.Verdict{
	{Name: "completed_share", Bound: ">= 99 %", Value: "100 %", OK: true},
	{Name: "start_p99", Bound: "<= 250ms", Value: "1.25s"},
	{Name: "everybody_wait_p99", Bound: "<= 10m", Value: "2m30.5s", OK: true},
}

func sample(i int) measure.Sample {
	return measure.Sample{
		Seconds: float64(i) / 2, OfferedRate: 12_345, AcceptedRate: float64(i * 10), RefusedRate: float64(300 - i), FailedRate: float64(i % 7), AppliedRate: 190,
		Came: 10_565, Completed: 10_000, GaveUp: 565, Backlog: 123_456, OldestS: float64(i), Inside: 4096, Cold: i%2 == 0, Up: i%3 != 2, Crashes: 12,
	}
}

// In a real terminal: nothing wraps, nothing is left over, and the cursor comes back.
func TestInARealTerminal(t *testing.T) {
	t.Parallel()
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("tmux is missing: apt-get install tmux")
		}
		t.Skip("needs tmux (apt-get install tmux)")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{80, 200} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			t.Parallel()
			socket := fmt.Sprintf("%s/tmux", t.TempDir())
			run := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), tmux, append([]string{"-S", socket, "-f", "/dev/null"}, args...)...)
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("tmux %v: %v\n%s", args, err, out)
				}
				return string(out)
			}
			run("-u", "new-session", "-d", "-x", fmt.Sprint(width), "-y", "24", "LIVE_VIEW_IN_A_TERMINAL=1 "+self)
			defer func() { _ = exec.Command(tmux, "-S", socket, "kill-server").Run() }() //nolint:noctx // after the test's context
			var screen string
			for deadline := time.Now().Add(20 * time.Second); !strings.Contains(screen, "the end") && time.Now().Before(deadline); {
				screen = run("capture-pane", "-p")
			}
			lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
			if len(lines) != 13 { // an empty one, the title, nine of figures, the thresholds, the end
				t.Errorf("%d lines on the screen:\n%s", len(lines), screen)
			}
			for _, want := range []string{"storm run: plex-2022", "came 10,565 of 10,565", "offered", "12,345/s", "shed", "oldest", "12 crashes", "NOT start_p99"} {
				if !strings.Contains(screen, want) {
					t.Errorf("%q is not on the screen:\n%s", want, screen)
				}
			}
			longest := 0
			for _, line := range lines {
				longest = max(longest, utf8.RuneCountInString(line))
			}
			if longest > width || width == 200 && longest < 150 {
				t.Errorf("the longest line has %d columns of %d:\n%s", longest, width, screen)
			}
			if cursor := strings.TrimSpace(run("display-message", "-p", "#{cursor_flag}")); cursor != "1" {
				t.Error("the cursor is still hidden")
			}
		})
	}
}

func TestPlainLinesWithoutATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := New(Config{Out: &out, Title: "storm run"})
	for i := range 30 {
		v.Show(sample(i), verdicts)
	}
	v.Close()
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "store ") != 3 || !strings.Contains(out.String(), "storm run\n") {
		t.Errorf("shown: %q", out.String())
	}
}

func TestAStoreThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := New(Config{Out: &out, Terminal: func() (int, bool) { return 80, true }})
	v.Show(measure.Sample{}, nil)
	if !strings.Contains(out.String(), "not visible from here") {
		t.Errorf("shown: %q", out.String())
	}
	out.Reset()
	v.Show(measure.Sample{Up: true}, nil)
	v.Show(measure.Sample{}, nil)
	if !strings.Contains(out.String(), "DOWN") {
		t.Errorf("a store that was up is not told to be down: %q", out.String())
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	if got := fit("\x1b[1mähm, so\x1b[0m", 3); got != "\x1b[1mähm\x1b[0m" {
		t.Errorf("%q", got)
	}
}
