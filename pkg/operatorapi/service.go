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
	Limits         steer.Limits
	LimitedClients func() []LimitedClient
	// Reload reads the configuration again. Its error is a *reset.Error where the configuration is at fault.
	Reload   func(ctx context.Context, by steer.Operator, dryRun bool) ([]ConfigChange, error)
	Draining func() bool
	Version  string
	// Clock defaults to the machine's.
	Clock clock.Clock
}

// Service is the operators' service. Make it with New, and Run it for its rates. It is safe for concurrent use.
type Service struct {
	operatorv1.UnimplementedOperatorServer
	d     Deps
	rates *rates
	stats *statsReader
	start time.Time
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
	orFunc(&d.LimitedClients, func() []LimitedClient { return nil })
	orFunc(&d.Draining, func() bool { return false })
	return &Service{d: d, rates: newRates(d.Gatherer), stats: newStatsReader(d.Queue), start: d.Clock.Now()}, nil
}

func orFunc[T any](f *func() T, def func() T) {
	if *f == nil {
		*f = def
	}
}

// sampleEvery is how often rates are looked at.
const sampleEvery = time.Second

// Run takes the samples that rates are made of, and reads the queue's counters for who asks, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var reading sync.WaitGroup
	reading.Go(func() { s.stats.run(ctx) })
	defer reading.Wait()
	for {
		if stats, err := s.stats.read(ctx); err == nil {
			s.rates.look(s.d.Clock.Now(), stats)
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
