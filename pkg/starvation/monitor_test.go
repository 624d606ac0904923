package starvation_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/starvation"
)

// asMonitor is the environment variable that makes this test binary a Monitor that says when it is starved.
const asMonitor = "SURGEGATE_TEST_MONITOR"

func TestMain(m *testing.M) {
	if os.Getenv(asMonitor) != "" {
		tellStarvation()
		return
	}
	goleak.VerifyTestMain(m)
}

// tellStarvation runs a Monitor and says when it is starved, until the parent closes the input.
func tellStarvation() {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		stop()
	}()
	var once sync.Once
	m, err := starvation.New(starvation.Deps{Tell: func(bool) { once.Do(func() { fmt.Println("starved") }) }})
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Run(ctx)
}

// firstProcessor is the number of one that this process may use.
func firstProcessor(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Cpus_allowed_list:\s*(\d+)`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no processor in %s", status)
	}
	return string(found[1])
}

// A process with a low priority beside busy loops on its only processor starves, though it does next to nothing itself and its
// goroutines are ready only once the kernel lets them be.
func TestMonitor_KnowsThatOthersTakeTheProcessor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	processor := firstProcessor(t)
	pinned := func(program ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, "taskset", append([]string{"-c", processor}, program...)...)
		c.Stderr = os.Stderr
		return c
	}
	meter := pinned("nice", "-n", "19", os.Args[0])
	meter.Env = append(os.Environ(), asMonitor+"=1")
	input, err := meter.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := meter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := meter.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for range 2 {
		loop := pinned("sh", "-c", "ulimit -t 60; while :; do :; done") // it ends by itself if this test is killed
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		}()
	}
	if !lines.Scan() || lines.Text() != "starved" {
		t.Fatalf("%q (%v)", lines.Text(), errors.Join(lines.Err(), ctx.Err()))
	}
	_ = input.Close()
	if err := meter.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMonitor_MetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	if _, err := starvation.New(starvation.Deps{Registerer: r}); err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	want := ""
	for _, m := range []struct{ name, kind, help string }{
		{"surgegate_cpu_starved", "gauge", "1 while surgegate itself waits too long for processor time to trust what it measures of others, else 0."},
		{"surgegate_cpu_throttled_seconds_total", "counter",
			"Seconds for which a cgroup's quota held threads back since the start, summed over processors; 0 without a quota."},
		{"surgegate_scheduling_delay_seconds", "gauge", "Seconds that whatever is ready waits for a processor: 90th percentile, smoothed over 5 s."},
	} {
		want += fmt.Sprintf("# HELP %[1]s %[3]s\n# TYPE %[1]s %[2]s\n%[1]s 0\n", m.name, m.kind, m.help)
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if _, err := starvation.New(starvation.Deps{Registerer: r}); err == nil {
		t.Error("a second one was registered under the same names")
	}
}

// In a bubble 2 s pass at once; the time used is the machine's.
func TestMonitor_LooksAtTheUsageEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := starvation.New(starvation.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if s := m.Status(); s.Starved || s.Limit <= 0 || s.Used != 0 {
			t.Errorf("before it runs: %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		m.Run(ctx)
		if s := m.Status(); s.Used <= 0 || s.Throttled < 0 || s.Throttled > 1 {
			t.Errorf("%+v", s)
		}
	})
}
