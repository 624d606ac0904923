package compare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/mailbox"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/loadtest/wire"
)

const (
	sampleEvery = 500 * time.Millisecond
	// maxLag is wide, because generator, gateway and store share two cores here and the waits shown are seconds.
	maxLag = 250 * time.Millisecond
)

// arm is one run of the storm.
type arm struct {
	arm        Arm
	dir        string
	cfg        Config
	deps       Deps
	view       *view
	arrivals   []model.Arrival
	recorder   *measure.Recorder
	supervisor *victim.Supervisor
	front      *front
	mails      *mailbox.Watcher
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

	store, err := a.makeVictim(logFile, log)
	if err != nil {
		return measure.Arm{}, err
	}
	maildir := filepath.Join(a.dir, "mail")
	if a.mails, err = mailbox.NewWatcher(maildir, a.deps.Clock, log); err != nil {
		return measure.Arm{}, err
	}
	running, stopRunning := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return a.supervisor.Run(running) })
	defer func() { stopRunning(); err = errors.Join(err, group.Wait()) }()
	if err := a.awaitVictim(running); err != nil {
		return measure.Arm{}, err
	}
	if a.front, err = startFront(running, a.cfg, a.arm, a.dir, store, maildir); err != nil {
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

func (a *arm) makeVictim(logFile *os.File, log *slog.Logger) (address string, err error) {
	if address, err = victim.FreeAddress(); err != nil {
		return "", err
	}
	a.ledger = filepath.Join(a.dir, "ledger.jsonl")
	cfg := a.cfg.Victim
	cfg.Address, cfg.Ledger = address, a.ledger
	a.supervisor, err = victim.NewSupervisor(
		victim.SupervisorConfig{Command: []string{a.cfg.Storm, "victim", "--child"}, Victim: cfg},
		victim.SupervisorDeps{Clock: a.deps.Clock, Logger: log, Stderr: logFile})
	return address, err
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
func (a *arm) storm(ctx context.Context) (crowd.Report, error) {
	client, err := wire.New(wire.Config{Targets: []string{a.front.address}, Connections: connections}, wire.Deps{Clock: a.deps.Clock})
	if err != nil {
		return crowd.Report{}, err
	}
	calling, hangUp := context.WithCancel(ctx)
	called := make(chan error, 1) // has room for the one value
	go func() { called <- client.Run(calling) }()
	defer func() { hangUp(); <-called }()
	if err := client.WaitReady(ctx); err != nil {
		return crowd.Report{}, err
	}
	start := a.deps.Clock.Now().Add(sampleEvery)
	a.crowd, err = crowd.New(
		crowd.Config{People: a.cfg.People, Start: start, Limit: a.cfg.limit(a.arm), MaxLag: maxLag},
		crowd.Deps{
			Arrivals: crowd.Slice(a.arrivals), Caller: client, Recorder: a.recorder, Clock: a.deps.Clock,
			Identifier: victim.Identifier, Mails: a.mails.Run,
		})
	if err != nil {
		return crowd.Report{}, err
	}
	sampling, stopSampling := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() { defer close(sampled); a.sample(sampling, start) }()
	report, err := a.crowd.Run(ctx)
	stopSampling()
	<-sampled
	return report, err
}

// sample feeds timeline and live view, once more at the end.
func (a *arm) sample(ctx context.Context, start time.Time) {
	for n := 1; ; n++ {
		err := a.deps.Clock.Sleep(ctx, start.Add(time.Duration(n)*sampleEvery).Sub(a.deps.Clock.Now()))
		s := a.supervisor.Status()
		sample := a.recorder.Sample(a.deps.Clock.Now().Sub(start), measure.Store{
			Up: s.Up, Cold: s.Cold, Inside: s.Inside, Applied: s.Applied, Crashes: s.Crashes,
		})
		a.view.show(sample)
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
		result.Broken = broken(result, frontErr)
	}
	return result, nil
}

// broken lists the promises that a front with durable acceptance did not keep.
func broken(r measure.Arm, frontErr error) []string {
	list := []string{}
	add := func(yes bool, format string, args ...any) {
		if yes {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	add(r.Completed != r.Accepted, "%d people were accepted, but %d have their new password", r.Accepted, r.Completed)
	add(r.Completed == 0, "nobody got a new password")
	add(r.Lost > 0, "%d accepted completions are not in the store", r.Lost)
	add(r.AppliedTwice > 0, "%d changes were applied twice", r.AppliedTwice)
	add(r.OutOfOrder > 0, "%d changes were applied out of order", r.OutOfOrder)
	add(r.StoreCrashes > 0, "the store crashed %d times", r.StoreCrashes)
	add(frontErr != nil, "%v", frontErr)
	return list
}
