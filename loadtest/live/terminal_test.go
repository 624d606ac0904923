package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/term"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/screen"
)

func windowSize() (int, bool) {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	return width, err == nil
}

// pane is a real terminal: a tmux server of its own.
type pane struct {
	t      *testing.T
	socket string
}

func open(t *testing.T, columns int, program string) *pane {
	t.Helper()
	if _, err := exec.LookPath("tmux"); errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip("tmux is not installed (apt-get install tmux)")
	}
	dir, err := os.MkdirTemp("", "live") // t.TempDir's path may be longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	p := &pane{t: t, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		p.tmux("kill-server")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(columns), "-y", "30", program)
	return p
}

func (p *pane) tmux(args ...string) string {
	p.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", p.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// until waits for what is on the screen, what has scrolled off included.
func (p *pane) until(what string, good func(screen string) bool) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	for {
		screen := p.tmux("capture-pane", "-p", "-S", "-")
		if good(screen) {
			return screen
		}
		if (clock.System{}).Sleep(ctx, 20*time.Millisecond) != nil {
			p.t.Fatalf("never: %s; on the screen:\n%s", what, screen)
		}
	}
}

// resize waits until the program could know: tmux tells it a moment later.
func (p *pane) resize(columns int) {
	p.t.Helper()
	p.tmux("resize-window", "-x", strconv.Itoa(columns), "-y", "30")
	tty := strings.TrimSpace(p.tmux("display-message", "-p", "#{pane_tty}"))
	want := fmt.Sprintln(30, columns)
	p.until("the new size", func(string) bool {
		size, err := exec.Command("stty", "-F", tty, "size").Output()
		return err == nil && string(size) == want
	})
}

func (p *pane) cursor() string {
	return strings.TrimSpace(p.tmux("display-message", "-p", "#{cursor_flag}"))
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
	p := open(t, 80, "'"+self+"' live-child; echo over; exec cat")
	t.Log(p.until("a frame of 80 columns", func(s string) bool { return once(s, 79, 79) }))
	if p.cursor() != "0" {
		t.Error("the cursor is not hidden")
	}
	// Wider, narrower by half, and by a few columns at a time, as when a window is dragged.
	p.resize(200)
	t.Log(p.until("a frame of 200 columns", func(s string) bool { return once(s, 180, 199) }))
	p.resize(100)
	p.until("a frame of 100 columns", func(s string) bool { return once(s, 80, 99) })
	for columns := 99; columns > 60; columns -= 3 {
		p.tmux("resize-window", "-x", strconv.Itoa(columns), "-y", "30")
	}
	p.resize(60)
	t.Log(p.until("a frame of 60 columns", func(s string) bool { return once(s, 50, 59) }))
	p.tmux("send-keys", "C-c")
	screen := p.until("its end", func(s string) bool { return strings.Contains(s, "\nover") })
	if !once(screen, 50, 59) || p.cursor() != "1" {
		t.Errorf("cursor %s, on the screen at the end:\n%s", p.cursor(), screen)
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
		p := open(t, 80, "env "+c.env+" '"+self+"' live-child")
		p.until("a frame", func(s string) bool { return once(s, 70, 79) })
		if coloured := strings.Contains(p.tmux("capture-pane", "-p", "-e"), "\x1b["); coloured != c.colours {
			t.Errorf("%s: colours %v", c.env, coloured)
		}
	}
}
