package observe_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/loadtest/observe"
	"github.com/surgegate/surgegate/pkg/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// programs finds what `make build` has built.
func programs(t *testing.T) observe.Programs {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "..", "build", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	p := observe.Programs{
		Surgegate: filepath.Join(bin, "surgegate"), Surgectl: filepath.Join(bin, "surgectl"), Storm: filepath.Join(bin, "storm"),
		Prometheus: filepath.Join(bin, "prometheus"),
	}
	for _, path := range []string{p.Surgegate, p.Surgectl, p.Storm, p.Prometheus} {
		_, err := os.Stat(path)
		if err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs %s: make %s", path, filepath.Join("build", "bin", filepath.Base(path)))
	}
	return p
}

// mayBeBlank are queries, by a part of where they are, that nothing has to be seen of in a storm of a minute, and why.
func mayBeBlank() map[string]string {
	return map[string]string{
		"Time of a hash": "the victim takes passwords as they are, so nothing is hashed",
	}
}

// neverHere are alerts of what does not happen in this storm at all, in whatever phase.
func neverHere() []string {
	return []string{
		"SurgegateDown", "SurgegateNotAccepting", "SurgegateConservationBroken", "SurgegatePanic", "SurgegateParkedJobs", "SurgegateDiskFilling",
		"SurgegateOverrideStanding", "SurgegateReloadRefused", "SurgegateKeyMaintenanceFailing",
	}
}

func TestDashboardsTellTheTruth(t *testing.T) {
	t.Parallel()
	cfg := observe.Config{Programs: programs(t), Dashboards: filepath.Join("..", "..", "dashboards"), Dir: t.TempDir()}
	r, err := observe.Storm(t.Context(), cfg, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Phases {
		t.Logf("%-9s %v", p.Name, p.To.Sub(p.From))
	}
	for _, a := range r.Alerts {
		t.Log(a)
	}
	judge(t, r)
}

func judge(t *testing.T, r observe.Result) {
	t.Helper()
	for _, c := range r.Checks {
		t.Log(c)
		if !c.OK {
			t.Errorf("%v", c)
		}
	}
	if r.Arm.Completed == 0 || r.Arm.Lost > 0 {
		t.Errorf("%d completed, %d lost", r.Arm.Completed, r.Arm.Lost)
	}
	for _, c := range r.Counts {
		t.Log(c)
		if !c.Agrees() {
			t.Errorf("they do not agree: %v", c)
		}
	}
	blank, excused := mayBeBlank(), map[string]bool{}
	for _, a := range r.Asked {
		for _, fault := range a.Faults {
			t.Errorf("%s: %s\n%s", a.Where, fault, a.Expr)
		}
		if a.Finite > 0 || a.Alert || len(a.Faults) > 0 {
			continue
		}
		excuse := ""
		for part := range blank {
			if strings.Contains(a.Where, part) {
				excuse, excused[part] = part, true
			}
		}
		if excuse == "" {
			t.Errorf("%s: %d series and nothing to be seen\n%s", a.Where, a.Series, a.Expr)
		}
	}
	for part, why := range blank {
		if !excused[part] {
			t.Errorf("nothing named %q is blank any more (%s): take it off the list", part, why)
		}
	}
	for _, a := range r.Alerts {
		if a.Phase == observe.Calm || slices.Contains(neverHere(), a.Name) {
			t.Errorf("a false alarm: %v", a)
		}
	}
}

// The faults that need neither root nor a machine for themselves, for a few seconds each; make faults has them all.
func TestStatusNamesTheCause(t *testing.T) { // not parallel: it measures time, and the storm comes after it
	cfg := observe.DiagnoseConfig{
		Config: observe.Config{Programs: programs(t), Dashboards: filepath.Join("..", "..", "dashboards"), Dir: t.TempDir()},
		Only:   []string{"none", "store-dark", "store-unknown", "mail-refuse", "flood", "lane-paused"}, AtOnce: 6, Shared: true,
		Before: 6 * time.Second, Lasts: 32 * time.Second,
	}
	all, err := observe.Diagnose(t.Context(), cfg, clock.System{})
	if err != nil {
		t.Error(err)
	}
	t.Log(observe.Header())
	for _, o := range all {
		t.Log(o)
		if !o.OK() {
			t.Errorf("%s: surgectl status does not tell the truth", o.Fault)
		}
	}
}
