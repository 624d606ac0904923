package admission_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	clk := clock.NewManual(epoch)
	deps := admission.Deps{Registerer: registry, Clock: clk}
	a := newAdmission(t, admission.Config{Global: rule(1, time.Hour, 10), Client: rule(1, time.Hour, 1)}, deps)
	if _, err := admission.New(admission.Config{}, deps); err == nil {
		t.Error("metrics registered twice")
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 7+6+2+2+2+1+2+1+5*7+7+6 {
		t.Errorf("%d series from the start, %v", n, err)
	}
	for range 3 {
		_, _ = a.Admit(epoch, admission.Request{IP: aliceIP, ClientID: "web"})
	}
	for range 2 {
		p, err := a.Admit(epoch, admission.Request{Op: admission.OpComplete, IP: bobIP})
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Charge(epoch)
	}
	a.SetLevel(3, admission.Cause{Words: "a test"})
	_, _ = a.Admit(epoch, admission.Request{})
	want := `
# HELP surgegate_admission_charges_total Refused tokens and passwords, by whether the client's buckets could pay.
# TYPE surgegate_admission_charges_total counter
surgegate_admission_charges_total{result="refused"} 1
surgegate_admission_charges_total{result="spent"} 1
# HELP surgegate_admission_decisions_total Calls admitted, limited by a bucket or shed by the brownout level, and why. Reads are not counted.
# TYPE surgegate_admission_decisions_total counter
surgegate_admission_decisions_total{decision="admitted",reason="none"} 3
surgegate_admission_decisions_total{decision="limited",reason="limit_client_id"} 0
surgegate_admission_decisions_total{decision="limited",reason="limit_client_ip"} 2
surgegate_admission_decisions_total{decision="limited",reason="limit_global"} 0
surgegate_admission_decisions_total{decision="shed",reason="shed_level_2"} 0
surgegate_admission_decisions_total{decision="shed",reason="shed_level_3"} 1
surgegate_admission_decisions_total{decision="shed",reason="shed_level_4"} 0
# HELP surgegate_admission_keys Client buckets kept; one that has refilled is dropped.
# TYPE surgegate_admission_keys gauge
surgegate_admission_keys{kind="id"} 1
surgegate_admission_keys{kind="ip"} 2
# HELP surgegate_admission_tokens Tokens left in the global bucket.
# TYPE surgegate_admission_tokens gauge
surgegate_admission_tokens 7
# HELP surgegate_brownout_level Brownout level: 0 normal, 1 defer extras, 2 shed bulk, 3 completions only, 4 closed.
# TYPE surgegate_brownout_level gauge
surgegate_brownout_level 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "surgegate_admission_charges_total",
		"surgegate_admission_decisions_total", "surgegate_admission_keys", "surgegate_admission_tokens", "surgegate_brownout_level",
	); err != nil {
		t.Error(err)
	}
}

func TestLevelChangesAreLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := newAdmission(t, admission.Config{}, admission.Deps{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	a.SetLevel(2, admission.Cause{Words: "the queue is full"})
	a.SetLevel(2, admission.Cause{Words: "the queue is fuller"})
	a.SetLevel(0, admission.Cause{})
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("%d lines for 2 changes: %s", got, log.String())
	}
	if _, cause := a.Level(); cause != "" {
		t.Errorf("cause %q", cause)
	}
}

// Each change is counted with the level that was entered and the signal behind it; that to 0 with the one that eased.
func TestLevelChangesAreCountedBySignal(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	a := newAdmission(t, admission.Config{}, admission.Deps{Registerer: registry})
	if n, err := testutil.GatherAndCount(registry, "surgegate_brownout_changes_total", "surgegate_brownout_signal"); err != nil || n != 5*7+7 {
		t.Errorf("%d series from the start, %v", n, err)
	}
	ladder := admission.NewLadder(admission.LadderConfig{})
	signal := func() (on string) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				switch {
				case f.GetName() == "surgegate_brownout_signal" && m.GetGauge().GetValue() == 1:
					on += m.GetLabel()[0].GetValue() + ";"
				case f.GetName() == "surgegate_brownout_changes_total" && m.GetCounter().GetValue() > 0:
					on += fmt.Sprintf("%s %s %v;", m.GetLabel()[0].GetValue(), m.GetLabel()[1].GetValue(), m.GetCounter().GetValue())
				}
			}
		}
		return on
	}
	for i, step := range []struct {
		at      time.Duration
		signals admission.Signals
		want    string
	}{
		{0, admission.Signals{}, "none;"},
		{0, admission.Signals{OldestInteractiveWait: time.Minute}, "1 wait 1;wait;"},
		{0, admission.Signals{QueueFill: .8, DiskFill: .1}, "1 wait 1;2 queue 1;queue;"},
		{time.Second, admission.Signals{}, "1 wait 1;2 queue 1;queue;"},
		{11 * time.Second, admission.Signals{}, "1 queue 1;1 wait 1;2 queue 1;queue;"},
		{21 * time.Second, admission.Signals{}, "0 queue 1;1 queue 1;1 wait 1;2 queue 1;none;"},
	} {
		a.SetLevel(ladder.Step(epoch.Add(step.at), step.signals))
		if got := signal(); got != step.want {
			t.Errorf("step %d: %q, not %q", i, got, step.want)
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Each signal is shown as a share of its bound, whatever it is measured in, so that one look tells which is nearest.
func TestSignalsAreShownAsSharesOfTheirBounds(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	a := newAdmission(t, admission.Config{}, admission.Deps{Registerer: registry})
	show := func(of [6]float64) {
		t.Helper()
		want := fmt.Sprintf(`
# HELP surgegate_brownout_signal_ratio Each signal of the brownout ladder as a share of its bound, as last looked at: 1 is at the bound.
# TYPE surgegate_brownout_signal_ratio gauge
surgegate_brownout_signal_ratio{signal="cpu"} %v
surgegate_brownout_signal_ratio{signal="disk"} %v
surgegate_brownout_signal_ratio{signal="heap"} %v
surgegate_brownout_signal_ratio{signal="queue"} %v
surgegate_brownout_signal_ratio{signal="wait"} %v
surgegate_brownout_signal_ratio{signal="wait_share"} %v
`, of[0], of[1], of[2], of[3], of[4], of[5])
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "surgegate_brownout_signal_ratio"); err != nil {
			t.Error(err)
		}
	}
	show([6]float64{})
	ladder := admission.NewLadder(admission.LadderConfig{Wait: 10 * time.Second})
	a.ShowShares(ladder.Shares(admission.Signals{
		OldestInteractiveWait: 5 * time.Second, WaitShare: .1, QueueFill: .2, DiskFill: .3, HeapFill: .4, CPUDelay: 3 * time.Millisecond,
	}))
	show([6]float64{.6, .3, .4, .2, .5, .1})
}
