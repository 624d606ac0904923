package otlp

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
)

// Config of the export. Zero fields mean the defaults named here.
type Config struct {
	// Endpoint is the collector's host:port. It must be set.
	Endpoint string
	// Insecure connects without TLS.
	Insecure bool
	// CAFile is a PEM file of the collector's authorities. Default: the system's.
	CAFile string
	// Ratio of the traces that begin here are kept, 0 to 1; nil: 0.01.
	Ratio *float64
	// QueueSpans bounds the spans on their way. Default 4096: seven seconds of 20 k calls a second at the default ratio and
	// three spans a call.
	QueueSpans int
	// Timeout of one export, tries included. Default 10 s, the OTLP specification's.
	Timeout time.Duration
	// FlushTime bounds Close. Default 3 s: a process that ends must not wait for a collector that is dead.
	FlushTime time.Duration
	// Version of the program, for the resource.
	Version string
}

// DefaultRatio keeps a hundredth: at 20 k calls a second 200 traces, which a collector on one core takes.
const DefaultRatio = .01

// WithDefaults returns the config with its zero fields filled in.
func (c Config) WithDefaults() Config {
	if c.Ratio == nil {
		ratio := DefaultRatio
		c.Ratio = &ratio
	}
	if c.QueueSpans == 0 {
		c.QueueSpans = 4096
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.FlushTime == 0 {
		c.FlushTime = 3 * time.Second
	}
	return c
}

// Validate names the first field that cannot be used. Zero fields are right, but for Endpoint.
func (c Config) Validate() error {
	c = c.WithDefaults()
	if _, port, err := net.SplitHostPort(c.Endpoint); err != nil || port == "" {
		return fmt.Errorf("endpoint: %q is not host:port", c.Endpoint)
	}
	switch {
	case c.Insecure && c.CAFile != "":
		return fmt.Errorf("insecure: turns TLS off, but ca is set")
	case !(*c.Ratio >= 0 && *c.Ratio <= 1):
		return fmt.Errorf("sample: %v is not between 0 and 1", *c.Ratio)
	case c.QueueSpans < batchSpans:
		return fmt.Errorf("queue_spans: %d is under a batch, %d", c.QueueSpans, batchSpans)
	case c.Timeout < 0:
		return fmt.Errorf("timeout: %v is negative", c.Timeout)
	case c.FlushTime < 0:
		return fmt.Errorf("flush_time: %v is negative", c.FlushTime)
	}
	return nil
}

// Deps of an Exporter; Clock and Logger may be left out.
type Deps struct {
	Dropped prometheus.Counter // NewDropped's
	Clock   clock.Clock        // default: the machine's
	Logger  *slog.Logger       // default: none
}

// NewDropped registers the count of lost spans, which is there, at 0, when tracing is off as well.
func NewDropped(r prometheus.Registerer) (prometheus.Counter, error) {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "surgegate_trace_dropped_total", Help: "Spans that were lost because too many were on their way or the collector did not take them.",
	})
	return c, r.Register(c)
}
