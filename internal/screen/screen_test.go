package screen_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/internal/screen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheTerminalComesBack(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := screen.New(&out)
	s.Close([]string{"never shown"})
	if out.Len() > 0 {
		t.Errorf("closed before it painted, it wrote %q", out.String())
	}
	s.Paint([]string{"one", "two"})
	s.Paint([]string{"three"})
	s.Close([]string{"last", "words"})
	s.Close([]string{"again"})
	for _, once := range []string{"\x1b[?1049h", "\x1b[?25l", "\x1b[?7l", "\x1b[?1049l", "\x1b[?25h", "\x1b[?7h", "last\r\nwords\r\n"} {
		if strings.Count(out.String(), once) != 1 {
			t.Errorf("%q is not there exactly once: %q", once, out.String())
		}
	}
	_, after, _ := strings.Cut(out.String(), "\x1b[?1049l")
	if !strings.HasSuffix(after, "last\r\nwords\r\n") || strings.Contains(out.String(), "again") {
		t.Errorf("written: %q", out.String())
	}
}

func TestFitCutsWhatIsSeenAndKeepsColours(t *testing.T) {
	t.Parallel()
	line := "ab" + screen.Red.Of("cdef") + "gh"
	for width, want := range map[int]string{
		8: line,
		4: "ab" + string(screen.Red) + "c…" + "\x1b[0m",
		1: "…" + string(screen.Red) + "\x1b[0m",
		0: string(screen.Red) + "\x1b[0m",
	} {
		got := screen.Fit(line, width)
		if got != want || screen.Visible(got) > width {
			t.Errorf("at %d columns %q, want %q", width, got, want)
		}
	}
	if got := screen.None.Of("x"); got != "x" {
		t.Errorf("no colour: %q", got)
	}
}

func TestASparklineLosesNoPeak(t *testing.T) {
	t.Parallel()
	values := make([]float64, 1000)
	for i := range values {
		values[i] = 1
	}
	values[500], values[0] = 100, 0
	line := []rune(screen.Sparkline(values, 50))
	if len(line) != 50 || line[25] != '█' || strings.Count(string(line), "█") != 1 || line[0] != '▁' {
		t.Errorf("%q", string(line))
	}
	for _, width := range []int{0, -3} {
		if got := screen.Sparkline(values, width); got != "" {
			t.Errorf("width %d: %q", width, got)
		}
	}
	if got := screen.Sparkline([]float64{0, 1}, 10); got != " █" {
		t.Errorf("%q", got)
	}
}

func ExampleScreen() {
	s := screen.New(os.Stderr)
	defer s.Close([]string{"42/s at the end"})
	s.Paint([]string{screen.Bold.Of("a storm"), screen.Fit("42/s", 80)})
}
