package promise

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Config of a Promise. A zero value works.
type Config struct {
	// Within is how soon an accepted reset is to be done. Default 5 min: about as long as a person waits before asking
	// again or calling the help desk.
	Within time.Duration
}

// WithDefaults returns the config with its zero fields set.
func (c Config) WithDefaults() Config {
	if c.Within == 0 {
		c.Within = 5 * time.Minute
	}
	return c
}

// Validate names the field that is wrong. Zero fields are right.
func (c Config) Validate() error {
	if within := c.WithDefaults().Within; within < time.Second || within > 24*time.Hour {
		return fmt.Errorf("within: %v is out of bounds: 1s to 24h", within)
	}
	return nil
}

// Deps of a Promise.
type Deps struct {
	Registerer prometheus.Registerer // nil: counted and not shown
}

// Promise counts. Make it with New; it is safe for concurrent use.
type Promise struct {
	within         time.Duration
	link, password outcomes
}

type outcomes struct{ kept, broken prometheus.Counter }

// New registers the series, at 0. Errors are those of Config.Validate and of the registerer.
func New(c Config, d Deps) (*Promise, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("promise: %w", err)
	}
	p := &Promise{within: c.WithDefaults().Within}
	seconds := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "surgegate_promise_seconds", Help: "Seconds within which an accepted reset is to be done, as configured (reset.promise).",
	})
	seconds.Set(p.within.Seconds())
	resets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_promise_resets_total",
		Help: "Accepted resets that ended (link: its mail was handed off; password: its ticket is final), by whether within the promise.",
	}, []string{"part", "outcome"})
	of := func(part string) outcomes {
		return outcomes{kept: resets.WithLabelValues(part, "kept"), broken: resets.WithLabelValues(part, "broken")}
	}
	p.link, p.password = of("link"), of("password")
	if d.Registerer == nil {
		return p, nil
	}
	for _, c := range []prometheus.Collector{seconds, resets} {
		if err := d.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("promise: register: %w", err)
		}
	}
	return p, nil
}

// Link counts the link mail of an ask that was accepted so long ago; whether it was handed off, or refused for good.
func (p *Promise) Link(age time.Duration, handedOff bool) { p.count(p.link, handedOff, age) }

// Ended counts the end of a job in the queue, if it ends a reset; unique jobs are not somebody's ask.
func (p *Promise) Ended(lane reset.Lane, unique bool, state reset.State, age time.Duration) {
	switch lane {
	case reset.LaneHash, reset.LaneApply:
		p.count(p.password, state == reset.StateDone || state == reset.StateRejected, age)
	case reset.LaneStart, reset.LaneMail:
		// Worked off they are DONE, and Link has counted what there was to count.
		if state != reset.StateDone && !unique {
			p.count(p.link, false, age)
		}
	default:
	}
}

func (p *Promise) count(o outcomes, answered bool, age time.Duration) {
	if answered && age <= p.within {
		o.kept.Inc()
		return
	}
	o.broken.Inc()
}
