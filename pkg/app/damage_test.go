package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TestStartOnDamagedQueue damages each kind of file: the program must end with an error that says what to do, and
// never hang. (Pebble finds a damaged table in the background, while its Open waits for the flush that read it.)
func TestStartOnDamagedQueue(t *testing.T) {
	t.Parallel()
	g := newGateway(t, fmt.Sprintf("{sqlite: {path: %s}}", filepath.Join(t.TempDir(), "store.db")), generous)
	g.start()
	if code := g.terminate(); code != 0 { // leaves a table
		t.Fatalf("exit code %d\n%s", code, g.output())
	}
	g.start()
	for i := range 100 {
		r := &resetv1.StartResetRequest{Identifier: fmt.Sprintf("p%d@example.com", i), Client: &resetv1.Client{Ip: "192.0.2.1"}}
		if _, err := g.reset().StartReset(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if out := startAndFail(t, g.configFile()); !strings.Contains(out, "another process holds it") {
		t.Errorf("a second process: %s, want who holds the folder", out)
	}
	g.kill() // leaves a log to be replayed
	queueDir, whole := filepath.Join(g.dir, "data", "queue"), filepath.Join(g.dir, "whole")
	if err := os.Rename(queueDir, whole); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what, files string
		damage      func(path string) error
	}{
		{"table overwritten", "*.sst", overwriteMiddle},
		{"table lost", "*.sst", os.Remove},
		{"log overwritten", "*.log", overwriteMiddle},
		{"manifest lost", "MANIFEST-*", os.Remove},
	} {
		if err := errors.Join(os.RemoveAll(queueDir), os.CopyFS(queueDir, os.DirFS(whole))); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(queueDir, tt.files))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", tt.what, found, err)
		}
		for _, path := range found {
			if err := tt.damage(path); err != nil {
				t.Fatal(err)
			}
		}
		if out := startAndFail(t, g.configFile()); !strings.Contains(out, "damaged or incomplete") || strings.Contains(out, "stack trace") {
			t.Errorf("%s: %s, want what to do", tt.what, out)
		}
	}
}

// startAndFail runs a child, by the program if one is named, that is to end by itself with code 1, and returns what it says.
func startAndFail(t *testing.T, config string, program ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	program = append(program, os.Args[0])
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Env = append(os.Environ(), "SURGEGATE_TEST_SERVE="+config)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, want exit code 1", err)
	}
	return string(out)
}

func overwriteMiddle(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := len(b) / 4; i < len(b)/2; i += 64 {
		b[i] ^= 0xff
	}
	return os.WriteFile(path, b, 0o600)
}
