package compare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/loadtest/wire"
)

const (
	sampleEvery = 500 * time.Millisecond
	judgeEvery  = 4 // samples: thresholds read whole histograms, for some milliseconds in which nothing is recorded
	// maxLag is wide, because generator, gateway and store share two cores here and the waits shown are seconds.
	maxLag = 250 * time.Millisecond
)

// arm is one run of the storm.
type arm struct {
	arm        Arm
	dir        string
	cfg        Config
	deps       Deps
	view       *report.LiveView
	recorder   *measure.Recorder
	supervisor *victim.Supervisor
	front      *front
	places     places
	mails      func(ctx context.Context, deliver testbed.Deliverer) error
	actors     model.FaultActors
	done       []model.Fault // that really happened
	crowd      *crowd.Crowd
	ledger     string
}

// run sets everything up, replays, and takes it down again. Only a fault of the tool is an error.
func (a *arm) run(ctx context.Context) (result measure.Arm, err error) {
	if err := errors.Join(os.RemoveAll(a.dir), os.MkdirAll(a.dir, 0o700)); err != nil {
		return measure.Arm{}, fmt.Errorf("compare: %w", err)
	}
	logFile, err := os.Create(filepath.Join(a.dir, "storm.log"))
	if err != nil {
		return measure.Arm{}, fmt.Errorf("compare: %w", err)
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	log := slog.New(slog.NewTextHandler(logFile, nil))

	a.places.dir, a.places.reserve = a.dir, diskReserve
	stopControl, err := a.makeVictim(logFile, log)
	if err != nil {
		return measure.Arm{}, err
	}
	defer stopControl()
	if err := a.makeMails(log); err != nil {
		return measure.Arm{}, err
	}
	unmount, err := a.makeDisk()
	if err != nil {
		return measure.Arm{}, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	running, stopRunning := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return a.supervisor.Run(running) })
	defer func() { stopRunning(); err = errors.Join(err, group.Wait()) }()
	if err := a.awaitVictim(running); err != nil {
		return measure.Arm{}, err
	}
	if a.front, err = startFront(running, a.cfg, a.arm, a.places); err != nil {
		return measure.Arm{}, err
	}
	report, stormErr := a.storm(running)
	frontErr := a.front.stop()
	stopRunning()
	if err := errors.Join(stormErr, group.Wait(), ctx.Err()); err != nil {
		return measure.Arm{}, err
	}
	return a.judge(report, frontErr)
}

func (a *arm) makeVictim(logFile *os.File, log *slog.Logger) (end func(), err error) {
	a.ledger = filepath.Join(a.dir, "ledger.jsonl")
	cfg := a.cfg.Victim
	cfg.Ledger = a.ledger
	addresses, err := testbed.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	cfg.Address, cfg.Control = addresses[0], addresses[1]
	a.places.store = cfg.Address
	a.supervisor, err = victim.NewSupervisor(
		victim.SupervisorConfig{Command: []string{a.cfg.Storm, "victim", "--child"}, Victim: cfg},
		victim.SupervisorDeps{Clock: a.deps.Clock, Logger: log, Stderr: logFile})
	if err != nil {
		return nil, err
	}
	steering := victim.NewControlClient(cfg.Control, a.deps.Clock)
	a.actors.Store, a.actors.StoreCrash = steering.Step, steering.Crash
	return steering.Close, nil
}

// makeMails makes a maildir, or where mails are to be refused a mail server: a folder cannot.
func (a *arm) makeMails(log *slog.Logger) (err error) {
	if !a.suffers(model.MailRefuse) {
		a.places.maildir = filepath.Join(a.dir, "mail")
		watcher, err := testbed.NewWatcher(a.places.maildir, a.deps.Clock, log)
		if err != nil {
			return err
		}
		a.mails = watcher.Run
		return nil
	}
	sink, err := testbed.NewSink(testbed.SinkConfig{Address: "127.0.0.1:0"}, log)
	if err != nil {
		return err
	}
	a.places.smtp, a.mails, a.actors.MailRefuse = sink.Address(), sink.Run, sink.Refuse
	return nil
}

// suffers tells whether a kind of fault is to come.
func (a *arm) suffers(kind model.FaultKind) bool {
	return slices.ContainsFunc(a.cfg.Faults, func(f model.Fault) bool { return f.Kind == kind })
}

const (
	diskSize = 512 << 20
	diskLeft = 64 << 20 // where it is full: below the reserve that the gateway stops at
)

// makeDisk gives the arm a small disk for its data, where it is to be full.
func (a *arm) makeDisk() (unmount func() error, err error) {
	if !a.suffers(model.DiskFull) {
		return func() error { return nil }, nil
	}
	disk, err := testbed.NewSmallDisk(filepath.Join(a.dir, "data"), diskSize)
	if err != nil {
		return nil, err
	}
	a.actors.DiskFull = func(full bool) error {
		if full {
			return disk.Fill(diskLeft)
		}
		return disk.Empty()
	}
	a.places.reserve = 2 * diskLeft
	return disk.Close, nil
}

func (a *arm) awaitVictim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-a.supervisor.Ready():
		return nil
	case <-ctx.Done():
		return errors.New("compare: the victim did not come up")
	}
}

// storm replays the arrivals and waits until everybody has ended, or for the arm's limit.
func (a *arm) storm(ctx context.Context) (report crowd.Report, err error) {
	client, err := wire.New(wire.Config{Targets: []string{a.front.address}, Connections: connections}, wire.Deps{Clock: a.deps.Clock})
	if err != nil {
		return crowd.Report{}, err
	}
	calling, hangUp := context.WithCancel(ctx)
	called := make(chan error, 1) // has room for the one value
	go func() { called <- client.Run(calling) }()
	defer func() { hangUp(); err = errors.Join(err, <-called) }()
	if err := client.WaitReady(ctx); err != nil {
		return crowd.Report{}, err
	}
	arrivals, err := a.cfg.arrivals()
	if err != nil {
		return crowd.Report{}, err
	}
	start := a.deps.Clock.Now().Add(sampleEvery)
	a.crowd, err = crowd.New(
		crowd.Config{People: a.cfg.People, Start: start, Limit: a.cfg.limit(a.arm), MaxLag: maxLag},
		crowd.Deps{
			Arrivals: crowd.OfScenario(arrivals), Caller: client, Recorder: a.recorder, Clock: a.deps.Clock,
			Identifier: victim.Identifier, Mails: a.mails,
		})
	if err != nil {
		return crowd.Report{}, err
	}
	a.actors.GatewayKill = a.front.kill
	if err := a.actors.Able(a.cfg.Faults); err != nil {
		return crowd.Report{}, err
	}
	storming, stop := context.WithCancel(ctx)
	defer stop()
	beside, over := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { a.sample(beside, start); return nil })
	group.Go(func() error {
		done, err := model.RunFaults(beside, a.deps.Clock, start, a.cfg.Faults, a.actors)
		a.done = done
		if err != nil {
			stop() // a storm without its fault is another storm
		}
		return err
	})
	report, err = a.crowd.Run(storming)
	over()
	return report, errors.Join(err, group.Wait())
}

// sample feeds timeline and live view, once more at the end.
func (a *arm) sample(ctx context.Context, start time.Time) {
	var verdicts []measure.Verdict
	for n := 1; ; n++ {
		err := a.deps.Clock.Sleep(ctx, start.Add(time.Duration(n)*sampleEvery).Sub(a.deps.Clock.Now()))
		s := a.supervisor.Status()
		sample := a.recorder.Sample(a.deps.Clock.Now().Sub(start), victim.StoreOf(s))
		if a.arm.Front == Surgegate && len(a.cfg.Thresholds) > 0 && (n%judgeEvery == 1 || err != nil) {
			verdicts = measure.Judge(a.cfg.Thresholds, a.recorder.Arm(a.arm.Name, nil))
		}
		a.view.Show(sample, verdicts)
		if err != nil {
			return
		}
	}
}

// judge compares what people were told with what the store holds.
func (a *arm) judge(report crowd.Report, frontErr error) (measure.Arm, error) {
	audit, err := victim.ReadAudit(a.ledger)
	if err != nil {
		return measure.Arm{}, err
	}
	result := a.recorder.Arm(a.arm.Name, &measure.Truth{
		Has: func(person uint64) bool {
			return audit.Passwords[victim.AccountID(person)] == victim.Digest(a.crowd.Behaviour().Password(person))
		},
		AppliedTwice: audit.AppliedTwice, OutOfOrder: audit.OutOfOrder, Crashes: a.supervisor.Status().Crashes,
	})
	if err := report.Valid(); err != nil {
		result.Invalid = err.Error()
	}
	result.LagP99US = report.LagP99.Microseconds()
	result.Attackers, result.Intended, result.Dropped = report.Attackers, int(report.Intended), int(report.Dropped)
	if a.arm.Front == Surgegate {
		result.Broken = broken(result, a.done, frontErr)
	}
	return result, nil
}

// broken lists the promises that a front with durable acceptance did not keep. Where faults were done to it people may have
// given up all the same, and the store may have crashed as often as it was made to.
func broken(r measure.Arm, faults []model.Fault, frontErr error) []string {
	list := []string{}
	add := func(yes bool, format string, args ...any) {
		if yes {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	made := 0
	for _, f := range faults {
		if f.Kind == model.StoreCrash {
			made++
		}
	}
	add(len(faults) == 0 && r.Completed != r.Accepted, "%d people were accepted, but %d have their new password", r.Accepted, r.Completed)
	add(r.Completed == 0, "nobody got a new password")
	add(r.Lost > 0, "%d accepted completions are not in the store", r.Lost)
	add(r.AppliedTwice > 0, "%d changes were applied twice", r.AppliedTwice)
	add(r.OutOfOrder > 0, "%d changes were applied out of order", r.OutOfOrder)
	add(r.StoreCrashes > made, "the store crashed %d times", r.StoreCrashes-made)
	add(frontErr != nil, "%v", frontErr)
	return list
}
