package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Run's verdicts.
var (
	// ErrBroken is returned when a gateway's arm did not keep its promises.
	ErrBroken = errors.New("compare: surgegate broke a promise")
	// ErrThreshold is returned when a gateway's arm broke a threshold.
	ErrThreshold = errors.New("compare: a threshold is broken")
	// ErrInvalid is returned when the load generator was too late for a run to say anything.
	ErrInvalid = errors.New("compare: INVALID: this machine was too busy to generate the load on time")
)

// Run replays the storm once for each arm and round, and writes report.html and result.json. The report shows the first
// round's arms; the differences are of all.
func Run(ctx context.Context, cfg Config, deps Deps) error {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	out, err := filepath.Abs(cfg.Out)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	cfg.Out = out
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	all := make([]round, 0, cfg.Rounds)
	for n := range cfg.Rounds {
		r, err := oneRound(ctx, cfg, deps, n)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	result := all[0].result
	result.Differences = differences(cfg.Arms, all, cfg.Seed)
	result.Faults = report.Faults(all[0].faults)
	if n := len(cfg.Faults) - len(all[0].faults); n > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%d faults did not happen: the storm was over before", n))
	}
	for n, r := range all {
		for i, a := range r.result.Arms {
			if cfg.Arms[i].Front == Surgegate {
				result.Verdicts = append(result.Verdicts, judged(a, n, cfg)...)
			}
			if n > 0 {
				result.Notes = append(result.Notes, faulty(a, n)...)
			}
		}
	}
	if err := report.WriteFiles(cfg.Out, result, all[0].histograms); err != nil {
		return err
	}
	compare(deps.Out, result, cfg)
	return verdict(cfg, all)
}

// round is the storm of one seed, in all arms.
type round struct {
	result   report.Result
	outcomes [][]people.Outcome // by arm
	faults   []model.Fault      // that happened in the arm that lasted longest
	// histograms by arm and name
	histograms map[string]map[string]*hdrhistogram.Histogram
}

// judged holds an arm to the thresholds, and says which.
func judged(a measure.Arm, nth int, cfg Config) []measure.Verdict {
	verdicts := measure.Judge(cfg.Thresholds, a)
	for i := range verdicts {
		verdicts[i].Name = a.Name + ": " + verdicts[i].Name
		if cfg.Rounds > 1 {
			verdicts[i].Name = fmt.Sprintf("round %d, %s", nth+1, verdicts[i].Name)
		}
	}
	return verdicts
}

// faulty says what was wrong in a later round, whose arms the report does not show.
func faulty(a measure.Arm, nth int) (notes []string) {
	if a.Invalid != "" {
		notes = append(notes, fmt.Sprintf("round %d, %s is invalid: %s", nth+1, a.Name, a.Invalid))
	}
	for _, broken := range a.Broken {
		notes = append(notes, fmt.Sprintf("round %d, %s broke a promise: %s", nth+1, a.Name, broken))
	}
	return notes
}

func oneRound(ctx context.Context, cfg Config, deps Deps, n int) (round, error) {
	cfg.Seed += uint64(n)
	cfg.People.Seed = cfg.Seed
	storm, err := describe(cfg)
	if err != nil {
		return round{}, err
	}
	r := round{result: report.Result{Kind: "compare", Storm: storm}, histograms: map[string]map[string]*hdrhistogram.Histogram{}}
	if n == 0 {
		intro(deps.Out, r.result.Storm)
	}
	for i, spec := range cfg.Arms {
		nth, dir := fmt.Sprintf("%d/%d", i+1, len(cfg.Arms)), filepath.Join(cfg.Out, spec.Name)
		if cfg.Rounds > 1 {
			nth, dir = fmt.Sprintf("round %d  %s", n+1, nth), filepath.Join(cfg.Out, fmt.Sprintf("round-%d", n+1), spec.Name)
		}
		view, err := report.NewLive(report.LiveConfig{
			Out: deps.Out, Terminal: deps.Terminal, Title: nth + "  " + title(spec), People: r.result.Storm.People,
		})
		if err != nil {
			return round{}, err
		}
		a := &arm{arm: spec, dir: dir, cfg: cfg, deps: deps, recorder: measure.New(measure.Config{Keep: true}), view: view}
		done, err := a.run(ctx)
		view.Close()
		if err != nil {
			return round{}, err
		}
		r.result.Arms = append(r.result.Arms, done)
		r.outcomes = append(r.outcomes, a.recorder.Outcomes())
		if len(a.done) > len(r.faults) {
			r.faults = a.done
		}
		r.histograms[spec.Name] = a.recorder.Histograms()
	}
	return r, nil
}

func title(arm Arm) string {
	if arm.Front == Direct {
		return arm.Name + ": every request calls the store inside its handler"
	}
	return arm.Name + ": accepted durably, let through at the store's pace"
}

// verdict is the worst of all rounds. What was lost or done twice is broken however late the generator was; that somebody is
// not there yet is not, if it was.
func verdict(cfg Config, all []round) error {
	var invalid, broken, missed error
	for _, r := range all {
		for i, a := range r.result.Arms {
			switch {
			case len(a.Broken) > 0 && a.Lost+a.AppliedTwice+a.OutOfOrder > 0:
				return ErrBroken
			case a.Invalid != "":
				invalid = ErrInvalid
			case len(a.Broken) > 0:
				broken = ErrBroken
			case cfg.Arms[i].Front == Surgegate && measure.Broken(measure.Judge(cfg.Thresholds, a)):
				missed = ErrThreshold
			}
		}
	}
	return cmp.Or(invalid, broken, missed)
}

// arrivals are those of the window around the peak.
func (c Config) arrivals() (*model.Arrivals, error) {
	return c.Scenario.Arrivals(model.Window{From: c.Scenario.Peak() - c.Lead, Length: c.Length, Thin: c.Thin}, c.Seed)
}

func describe(cfg Config) (report.Storm, error) {
	s := report.Storm{
		Scenario: cfg.Scenario.Name, Seconds: cfg.Length.Seconds(), Thin: cfg.Thin, Seed: cfg.Seed,
		Capacity: cfg.Victim.Capacity(), Workers: cfg.Victim.Workers, HashMS: cfg.Victim.HashTime.Milliseconds(),
		MemoryBound: int64(cfg.Victim.MemoryBound), InsideBound: cfg.Victim.MemoryBound / cfg.Victim.RequestMemory,
		PeakRate: cfg.Scenario.At(cfg.Scenario.Peak()).People() / cfg.Thin,
	}
	arrivals, err := cfg.arrivals()
	if err != nil {
		return s, err
	}
	for {
		a, ok := arrivals.Next()
		switch {
		case !ok:
			return s, nil
		case a.Source == model.SourceAttack:
			s.Attackers++
		case a.Source.Human():
			s.People++
		}
	}
}
