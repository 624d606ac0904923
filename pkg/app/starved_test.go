package app_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Beside busy loops on its only processor, and with a low priority, the real program finds itself starved, raises its level for
// that and says so in the log. It is too slow to be asked, and on a machine that others use nobody can say when that ends.
func TestAStarvedGatewayRaisesItsLevel(t *testing.T) {
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	processor := regexp.MustCompile(`Cpus_allowed_list:\s*(\d+)`).FindSubmatch(own)
	if processor == nil {
		t.Fatalf("no processor in %s", own)
	}
	pin := []string{"taskset", "-c", string(processor[1])}
	g := newGateway(t, `{sqlite: {path: "`+t.TempDir()+`/store.db", sample: true}}`, "brownout: {hold: 1s}\n")
	g.program = append(pin, "nice", "-n", "19", os.Args[0])
	g.start()
	for range 3 {
		loop := exec.Command(pin[0], append(pin[1:], "sh", "-c", "ulimit -t 60; while :; do :; done")...)
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		})
	}
	logs := func(words ...string) {
		t.Helper()
		g.await("the log has "+strings.Join(words, " … "), func(context.Context) error {
			for line := range strings.Lines(g.output()) {
				if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
					return nil
				}
			}
			return errors.New("not yet")
		})
	}
	logs("level=WARN", "surgegate itself is short of processor time", "processors=1 ")
	logs("brownout level changed", "from=0", "signal=cpu", "surgegate itself is short of processor time")
}
