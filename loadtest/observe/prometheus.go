package observe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/clock"
)

const (
	readyTimeout = 30 * time.Second
	// tries to start: where there is much traffic a port that was free may be a connection's a moment later.
	tries = 3
)

// PrometheusConfig says what a Prometheus scrapes. All fields but Rules are required.
type PrometheusConfig struct {
	Program  string // Prometheus's
	Dir      string // for its configuration and data
	Job      string
	Target   string   // host:port whose /metrics is scraped
	Rules    []string // files
	Scrape   time.Duration
	Evaluate time.Duration // of groups without an interval of their own
}

// Validate names the field that is missing.
func (c PrometheusConfig) Validate() error {
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"Program", c.Program == ""}, {"Dir", c.Dir == ""}, {"Job", c.Job == ""}, {"Target", c.Target == ""},
		{"Scrape", c.Scrape <= 0}, {"Evaluate", c.Evaluate <= 0},
	} {
		if field.missing {
			return fmt.Errorf("observe: %s is missing", field.name)
		}
	}
	return nil
}

// Prometheus is a real Prometheus process on a free loopback port that scrapes one gateway.
type Prometheus struct {
	scrape  time.Duration
	process *testbed.Process
	api     promv1.API
	http    *http.Client
	base    string
	clock   clock.Clock
}

// StartPrometheus starts the program with a fresh folder and waits until it answers.
func StartPrometheus(ctx context.Context, cfg PrometheusConfig, c clock.Clock) (*Prometheus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	text := fmt.Sprintf(`global: {scrape_interval: %[1]v, scrape_timeout: %[1]v, evaluation_interval: %[2]v}
scrape_configs:
  - job_name: %[3]s
    scrape_native_histograms: true
    always_scrape_classic_histograms: true
    static_configs: [{targets: [%[4]q]}]
rule_files:
`, cfg.Scrape, cfg.Evaluate, cfg.Job, cfg.Target)
	for _, path := range cfg.Rules {
		text += fmt.Sprintf("  - %q\n", path)
	}
	path := filepath.Join(cfg.Dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	for try := 1; ; try++ {
		p, err := launch(ctx, cfg, path, c)
		if err == nil || try == tries || !errors.Is(err, syscall.EADDRINUSE) {
			return p, err
		}
	}
}

// launch starts the process once, at an address that was free a moment ago.
func launch(ctx context.Context, cfg PrometheusConfig, path string, c clock.Clock) (*Prometheus, error) {
	address, err := testbed.FreeAddress()
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	running, err := testbed.Start(ctx, c, address, cfg.Program, "--config.file="+path,
		"--storage.tsdb.path="+filepath.Join(cfg.Dir, "data"), "--web.listen-address="+address, "--log.level=warn")
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	p := &Prometheus{
		scrape: cfg.Scrape, process: running, http: &http.Client{Transport: &http.Transport{}}, base: "http://" + address, clock: c,
	}
	client, err := api.NewClient(api.Config{Address: p.base, Client: p.http})
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("observe: %w", err)
	}
	p.api = promv1.NewAPI(client)
	if err := p.ready(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// ready waits until a query is answered: it listens before its storage is open.
func (p *Prometheus) ready(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		_, err := p.At(timed, "vector(1)", p.clock.Now())
		said := p.process.Output()
		switch {
		case strings.Contains(said, syscall.EADDRINUSE.Error()): // somebody else answers there
			return fmt.Errorf("observe: %w: %s", syscall.EADDRINUSE, said)
		case err == nil:
			return nil
		}
		if p.clock.Sleep(timed, 50*time.Millisecond) != nil {
			return fmt.Errorf("observe: Prometheus is not ready: %w: %s", err, said)
		}
	}
}

// Close ends it. Its data are not wanted any more, so nothing is flushed.
func (p *Prometheus) Close() {
	p.http.CloseIdleConnections()
	p.process.Kill()
}

// At returns a query's answer at one moment.
func (p *Prometheus) At(ctx context.Context, expr string, at time.Time) (model.Vector, error) {
	value, _, _, err := p.api.Query(ctx, expr, at)
	if err != nil {
		return nil, fmt.Errorf("observe: %s: %w", expr, err)
	}
	switch v := value.(type) {
	case model.Vector:
		return v, nil
	case *model.Scalar:
		return model.Vector{{Metric: model.Metric{}, Value: v.Value, Timestamp: v.Timestamp}}, nil
	default:
		return nil, fmt.Errorf("observe: %s: a %s is no vector", expr, value.Type())
	}
}

// ErrNothing is a query that found no series where there must be one.
var ErrNothing = errors.New("observe: no data")

// Number returns the sum of a query's answer at one moment.
func (p *Prometheus) Number(ctx context.Context, expr string, at time.Time) (float64, error) {
	vector, err := p.At(ctx, expr, at)
	if err != nil {
		return 0, err
	}
	if len(vector) == 0 {
		return 0, fmt.Errorf("%w: %s", ErrNothing, expr)
	}
	sum := 0.0
	for _, s := range vector {
		sum += float64(s.Value)
	}
	return sum, nil
}

// Between returns a query's answer over a time, a point a scrape, and what Prometheus thinks of the query.
func (p *Prometheus) Between(ctx context.Context, expr string, from, to time.Time) (matrix model.Matrix, remarks []string, err error) {
	value, warnings, infos, err := p.api.QueryRange(ctx, expr, promv1.Range{Start: from, End: to, Step: p.scrape})
	if err != nil {
		return nil, nil, fmt.Errorf("observe: %s: %w", expr, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, nil, fmt.Errorf("observe: %s: a %s is no matrix", expr, value.Type())
	}
	return matrix, append(warnings, infos...), nil
}

// Extremes returns the lowest and the highest value of a query over a time, of all its series.
func (p *Prometheus) Extremes(ctx context.Context, expr string, from, to time.Time) (lowest, highest float64, err error) {
	matrix, _, err := p.Between(ctx, expr, from, to)
	if err != nil {
		return 0, 0, err
	}
	seen := false
	for _, series := range matrix {
		for _, point := range series.Values {
			v := float64(point.Value)
			if !seen {
				lowest, highest, seen = v, v, true
			}
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	if !seen {
		return 0, 0, fmt.Errorf("%w: %s", ErrNothing, expr)
	}
	return lowest, highest, nil
}
