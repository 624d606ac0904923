package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/operatortest"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/internal/screen/screentest"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// program is this test's binary under the name by which testscript's Main runs surgectl.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "surgectl")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func listen(t *testing.T, s *operatorv1.GetStatusResponse, address string) (*operatortest.Server, string) {
	t.Helper()
	o := operatortest.New(s)
	address, err := o.Serve(address)
	if err != nil {
		t.Fatal(err)
	}
	return o, address
}

func has(texts ...string) func(string) bool {
	return func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	}
}

func widest(shown string) int {
	n := 0
	for line := range strings.Lines(shown) {
		n = max(n, screen.Visible(strings.TrimRight(line, " \n")))
	}
	return n
}

func TestTopInARealTerminal(t *testing.T) {
	t.Parallel()
	o, address := listen(t, scene.StoreSlow(), "127.0.0.1:0")
	p := screentest.Open(t, 80, 24, program(t)+" --address "+address+" top; echo over $?; exec cat")
	whole := has("Are people being helped? SLOWLY", "What is the limit? the store", "When is it over? IN ABOUT 14m", "surgectl pace list",
		"apply ", "hash_pool", "q quit")
	shown := p.Until("a frame of 80 by 24", whole)
	t.Log(shown)
	if widest(shown) > 79 || strings.Count(shown, "\n") > 24 || strings.Count(shown, "hash_pool") != 1 || p.Cursor() || p.Cooked() {
		t.Errorf("%d columns, cursor %v, cooked %v:\n%s", widest(shown), p.Cursor(), p.Cooked(), shown)
	}

	p.Resize(200, 50)
	shown = p.Until("a frame of 200 columns, with histories", has("HISTORY", "queue     19 k jobs", "lanes pause revoke"))
	t.Log(shown)
	if w := widest(shown); w > 199 {
		t.Errorf("%d columns", w)
	}
	for columns := 190; columns > 80; columns -= 7 { // as when a window is dragged
		p.Drag(columns)
	}
	p.Resize(80, 24)
	p.Until("a small frame again", func(s string) bool { return whole(s) && widest(s) <= 79 && !strings.Contains(s, "HISTORY") })

	p.Type("p")
	p.Until("it is frozen", has("FROZEN"))
	o.Show(scene.StoreDark())
	p.Type("p", "Tab")
	p.Until("the history", has("[history]", "store a call"))
	p.Type("Tab", "Tab")
	p.Until("it is thawed", has("helped? NO", "AFTER THE STORE WORKS AGAIN"))

	// A restart.
	o.Stop()
	p.Until("an outage", has("NO ANSWER for", "nobody listens at "+address, "AFTER THE STORE WORKS AGAIN"))
	o, _ = listen(t, scene.Calm(), address)
	defer o.Stop()
	p.Until("it is back", func(s string) bool {
		return has("helped? YES", "What is the limit? NOTHING")(s) && !strings.Contains(s, "NO ANSWER")
	})

	p.Type("C-c")
	shown = p.Until("its end", has("over 0"))
	if strings.Contains(shown, "helped?") || !p.Cursor() || !p.Cooked() {
		t.Errorf("cursor %v, cooked %v; left on the screen:\n%s", p.Cursor(), p.Cooked(), shown)
	}
}

func TestTopEndsOnQAndOnASignalAndWithoutColour(t *testing.T) {
	t.Parallel()
	o, address := listen(t, scene.StoreSlow(), "127.0.0.1:0")
	defer o.Stop()
	surgectl := program(t)
	for _, c := range []struct {
		env     string
		colours bool
		end     func(*screentest.Pane)
	}{
		{"NO_COLOR=1", false, func(p *screentest.Pane) { p.Type("q") }},
		{"NO_COLOR=", true, func(p *screentest.Pane) { p.Signal("surgectl", "TERM") }},
	} {
		p := screentest.Open(t, 80, 24, "env "+c.env+" "+surgectl+" --address "+address+" top; echo over $?; exec cat")
		p.Until("a frame", has("SLOWLY", "q quit"))
		if coloured := strings.Contains(p.Escapes(), "\x1b[3"); coloured != c.colours {
			t.Errorf("%s: colours %v", c.env, coloured)
		}
		c.end(p)
		shown := p.Until("its end", has("over 0"))
		if strings.Contains(shown, "q quit") || !p.Cursor() || !p.Cooked() {
			t.Errorf("%s: cursor %v, cooked %v; left on the screen:\n%s", c.env, p.Cursor(), p.Cooked(), shown)
		}
	}
}

func TestWhatTakesFromPeopleAsks(t *testing.T) {
	t.Parallel()
	surgectl := program(t)
	for _, c := range []struct {
		name, command, question string
		answer                  []string
		want                    []string // at the end
		overrides               int
		parked                  int
	}{
		{
			"yes", "lanes pause apply", "Pause apply for 1h? People who set a password will wait. [y/N]", []string{"y", "Enter"},
			[]string{"lane/apply/paused: running → paused", "over 0"}, 1, 3,
		},
		{
			"no", "lanes pause mail --duration 30m", "Pause mail for 30m? Nobody gets a mail until it ends. [y/N]", []string{"n", "Enter"},
			[]string{"surgectl: nothing is changed", "over 3"}, 0, 3,
		},
		{
			"nothing", "brownout force 3", "Hold level 3 (completions only) for 1h? Nobody gets a new link", []string{"Enter"},
			[]string{"nothing is changed", "over 3"}, 0, 3,
		},
		{
			"Ctrl-C", "breaker open store", "Hold the breaker of store open for 1h? Nothing is sent to it", []string{"C-c"},
			[]string{"nothing is changed", "over 3"}, 0, 3,
		},
		{
			"what cannot be undone", "parked give-up --all", "Give up 3 parked jobs for good? Their people are told that it failed",
			[]string{"yes", "Enter"},
			[]string{"00000000000000000000000000000002  given up", "over 0"}, 0, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, address := listen(t, scene.Parked(), "127.0.0.1:0")
			defer o.Stop()
			p := screentest.Open(t, 120, 24, surgectl+" --address "+address+" "+c.command+"; echo over $?; exec cat")
			p.Until("the question", has(c.question))
			if overrides, parked := o.Counts(); overrides != 0 || parked != 3 {
				t.Errorf("before the answer: %d overrides, %d parked", overrides, parked)
			}
			p.Type(c.answer...)
			p.Until("its end", has(c.want...))
			if overrides, parked := o.Counts(); overrides != c.overrides || parked != c.parked {
				t.Errorf("%d overrides, %d parked", overrides, parked)
			}
			if !p.Cooked() {
				t.Error("the terminal is not as it was")
			}
		})
	}
}
