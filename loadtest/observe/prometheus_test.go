package observe_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/observe"
	"github.com/surgegate/surgegate/pkg/clock"
)

func program(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "build", "bin", "prometheus"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs Prometheus: make build/bin/prometheus")
	}
	return path
}

// start starts a Prometheus that scrapes a counter of scrapes, from 0, and returns when it has seen four of them. The last
// may lie between two steps of a range.
func start(t *testing.T) (p *observe.Prometheus, begin time.Time) {
	t.Helper()
	var scrapes atomic.Int64
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE scrapes_total counter\nscrapes_total{kind=\"a\"} %d\n# TYPE zero gauge\nzero 0\n", scrapes.Add(1)-1)
	}))
	t.Cleanup(exporter.Close)
	begin = clock.System{}.Now()
	p, err := observe.StartPrometheus(t.Context(), observe.PrometheusConfig{
		Program: program(t), Dir: t.TempDir(), Job: "test", Target: strings.TrimPrefix(exporter.URL, "http://"),
		Scrape: time.Second, Evaluate: time.Second,
	}, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for seen := 0.0; seen < 4; {
		seen, err = p.Number(t.Context(), "scrapes_total or vector(0)", clock.System{}.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := (clock.System{}).Sleep(t.Context(), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	return p, begin
}

func TestWhatAReaderWouldStumbleOver(t *testing.T) {
	t.Parallel()
	p, begin := start(t)
	end := clock.System{}.Now()
	const broken = "rate(scrapes_total[4s"
	for expr, c := range map[string]struct {
		alert, empty bool
		blank        bool   // not empty, but nothing to be seen
		fault        string // part of it; empty: none
	}{
		"sum by (kind) (rate(scrapes_total[4s]))": {},
		"scrape_total":   {empty: true},
		"zero / zero":    {blank: true},
		"1 / zero":       {blank: true, fault: "infinite"},
		"rate(zero[4s])": {fault: "not be a counter"},
		broken:           {fault: "unclosed"},
		"zero > 1":       {alert: true, empty: true},
		"zero > 1 and sum(scrape_total) by (a) > 1": {alert: true, empty: true, fault: `{__name__="scrape_total"}`},
		`increase(scrapes_total{kind="b"}[5m]) > 0`: {alert: true, empty: true, fault: `kind="b"`},
		`absent(nothing) < 1`:                       {alert: true, empty: true, fault: "nothing"},
	} {
		t.Run(expr, func(t *testing.T) {
			t.Parallel()
			a, err := p.Ask(t.Context(), observe.Query{Expr: expr, Alert: c.alert}, begin, end)
			if err != nil {
				t.Fatal(err)
			}
			faults := strings.Join(a.Faults, "; ")
			if (c.fault == "") != (faults == "") || !strings.Contains(faults, c.fault) {
				t.Errorf("faults are %q, want %q", faults, c.fault)
			}
			if expr == broken {
				return // it was refused
			}
			if a.Empty != c.empty || (a.Finite == 0) != (c.empty || c.blank) {
				t.Errorf("%d series with %d points", a.Series, a.Finite)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	p, begin := start(t)
	lowest, highest, err := p.Extremes(t.Context(), "scrapes_total", begin, clock.System{}.Now())
	if err != nil || lowest != 0 || highest < 3 {
		t.Errorf("from %v to %v, %v", lowest, highest, err)
	}
	if _, err := p.Number(t.Context(), "nothing", begin); !errors.Is(err, observe.ErrNothing) {
		t.Errorf("a number of nothing: %v", err)
	}
	if _, _, err := p.Extremes(t.Context(), "nothing", begin, begin); !errors.Is(err, observe.ErrNothing) {
		t.Errorf("extremes of nothing: %v", err)
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	good := observe.PrometheusConfig{Program: "p", Dir: "d", Job: "j", Target: "t", Scrape: 1, Evaluate: 1}
	for name, change := range map[string]func(*observe.PrometheusConfig){
		"Program": func(c *observe.PrometheusConfig) { c.Program = "" }, "Dir": func(c *observe.PrometheusConfig) { c.Dir = "" },
		"Job": func(c *observe.PrometheusConfig) { c.Job = "" }, "Target": func(c *observe.PrometheusConfig) { c.Target = "" },
		"Scrape": func(c *observe.PrometheusConfig) { c.Scrape = 0 }, "Evaluate": func(c *observe.PrometheusConfig) { c.Evaluate = -1 },
	} {
		cfg := good
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
