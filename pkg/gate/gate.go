package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// Config bounds what is accepted. Zero fields mean the defaults.
type Config struct {
	// MaxStartWait is how long a start may wait in line by the high end of its ETA. Default 12 h.
	MaxStartWait time.Duration
	// MaxSealedWait is how long a sealed password may wait until its completion expires. Completions are accepted
	// while their ETA is below half of it. Default 24 h.
	MaxSealedWait time.Duration
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.MaxStartWait == 0 {
		c.MaxStartWait = 12 * time.Hour
	}
	if c.MaxSealedWait == 0 {
		c.MaxSealedWait = 24 * time.Hour
	}
	return c
}

// Validate checks the config with its defaults. The error names the first field that cannot work.
func (c Config) Validate() error {
	c = c.WithDefaults()
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"max_start_wait", c.MaxStartWait}, {"max_sealed_wait", c.MaxSealedWait}} {
		if f.value < time.Minute {
			return fmt.Errorf("gate: %s: at least 1 m, not %v", f.name, f.value)
		}
	}
	return nil
}

// Queue is what the gate needs of the queue: the producer side and two reads of its records.
type Queue interface {
	queue.Producer
	Get(ctx context.Context, kind queue.RecordKind, key string) (queue.Record, error)
	Mark(ctx context.Context, account reset.Key) (uint64, error)
}

// Admission lets requests in or refuses them.
type Admission interface {
	Admit(now time.Time, r admission.Request) (admission.Permit, error)
	Level() (level int, cause string)
}

// Verifier verifies reset tokens.
type Verifier interface {
	Verify(tok string, at time.Time) (token.Claims, error)
}

// Sealer seals payloads to the workers.
type Sealer interface {
	Seal(ctx context.Context, to seal.Audience, b seal.Binding, plaintext []byte) ([]byte, error)
}

// Tickets turns places in line into ticket ids and back.
type Tickets interface {
	Seal(ref reset.Ref) string
	Open(id string) (reset.Ref, error)
}

// Index makes the keyed hashes that the queue is keyed by.
type Index interface {
	Identifier(identifier string) reset.Key
	Account(accountID string) reset.Key
	Request(token, requestID string) reset.Key
}

// Policy judges passwords and returns them in NFC.
type Policy interface {
	Check(password string, maxBytes int) (string, error)
}

// Deps is what a Gate is wired to. All but Tracer, Decisions, Clock and Logger must be set.
type Deps struct {
	Queue      Queue
	Admission  Admission
	Tokens     Verifier
	Sealer     Sealer
	Tickets    Tickets
	Index      Index
	Policy     Policy
	Registerer prometheus.Registerer
	Tracer     *tracing.Tracer // nil: no traces
	Decisions  *decision.Log   // where refusals are logged; nil: nowhere
	Clock      clock.Clock     // default: the machine's
	Logger     *slog.Logger    // default: none
}

// Gate is the request side. It is safe for concurrent use.
type Gate struct {
	cfg     Config
	d       Deps
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics
	// decisions are the log lines of the refusals that are logged; a kind that is not in it is not logged.
	decisions map[reset.Kind]*decision.Line

	view atomic.Pointer[View]
	// startsSinceView and completionsSinceView count what was accepted since the view was read, so that the time bounds hold between two
	// reads as well.
	startsSinceView, completionsSinceView atomic.Int64

	draining atomic.Bool
	closing  chan struct{}
	stop     sync.Once
	running  sync.WaitGroup
	cancel   context.CancelFunc
}

// New wires a Gate. Call Start before the first request.
func New(cfg Config, d Deps) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if d.Queue == nil || d.Admission == nil || d.Tokens == nil || d.Sealer == nil || d.Tickets == nil || d.Index == nil ||
		d.Policy == nil || d.Registerer == nil {
		return nil, errors.New("gate: Deps: all but Tracer, Decisions, Clock and Logger must be set")
	}
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(d.Registerer)
	if err != nil {
		return nil, fmt.Errorf("gate: metrics: %w", err)
	}
	g := &Gate{cfg: cfg.WithDefaults(), d: d, clock: d.Clock, log: d.Logger, metrics: m, closing: make(chan struct{}), decisions: decisionLines(d.Decisions)}
	g.view.Store(&View{})
	return g, nil
}

// Start reads the view once, and then again and again until Close. ctx bounds the first read only.
func (g *Gate) Start(ctx context.Context) error {
	if err := g.refresh(ctx); err != nil {
		return fmt.Errorf("gate: first look at the queue: %w", err)
	}
	ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.running.Go(func() { g.keepFresh(ctx) })
	return nil
}

// Drain makes the gate refuse new work, with a time to come back. Tickets and tokens can still be read.
func (g *Gate) Drain() { g.draining.Store(true) }

// Close drains, ends waits and watches, and stops what Start started. Tickets and tokens can be read until the queue is closed.
func (g *Gate) Close() error {
	g.Drain()
	g.stop.Do(func() {
		close(g.closing)
		if g.cancel != nil {
			g.cancel()
		}
	})
	g.running.Wait()
	return nil
}
