package prometheus

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// placeholders are what a reader fills in.
func placeholders() *strings.Replacer {
	return strings.NewReplacer("HOST", "127.0.0.1", "LANE", "mail", "NAME", "store", "JOB…", "00112233445566778899aabbccddeeff",
		"TARGET", "lane/mail/paused", " ID", " ticket")
}

// A command that is not understood is found out at three in the morning, or here: surgectl refuses a wrong command line (2)
// before it finds that nobody is there (4).
func TestTheCommandsOfRunbooksAndDashboardsAreUnderstood(t *testing.T) {
	t.Parallel()
	surgectl := filepath.Join(t.TempDir(), "surgectl")
	if out, err := exec.Command("go", "build", "-o", surgectl, "github.com/surgegate/surgegate/cmd/surgectl").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	changes := regexp.MustCompile(` (fix|bound|force|pause|weight|set|open|close|lift|requeue|give-up) `)
	seen := map[string]bool{}
	pages := runbooks(t)
	pages["../README"] = string(read(t, "../README.md"))
	for _, path := range files(t, "../grafana/*.json") {
		var board any
		if err := json.Unmarshal(read(t, path), &board); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		pages[path] = texts(board)
	}
	for name, page := range pages {
		for _, line := range commands(page) {
			if line = placeholders().Replace(line); seen[line] {
				continue
			}
			seen[line] = true
			args := append(words(line)[1:], "--address", "127.0.0.1:1", "--timeout", "1s")
			if changes.MatchString(line) && !strings.Contains(line, "--dry-run") {
				args = append(args, "--dry-run") // or it would ask, and nobody answers
			}
			out, err := exec.Command(surgectl, args...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 4 {
				t.Errorf("%s: %s: %v, want 4, nobody there: %s", name, line, err, out)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("found %d commands in the runbooks, want those of all of them", len(seen))
	}
}

// texts are all strings of a JSON value, a line each.
func texts(v any) string {
	switch v := v.(type) {
	case string:
		return v + "\n"
	case []any:
		var all strings.Builder
		for _, e := range v {
			all.WriteString(texts(e))
		}
		return all.String()
	case map[string]any:
		var all strings.Builder
		for _, e := range v {
			all.WriteString(texts(e))
		}
		return all.String()
	default:
		return ""
	}
}

// commands are a page's lines of surgectl that name a command: in code, or in a block of their own, where two spaces end the
// command and begin what surgectl status says about it.
func commands(page string) (lines []string) {
	for _, m := range regexp.MustCompile("(?m)`(surgectl [^`]+)`|^ +(surgectl .+)$").FindAllStringSubmatch(page, -1) {
		line, _, _ := strings.Cut(m[1]+m[2], "  ")
		lines = append(lines, line)
	}
	return lines
}

// words are a command line's, quotes taken off.
func words(line string) (all []string) {
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}

// What a page sends its reader to is there under that name.
func TestTheRunbooksPanelsAreOnTheDashboards(t *testing.T) {
	t.Parallel()
	titles := map[string]bool{}
	for _, path := range files(t, "../grafana/*.json") {
		var board struct{ Panels []panel }
		if err := json.Unmarshal(read(t, path), &board); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		collect(board.Panels, titles)
	}
	for name, page := range runbooks(t) {
		for _, m := range regexp.MustCompile(`(?:^|[^*])\*([A-Z][^*]+)\*(?:[^*]|$)`).FindAllStringSubmatch(page, -1) {
			if title := strings.Join(strings.Fields(m[1]), " "); !titles[title] {
				t.Errorf("%s.md sends to the panel %q, which is on no dashboard", name, title)
			}
		}
	}
}

type panel struct {
	Title  string
	Panels []panel
}

func collect(panels []panel, titles map[string]bool) {
	for _, p := range panels {
		titles[p.Title] = true
		collect(p.Panels, titles)
	}
}
