// Package screentest is a real terminal for tests: a tmux server of the test's own.
package screentest

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

	"github.com/surgegate/surgegate/pkg/clock"
)

// patience bounds every wait: a machine that runs other tests beside it is slow.
const patience = 20 * time.Second

// Pane is one terminal with one program in it.
type Pane struct {
	t      *testing.T
	socket string
	rows   int
}

// Open runs the shell's command line in a terminal of so many columns and rows. Without tmux the test is skipped, but in CI.
func Open(t *testing.T, columns, rows int, command string) *Pane {
	t.Helper()
	if _, err := exec.LookPath("tmux"); errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip("tmux is not installed (apt-get install tmux)")
	}
	dir, err := os.MkdirTemp("", "pane") // t.TempDir's path may be longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	p := &Pane{t: t, socket: filepath.Join(dir, "s"), rows: rows}
	t.Cleanup(func() {
		p.tmux("kill-server")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows), command)
	return p
}

func (p *Pane) tmux(args ...string) string {
	p.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", p.socket}, args...)...) //nolint:noctx // tmux answers at once
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// Until waits for what is on the screen, what has scrolled off included, and returns it.
func (p *Pane) Until(what string, good func(screen string) bool) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
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

// Escapes is the screen with its colours.
func (p *Pane) Escapes() string { return p.tmux("capture-pane", "-p", "-e") }

// Type sends keys by tmux's names for them: "q", "Tab", "C-c", "Enter".
func (p *Pane) Type(keys ...string) { p.tmux(append([]string{"send-keys"}, keys...)...) }

// Drag changes the width and does not wait for anybody to notice, as when a window is dragged.
func (p *Pane) Drag(columns int) {
	p.tmux("resize-window", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(p.rows))
}

// Resize waits until the program could know: tmux tells it a moment later.
func (p *Pane) Resize(columns, rows int) {
	p.t.Helper()
	p.rows = rows
	p.Drag(columns)
	want := fmt.Sprintln(rows, columns)
	p.Until("the new size", func(string) bool {
		size, err := p.stty("size")
		return err == nil && size == want
	})
}

func (p *Pane) stty(args ...string) (string, error) {
	tty := strings.TrimSpace(p.tmux("display-message", "-p", "#{pane_tty}"))
	out, err := exec.Command("stty", append([]string{"-F", tty}, args...)...).Output() //nolint:noctx // stty answers at once
	return string(out), err
}

// Cursor tells whether it is shown.
func (p *Pane) Cursor() bool {
	return strings.TrimSpace(p.tmux("display-message", "-p", "#{cursor_flag}")) == "1"
}

// Cooked tells whether the terminal echoes and edits lines, as a shell expects it.
func (p *Pane) Cooked() bool {
	p.t.Helper()
	settings, err := p.stty("-a")
	if err != nil {
		p.t.Fatal(err)
	}
	fields := " " + strings.ReplaceAll(strings.ReplaceAll(settings, ";", " "), "\n", " ") + " "
	for _, want := range []string{" icanon ", " echo ", " isig ", " opost "} {
		if !strings.Contains(fields, want) {
			return false
		}
	}
	return true
}

// Signal sends one to the pane's own child of that name.
func (p *Pane) Signal(name, signal string) {
	p.t.Helper()
	shell := strings.TrimSpace(p.tmux("display-message", "-p", "#{pane_pid}"))
	out, err := exec.Command("pkill", "-"+signal, "-P", shell, "-x", name).CombinedOutput() //nolint:noctx // pkill answers at once
	if err != nil {
		p.t.Fatalf("signal %s: %v: %s", signal, err, out)
	}
}
