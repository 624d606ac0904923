package honest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/fault"
	"github.com/surgegate/surgegate/loadtest/honest/internal/queries"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/smalldisk"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Observed is what could be seen of a fault. Times are since it began; Never: not while it was watched.
type Observed struct {
	Scenario string
	Alert    string        // that names it; empty for none
	Crossed  time.Duration // until the alert's expression was true: it is pending, and the panels show it
	Fired    time.Duration
	Named    time.Duration // until surgectl status named it
	Before   []string      // of Crossed and Named, which were so before the fault: then they do not tell of it
	Others   []Alert       // that fired too
	Said     string        // surgectl's last words
	Skipped  string        // why it was not watched
}

// bySurgectl is surgectl in Observed.Before.
const bySurgectl = "surgectl status"

// Never is the time of what did not happen.
const Never = time.Duration(-1)

// Within is how long somebody may look for a cause.
const Within = 2 * time.Minute

// scenario is a fault that nobody announces.
type scenario struct {
	name  string
	alert string
	// severity tells which of the alert's rules is meant, where it has two. Empty: any.
	severity string
	says     string // a pattern of surgectl's finding
	load     []wave
	disk     bool
	begin    func(ctx context.Context, w *world) error // returns when ctx ends or the fault is complete
}

// What all scenarios have in common: people come from the start, and the fault finds a gateway that has been busy for as long as
// the alerts' windows want to compare with.
const (
	before   = 100 * time.Second
	watched  = 170 * time.Second
	lookEach = time.Second
)

// observedStore can serve 33 people a second at its best: 40 ms of a worker for a look-up, 80 ms for a password.
func observedStore() victim.Config {
	return victim.Config{Workers: 4, HashTime: 80 * time.Millisecond, LookupTime: 40 * time.Millisecond}
}

const (
	quietRate = 12 // people a second: half of what the store serves at its pace
	stormRate = 36 // more than it serves
)

// saysDark is what surgectl says of a store that stands still.
const saysDark = "the store does not work"

func steady(rate float64) wave { return wave{length: before + watched, rate: rate} }

func scenarios() []scenario {
	return []scenario{
		{name: "none", load: []wave{steady(stormRate)}},
		{
			name: "store-half", alert: "SurgegateDownstreamSlow", says: "the store: it takes no more|the store .*slow",
			load: []wave{steady(stormRate)},
			begin: func(ctx context.Context, w *world) error {
				return w.control.Step(ctx, fault.StoreState{Speed: .5, Capacity: 1})
			},
		},
		{
			name: "store-dark", alert: "SurgegateBreakerOpen", says: saysDark,
			load: []wave{steady(quietRate)},
			begin: func(ctx context.Context, w *world) error {
				return w.control.Step(ctx, fault.StoreState{Speed: 0, Capacity: 1})
			},
		},
		{
			name: "mail-throttled", alert: "SurgegateDownstreamFailing", says: "the mail provider",
			load: []wave{steady(quietRate)},
			begin: func(_ context.Context, w *world) error {
				w.sink.Throttle(quietRate / 10.)
				return nil
			},
		},
		{
			name: "flood", alert: "SurgegateClientFlooding", says: "a client floods",
			load: []wave{
				steady(quietRate), {from: before, length: watched, rate: 300, who: crowd.Lone, client: "a-client-in-a-loop"},
			},
			begin: func(context.Context, *world) error { return nil }, // it is in the load
		},
		{
			name: "disk-filling", alert: "SurgegateDiskFilling", severity: "page", says: "the disk is f",
			load: []wave{steady(quietRate)}, disk: true, begin: fillDisk,
		},
	}
}

// ScenarioNames are those of Observe.
func ScenarioNames() (names []string) {
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

const (
	// diskSize is large beside what the queue's own logs take of it in the first minutes (260 MiB): that is a trend, too.
	diskSize    = 4 << 30
	diskReserve = 1536 << 20
	diskWrites  = 16 << 20 // a second, by something else: 2.3 GiB of memory in all, because the disk is made of that
)

// fillDisk lets something else write until the reserve is nearly reached.
func fillDisk(ctx context.Context, w *world) error {
	free, err := w.disk.Free()
	if err != nil {
		return err
	}
	for start := w.clock.Now(); ; {
		leave := free - int64(w.clock.Now().Sub(start).Seconds()*diskWrites)
		if leave < diskReserve+4<<20 {
			return nil
		}
		if err := w.disk.Fill(leave); err != nil {
			return err
		}
		if w.clock.Sleep(ctx, time.Second) != nil {
			return nil // it is over
		}
	}
}

// ObserveConfig of Observe. All but Only is required.
type ObserveConfig struct {
	Config
	Only []string // of ScenarioNames; none: all
}

// Observe makes the faults, each in a world of its own and all at once, and returns what could be seen of each; of those
// that failed there is an error. It takes five minutes.
func Observe(ctx context.Context, cfg ObserveConfig, c clock.Clock) ([]Observed, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(scenarios(), func(s scenario) bool { return len(cfg.Only) > 0 && !slices.Contains(cfg.Only, s.name) })
	results, errs := make([]Observed, len(all)), make([]error, len(all))
	var group sync.WaitGroup
	for i, s := range all { // one that fails does not take the others with it
		group.Go(func() {
			if results[i], errs[i] = observe(ctx, cfg.Config, s, c); errs[i] != nil {
				errs[i] = fmt.Errorf("honest: %s: %w", s.name, errs[i])
			}
		})
	}
	group.Wait()
	var seen []Observed
	for i, o := range results {
		if errs[i] == nil {
			seen = append(seen, o)
		}
	}
	return seen, errors.Join(errs...)
}

func observe(ctx context.Context, cfg Config, s scenario, c clock.Clock) (o Observed, err error) {
	o = Observed{Scenario: s.name, Alert: s.alert, Crossed: Never, Fired: Never, Named: Never}
	dir := filepath.Join(cfg.Dir, s.name)
	rules, _, err := queries.Rules(filepath.Join(cfg.Dashboards, "prometheus"), filepath.Join(dir, "rules"), false)
	if err != nil {
		return o, err
	}
	world := worldConfig{
		programs: cfg.Programs, dir: dir, store: observedStore(), people: patient(), rules: rules,
		scrape: 5 * time.Second, evaluate: 15 * time.Second,
		settings: "queue: {disk_reserve: 256MiB}\n",
	}
	var disk *smalldisk.Disk
	if s.disk {
		world.data = filepath.Join(dir, "disk")
		world.settings = fmt.Sprintf("queue: {disk_reserve: %dMiB}\n", diskReserve>>20)
		if disk, err = smalldisk.New(world.data, diskSize); err != nil {
			o.Skipped = err.Error()
			return o, nil //nolint:nilerr // without the right to mount there is nothing to watch, and that is said
		}
		defer func() { err = errors.Join(err, disk.Close()) }()
	}
	w, err := openWorld(ctx, c, world)
	if err != nil {
		return o, err
	}
	w.disk = disk
	defer func() { err = errors.Join(err, w.close()) }()
	return o, w.observe(ctx, s, &o)
}

// patient are people as they are, but for the time that they take themselves.
func patient() people.Config {
	return people.Config{Seed: 1, Read: time.Second, Type: time.Second}
}

func (w *world) observe(ctx context.Context, s scenario, o *Observed) error {
	start := w.clock.Now().Add(time.Second)
	begin, end := start.Add(before), start.Add(before+watched)
	storming, over := context.WithCancel(ctx)
	defer over()
	group, storming := errgroup.WithContext(storming)
	group.Go(func() error {
		_, err := w.storm(storming, newLoad(s.load...), start, before+watched)
		return err
	})
	group.Go(func() error {
		if w.clock.Sleep(storming, begin.Sub(w.clock.Now())) != nil || s.begin == nil {
			return nil // it is over, or nothing is to happen
		}
		return s.begin(storming, w)
	})
	if s.says != "" {
		group.Go(func() error { return w.listen(storming, regexp.MustCompile(s.says), begin, o) })
	}
	group.Go(func() error {
		defer over()
		return ignoreEnd(w.clock.Sleep(storming, end.Sub(w.clock.Now())))
	})
	if err := group.Wait(); err != nil {
		return err
	}
	selector := fmt.Sprintf("alertname=%q", s.alert)
	if s.severity != "" {
		selector += fmt.Sprintf(",severity=%q", s.severity)
	}
	if err := w.whenCrossed(ctx, selector, start, begin, end, o); err != nil {
		return err
	}
	fired, err := w.alerts(ctx, []Phase{{Calm, start, begin}, {s.name, begin, end}})
	for _, a := range fired {
		if a.Name != s.alert || s.severity != "" && a.Severity != s.severity {
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
	var known bool
	if o.Crossed, known = crossing(matrix[0].Values, begin, 2*w.cfg.scrape); known {
		o.Before = append(o.Before, o.Alert)
	}
	return nil
}

// crossing is the time from a moment to the first point after it; known: there was one shortly before the moment already.
func crossing(points []model.SamplePair, begin time.Time, shortly time.Duration) (after time.Duration, known bool) {
	var last time.Time
	for _, point := range points {
		at := point.Timestamp.Time()
		if at.Before(begin) {
			last = at
			continue
		}
		if begin.Sub(last) <= shortly {
			return Never, true
		}
		return at.Sub(begin), false
	}
	return Never, false
}

// listen asks surgectl again and again, as somebody would, until it has named the fault.
func (w *world) listen(ctx context.Context, says *regexp.Regexp, begin time.Time, o *Observed) error {
	for w.clock.Sleep(ctx, lookEach) == nil {
		status := exec.CommandContext(ctx, w.cfg.programs.Surgectl, "status", "--address", w.operator) //nolint:gosec // our own program
		text, err := status.CombinedOutput()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("surgectl status: %w: %s", err, text)
		}
		now := w.clock.Now()
		o.Said = string(text)
		switch named := says.Match(text); {
		case !named:
		case now.Before(begin):
			if !slices.Contains(o.Before, bySurgectl) {
				o.Before = append(o.Before, bySurgectl)
			}
		case o.Named == Never:
			o.Named = now.Sub(begin)
		}
	}
	return nil
}

// String is a line of a table.
func (o Observed) String() string {
	if o.Skipped != "" {
		return fmt.Sprintf("%-15s not watched: %s", o.Scenario, o.Skipped)
	}
	text := fmt.Sprintf("%-15s %-27s crossed %6s  fired %6s  surgectl %6s", o.Scenario, o.Alert, told(o.Crossed), told(o.Fired), told(o.Named))
	if o.Before != nil {
		text += "; before the fault: " + strings.Join(o.Before, ", ")
	}
	for _, a := range o.Others {
		text += "; also " + a.String()
	}
	return text
}

func told(d time.Duration) string {
	if d == Never {
		return "never"
	}
	return d.Round(time.Second).String()
}
