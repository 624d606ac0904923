package figures_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/pkg/screen"
)

func TestFigures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{figures.Count(0), "0"}, {figures.Count(999), "999"}, {figures.Count(1000), "1.0 k"}, {figures.Count(1234), "1.2 k"},
		{figures.Count(12_345), "12 k"}, {figures.Count(999_400), "999 k"}, {figures.Count(999_600), "1.0 M"},
		{figures.Count(15_000_000), "15 M"}, {figures.Count(math.MaxUint64), "18 E"},
		{figures.Bytes(512), "512 B"}, {figures.Bytes(2 << 30), "2.0 GiB"}, {figures.Bytes(1023 << 20), "1023 MiB"},
		{figures.Bytes(math.MaxUint64), "16 EiB"},
		{figures.Rate(0), "0/s"}, {figures.Rate(.04), "0/s"}, {figures.Rate(.2), "0.2/s"}, {figures.Rate(4.26), "4.3/s"},
		{figures.Rate(5), "5/s"}, {figures.Rate(9.96), "10/s"}, {figures.Rate(420), "420/s"}, {figures.Rate(999.7), "1.0 k/s"},
		{figures.Rate(1234), "1.2 k/s"}, {figures.Rate(math.NaN()), "0/s"},
		{figures.Share(0), "0 %"}, {figures.Share(.0004), "<0.1 %"}, {figures.Share(.004), "0.4 %"}, {figures.Share(.42), "42 %"},
		{figures.Share(1), "100 %"}, {figures.Share(math.NaN()), "0 %"},
		{figures.Duration(-time.Second), "0s"}, {figures.Duration(1), "<1ms"}, {figures.Duration(480 * time.Millisecond), "480ms"},
		{figures.Duration(999 * time.Millisecond), "1s"}, {figures.Duration(4200 * time.Millisecond), "4.2s"},
		{figures.Duration(42 * time.Second), "42s"}, {figures.Duration(59_700 * time.Millisecond), "1m"},
		{figures.Duration(200 * time.Second), "3m20s"}, {figures.Duration(time.Hour), "1h"},
		{figures.Duration(59*time.Minute + 59*time.Second + 900*time.Millisecond), "1h"},
		{figures.Duration(125 * time.Minute), "2h05m"}, {figures.Duration(23*time.Hour + 59*time.Minute + 40*time.Second), "1d"},
		{figures.Duration(76 * time.Hour), "3d4h"}, {figures.Duration(48 * time.Hour), "2d"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestATableAlignsWhatIsSeen(t *testing.T) {
	t.Parallel()
	table := figures.NewTable("LANE", ">WAIT", "STATE")
	table.Add("start", "12 k", screen.Red.Of("open"))
	table.Add("apply", screen.Yellow.Of("3"))
	want := []string{
		"LANE   WAIT  STATE",
		"start  12 k  " + screen.Red.Of("open"),
		"apply     " + screen.Yellow.Of("3"),
	}
	if got := table.Lines(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if table.Len() != 2 {
		t.Error(table.Len())
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	text := "people who set a password wait until " + screen.Bold.Of("somebody") + " lifts it"
	for _, width := range []int{8, 20, 200} {
		lines := figures.Wrap(text, width)
		for _, line := range lines {
			if screen.Visible(line) > width {
				t.Errorf("%d columns at %d: %q", screen.Visible(line), width, line)
			}
		}
		if strings.Join(lines, " ") != text {
			t.Errorf("lost words: %q", lines)
		}
	}
	if got := figures.Wrap("unbreakable", 3); !slices.Equal(got, []string{"unbreakable"}) {
		t.Errorf("%q", got)
	}
}
