package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

func TestMostAhead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		paced []pacedAt
		want  float64
	}{
		"never raised":             {[]pacedAt{{Limit: 8}, {Limit: 8}, {Limit: 4}}, 0},
		"raised while it was used": {[]pacedAt{{Limit: 4, InFlight: 4}, {Limit: 8, InFlight: 2}, {Limit: 8}}, 2},
		"raised while it was not":  {[]pacedAt{{Limit: 4}, {Limit: 8, InFlight: 1}, {Limit: 16, InFlight: 1}}, 16},
		"raised, and used then":    {[]pacedAt{{Limit: 4}, {Limit: 8}, {Limit: 9, InFlight: 9}}, 8},
	} {
		if got := mostAhead(c.paced); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestPacedOfMetrics(t *testing.T) {
	t.Parallel()
	const text = `# TYPE surgegate_downstream_concurrency_limit gauge
surgegate_downstream_concurrency_limit{downstream="mail"} 3
surgegate_downstream_concurrency_limit{downstream="store"} 12
# TYPE surgegate_downstream_in_flight gauge
surgegate_downstream_in_flight{downstream="store"} 7
`
	limit, inFlight, err := pacedOf(strings.NewReader(text))
	if limit != 12 || inFlight != 7 || err != nil {
		t.Errorf("%v, %v, %v", limit, inFlight, err)
	}
	if _, _, err := pacedOf(strings.NewReader(strings.Replace(text, `"store"} 7`, `"mail"} 7`, 1))); err == nil {
		t.Error("metrics without the store are no error")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	good, audit := busyOutcome{Arm: measure.Arm{Accepted: 2, Completed: 2}}, victim.Audit{Passwords: map[string]string{"a": "", "b": ""}}
	for name, c := range map[string]struct {
		change func(*busyOutcome, *victim.Audit, *busyConfig)
		want   string // empty: nothing is broken
	}{
		"all is well":                 {func(*busyOutcome, *victim.Audit, *busyConfig) {}, ""},
		"a crash":                     {func(o *busyOutcome, _ *victim.Audit, _ *busyConfig) { o.Arm.StoreCrashes = 1 }, "the store crashed 1 times"},
		"a crash in the first minute": {func(o *busyOutcome, _ *victim.Audit, c *busyConfig) { o.Arm.StoreCrashes, c.SharedCore = 1, true }, ""},
		"a crash after that":          {func(o *busyOutcome, _ *victim.Audit, c *busyConfig) { o.LateCrashes, c.SharedCore = 1, true }, "the store crashed"},
		"somebody was not served":     {func(o *busyOutcome, _ *victim.Audit, _ *busyConfig) { o.Arm.Completed = 1 }, "2 people were accepted"},
		"nobody was":                  {func(o *busyOutcome, _ *victim.Audit, _ *busyConfig) { o.Arm = measure.Arm{} }, "nobody"},
		"the store knows nothing":     {func(_ *busyOutcome, a *victim.Audit, _ *busyConfig) { a.Passwords = nil }, "the store has new passwords of 0"},
		"twice":                       {func(_ *busyOutcome, a *victim.Audit, _ *busyConfig) { a.AppliedTwice = 1 }, "twice"},
		"out of order":                {func(_ *busyOutcome, a *victim.Audit, _ *busyConfig) { a.OutOfOrder = 1 }, "order"},
		"the generator was late":      {func(o *busyOutcome, _ *victim.Audit, _ *busyConfig) { o.Arm.Invalid = "late" }, "says nothing"},
	} {
		o, a, cfg := good, audit, busyConfig{}
		c.change(&o, &a, &cfg)
		o.judge(cfg, a)
		if got := strings.Join(o.Broken, "; "); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A short storm beside busy loops, and one through a gateway that has to share its core. make rehearsals has the long ones.
func TestWhoIsAcceptedIsServedWithoutMuchProcessorTime(t *testing.T) {
	t.Parallel()
	bin, err := filepath.Abs(filepath.Join("..", "..", "build", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]busyConfig{"loops beside it": {Loops: 2}, "a shared core": {Loops: 1, SharedCore: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Surgegate, cfg.Storm = filepath.Join(bin, "surgegate"), filepath.Join(bin, "storm")
			cfg.Dir, cfg.People, cfg.Thin, cfg.Length = filepath.Join(t.TempDir(), "run"), 1_000_000, 1, 6*time.Second
			for _, path := range []string{cfg.Surgegate, cfg.Storm} {
				if _, err := os.Stat(path); err != nil {
					if os.Getenv("CI") == "true" {
						t.Fatal(err)
					}
					t.Skipf("needs %s: make build", path)
				}
			}
			o, err := rehearseBusy(t.Context(), cfg, clock.System{})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d people, %d accepted, %d served, limit at most %.1f times what was used", o.Arm.People, o.Arm.Accepted, o.Arm.Completed, o.MostAhead)
			if len(o.Broken) > 0 || !slices.ContainsFunc(o.Paced, func(p pacedAt) bool { return p.Limit > 0 }) {
				t.Errorf("%v, paced %v", o.Broken, o.Paced)
			}
		})
	}
}
