package honest

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/pkg/clock"
)

func TestWavesAreMerged(t *testing.T) {
	t.Parallel()
	l := newLoad(
		wave{length: time.Second, rate: 10}, wave{from: time.Second / 2, length: time.Second, rate: 20, who: crowd.Attacker},
	)
	count, numbers := map[crowd.Who]int{}, map[uint64]bool{}
	last := time.Duration(0)
	for {
		a, err := l.Next()
		if err != nil {
			break
		}
		if a.At < last || a.Who == crowd.Attacker && a.At < time.Second/2 {
			t.Errorf("%+v after %v", a, last)
		}
		last = a.At
		count[a.Who]++
		numbers[a.Number] = true
	}
	if count[crowd.Human] != 10 || count[crowd.Attacker] != 20 || len(numbers) != 30 {
		t.Errorf("%v with %d numbers", count, len(numbers))
	}
}

func TestCountsAgreeWithinTwoInAHundred(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prometheus, known float64
		agrees            bool
	}{
		{0, 0, true}, {1000, 1000, true}, {985, 1000, true}, {1000, 985, true},
		{979, 1000, false}, {1000, 979, false}, {0, 1, false}, {1, 0, false},
	} {
		if got := (Count{Prometheus: c.prometheus, Known: c.known}).Agrees(); got != c.agrees {
			t.Errorf("%v and %v agree: %v", c.prometheus, c.known, got)
		}
	}
}

func TestWhenAnAlertTellsOfAFault(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	points := func(seconds ...int64) (list []model.SamplePair) {
		for _, s := range seconds {
			list = append(list, model.SamplePair{Timestamp: model.TimeFromUnix(s), Value: 1})
		}
		return list
	}
	for name, c := range map[string]struct {
		points []model.SamplePair
		after  time.Duration
		known  bool
	}{
		"never":                   {nil, Never, false},
		"after it":                {points(1025, 1030), 25 * time.Second, false},
		"before it, and over":     {points(900, 905), Never, false},
		"before it, and again":    {points(900, 1015), 15 * time.Second, false},
		"since before it":         {points(990, 995, 1000, 1005), Never, true},
		"before it, just in time": {points(995, 1010), Never, true},
	} {
		if after, known := crossing(c.points, begin, 10*time.Second); after != c.after || known != c.known {
			t.Errorf("%s: %v, %v", name, after, known)
		}
	}
}

func TestFiguresJudge(t *testing.T) {
	t.Parallel()
	rows := Figures([]Observed{
		{Scenario: "in-time", Alert: "A", Crossed: time.Minute, Fired: 2 * time.Minute, Named: 3 * time.Minute},
		{Scenario: "unseen", Alert: "A", Crossed: Never, Fired: Never, Named: Never},
		{Scenario: "none", Others: []Alert{{Name: "SurgegateBrownoutHigh"}}},
		{Scenario: "none", Others: []Alert{{Name: "SurgegateDown"}}},
		{Scenario: "no-root", Alert: "A", Skipped: "a mount takes root"},
	})
	var verdicts []string
	for _, r := range rows {
		verdict := "ok"
		if !r.OK {
			verdict = "missed"
		}
		verdicts = append(verdicts, verdict)
	}
	if got := strings.Join(verdicts, " "); got != "ok ok missed missed ok missed ok missed ok" {
		t.Errorf("%s of %+v", got, rows)
	}
	known := Figures([]Observed{{Scenario: "known", Alert: "A", Crossed: 1, Fired: 1, Named: 1, Before: []string{bySurgectl}}})
	if last := known[2]; last.Goal != "–" || !strings.Contains(last.Name, "no evidence") {
		t.Errorf("what surgectl said before the fault, too, is judged: %+v", last)
	}
	if !strings.Contains(rows[8].Name, "a mount takes root") {
		t.Errorf("what was left out says %q", rows[8].Name)
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	good := Config{Programs: Programs{"surgegate", "surgectl", "prometheus"}, Dashboards: "d", Dir: "d"}
	for name, change := range map[string]func(*Config){
		"Programs.Surgegate":  func(c *Config) { c.Programs.Surgegate = "" },
		"Programs.Surgectl":   func(c *Config) { c.Programs.Surgectl = "" },
		"Programs.Prometheus": func(c *Config) { c.Programs.Prometheus = "" }, "Dashboards": func(c *Config) { c.Dashboards = "" },
		"Dir": func(c *Config) { c.Dir = "" },
	} {
		cfg := good
		change(&cfg)
		if _, err := Storm(t.Context(), cfg, clock.System{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
