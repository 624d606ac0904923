package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
)

// TestTheCommandsOfThePagesAreUnderstood parses every command line of storm that stands in a block of its own.
func TestTheCommandsOfThePagesAreUnderstood(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, page := range []string{"README.md", "loadtest/README.md", "proto/README.md"} {
		for _, m := range regexp.MustCompile(`(?m)^build/bin/storm (.+)$`).FindAllStringSubmatch(readPage(t, page), -1) {
			seen++
			line, _, _ := strings.Cut(m[1], "  ") // two spaces begin a comment
			var args []string
			for _, w := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
				args = append(args, w[1]+w[2])
			}
			cmd, args, err := root().Find(args)
			if err != nil {
				t.Errorf("%s: storm %s: %v", page, line, err)
				continue
			}
			if err := cmd.ParseFlags(args); err != nil {
				t.Errorf("%s: storm %s: %v", page, line, err)
				continue
			}
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%s: storm %s: %v", page, line, err)
			}
			cmd.Flags().Visit(func(f *pflag.Flag) {
				if f.Name != "fault" {
					return
				}
				for _, text := range f.Value.(pflag.SliceValue).GetSlice() {
					if _, err := model.ParseFault(text); err != nil {
						t.Errorf("%s: storm %s: %v", page, line, err)
					}
				}
			})
		}
	}
	if seen < 6 {
		t.Errorf("found %d commands", seen)
	}
}

// TestTheFilesOfTheReadmeAreRead loads the thresholds and the scenario of loadtest/README.md.
func TestTheFilesOfTheReadmeAreRead(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readPage(t, "loadtest/README.md"), -1)
	if len(blocks) != 2 {
		t.Fatalf("loadtest/README.md has %d blocks of YAML, want thresholds and a scenario", len(blocks))
	}
	path := filepath.Join(t.TempDir(), "file.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(blocks[0][1])
	if bounds, err := measure.LoadThresholds(path); err != nil || len(bounds) != 3 {
		t.Errorf("%d thresholds, %v", len(bounds), err)
	}
	write(blocks[1][1])
	if s, err := model.Load(path); err != nil || s.People != 2e6 || len(s.Faults) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func readPage(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
