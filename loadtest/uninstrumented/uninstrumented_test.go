package uninstrumented_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/loadtest/uninstrumented"
)

// The program counts, observes and sets, and shows that nothing came of it; built as usual it shows all of it.
func TestNothingIsCounted(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds programs")
	}
	dir := t.TempDir()
	plain, bare := filepath.Join(dir, "plain"), filepath.Join(dir, "bare")
	const program = "./testdata/counts"
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", plain, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := uninstrumented.Build(t.Context(), uninstrumented.Config{Package: program, Out: bare}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		plain: "counter 3\ngauge 7\nhistogram 2\nsummary 1\nhandled 1\nanswer hello\n",
		bare:  "counter 0\ngauge 0\nhistogram 0\nsummary 0\nhandled 0\nanswer hello\n",
	} {
		out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, %q, not %q", filepath.Base(path), err, out, want)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config uninstrumented.Config
		want   string
	}{
		{uninstrumented.Config{}, "package and out"},
		{uninstrumented.Config{Package: "./nothing", Out: filepath.Join(t.TempDir(), "x")}, "go build"},
	} {
		if err := uninstrumented.Build(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.config, err)
		}
		if _, err := os.Stat(c.config.Out); err == nil {
			t.Errorf("%s was built", c.config.Out)
		}
	}
}
