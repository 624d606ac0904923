package report

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/term"

	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/internal/screen/screentest"
)

func windowSize() (int, bool) {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	return width, err == nil
}

// once tells whether there is exactly one whole frame, whose longest line has so many columns.
func once(shown string, least, most int) bool {
	for _, label := range []string{
		"1/1 ", "came ", " offered ", " accepted ", " shed ", " failed ", " done  ", " backlog ", " oldest wait ", " store  ", " thresholds ",
	} {
		if strings.Count(shown, label) != 1 {
			return false
		}
	}
	longest := 0
	for line := range strings.Lines(shown) {
		longest = max(longest, screen.Visible(strings.TrimRight(line, " \n")))
	}
	return longest >= least && longest <= most
}

func TestInARealTerminal(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := screentest.Open(t, 80, 30, "'"+self+"' live-child; echo over; exec cat")
	t.Log(p.Until("a frame of 80 columns", func(s string) bool { return once(s, 79, 79) }))
	if p.Cursor() {
		t.Error("the cursor is not hidden")
	}
	// Wider, narrower by half, and by a few columns at a time, as when a window is dragged.
	p.Resize(200, 30)
	t.Log(p.Until("a frame of 200 columns", func(s string) bool { return once(s, 180, 199) }))
	p.Resize(100, 30)
	p.Until("a frame of 100 columns", func(s string) bool { return once(s, 80, 99) })
	for columns := 99; columns > 60; columns -= 3 {
		p.Drag(columns)
	}
	p.Resize(60, 30)
	t.Log(p.Until("a frame of 60 columns", func(s string) bool { return once(s, 50, 59) }))
	p.Type("C-c")
	screen := p.Until("its end", func(s string) bool { return strings.Contains(s, "\nover") })
	if !once(screen, 50, 59) || !p.Cursor() {
		t.Errorf("cursor %v, on the screen at the end:\n%s", p.Cursor(), screen)
	}
}

func TestNoColourInARealTerminal(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env     string
		colours bool
	}{{"NO_COLOR=1", false}, {"NO_COLOR=", true}} {
		p := screentest.Open(t, 80, 30, "env "+c.env+" '"+self+"' live-child")
		p.Until("a frame", func(s string) bool { return once(s, 70, 79) })
		if coloured := strings.Contains(p.Escapes(), "\x1b["); coloured != c.colours {
			t.Errorf("%s: colours %v", c.env, coloured)
		}
	}
}
