package figures_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/internal/screen"
)

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
