package schedule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/surgegate/surgegate/pkg/clock"
)

// ItemsConfig says how RunItems runs. Zero fields mean the defaults.
type ItemsConfig struct {
	Start  time.Time     // time 0 of the schedule; required
	MaxLag time.Duration // bound of the lag's 99th percentile; default 50 ms
}

// ItemsDeps are what RunItems needs.
type ItemsDeps struct{ Clock clock.Clock }

// Item is one thing to start. Items are sorted by At.
type Item[T any] struct {
	At    time.Duration
	Value T
}

// ItemsReport is what RunItems did. Intended is Sent + Dropped: what is not started when the run ends is dropped. Lags are those of
// the starts behind their intended times.
type ItemsReport struct {
	Intended, Sent, Dropped int
	LagP50, LagP99, LagMax  time.Duration
	Bound                   time.Duration
}

// Valid returns an error if the 99th percentile of the lag is over the bound: then the generator shaped the load, not the system.
func (r ItemsReport) Valid() error {
	if r.LagP99 > r.Bound {
		return fmt.Errorf("the load generator was behind its schedule by %v at p99; its bound is %v", r.LagP99.Round(time.Millisecond), r.Bound)
	}
	return nil
}

// RunItems starts do for each item at its time (open loop: a slow server never delays the arrivals), each in a goroutine of its own, and returns when all have ended. When ctx ends,
// the rest is dropped; do must end then too.
func RunItems[T any](ctx context.Context, cfg ItemsConfig, deps ItemsDeps, items []Item[T], do func(ctx context.Context, v T, intended time.Time)) (ItemsReport, error) {
	if cfg.Start.IsZero() {
		return ItemsReport{}, errors.New("replay: Start is missing")
	}
	if cfg.MaxLag == 0 {
		cfg.MaxLag = 50 * time.Millisecond
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	lag := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	report := ItemsReport{Intended: len(items), Bound: cfg.MaxLag}
	var running sync.WaitGroup
	for _, item := range items {
		intended := cfg.Start.Add(item.At)
		if deps.Clock.Sleep(ctx, intended.Sub(deps.Clock.Now())) != nil {
			break
		}
		behind := deps.Clock.Now().Sub(intended)
		_ = lag.RecordValue(min(max(1, behind.Microseconds()), time.Minute.Microseconds())) // in range by construction
		report.Sent++
		running.Go(func() { do(ctx, item.Value, intended) })
	}
	running.Wait()
	report.Dropped = report.Intended - report.Sent
	micros := func(q float64) time.Duration { return time.Duration(lag.ValueAtQuantile(q)) * time.Microsecond }
	report.LagP50, report.LagP99, report.LagMax = micros(50), micros(99), time.Duration(lag.Max())*time.Microsecond
	return report, nil // a run that was cut short is told by Dropped
}
