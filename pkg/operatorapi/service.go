package operatorapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/steer"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Queue is what operators need of the queue; every engine is one.
type Queue interface {
	queue.Operator
	Stats(ctx context.Context) (queue.Stats, error)
}

// Downstream is one downstream's state.
type Downstream struct {
	Name                  string // store, mail, revoker, hash_pool
	Counts                dispatch.Counts
	Concurrency, InFlight int
	Rate                  float64 // items/s at most; 0: unlimited
	Breaker               string  // closed, half_open, open, none
	Forced                bool    // an override holds the breaker
	Ramp                  float64 // 0 to 1
	Mode                  string  // auto, bounded, fixed
	Batch                 int
	OutageSince           time.Time // zero while it works
	Failures              []Failure // of the last 5 minutes, most first
	Misconfiguration      string    // what must be changed before it can be used; empty while it can
}

// Failure is one class of a downstream's failures.
type Failure struct {
	Outcome, Code string
	Items         uint64
	Last          time.Time
	Meaning       string
}

// Lane is how a lane is steered.
type Lane struct {
	Lane   reset.Lane
	Paused bool
	Weight float64
}

// Level is the brownout level.
type Level struct {
	InForce int
	Cause   string
	Asked   int // by the signals
}

// Disk is the disk that the queue lies on.
type Disk struct{ Available, Reserve uint64 }

// Process is whether surgegate's own process gets the processor time that it needs.
type Process struct {
	StarvedSince      time.Time     // zero while it is not short of it
	Delay             time.Duration // for which whatever is ready waits for a processor
	Throttled         float64       // share of the time in which a cgroup's quota held it back
	CPULimit, CPUUsed float64       // processors
}

// LimitedClient is a client that was refused.
type LimitedClient struct {
	Kind    string // ip or id
	Client  string
	Refused uint64 // in the last minute, about
}

// ConfigChange is a key with another value.
type ConfigChange struct{ Key, Before, After string }

// Deps are what a Service works with. Funcs that are nil have nothing to tell.
type Deps struct {
	Queue Queue
	Book  *steer.Book
	// Gatherer has the counters that rates are made of.
	Gatherer prometheus.Gatherer

	// Inspect tells where a ticket stands, as the person sees it; nil: every ticket is unknown.
	Inspect        func(ctx context.Context, id string) (gate.Inspection, error)
	Level          func() Level
	Lanes          func() []Lane
	Downstreams    func() []Downstream
	Disk           func() Disk
	Process        func() Process
	Limits         steer.Limits
	LimitedClients func() []LimitedClient
	// Reload reads the configuration again. Its error is a *reset.Error where the configuration is at fault.
	Reload   func(ctx context.Context, by steer.Operator, dryRun bool) ([]ConfigChange, error)
	Draining func() bool
	Version  string
	// Registerer takes the metrics of the diagnosis; nil: nobody sees them.
	Registerer prometheus.Registerer
	// Clock defaults to the machine's.
	Clock clock.Clock
}

// Service is the operators' service. Make it with New, and Run it for its rates and its diagnosis. It is safe for concurrent use.
type Service struct {
	operatorv1.UnimplementedOperatorServer
	d     Deps
	rates *rates
	stats *statsReader
	start time.Time
	// diagnosis is what Run makes of the status once a second.
	diagnosis diagnostician
}

// New returns a service; nothing runs yet.
func New(d Deps) (*Service, error) {
	switch {
	case d.Queue == nil:
		return nil, errors.New("operatorapi: Queue is missing")
	case d.Book == nil:
		return nil, errors.New("operatorapi: Book is missing")
	case d.Gatherer == nil:
		return nil, errors.New("operatorapi: Gatherer is missing")
	}
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	orFunc(&d.Level, func() Level { return Level{} })
	orFunc(&d.Lanes, func() []Lane { return nil })
	orFunc(&d.Downstreams, func() []Downstream { return nil })
	orFunc(&d.Disk, func() Disk { return Disk{} })
	orFunc(&d.Process, func() Process { return Process{} })
	orFunc(&d.LimitedClients, func() []LimitedClient { return nil })
	orFunc(&d.Draining, func() bool { return false })
	m, err := newDiagnosisMetrics(d.Registerer)
	if err != nil {
		return nil, err
	}
	return &Service{
		d: d, rates: newRates(d.Gatherer), stats: newStatsReader(d.Queue), start: d.Clock.Now(),
		diagnosis: diagnostician{diagnoser: diagnosis.New(), metrics: m},
	}, nil
}

func orFunc[T any](f *func() T, def func() T) {
	if *f == nil {
		*f = def
	}
}

// sampleEvery is how often rates are looked at.
const sampleEvery = time.Second

// Run takes the samples that rates are made of, evaluates the diagnosis, and reads the queue's counters for who asks, until
// ctx ends.
func (s *Service) Run(ctx context.Context) {
	var reading sync.WaitGroup
	reading.Go(func() { s.stats.run(ctx) })
	defer reading.Wait()
	for {
		if stats, err := s.stats.read(ctx); err == nil {
			now := s.d.Clock.Now()
			s.rates.look(now, stats, s.d.Downstreams())
			s.diagnose(now, stats)
		}
		if s.d.Clock.Sleep(ctx, sampleEvery) != nil {
			return
		}
	}
}

const (
	maxPageSize     = 1000
	defaultPageSize = 100
)

func checkPageSize(size int32, bad *reset.Violations) int {
	switch {
	case size < 0 || size > maxPageSize:
		bad.Add("page_size", fmt.Sprintf("must be between 0 and %d; 0 means %d", maxPageSize, defaultPageSize))
		return 0
	case size == 0:
		return defaultPageSize
	default:
		return int(size)
	}
}

// queueError says whose fault it is that the queue, or its records, did not take something.
func queueError(err error) error {
	switch {
	case errors.Is(err, queue.ErrClosed):
		return &reset.Error{Kind: reset.KindDraining, Cause: err}
	case errors.Is(err, queue.ErrNotDurable), errors.Is(err, queue.ErrFull):
		return &reset.Error{Kind: reset.KindNotDurable, Cause: err}
	default:
		return err
	}
}

// timestamp leaves the zero time out.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(max(0, d)) }
