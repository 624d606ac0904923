package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReportMakesThePageOfAResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) error {
		cmd := root()
		cmd.SetArgs(append([]string{"report"}, args...))
		cmd.SetOut(&bytes.Buffer{})
		return cmd.ExecuteContext(t.Context())
	}
	// As of a version that knew neither kinds nor samples.
	good := write("result.json", `{"storm": {"scenario": "plex-2022", "people": 1234},
		"arms": [{"name": "surgegate", "people": 1234, "completed": 1200}]}`)
	out := filepath.Join(dir, "page.html")
	for _, c := range []struct {
		args []string
		page string
	}{{[]string{good}, filepath.Join(dir, "report.html")}, {[]string{good, "--out", out}, out}} {
		if err := run(c.args...); err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(c.page)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1,200", "the store crashed"} { // it could only be of a store that was seen
			if !strings.Contains(string(page), want) {
				t.Errorf("%s has no %q", c.page, want)
			}
		}
	}
	for name, text := range map[string]string{"empty.json": "{}", "broken.json": "{", "simulated.json": `{"arms": [{"name": "surgegate"}]}`} {
		if err := run(write(name, text)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
	if err := run(filepath.Join(dir, "nowhere.json")); err == nil {
		t.Error("a file that is not there made a page")
	}
}
