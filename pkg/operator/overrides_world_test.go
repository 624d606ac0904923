package operator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

// wall is a clock whose time of day can be set, while its timers go on as they do.
type wall struct {
	*clock.Manual
	mu     sync.Mutex
	offset time.Duration
}

func (w *wall) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Manual.Now().Add(w.offset)
}

func (w *wall) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// dial is something that can be overridden: a number.
type dial struct {
	target     string
	mu         sync.Mutex
	configured float64
	now        float64
	unit       string // as configured; part of the words
	applyErr   error
	revertErr  error
}

func (d *dial) inForce() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *dial) fail(apply, revert error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applyErr, d.revertErr = apply, revert
}

func (d *dial) set(v float64, err error) error {
	if err == nil {
		d.now = v
	}
	return err
}

func (d *dial) asTarget() operator.Target {
	return operator.Target{
		Name: d.target, Kind: "lane", Action: "set_lane_weight",
		Check: func(s operator.Setting, bad *reset.Violations) {
			if s.Weight <= 0 {
				bad.Add("weight", "must be over 0")
			}
		},
		Describe: func(s operator.Setting) string {
			d.mu.Lock()
			defer d.mu.Unlock()
			return fmt.Sprint(s.Weight) + d.unit
		},
		InForce:    func() string { return fmt.Sprint(d.inForce()) },
		Configured: func() string { d.mu.Lock(); defer d.mu.Unlock(); return fmt.Sprint(d.configured) },
		Notes:      func(operator.Setting) []string { return []string{"look out"} },
		Apply: func(s operator.Setting) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.set(s.Weight, d.applyErr)
		},
		Revert: func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.set(d.configured, d.revertErr)
		},
	}
}

// disk is a real queue whose records can be refused.
type disk struct {
	*embedded.Engine
	mu      sync.Mutex
	err     error
	leaving func() // called in the middle of the next write
}

// leave has the caller go away while the next write is under way.
func (d *disk) leave(cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = cancel
}

func (d *disk) refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *disk) PutAll(ctx context.Context, writes []queue.RecordWrite) error {
	d.mu.Lock()
	err, leaving := d.err, d.leaving
	d.leaving = nil
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if leaving == nil {
		return d.Engine.PutAll(ctx, writes)
	}
	// As an engine does that has taken a write and is left waiting for the disk.
	leaving()
	return errors.Join(d.Engine.PutAll(context.WithoutCancel(ctx), writes), ctx.Err())
}

// overridesWorld is Overrides over a real queue; it can be ended as by a kill and begun again.
type overridesWorld struct {
	t         *testing.T
	dir       string
	clock     *wall
	disk      *disk
	overrides *operator.Overrides
	reg       *prometheus.Registry
	log       *bytes.Buffer // read once the book has ended
	a, b      *dial
	stop      func()
}

func newOverridesWorld(t *testing.T) *overridesWorld {
	t.Helper()
	w := &overridesWorld{t: t, dir: t.TempDir(), clock: &wall{Manual: clock.NewManual(begin())}, log: &bytes.Buffer{}}
	w.open()
	t.Cleanup(func() { w.stop() })
	return w
}

// open starts anew: dials are as configured.
func (w *overridesWorld) open() {
	w.t.Helper()
	w.a, w.b = &dial{target: "lane/a/weight", configured: 1, now: 1}, &dial{target: "lane/b/weight", configured: 2, now: 2}
	w.reg = prometheus.NewRegistry()
	// The queue has a clock of its own: here it is the book's that counts.
	e, err := embedded.Open(embedded.Config{Dir: w.dir}, embedded.Deps{Fatal: func(err error) { w.t.Errorf("fatal: %v", err) }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.disk = &disk{Engine: e}
	w.overrides, err = operator.NewOverrides(operator.OverridesDeps{
		Records: w.disk, Targets: []operator.Target{w.a.asTarget(), w.b.asTarget()}, Clock: w.clock, Registerer: w.reg,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.overrides.Load(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.overrides.Run(ctx) })
	w.stop = func() {
		cancel()
		running.Wait()
		if err := e.Close(); err != nil && !errors.Is(err, queue.ErrClosed) {
			w.t.Error(err)
		}
	}
	w.clock.BlockUntil(1)
}

func (w *overridesWorld) restart() {
	w.t.Helper()
	w.stop()
	w.open()
}

// pass lets time go by, look after look.
func (w *overridesWorld) pass(d time.Duration) {
	w.t.Helper()
	for range d / time.Second {
		w.clock.BlockUntil(1)
		w.clock.Advance(time.Second)
	}
	w.clock.BlockUntil(1)
}

func ada() operator.Caller { return operator.Caller{Who: "ada", From: "192.0.2.1:5"} }

func (w *overridesWorld) set(target string, value float64, d time.Duration) operator.Change {
	w.t.Helper()
	c, err := w.overrides.Set(w.t.Context(), operator.Request{Setting: laneWeight(target, value), Duration: d, Reason: "why",
		By: ada()})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// trail is the whole audit trail, oldest first, as "who what targets before after".
func (w *overridesWorld) trail() (lines []string) {
	w.t.Helper()
	before := ""
	for {
		entries, next, err := w.overrides.Trail(w.t.Context(), before, 2)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			lines = append([]string{fmt.Sprintf("%s %s %v %s -> %s", e.Who, e.What, e.Targets, e.Before, e.After)}, lines...)
		}
		if before = next; next == "" {
			return lines
		}
	}
}

func (w *overridesWorld) wantTrail(want ...string) {
	w.t.Helper()
	got := w.trail()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("trail\n%q, want\n%q", got, want)
	}
}

// metric reads a series of the registry.
func (w *overridesWorld) metric(name, label string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return value(m)
			}
		}
	}
	w.t.Fatalf("no %s %s", name, label)
	return 0
}

func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }

func laneWeight(target string, weight float64) operator.Setting {
	return operator.Setting{Target: target, LaneSetting: operator.LaneSetting{Weight: weight}}
}
