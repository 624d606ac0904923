package observe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Config of a storm. All fields are required.
type Config struct {
	Programs   Programs
	Dashboards string // folder with grafana/ and prometheus/
	Dir        string // for everything that the run writes
}

// Validate names the field that is missing.
func (c Config) Validate() error {
	for name, value := range map[string]string{
		"Programs.Surgegate": c.Programs.Surgegate, "Programs.Surgectl": c.Programs.Surgectl, "Programs.Storm": c.Programs.Storm,
		"Programs.Prometheus": c.Programs.Prometheus,
		"Dashboards":          c.Dashboards, "Dir": c.Dir,
	} {
		if value == "" {
			return fmt.Errorf("observe: %s is missing", name)
		}
	}
	return nil
}

// The phases of a storm, in their order.
const (
	Calm     = "calm"
	Stormy   = "storm"
	Dark     = "dark"
	Recovery = "recovery"
)

// Phase is a part of a storm.
type Phase struct {
	Name     string
	From, To time.Time
}

// Result is what a storm showed.
type Result struct {
	Phases []Phase
	Arm    measure.Arm
	Asked  []Asked
	Counts []Count
	Checks []Check
	Alerts []Alert
}

// Lengths of the phases.
const (
	calmFor  = 4 * time.Second
	stormFor = 8 * time.Second
	darkFor  = 7 * time.Second
	// mostRecovery is for a machine that is very busy: a level is left after 10 s that were calm.
	mostRecovery = 2 * time.Minute
)

// fast is between scrapes and evaluations, so that a storm of a minute has enough points to take rates of.
const fast = time.Second

// settings bound the queue to what a storm of seconds can fill: levels follow shares of bounds.
const settings = `queue: {max_bytes: 1MiB, disk_reserve: 256MiB}
`

// stormStore can look up 1300 people a second, or set 1000 passwords; a fifth of that in the storm, when it is ill already.
func stormStore() victim.Config {
	return victim.Config{Workers: 4, HashTime: 4 * time.Millisecond, LookupTime: 3 * time.Millisecond}
}

func stormFaults() []model.Fault {
	return []model.Fault{
		{Kind: model.StoreSlow, Factor: .2, At: calmFor, For: stormFor}, {Kind: model.StoreDark, At: calmFor + stormFor, For: darkFor},
	}
}

// quick people do not outlast the storm by much: nobody waits as long as a refusal says. All attackers are seen for what they are,
// so level 2 refuses every one of them and level 3, which would take 10 s more to go, is not reached.
func quick() people.Config {
	return people.Config{
		Seed: 1, Attempts: 1, Tries: 2, Resend: 1e-12, BotFlagged: 1,
		Read: time.Second / 2, Type: time.Second / 2, Return: 2 * time.Second, Backoff: time.Second,
	}
}

// stormLoad is more than the store takes, most of it attackers', and one client whose bucket is empty after a second. The queue
// is full to 75 % (level 2: some 4,300 jobs) after 3 to 6.5 s, as the store has been found out. It comes near that quickly and then
// slowly, because the level is looked at once a second and is to be 2, not 3.
func stormLoad() *load {
	const rush = 2800 * time.Millisecond
	return newLoad(
		wave{from: 0, length: calmFor, rate: 8},
		wave{from: calmFor, length: stormFor, rate: 60},
		wave{from: calmFor, length: rush, rate: 1500, who: crowd.Attacker},
		wave{from: calmFor + rush, length: stormFor - rush, rate: 400, who: crowd.Attacker},
		wave{from: calmFor, length: stormFor + darkFor, rate: 40, who: crowd.Lone, client: "a-client-in-a-loop"},
		wave{from: calmFor + stormFor, length: darkFor, rate: 20},
	)
}

// Storm makes one, asks everything, and returns what was found. What does not agree is in the result.
func Storm(ctx context.Context, cfg Config, c clock.Clock) (result Result, err error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	rules, ruleQueries, err := Rules(filepath.Join(cfg.Dashboards, "prometheus"), filepath.Join(cfg.Dir, "rules"), true)
	if err != nil {
		return Result{}, err
	}
	begin := c.Now()
	w, err := openWorld(ctx, c, worldConfig{
		programs: cfg.Programs, dir: cfg.Dir, settings: settings, store: stormStore(), people: quick(), rules: rules,
		scrape: fast, evaluate: fast, core: testbed.AnyCore,
	})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var samples []sample
	if result.Phases, samples, err = w.phases(ctx); err != nil {
		return Result{}, err
	}
	end := result.Phases[len(result.Phases)-1].To
	if result.Arm, err = w.audit(); err != nil {
		return result, err
	}
	boardQueries, err := Boards(filepath.Join(cfg.Dashboards, "grafana"), View{
		Job: job, Instance: w.metrics, Interval: w.cfg.scrape, Span: end.Sub(begin),
	})
	if err != nil {
		return result, err
	}
	for _, q := range append(boardQueries, ruleQueries...) {
		asked, err := w.prom.Ask(ctx, q, begin, end)
		if err != nil {
			return result, err
		}
		result.Asked = append(result.Asked, asked)
	}
	if result.Counts, err = w.counts(ctx, result.Arm, begin, end); err != nil {
		return result, err
	}
	if result.Checks, err = w.check(ctx, result.Phases); err != nil {
		return result, err
	}
	const within = darkFor + 2*time.Second // asked now and then, and the breaker needs a moment to see the end, too
	named, before := firstNamed(samples, result.Phases[2].From, []string{"downstream_dark/store"})
	result.Checks = append(result.Checks, Check{
		Name: "seconds until surgectl status named the dark store", Value: named.Seconds(), Want: fmt.Sprintf("0 to %.0f", within.Seconds()),
		OK: named != Never && named <= within && !before,
	})
	result.Alerts, err = w.alerts(ctx, result.Phases)
	return result, err
}

// phases lets the storm pass and waits until nothing of it is left.
func (w *world) phases(ctx context.Context) (phases []Phase, samples []sample, err error) {
	start := w.clock.Now().Add(time.Second)
	beside, over := context.WithCancel(ctx)
	defer over()
	group, beside := errgroup.WithContext(beside)
	group.Go(func() error {
		_, err := model.RunFaults(beside, w.clock, start, stormFaults(), model.FaultActors{Store: w.control.Step})
		return err
	})
	group.Go(func() (err error) {
		samples, err = w.watch(beside)
		return err
	})
	report, err := w.storm(ctx, stormLoad(), start, mostRecovery)
	over()
	if err := errors.Join(err, group.Wait(), report.Valid()); err != nil {
		return nil, nil, err
	}
	const calmAgain = `sum(surgegate_queue_jobs) == 0 and on() surgegate_brownout_level == 0` +
		` and on() surgegate_breaker_state{downstream="store",state="closed"} == 1`
	if err := w.await(ctx, mostRecovery, calmAgain); err != nil {
		return nil, nil, err
	}
	// Two more scrapes, so that the last one has seen everything.
	if err := w.clock.Sleep(ctx, 2*w.cfg.scrape); err != nil {
		return nil, nil, err
	}
	last, err := w.prom.Number(ctx, fmt.Sprintf("timestamp(up{job=%q})", job), w.clock.Now())
	if err != nil {
		return nil, nil, err
	}
	storm, dark := start.Add(calmFor), start.Add(calmFor+stormFor)
	return []Phase{
		{Calm, start, storm}, {Stormy, storm, dark}, {Dark, dark, dark.Add(darkFor)},
		{Recovery, dark.Add(darkFor), time.UnixMilli(int64(last * 1000))},
	}, samples, nil
}

// audit is what the people were told, held to what the store has.
func (w *world) audit() (measure.Arm, error) {
	audit, err := victim.ReadAudit(w.cfg.store.Ledger)
	if err != nil {
		return measure.Arm{}, err
	}
	return w.recorder.Arm("honest", &measure.Truth{
		Has: func(person uint64) bool {
			return audit.Passwords[victim.AccountID(person)] == victim.Digest(w.crowd.Behaviour().Password(person))
		},
		AppliedTwice: audit.AppliedTwice, OutOfOrder: audit.OutOfOrder,
	}), nil
}
