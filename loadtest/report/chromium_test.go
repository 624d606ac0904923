package report

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The page is opened in a real browser: the plots are drawn, and the script ran to its end.
func TestTheBrowserDrawsThePlots(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		browser, err = exec.LookPath("google-chrome")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs Chromium: apt-get install chromium")
		}
		t.Skip("needs Chromium: apt-get install chromium")
	}
	page, err := HTML(example())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if err := os.WriteFile(path, page, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for name, size := range map[string]string{"wide": "1200,900", "phone": "500,900"} {
		cmd := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(dir, name),
			"--window-size="+size, "--virtual-time-budget=2000", "--dump-dom", "file://"+path)
		cmd.WaitDelay = time.Second
		dom, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := strings.Count(string(dom), "<svg"); n != 6 {
			t.Errorf("%s: %d plots, want 6", name, n)
		}
		// One line for each arm in each plot, and the people who came in the first.
		if n := strings.Count(string(dom), "<path"); n != 13 {
			t.Errorf("%s: %d lines, want 13", name, n)
		}
	}
}
