package observe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Observed is what could be seen of a fault. Times are since it began; Never: not while it was watched.
type Observed struct {
	Fault  string
	Busy   bool // beside busy loops
	judged      // what surgectl status said
	Pair   bool // there are several faults at once
	Named  time.Duration
	Before bool // surgectl status named it before the fault already: then it does not tell of it

	Alert   string        // that names it; empty for none, or if alerts were not watched
	Crossed time.Duration // until the alert's expression was true: it is pending, and the panels show it
	Fired   time.Duration
	Others  []Alert // that fired too

	Skipped string // why it was not watched
}

// Never is the time of what did not happen.
const Never = time.Duration(-1)

// Within is how long somebody may look for a cause.
const Within = 2 * time.Minute

// DiagnoseConfig says which faults Diagnose makes. Config is required.
type DiagnoseConfig struct {
	Config
	Only []string // of FaultNames; none: all
	// Busy lets four busy loops run beside everything. Default false.
	Busy bool
	// Shared tells that other work may run on the machine: a shortage of processor time is no wrong answer, as with Busy.
	Shared bool
	// Alerts watches the alerts, too, and leaves out faults that have none: each then takes 4.5 minutes. Default false.
	Alerts bool
	// Before is how long people come before the fault, and Lasts how long it does. Defaults 20 s and 50 s; with Alerts they are
	// what alerts' windows need, 100 s and 170 s.
	Before, Lasts time.Duration
	// AtOnce is how many faults are observed at the same time, each in a world of its own. Default 2.
	AtOnce int
}

// WithDefaults fills zero fields.
func (c DiagnoseConfig) WithDefaults() DiagnoseConfig {
	before, lasts := 20*time.Second, 50*time.Second
	if c.Alerts {
		before, lasts = 100*time.Second, 170*time.Second
	}
	if c.Before == 0 {
		c.Before = before
	}
	if c.Lasts == 0 {
		c.Lasts = lasts
	}
	if c.AtOnce == 0 {
		c.AtOnce = 2
	}
	return c
}

// busyLoops make a machine busy, or a core.
const busyLoops = 4

// Diagnose makes the faults and returns what could be seen of each, in the order of FaultNames; of those that failed there is
// an error. Faults that need the machine for themselves come last, one after the other.
func Diagnose(ctx context.Context, cfg DiagnoseConfig, c clock.Clock) (seen []Observed, err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for _, name := range cfg.Only {
		if !slices.Contains(FaultNames(), name) {
			return nil, fmt.Errorf("observe: there is no fault %q; there are %s", name, strings.Join(FaultNames(), ", "))
		}
	}
	all := slices.DeleteFunc(rows(), func(r row) bool {
		return len(cfg.Only) > 0 && !slices.Contains(cfg.Only, r.name) || cfg.Alerts && r.alert == "" && r.name != "none"
	})
	if cfg.Busy {
		busy, err := testbed.StartBusy(busyLoops, testbed.AnyCore, time.Duration(len(all))*(cfg.Before+cfg.Lasts+time.Minute))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, busy.Stop()) }()
	}
	results, errs := make([]Observed, len(all)), make([]error, len(all))
	for _, alone := range []bool{false, true} {
		slots := cfg.AtOnce
		if alone {
			slots = 1
		}
		observeEach(all, slots, func(r row) bool { return r.isAlone == alone }, func(i int, r row) { // one that fails does not take the others with it
			if results[i], errs[i] = observe(ctx, cfg, r, c); errs[i] != nil {
				errs[i] = fmt.Errorf("observe: %s: %w", r.name, errs[i])
			}
		})
	}
	for i, o := range results {
		if errs[i] == nil {
			seen = append(seen, o)
		}
	}
	return seen, errors.Join(errs...)
}

// observeEach does the rows that are meant, so many at once.
func observeEach(all []row, slots int, isMeant func(row) bool, do func(int, row)) {
	free := make(chan struct{}, slots)
	var group sync.WaitGroup
	for i, r := range all {
		if !isMeant(r) {
			continue
		}
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			do(i, r)
		})
	}
	group.Wait()
}

func observe(ctx context.Context, cfg DiagnoseConfig, r row, c clock.Clock) (o Observed, err error) {
	o = Observed{Fault: r.name, Busy: cfg.Busy || cfg.Shared, Pair: len(r.causes) > 1, Crossed: Never, Fired: Never, Named: Never}
	dir := filepath.Join(cfg.Dir, r.name)
	world := worldConfig{
		programs: cfg.Programs, dir: dir, data: filepath.Join(dir, "data"), store: r.store, people: patient(),
		scrape: 5 * time.Second, evaluate: 15 * time.Second, settings: "queue: {disk_reserve: 256MiB}\n" + r.settings, core: testbed.AnyCore,
	}
	if world.store == (victim.Config{}) {
		world.store = observedStore()
	}
	if r.isPinned {
		world.core = pinnedCore
	}
	if world.programs.Prometheus = ""; cfg.Alerts {
		o.Alert, world.programs.Prometheus = r.alert, cfg.Programs.Prometheus
		if world.rules, _, err = Rules(filepath.Join(cfg.Dashboards, "prometheus"), filepath.Join(dir, "rules"), false); err != nil {
			return o, err
		}
	}
	var small *testbed.SmallDisk
	var slow *testbed.SlowDisk
	switch r.disk {
	case smallDisk:
		world.settings = fmt.Sprintf("queue: {disk_reserve: %dMiB}\n", diskReserve>>20)
		if small, err = testbed.NewSmallDisk(world.data, diskSize); err == nil {
			defer func() { err = errors.Join(err, small.Close()) }()
		}
	case slowDisk:
		if slow, err = testbed.NewSlowDisk(ctx, world.data, diskSize); err == nil {
			defer func() { err = errors.Join(err, slow.Close()) }()
		}
	}
	if err != nil {
		o.Skipped = err.Error()
		return o, nil // without the right to mount there is nothing to watch, and that is said
	}
	w, err := openWorld(ctx, c, world)
	if err != nil {
		return o, err
	}
	w.disk, w.slow = small, slow
	defer func() { err = errors.Join(err, w.close()) }()
	return o, w.observe(ctx, cfg, r, &o)
}

// patient are people as they are, but for the time that they take themselves.
func patient() people.Config {
	return people.Config{Seed: 1, Read: time.Second, Type: time.Second}
}

func (w *world) observe(ctx context.Context, cfg DiagnoseConfig, r row, o *Observed) error {
	start := w.clock.Now().Add(time.Second)
	begin := start.Add(cfg.Before)
	end := begin.Add(cfg.Lasts)
	storming, over := context.WithCancel(ctx)
	defer over()
	group, storming := errgroup.WithContext(storming)
	group.Go(func() error {
		_, err := w.storm(storming, r.load(cfg.Before, cfg.Lasts), start, cfg.Before+cfg.Lasts)
		return err
	})
	for _, makeFault := range r.begin {
		group.Go(func() error {
			if w.clock.Sleep(storming, begin.Sub(w.clock.Now())) != nil {
				return nil // it is over
			}
			return ignoreEnd(makeFault(storming, w))
		})
	}
	var samples []sample
	group.Go(func() (err error) {
		samples, err = w.watch(storming)
		return err
	})
	group.Go(func() error {
		defer over()
		return ignoreEnd(w.clock.Sleep(storming, end.Sub(w.clock.Now())))
	})
	if err := group.Wait(); err != nil {
		return err
	}
	expected := r.expected(o.Busy)
	o.judged = judge(samples, begin, end, expected, r.allowed(o.Busy))
	o.Named, o.Before = firstNamed(samples, begin, slices.Concat(expected...))
	if !cfg.Alerts {
		return nil
	}
	return w.watchAlerts(ctx, r, start, begin, end, o)
}

// watchAlerts asks Prometheus, afterwards, which alerts there were, and when.
func (w *world) watchAlerts(ctx context.Context, r row, start, begin, end time.Time, o *Observed) error {
	selector := fmt.Sprintf("alertname=%q", r.alert)
	if r.severity != "" {
		selector += fmt.Sprintf(",severity=%q", r.severity)
	}
	if err := w.whenCrossed(ctx, selector, start, begin, end, o); err != nil {
		return err
	}
	fired, err := w.alerts(ctx, []Phase{{Calm, start, begin}, {r.name, begin, end}})
	for _, a := range fired {
		if a.Name != r.alert || r.severity != "" && a.Severity != r.severity {
			o.Others = append(o.Others, a)
		} else if o.Fired == Never && !a.At.Before(begin) {
			o.Fired = a.At.Sub(begin)
		}
	}
	return err
}

// ignoreEnd leaves out the end of what is meant to end.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// whenCrossed asks when the alert became pending or firing. One that was so before and had ended is another matter; one that was
// so when the fault began does not tell of it.
func (w *world) whenCrossed(ctx context.Context, selector string, start, begin, end time.Time, o *Observed) error {
	matrix, _, err := w.prom.Between(ctx, "max(ALERTS{"+selector+"})", start, end)
	if err != nil || len(matrix) == 0 {
		return err
	}
	o.Crossed = crossing(matrix[0].Values, begin, 2*w.cfg.scrape)
	return nil
}

// crossing is the time from a moment to the first point after it; Never where there was one shortly before the moment already.
func crossing(points []model.SamplePair, begin time.Time, shortly time.Duration) time.Duration {
	var last time.Time
	for _, point := range points {
		at := point.Timestamp.Time()
		if at.Before(begin) {
			last = at
			continue
		}
		if begin.Sub(last) <= shortly {
			return Never
		}
		return at.Sub(begin)
	}
	return Never
}
