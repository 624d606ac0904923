package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// refreshEvery is how often the view is read again. The work side publishes once a second.
const refreshEvery = 500 * time.Millisecond

// View is what the gate knows of lanes, paces and store, and what it decides by. The gate never changes one. A nil map is the same as an
// empty one. A simulator makes its own with NewView.
type View struct {
	stats    queue.Stats
	pace     map[reset.Lane]reset.Pace
	describe *credstore.Description
}

// NewView returns a view of these counts and paces. It keeps the maps, so it shows what is changed in them later.
func NewView(stats queue.Stats, pace map[reset.Lane]reset.Pace) *View {
	return &View{stats: stats, pace: pace}
}

// refresh reads a new view from the queue.
func (g *Gate) refresh(ctx context.Context) error {
	// The counters are read before the queue. What is accepted in between is counted twice, which makes ETAs longer, not shorter.
	starts, completions := g.startsSinceView.Load(), g.completionsSinceView.Load()
	stats, err := g.d.Queue.Stats(ctx)
	if err != nil {
		return err
	}
	v := &View{stats: stats, pace: make(map[reset.Lane]reset.Pace)}
	for _, lane := range []reset.Lane{reset.LaneStart, reset.LaneMail, reset.LaneHash, reset.LaneApply} {
		record, err := g.d.Queue.Get(ctx, queue.RecordPace, lane.String())
		if errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var p reset.Pace
		if err := p.Unmarshal(record.Value); err != nil {
			return fmt.Errorf("pace of lane %s: %w", lane, err)
		}
		v.pace[lane] = p
	}
	if v.describe, err = g.readDescription(ctx); err != nil {
		return err
	}
	g.view.Store(v)
	g.startsSinceView.Add(-starts)
	g.completionsSinceView.Add(-completions)
	return nil
}

// description returns the store's last Describe answer, nil if there is none yet. If the view has none, the record is read, so that
// completions are accepted as soon as it is there.
func (g *Gate) description(ctx context.Context, v *View) (*credstore.Description, error) {
	if v.describe != nil {
		return v.describe, nil
	}
	return g.readDescription(ctx)
}

// readDescription reads the store's last Describe answer from the queue; nil if there is none yet.
func (g *Gate) readDescription(ctx context.Context) (*credstore.Description, error) {
	record, err := g.d.Queue.Get(ctx, queue.RecordDescribe, queue.DescribeKey)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := new(credstore.Description)
	if err := json.Unmarshal(record.Value, d); err != nil {
		return nil, fmt.Errorf("the store's description: %w", err)
	}
	return d, nil
}

// keepFresh reads the view again and again until ctx ends.
func (g *Gate) keepFresh(ctx context.Context) {
	failing := false
	for g.clock.Sleep(ctx, refreshEvery) == nil {
		err := g.refresh(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !failing:
			g.log.Warn("the queue cannot be read: ETAs and bounds use the last view", "error", err)
			failing = true
		case err == nil && failing:
			g.log.Info("the queue can be read again")
			failing = false
		}
	}
}
