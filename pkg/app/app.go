package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/app/internal/reload"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/promise"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/starvation"
	"github.com/surgegate/surgegate/pkg/tracing"
	"github.com/surgegate/surgegate/pkg/tracing/otlp"
	"github.com/surgegate/surgegate/pkg/version"
)

// Options are what New needs.
type Options struct {
	Config config.Config
	// Output takes the log and the start-up lines.
	Output io.Writer
	// Clock is the machine's if nil.
	Clock clock.Clock
	// Reload reads the configuration again. It is nil if Config does not come from a file.
	Reload func() (config.Config, error)
	// Hangup delivers SIGHUP, which asks for a reload. It may be nil.
	Hangup <-chan os.Signal
	// Record is the file for a storm log of the public calls. If it is empty, nothing is recorded.
	Record string
}

// App is one running surgegate.
type App struct {
	options  Options
	cfg      config.Config
	out      io.Writer
	log      *slog.Logger
	logLevel *slog.LevelVar
	clock    clock.Clock
	registry *prometheus.Registry
	files    files
	traces   *otlp.Exporter  // nil without a collector
	tracer   *tracing.Tracer // nil without a collector
	decided  *decision.Log

	promise  *promise.Promise
	queue    queue.Queue
	gate     *gate.Gate
	dispatch *dispatch.Dispatch
	server   *edge.Server
	operator *operator.Service
	reloader *reload.Reloader
	parts    parts
	level    *leveller
	held     *operator.Level // between the leveller and those who obey the level
	// starvation measures whether this process gets the processor time that it needs.
	starvation *starvation.Monitor
	keys       *keys
	pprof      *pprofServer

	// fatal holds failures that end the process; Run takes the first.
	fatal chan error
	// work and rest are the goroutines that Start began: those of the work side and all others. stopWork and stopRest end them.
	work, rest         sync.WaitGroup
	stopWork, stopRest context.CancelFunc
	// closers run in reverse order.
	closers []func() error
}

// Run makes an App, runs it until ctx ends, and closes it. The error is nil after a clean drain.
func Run(ctx context.Context, o Options) error {
	// A core dump holds what is sealed everywhere else (SECURITY.md 19). If the limit cannot be lowered, it stays as it was.
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	unread := limitMemory()
	a, err := New(ctx, o)
	if err != nil {
		return err
	}
	if unread != nil {
		a.log.Warn("the cgroup's memory limit cannot be read: set GOMEMLIMIT, or brownout does not see memory", "error", unread.Error())
	}
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, a.close())
	}
	a.banner()
	a.notifySystemd(notifyReady)
	var failure error
	select {
	case <-ctx.Done():
		a.log.Info("draining: new work is refused, leased work is finished", "grace", a.cfg.Shutdown.Grace.Std())
	case failure = <-a.fatal:
		a.log.Error("ending: what is not acknowledged is not promised, what is acknowledged is on disk", "error", failure.Error())
	}
	a.notifySystemd(notifyStopping)
	if err := errors.Join(failure, a.Stop(failure != nil)); err != nil {
		return err
	}
	a.log.Info("ended: what is still in line is on disk, and the next start goes on with it")
	return nil
}

// New opens everything. Nothing listens or works yet.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{options: o, cfg: o.Config, out: o.Output, clock: o.Clock, fatal: make(chan error, 4), registry: prometheus.NewRegistry()}
	if a.clock == nil {
		a.clock = clock.System{}
	}
	if a.out == nil {
		a.out = io.Discard
	}
	a.log, a.logLevel = newLogger(a.out, a.cfg.Log)
	logStart(a.log, version.Current())
	// Each step uses what those before it have opened.
	for _, open := range []func(context.Context) error{
		a.openProcess, a.openTraces, a.openRecords, a.openKeys, a.openQueue, a.bindKeys, a.openParts, a.openGate, a.openDispatch,
		a.openLevel, a.openOperator, a.openServer,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	a.dispatch.Prepare(ctx)
	return a, nil
}

// openProcess shares out the limit of open files and registers what is measured of the process.
func (a *App) openProcess(context.Context) error {
	if err := a.limitFiles(); err != nil {
		return err
	}
	a.registry.MustRegister(goCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	return nil
}

// openRecords opens what counts kept promises and what logs decisions.
func (a *App) openRecords(context.Context) (err error) {
	if a.promise, err = promise.New(a.cfg.Promise(), promise.Deps{Registerer: a.registry}); err != nil {
		return err
	}
	a.decided, err = decision.New(a.cfg.Decide(), decision.Deps{Logger: a.log, Clock: a.clock})
	return err
}

func (a *App) openKeys(context.Context) (err error) {
	a.keys, err = openKeys(a.cfg, a.clock, a.log, a.registry)
	return err
}

// bindKeys keeps other processes off the keys, and checks that the queue is the one that they were used with.
func (a *App) bindKeys(ctx context.Context) error {
	unlock, err := lockKeys(a.cfg.KeysDir)
	if err != nil {
		return err
	}
	a.onClose(unlock)
	ctx = context.WithoutCancel(ctx)
	if err := a.keys.bind(ctx, a.queue, a.cfg); err != nil {
		return err
	}
	return a.keys.openTokens(ctx, a.queue, a.cfg)
}

func (a *App) openGate(context.Context) (err error) {
	a.gate, err = gate.New(a.cfg.Accept(), gate.Deps{
		Queue: a.queue, Admission: a.parts.admission, Tokens: a.parts.verifier, Sealer: a.parts.sealer,
		Tickets: a.keys.seal.Tickets(), Index: a.keys.seal.Index(), Policy: a.parts.policy,
		Registerer: a.registry, Tracer: a.tracer, Decisions: a.decided, Clock: a.clock, Logger: a.log,
	})
	return err
}

func (a *App) openDispatch(context.Context) (err error) {
	p := a.parts
	a.dispatch, err = dispatch.New(a.cfg.Work(), dispatch.Deps{
		Queue: a.queue, Store: p.store, Revoker: p.revoker, Mailer: p.mailer, Templates: p.templates, Hasher: p.hashes, Pacers: p.pacers,
		Sealer: p.sealer, Opener: p.opener, Index: a.keys.seal.Index(), Signer: p.signer, Verifier: p.verifier, Link: a.promise.Link,
		Register: a.registry, Tracer: a.tracer, Decisions: a.decided, Clock: a.clock, Logger: a.log,
	})
	return err
}

// openLevel makes what sets the brownout level: the monitor of processor time, which is one of its signals, and the leveller.
func (a *App) openLevel(context.Context) (err error) {
	// The monitor measures the machine, so it has the machine's clock.
	if a.starvation, err = starvation.New(starvation.Deps{
		Clock: clock.System{}, Tell: a.dispatch.SetStarved, Registerer: a.registry, Logger: a.log,
	}); err != nil {
		return err
	}
	delay := func() time.Duration { return a.starvation.Status().Delay }
	adm := a.parts.admission
	a.held = operator.NewLevel(adm.SetLevel, func(level int, _ admission.Cause) { a.dispatch.SetLevel(level) })
	a.level = newLeveller(a.queue, a.clock, a.cfg, delay, adm.ShowShares, a.held.Set)
	return nil
}

func (a *App) openServer(ctx context.Context) error {
	observe, err := a.record(a.options.Record)
	if err != nil {
		return err
	}
	a.server, err = edge.New(a.edgeConfig(), edge.Deps{
		Gate: a.gate, Operator: a.operator, Observe: observe, Trace: a.traceCalls(), Ready: func() error { return a.ready(ctx) },
		Registerer: a.registry, Gatherer: a.registry, Logger: a.log, Clock: a.clock,
	})
	return err
}

// Start begins to listen and to work. ctx bounds only the start.
func (a *App) Start(ctx context.Context) error {
	background := context.WithoutCancel(ctx)
	if err := a.gate.Start(background); err != nil {
		return err
	}
	a.onClose(a.gate.Close)
	var work, rest context.Context
	work, a.stopWork = context.WithCancel(background)
	rest, a.stopRest = context.WithCancel(background)
	a.work.Go(func() {
		if err := a.dispatch.Run(work); err != nil {
			a.fail(fmt.Errorf("work side: %w", err))
		}
	})
	a.rest.Go(func() { a.level.run(rest) })
	a.rest.Go(func() { a.starvation.Run(rest) })
	a.rest.Go(func() { a.keys.run(rest) })
	a.rest.Go(func() { a.operator.Run(rest) })
	a.rest.Go(func() { a.reloadOnHangup(rest) })
	a.rest.Go(func() { a.feedWatchdog(rest) })
	a.onClose(func() error {
		a.stopWork()
		a.stopRest()
		a.work.Wait()
		a.rest.Wait()
		return nil
	})
	if a.cfg.Listen.Pprof != "" {
		p, err := startPprof(a.cfg.Listen.Pprof)
		if err != nil {
			return err
		}
		a.pprof = p
		a.onClose(p.close)
	}
	if err := a.server.Start(); errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another surgegate may be running; listen.grpc, listen.operator and listen.http say where to listen", err)
	} else if err != nil {
		return err
	}
	a.rest.Go(func() {
		select {
		case err := <-a.server.Faults():
			a.fail(err)
		case <-rest.Done():
		}
	})
	return nil
}

// Stop drains and closes everything. It waits for leased work and open calls for at most shutdown.grace, or not at all if atOnce.
func (a *App) Stop(atOnce bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if atOnce {
		cancel()
	}
	grace := a.clock.NewTimer(a.cfg.Shutdown.Grace.Std())
	defer grace.Stop()
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-grace.C():
			cancel()
		case <-over:
		}
	})
	a.gate.Drain()
	if atOnce {
		a.dispatch.Abandon()
	}
	a.stopWork() // before the front is waited for: there is one grace for both
	// Answers that callers wait for would keep their connections open for up to 30 s, so they are given now.
	err := a.gate.Close()
	a.server.Drain(ctx)
	a.work.Wait()
	a.server.Stop(ctx)
	a.flushTraces(ctx)
	close(over)
	watching.Wait()
	return errors.Join(err, a.close())
}

// Addrs returns the addresses on which a started App listens.
func (a *App) Addrs() edge.Addrs { return a.server.Addrs() }

func (a *App) onClose(f func() error) { a.closers = append(a.closers, f) }

func (a *App) close() error {
	var errs []error
	for len(a.closers) > 0 {
		last := len(a.closers) - 1
		f := a.closers[last]
		a.closers = a.closers[:last]
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// fail has Run end the process. Later failures are dropped.
func (a *App) fail(err error) {
	select {
	case a.fatal <- err:
	default:
	}
}

func (a *App) ready(ctx context.Context) error {
	stats, err := a.queue.Stats(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	return stats.NotAccepting
}

// gcPercent is used unless GOGC is set. The live heap is small, because queued jobs are in Pebble. With Go's default of 100 there
// would be many collections a second while calls are accepted at full speed.
const gcPercent = 300

// keyMaintenance is how often keys are checked. It is much shorter than the shortest key period and announcement.
const keyMaintenance = 10 * time.Second
