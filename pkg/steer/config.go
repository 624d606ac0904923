package steer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
)

// Config of a Book. A zero value works.
type Config struct {
	// Duration is how long an override stands if nobody says. Default 1 h: an incident's length.
	Duration time.Duration
	// Shortest and Longest bound it. Defaults 1 min and 7 days.
	Shortest, Longest time.Duration
	// LookEvery is how often ends are looked for. Default 1 s.
	LookEvery time.Duration
}

// WithDefaults returns the config with its zero fields filled in.
func (c Config) WithDefaults() Config {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Duration, time.Hour}, {&c.Shortest, time.Minute}, {&c.Longest, 7 * 24 * time.Hour}, {&c.LookEvery, time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return c
}

// Validate names the field that is wrong. Call it on a config WithDefaults.
func (c Config) Validate() error {
	switch {
	case c.Shortest < 0:
		return fmt.Errorf("config.Shortest: %v is negative", c.Shortest)
	case c.Longest < c.Shortest:
		return fmt.Errorf("config.Longest: %v is under Shortest, %v", c.Longest, c.Shortest)
	case c.Duration < c.Shortest || c.Duration > c.Longest:
		return fmt.Errorf("config.Duration: %v is not within %v and %v", c.Duration, c.Shortest, c.Longest)
	case c.LookEvery < 0:
		return fmt.Errorf("config.LookEvery: %v is negative", c.LookEvery)
	}
	return nil
}

// Records is where overrides and audit entries are kept; every queue engine is one.
type Records interface {
	PutAll(ctx context.Context, writes []queue.RecordWrite) error
	List(ctx context.Context, kind queue.RecordKind, after string, limit int) ([]queue.Record, error)
	ListBack(ctx context.Context, kind queue.RecordKind, before string, limit int) ([]queue.Record, error)
}

// Deps are what a Book works with.
type Deps struct {
	Records    Records
	Knobs      []Knob
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Clock defaults to the machine's.
	Clock clock.Clock
}

func (d Deps) validate() error {
	switch {
	case d.Records == nil:
		return errors.New("deps.Records is missing")
	case d.Logger == nil:
		return errors.New("deps.Logger is missing")
	case d.Registerer == nil:
		return errors.New("deps.Registerer is missing")
	}
	seen := map[string]bool{}
	for _, k := range d.Knobs {
		if seen[k.Target] {
			return fmt.Errorf("deps.Knobs: two for %s", k.Target)
		}
		seen[k.Target] = true
	}
	return nil
}

// Kind is what an override turns, for the metric.
type Kind string

// The kinds.
const (
	KindLane     Kind = "lane"
	KindPace     Kind = "pace"
	KindBreaker  Kind = "breaker"
	KindBrownout Kind = "brownout"
	KindLimit    Kind = "limit"
)

func kinds() []Kind { return []Kind{KindLane, KindPace, KindBreaker, KindBrownout, KindLimit} }

// actions is the closed set of the action label: what Entry.What says of things that were done.
func actions() []string {
	return []string{ActionPauseLane, ActionLaneWeight, ActionPace, ActionBreaker, ActionBrownout, ActionLimit,
		ActionLift, ActionExpired, ActionReload, ActionRequeue, ActionGiveUp}
}

type metrics struct {
	overrides map[Kind]prometheus.Gauge
	actions   map[string]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{overrides: map[Kind]prometheus.Gauge{}, actions: map[string]prometheus.Counter{}}
	overrides := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_overrides", Help: "Operators' overrides in force, by what they turn.",
	}, []string{"kind"})
	done := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_operator_actions_total", Help: "Things that operators did, and ends of overrides, as audited.",
	}, []string{"action"})
	for _, k := range kinds() {
		m.overrides[k] = overrides.WithLabelValues(string(k))
	}
	for _, a := range actions() {
		m.actions[a] = done.WithLabelValues(a)
	}
	return m, errors.Join(r.Register(overrides), r.Register(done))
}
