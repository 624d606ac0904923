package app_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Beside busy loops on its only processor, and with a low priority, the real program finds itself starved, raises its level for
// that and says so everywhere; when they end it is as it was.
func TestAStarvedGatewaySaysSoAndDefersExtras(t *testing.T) {
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
	status := func(want func(*operatorv1.GetStatusResponse) error) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := g.status(ctx)
			if err != nil {
				return err
			}
			return want(s)
		}
	}
	var loops []*exec.Cmd
	for range 3 {
		loop := exec.Command(pin[0], append(pin[1:], "sh", "-c", "ulimit -t 60; while :; do :; done")...) //nolint:gosec // as written here
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		loops = append(loops, loop)
	}
	end := func() {
		for _, l := range loops {
			_ = l.Process.Kill()
			_ = l.Wait()
		}
		loops = nil
	}
	t.Cleanup(end)
	g.await("starvation raises the level", status(func(s *operatorv1.GetStatusResponse) error {
		p := s.GetProcess()
		if !p.GetCpuStarved() || p.GetCpuStarvedSince() == nil || p.GetCpuLimit() > 1 || s.GetBrownoutLevel() == 0 ||
			!strings.Contains(s.GetBrownoutCause(), "surgegate itself is short of processor time") {
			return fmt.Errorf("level %d (%s), %v", s.GetBrownoutLevel(), s.GetBrownoutCause(), p)
		}
		return nil
	}))
	end()
	g.await("it ends", status(func(s *operatorv1.GetStatusResponse) error {
		if p := s.GetProcess(); p.GetCpuStarved() || p.GetCpuStarvedSince() != nil || s.GetBrownoutLevel() > 0 {
			return fmt.Errorf("level %d (%s), %v", s.GetBrownoutLevel(), s.GetBrownoutCause(), p)
		}
		return nil
	}))
	for _, line := range []string{"surgegate itself is short of processor time", "surgegate has enough processor time again"} {
		if !strings.Contains(g.output(), line) {
			t.Errorf("%q is not in the log", line)
		}
	}
}
