package screen

import (
	"fmt"
	"io"
	"strings"
)

const (
	otherScreen, firstScreen = "\x1b[?1049h", "\x1b[?1049l"
	hideCursor, showCursor   = "\x1b[?25l", "\x1b[?25h"
	noWrap, wrap             = "\x1b[?7l", "\x1b[?7h"
	clearLine, clearBelow    = "\x1b[K", "\x1b[J"
	clearAll                 = "\x1b[2J"
)

// Screen is a live view on a terminal. Only one goroutine may use it at a time.
type Screen struct {
	out    io.Writer
	inside bool // the terminal shows its other screen
}

// New returns a Screen on the terminal that out writes to. It writes nothing yet.
func New(out io.Writer) *Screen { return &Screen{out: out} }

// Paint shows the lines over the frame before.
func (s *Screen) Paint(lines []string) {
	var b strings.Builder
	if !s.inside {
		b.WriteString(otherScreen + hideCursor + noWrap)
		s.inside = true
	}
	for i, line := range lines {
		fmt.Fprintf(&b, "\x1b[%d;1H%s%s", i+1, line, clearLine)
	}
	if len(lines) == 0 {
		b.WriteString("\x1b[1;1H")
	}
	b.WriteString(clearBelow)
	_, _ = io.WriteString(s.out, b.String())
}

// Close gives the terminal back as it was, with the lines on it. Without a Paint before it, and when called again, it writes
// nothing.
func (s *Screen) Close(last []string) {
	if !s.inside {
		return
	}
	s.inside = false
	// Some terminals keep what of the other screen does not fit when they leave it: it is emptied before.
	text := wrap + clearAll + firstScreen + showCursor
	if len(last) > 0 {
		text += strings.Join(last, "\r\n") + "\r\n" // a raw terminal does not return by itself
	}
	_, _ = io.WriteString(s.out, text)
}
