package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/starvation"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Queue is what operators need of the queue; every engine is one.
type Queue interface {
	queue.Operator
	Records
	Stats(ctx context.Context) (queue.Stats, error)
}

// Work is the work side as operators see and change it; *dispatch.Dispatch is one. Each part is beside the targets that use it.
type Work interface {
	LaneWork
	DownstreamWork
	MailWork
}

// Gate is the request side as operators see it; *gate.Gate is one.
type Gate interface {
	Inspect(ctx context.Context, ticketID string) (gate.Inspection, error)
	Refusals() map[reset.Kind]uint64
}

// Disk is the disk that the queue lies on, in bytes.
type Disk struct{ Available, Reserve uint64 }

// Deps are what a Service works with. All but Reload and Clock are required.
type Deps struct {
	Queue     Queue
	Gate      Gate
	Work      Work
	Admission *admission.Admission
	Level     *Level
	// MaxStartWait and MaxSealedWait are how long a start, and a sealed password, may wait.
	MaxStartWait, MaxSealedWait time.Duration
	Disk                        func() Disk
	Process                     func() starvation.Status
	// Reload reads the configuration again. Its error is a *reset.Error if the configuration is at fault. If it is nil, Reload
	// is refused.
	Reload     func(ctx context.Context, by Caller, dryRun bool) ([]*operatorv1.ConfigChange, error)
	IsDraining func() bool
	Version    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Clock is the machine's if nil.
	Clock clock.Clock
}

func (d Deps) validate() error {
	for name, isMissing := range map[string]bool{
		"Queue": d.Queue == nil, "Gate": d.Gate == nil, "Work": d.Work == nil, "Admission": d.Admission == nil, "Level": d.Level == nil,
		"Disk": d.Disk == nil, "Process": d.Process == nil, "IsDraining": d.IsDraining == nil,
		"Logger": d.Logger == nil, "Registerer": d.Registerer == nil,
	} {
		if isMissing {
			return fmt.Errorf("operator: Deps.%s is missing", name)
		}
	}
	return nil
}

// Service is the operators' service. Make it with New, call Load once, then Run. It is safe for concurrent use.
type Service struct {
	operatorv1.UnimplementedOperatorServer
	d         Deps
	overrides *Overrides
	limits    *limits
	rates     *rates
	stats     *statsReader
	start     time.Time
	diagnosis diagnostician
}

// New returns a service with no override in force. It starts nothing.
func New(d Deps) (*Service, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	limits := newLimits(d.Admission, d.Work)
	targets := slices.Concat(laneTargets(d), downstreamTargets(d.Work), []Target{brownoutTarget(d.Level)}, limitTargets(limits))
	overrides, err := NewOverrides(OverridesDeps{Records: d.Queue, Targets: targets, Logger: d.Logger, Registerer: d.Registerer,
		Clock: d.Clock})
	if err != nil {
		return nil, err
	}
	m, err := newDiagnosisMetrics(d.Registerer)
	if err != nil {
		return nil, err
	}
	return &Service{
		d: d, overrides: overrides, limits: limits, rates: &rates{}, stats: newStatsReader(d.Queue), start: d.Clock.Now(),
		diagnosis: diagnostician{diagnoser: diagnosis.New(), metrics: m},
	}, nil
}

// Load puts into force what was overridden when the last process ended. See Overrides.Load.
func (s *Service) Load(ctx context.Context) error { return s.overrides.Load(ctx) }

// Reconfigure changes the configuration under the overrides. See Overrides.Reconfigure.
func (s *Service) Reconfigure(ctx context.Context, e Entry, do func() error) error {
	return s.overrides.Reconfigure(ctx, e, do)
}

// SetRules takes over the rules of another configuration of admission. Rules that are overridden stay in force. Call it in the do
// of Reconfigure.
func (s *Service) SetRules(c admission.Config) error { return s.limits.configure(c, s.overrides.IsSet) }

// sampleEvery is how often the counters are read.
const sampleEvery = time.Second

// Run ends overrides, takes the samples that rates are made of, evaluates the diagnosis, and reads the queue's counters for
// whoever asks, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { s.stats.run(ctx) })
	running.Go(func() { s.overrides.Run(ctx) })
	defer running.Wait()
	for {
		if stats, err := s.stats.read(ctx); err == nil {
			now := s.d.Clock.Now()
			s.rates.add(takeSample(now, stats, s.d))
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

// queueError turns an error of the queue into one that the API knows.
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

// timestamp returns nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(max(0, d)) }
