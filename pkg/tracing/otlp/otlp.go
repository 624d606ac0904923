package otlp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/tracing"
)

const (
	// batchSpans is what one export carries at most, the SDK's default.
	batchSpans = 512
	// batchWait is how long a span waits for company.
	batchWait = time.Second
	// logEvery is how often a collector that takes nothing is told of.
	logEvery = time.Minute
)

// Exporter sends spans to a collector. Make it with New and end it with Close.
type Exporter struct {
	cfg      Config
	provider *sdktrace.TracerProvider
	cut      context.CancelFunc // ends the exports under way
	close    func() error
}

// New begins to export. It does not wait for the collector, which may come later.
func New(ctx context.Context, cfg Config, d Deps) (*Exporter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	cfg = cfg.WithDefaults()
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(cfg.Endpoint), otlptracegrpc.WithTimeout(cfg.Timeout),
		// Tries within the timeout: a collector that restarts loses nothing, and none is waited for longer.
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: cfg.Timeout,
		}),
	}
	if cfg.Insecure {
		opts = append(opts, otlptracegrpc.WithInsecure())
	} else {
		t, err := tlsConfig(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("trace: ca: %w", err)
		}
		opts = append(opts, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(t)))
	}
	client, err := otlptrace.New(ctx, otlptracegrpc.NewClient(opts...))
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	// Not the detectors' resource: a host's name, user and command line are nobody's business on the other side.
	about := resource.NewSchemaless(attribute.String("service.name", "surgegate"), attribute.String("service.version", cfg.Version),
		attribute.String("service.instance.id", uuid.NewString()))
	exports, cut := context.WithCancel(context.WithoutCancel(ctx))
	b := &bounded{most: int64(cfg.QueueSpans), dropped: d.Dropped}
	e := &exporter{next: client, exports: exports, bound: b, keys: keys(), clock: d.Clock, log: d.Logger}
	b.SpanProcessor = sdktrace.NewBatchSpanProcessor(e, sdktrace.WithMaxQueueSize(cfg.QueueSpans),
		sdktrace.WithMaxExportBatchSize(batchSpans), sdktrace.WithBatchTimeout(batchWait), sdktrace.WithExportTimeout(cfg.Timeout))
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit = tracing.MaxLinks
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(linked{sdktrace.TraceIDRatioBased(*cfg.Ratio)})),
		sdktrace.WithSpanProcessor(b), sdktrace.WithResource(about), sdktrace.WithRawSpanLimits(limits))
	x := &Exporter{cfg: cfg, provider: provider, cut: cut}
	x.close = sync.OnceValue(func() error {
		defer cut()
		return provider.Shutdown(context.WithoutCancel(ctx)) // bounded by cut, which Close sees to; so it is waited for whole
	})
	return x, nil
}

// Provider makes the tracers.
func (x *Exporter) Provider() trace.TracerProvider { return x.provider }

// Close sends what is on its way, until ctx ends or FlushTime is over, and stops everything. Later calls do nothing.
func (x *Exporter) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.FlushTime)
	defer cancel()
	defer context.AfterFunc(ctx, x.cut)()
	return x.close()
}

func tlsConfig(caFile string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return t, nil
}

// linked keeps a root span that is linked to a kept one, and asks the other sampler of the rest.
type linked struct{ sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler.
func (l linked) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	for _, link := range p.Links {
		if link.SpanContext.IsSampled() {
			return sdktrace.AlwaysSample().ShouldSample(p)
		}
	}
	return l.Sampler.ShouldSample(p)
}

// Description implements sdktrace.Sampler.
func (l linked) Description() string { return "Linked{" + l.Sampler.Description() + "}" }

func keys() map[attribute.Key]bool {
	all := make(map[attribute.Key]bool)
	for _, k := range tracing.Keys() {
		all[k] = true
	}
	return all
}
