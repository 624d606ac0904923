package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	reports "github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/loadtest/wire"
	"github.com/surgegate/surgegate/pkg/clock"
)

const (
	sampleEvery    = 500 * time.Millisecond
	judgeEvery     = 4 // samples: thresholds read whole histograms, for some milliseconds in which nothing is recorded
	connectTimeout = 10 * time.Second
)

// run is one rehearsal under way.
type run struct {
	cfg      Config
	deps     Deps
	recorder *measure.Recorder
	view     *reports.LiveView
	mails    func(ctx context.Context, deliver testbed.Deliverer) error
	control  *victim.ControlClient // nil: the store cannot be seen
	actors   model.FaultActors
	done     []model.Fault // that really happened
}

// Outcome is what came of a rehearsal.
type Outcome struct {
	Arm      measure.Arm
	Report   crowd.Report
	Verdicts []measure.Verdict
}

// Run rehearses, writes report.html, result.json and the histograms, and prints a summary. The error is a verdict
// (ErrInvalid, ErrThreshold) or a fault; with a fault nothing is written.
func Run(ctx context.Context, cfg Config, deps Deps) (Outcome, error) {
	cfg = cfg.WithDefaults()
	cfg.People.Seed = cfg.Storm.Seed
	if err := cfg.Validate(); err != nil {
		return Outcome{}, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	r := &run{cfg: cfg, deps: deps, recorder: measure.New(measure.Config{})}
	if cfg.Control != "" {
		r.control = victim.NewControlClient(cfg.Control, deps.Clock)
		defer r.control.Close()
		r.actors.Store, r.actors.StoreCrash = r.control.Step, r.control.Crash
	}
	if err := r.openMails(); err != nil {
		return Outcome{}, err
	}
	if err := r.actors.Able(cfg.Faults); err != nil {
		return Outcome{}, fmt.Errorf("%w: the store's need --control, mail-refuse needs --smtp; the rest is for storm compare", err)
	}
	var err error
	title := "storm run: " + cfg.Storm.Name + " at " + strings.Join(cfg.Targets, ", ")
	if r.view, err = reports.NewLive(reports.LiveConfig{Out: deps.Out, Terminal: deps.Terminal, Title: title}); err != nil {
		return Outcome{}, err
	}
	report, err := r.storm(ctx)
	r.view.Close()
	if err != nil {
		return Outcome{}, err
	}
	return r.finish(report, ctx.Err() != nil)
}

func (r *run) openMails() error {
	log := slog.New(slog.DiscardHandler)
	switch {
	case r.cfg.Maildir != "":
		watcher, err := testbed.NewWatcher(r.cfg.Maildir, r.deps.Clock, log)
		if err != nil {
			return err
		}
		r.mails = watcher.Run
	case r.cfg.SMTP != "":
		sink, err := testbed.NewSink(testbed.SinkConfig{Address: r.cfg.SMTP}, log)
		if err != nil {
			return err
		}
		r.mails, r.actors.MailRefuse = sink.Run, sink.Refuse
	}
	return nil
}

// storm connects, lets the crowd loose and watches until it is over. The context's end is no error: the run is then of
// what was.
func (r *run) storm(ctx context.Context) (report crowd.Report, err error) {
	stream, err := r.cfg.Storm.Open()
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	client, err := wire.New(
		wire.Config{Targets: r.cfg.Targets, TLS: r.cfg.TLS, Connections: r.cfg.Connections}, wire.Deps{Clock: r.deps.Clock})
	if err != nil {
		return report, err
	}
	connected, hangUp := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the time that it takes to end the run
	group, connected := errgroup.WithContext(connected)
	group.Go(func() error { return client.Run(connected) })
	defer func() { hangUp(); err = errors.Join(err, group.Wait()) }()
	if err := r.awaitConnections(ctx, client); err != nil {
		return report, err
	}
	start := r.deps.Clock.Now().Add(100 * time.Millisecond)
	people, err := crowd.New(
		crowd.Config{People: r.cfg.People, Start: start, Limit: r.cfg.Limit, MaxLag: r.cfg.MaxLag},
		crowd.Deps{
			Arrivals: stream, Caller: client, Recorder: r.recorder, Clock: r.deps.Clock, Mails: r.mails, Identifier: r.identifier,
		})
	if err != nil {
		return report, err
	}
	storming, stop := context.WithCancel(ctx)
	defer stop()
	beside, stormOver := context.WithCancel(connected)
	defer stormOver()
	group.Go(func() error { r.watch(beside, start); return nil })
	group.Go(func() error {
		done, err := model.RunFaults(beside, r.deps.Clock, start, r.cfg.Faults, r.actors)
		r.done = done
		if err != nil {
			stop() // a storm without its fault is another storm
		}
		return err
	})
	return people.Run(storming)
}

func (r *run) awaitConnections(ctx context.Context, client *wire.Client) error {
	timed, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := client.WaitReady(timed); err != nil {
		return fmt.Errorf("rehearse: %s cannot be reached (%w); is it up, is TLS right (--tls, --ca)?", strings.Join(r.cfg.Targets, ", "), err)
	}
	return nil
}

func (r *run) identifier(person uint64) string {
	return fmt.Sprintf(r.cfg.Identifier, person%r.cfg.Accounts)
}

// watch feeds timeline and live view, once more at the end.
func (r *run) watch(ctx context.Context, start time.Time) {
	var verdicts []measure.Verdict
	for n := 1; ; n++ {
		err := r.deps.Clock.Sleep(ctx, start.Add(time.Duration(n)*sampleEvery).Sub(r.deps.Clock.Now()))
		store := measure.Store{}
		if r.control != nil {
			store = r.control.Look(context.WithoutCancel(ctx))
		}
		sample := r.recorder.Sample(r.deps.Clock.Now().Sub(start), store)
		if len(r.cfg.Thresholds) > 0 && (n%judgeEvery == 1 || err != nil) {
			verdicts = measure.Judge(r.cfg.Thresholds, r.recorder.Arm(armName, nil))
		}
		r.view.Show(sample, verdicts)
		if err != nil {
			return
		}
	}
}

// finish judges, writes and prints.
func (r *run) finish(report crowd.Report, interrupted bool) (Outcome, error) {
	o := Outcome{Arm: r.recorder.Arm(armName, nil), Report: report}
	o.Arm.Attackers, o.Arm.Intended, o.Arm.Dropped = report.Attackers, int(report.Intended), int(report.Dropped)
	o.Arm.LagP99US = report.LagP99.Microseconds()
	o.Verdicts = measure.Judge(r.cfg.Thresholds, o.Arm)
	var verdict error
	if measure.Broken(o.Verdicts) {
		verdict = ErrThreshold
	}
	if err := report.Valid(); err != nil {
		o.Arm.Invalid, verdict = err.Error(), ErrInvalid
	}
	result := r.result(o, interrupted)
	histograms := map[string]map[string]*hdrhistogram.Histogram{armName: r.recorder.Histograms()}
	histograms[armName]["lag"] = report.Lag
	if err := reports.WriteFiles(r.cfg.Out, result, histograms); err != nil {
		return o, err
	}
	r.print(result)
	return o, verdict
}

// armName is the one arm's, in the report.
const armName = "run"

func (r *run) result(o Outcome, interrupted bool) reports.Result {
	shape := r.cfg.Storm.Shape.WithDefaults()
	result := reports.Result{
		Kind: "run", Interrupted: interrupted, Arms: []measure.Arm{o.Arm}, Faults: reports.Faults(r.done), Verdicts: o.Verdicts,
		Storm: reports.Storm{
			Scenario: r.cfg.Storm.Name, Seconds: o.Arm.Seconds, Thin: shape.Thin, Seed: r.cfg.Storm.Seed, People: o.Arm.People, Attackers: o.Arm.Attackers,
		},
	}
	if r.cfg.Storm.Notes != nil {
		result.Notes = r.cfg.Storm.Notes()
	}
	if shape.Speed != 1 {
		result.Notes = append(result.Notes, fmt.Sprintf("at %v times the speed: buckets, TTLs, backoffs and people do not scale, so this is another storm", shape.Speed))
	}
	if shape.Amplify != 1 {
		result.Notes = append(result.Notes, fmt.Sprintf("each person is there %d times", shape.Amplify))
	}
	if n := len(r.cfg.Faults) - len(r.done); n > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%d faults did not happen: the storm was over before", n))
	}
	if r.mails == nil {
		result.Notes = append(result.Notes, "no mails were read (--maildir, --smtp): people end when a link has been promised to them")
	}
	switch {
	case o.Report.Idle:
		result.Notes = append(result.Notes, "the run ended because nothing happened to those still inside: mails that they wait for do not come")
	case o.Report.Cut && !interrupted:
		result.Notes = append(result.Notes, fmt.Sprintf("the run was cut off at its limit of %v", r.cfg.Limit))
	}
	if o.Report.Lone > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%d calls had nobody behind them; they count with the attackers'", o.Report.Lone))
	}
	return result
}

func (r *run) print(result reports.Result) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", result.Text())
	for _, a := range result.Arms {
		for _, op := range a.Ops {
			fmt.Fprintf(&b, "%-9s %9s calls, %s refused, %s failed; p50 %v, p99 %v, longest %v\n", op.Op, reports.Count(op.Calls), reports.Count(op.Refused),
				reports.Count(op.Failed), micros(op.Latency.P50), micros(op.Latency.P99), micros(op.Latency.Max))
		}
		for _, reason := range a.Reasons {
			fmt.Fprintf(&b, "%-9s %9s calls\n", reason.Reason, reports.Count(reason.Calls))
		}
	}
	b.WriteByte('\n')
	for _, v := range result.Verdicts {
		said := "ok"
		if !v.OK {
			said = "BROKEN"
		}
		fmt.Fprintf(&b, "%-7s %s is %s, it should be %s\n", said, v.Name, v.Value, v.Bound)
	}
	for _, note := range result.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	if result.Interrupted {
		b.WriteString("interrupted: this is what was until then\n")
	}
	if invalid := result.Arms[0].Invalid; invalid != "" {
		fmt.Fprintf(&b, "INVALID: %s. This says nothing about the system; use a machine with less to do, or a thinner storm\n", invalid)
	}
	fmt.Fprintf(&b, "report: %s\nresult: %s\n", filepath.Join(r.cfg.Out, reports.PageFile), filepath.Join(r.cfg.Out, reports.ResultFile))
	_, _ = io.WriteString(r.deps.Out, b.String()) // the files hold it
}

func micros(n int64) time.Duration {
	d := time.Duration(n) * time.Microsecond
	if d > time.Second {
		return d.Round(time.Millisecond)
	}
	return d
}
