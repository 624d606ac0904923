package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/tracing"
	"github.com/surgegate/surgegate/pkg/tracing/otlp"
	"github.com/surgegate/surgegate/pkg/version"
)

// newLogger returns the log and a variable that changes its level.
func newLogger(w io.Writer, c config.Log) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(logLevel(c))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), level
	}
	return slog.New(slog.NewTextHandler(w, o)), level
}

func logLevel(c config.Log) (level slog.Level) {
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// goCollector collects the metrics of memory and garbage collection that matter under load. The default set has 25 more series.
func goCollector() prometheus.Collector {
	return collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled(), collectors.WithGoCollectorRuntimeMetrics(
		collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(
			`^(/memory/classes/heap/objects:bytes|/memory/classes/total:bytes|/gc/heap/(goal|allocs):bytes|/cpu/classes/gc/total:cpu-seconds)$`)}))
}

// buildInfo is a metric with the version, so that a dashboard can mark a change of it.
func buildInfo() prometheus.Collector {
	b := version.Current()
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "surgegate_build_info", Help: "1, with the version and the commit of surgegate and the Go that built it.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "goversion": b.Go},
	})
	g.Set(1)
	return g
}

// banner prints the addresses and a command to try.
func (a *App) banner() {
	addrs := a.Addrs()
	store, mailer := "grpc "+grpcAddress(a.cfg), "smtp"
	if s := a.cfg.Store.SQLite; s != nil {
		store = "sqlite " + s.Path
	} else if a.cfg.Store.Postgres != nil {
		store = "postgres " + a.cfg.PostgresStore().Where()
	}
	if m := a.cfg.Mail.Maildir; m != nil {
		mailer = "maildir " + m.Path
	} else if s := a.cfg.Mail.SMTP; s != nil {
		mailer = "smtp " + s.Address
	}
	plaintext := "-plaintext "
	if a.cfg.TLS.Cert != "" {
		plaintext = ""
	}
	identifier := "somebody@example.com"
	if s := a.cfg.Store.SQLite; s != nil && s.Sample {
		identifier = "ada@example.com"
	}
	fmt.Fprintf(a.out, `surgegate is ready
  public API    %s
  operator API  %s
  metrics       http://%s/metrics  (/healthz, /readyz)
  store         %s
  mail          %s
  queue         %s
  keys          %s
try:
  grpcurl %s-d '{"identifier": "%s", "client": {"ip": "192.0.2.1"}}' %s surgegate.reset.v1.PasswordReset/StartReset
`, addrs.GRPC, addrs.Operator, addrs.HTTP, store, mailer, a.cfg.Engine().Dir, a.cfg.KeysDir, plaintext, identifier, addrs.GRPC)
	if m := a.cfg.Mail.Maildir; m != nil {
		fmt.Fprintf(a.out, "  the mail with the link lands in %s/new\n", m.Path)
	}
}

func grpcAddress(c config.Config) string {
	if c.Store.GRPC == nil {
		return ""
	}
	return c.Store.GRPC.Address
}

// pprofServer serves profiles on its own address. The configuration allows only loopback.
type pprofServer struct {
	server *http.Server
	done   sync.WaitGroup
}

func startPprof(address string) (*pprofServer, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen.pprof: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	p := &pprofServer{server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	p.done.Go(func() { _ = p.server.Serve(l) }) // its end is asked for by close
	return p, nil
}

func (p *pprofServer) close() error {
	err := p.server.Close()
	p.done.Wait()
	return err
}

// openTraces begins to export spans. Without trace.endpoint there is no tracer.
func (a *App) openTraces(ctx context.Context) error {
	dropped, err := otlp.NewDropped(a.registry)
	if err != nil || a.cfg.Trace.Endpoint == "" {
		return err
	}
	if a.cfg.Trace.Insecure && !config.Loopback(a.cfg.Trace.Endpoint) {
		a.log.Warn("trace.insecure: spans go to the collector over an open line", "endpoint", a.cfg.Trace.Endpoint)
	}
	cfg := a.cfg.Traces()
	cfg.Version = version.Current().Version
	if a.traces, err = otlp.New(ctx, cfg, otlp.Deps{Dropped: dropped, Clock: a.clock, Logger: a.log}); err != nil {
		return err
	}
	a.onClose(func() error {
		a.flushTraces(context.Background())
		return nil
	})
	a.tracer = tracing.New(a.traces.Provider())
	a.log = slog.New(tracing.NewLogHandler(a.log.Handler()))
	return nil
}

// traceCalls returns what gives public calls their spans; nil without a collector.
func (a *App) traceCalls() edge.TraceCalls {
	if a.traces == nil {
		return nil
	}
	return a.traces.Handler
}

// flushTraces sends the spans that are left, until ctx ends. Those that it cannot send are counted and logged, which is not an error.
func (a *App) flushTraces(ctx context.Context) {
	if a.traces != nil {
		_ = a.traces.Close(ctx)
	}
}
