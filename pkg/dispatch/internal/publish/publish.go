package publish

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/meter"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Lane is what is published of.
type Lane struct {
	Name   reset.Lane
	Meter  *meter.Meter
	Outage func() time.Time // since when it stands still; zero while it does not
}

// Deps is what a Publisher needs; all of it.
type Deps struct {
	Queue interface {
		Stats(ctx context.Context) (queue.Stats, error)
		Get(ctx context.Context, kind queue.RecordKind, key string) (queue.Record, error)
		Put(ctx context.Context, w queue.RecordWrite) error
	}
	Waits  *meter.Waits // told what start tickets are computed from
	Clock  clock.Clock
	Logger *slog.Logger
}

// Publisher publishes. Make it with New.
type Publisher struct {
	lanes []Lane
	deps  Deps
}

// New returns a publisher of lanes.
func New(lanes []Lane, deps Deps) *Publisher { return &Publisher{lanes: lanes, deps: deps} }

// Resume gives the lanes' meters what an earlier process had published.
func (p *Publisher) Resume(ctx context.Context) {
	for _, l := range p.lanes {
		var was reset.Pace
		r, err := p.deps.Queue.Get(ctx, queue.RecordPace, l.Name.String())
		if err == nil && was.Unmarshal(r.Value) == nil {
			l.Meter.Resume(was.Rate, was.Service)
		}
	}
}

// publishEvery is how often the lanes' paces are written while they change.
const publishEvery = time.Second

// Run publishes until ctx ends or the queue is closed.
func (p *Publisher) Run(ctx context.Context) error {
	last := make(map[reset.Lane]reset.Pace, len(p.lanes))
	for {
		stats, err := p.deps.Queue.Stats(ctx)
		if errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
			return nil // the gateway stops
		}
		if err != nil {
			p.deps.Logger.Error("cannot read the queue's numbers", "err", err)
		} else {
			p.once(ctx, stats, last)
		}
		if p.deps.Clock.Sleep(ctx, publishEvery) != nil {
			return nil // the gateway stops
		}
	}
}

func (p *Publisher) once(ctx context.Context, stats queue.Stats, last map[reset.Lane]reset.Pace) {
	now := p.deps.Clock.Now()
	var lookup, mail time.Duration
	var outSince []time.Time
	for _, l := range p.lanes {
		held := stats.Lanes[l.Name]
		can := decide.Published(l.Name, held, l.Outage(), l.Meter, now)
		asks := false
		switch l.Name {
		case reset.LaneStart:
			lookup, asks = can.Service, true
		case reset.LaneMail:
			mail, asks = can.Service, true
			if n := held.Crowd(); n > 0 {
				mail += time.Duration(float64(n) / can.Rate * float64(time.Second))
			}
		default:
		}
		if !can.OutageSince.IsZero() && asks {
			outSince = append(outSince, can.OutageSince)
		}
		before := last[l.Name]
		before.PublishTime = now
		if before == can {
			continue
		}
		err := p.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordPace, Key: l.Name.String(), Value: can.Marshal(), Version: queue.AnyVersion,
		})
		if err != nil {
			if ctx.Err() == nil {
				p.deps.Logger.Error("cannot publish a pace", "lane", l.Name.String(), "err", err)
			}
			continue
		}
		last[l.Name] = can
	}
	p.deps.Waits.Set(lookup, mail, outSince)
}
