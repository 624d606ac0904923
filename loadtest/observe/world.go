package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/loadtest/wire"
	"github.com/surgegate/surgegate/pkg/clock"
)

// job is the name that Prometheus scrapes the gateway by.
const job = "surgegate"

// Programs that are run, as paths.
type Programs struct {
	Surgegate, Surgectl, Storm, Prometheus string
}

// worldConfig is what worlds differ in.
type worldConfig struct {
	programs Programs // without Prometheus nothing is scraped
	dir      string
	data     string // folder of the gateway's data; empty: in dir
	settings string // further YAML of the gateway's: whole top-level keys, queue among them
	store    victim.Config
	people   people.Config
	rules    []string // files for Prometheus
	scrape   time.Duration
	evaluate time.Duration // of rules without an interval of their own
	core     int           // of the gateway, or testbed.AnyCore
}

// world is a gateway with all that is around it, and a Prometheus that scrapes it.
type world struct {
	cfg      worldConfig
	clock    clock.Clock
	store    *victim.Supervisor
	control  *victim.ControlClient
	crashes  atomic.Int64 // of the store, that were made
	sink     *testbed.Sink
	reader   atomic.Pointer[testbed.Deliverer] // of mails; nil: nobody is there
	recorder *measure.Recorder
	disk     *testbed.SmallDisk // of the data; nil: not its own
	slow     *testbed.SlowDisk  // likewise
	crowd    *crowd.Crowd
	gateway  *testbed.Process
	operator string // host:port
	metrics  string // host:port
	prom     *Prometheus
	end      context.CancelFunc
	beside   *errgroup.Group
}

// openWorld starts everything and waits until the first scrape has been stored: counters are 0 in it.
func openWorld(ctx context.Context, c clock.Clock, cfg worldConfig) (*world, error) {
	if cfg.data == "" {
		cfg.data = filepath.Join(cfg.dir, "data")
	}
	if err := os.MkdirAll(cfg.dir, 0o700); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	w := &world{cfg: cfg, clock: c, recorder: measure.New(measure.Config{Keep: true})}
	if err := w.open(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *world) open(ctx context.Context) error {
	var running context.Context
	running, w.end = context.WithCancel(context.WithoutCancel(ctx)) // ended by close, after the gateway
	w.beside, running = errgroup.WithContext(running)
	if err := w.startStore(ctx, running); err != nil {
		return err
	}
	var err error
	w.sink, err = testbed.NewSink(testbed.SinkConfig{Address: "127.0.0.1:0", Clock: w.clock}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	w.beside.Go(func() error { return w.sink.Run(running, w.deliver) })
	for try := 1; ; try++ { // where there is much traffic a port that was free may be a connection's a moment later
		err := w.startGateway(ctx)
		if err == nil {
			break
		}
		if try == 3 || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			return err
		}
	}
	if w.cfg.programs.Prometheus == "" {
		return nil
	}
	w.prom, err = StartPrometheus(ctx, PrometheusConfig{
		Program: w.cfg.programs.Prometheus, Dir: filepath.Join(w.cfg.dir, "prometheus"), Job: job, Target: w.metrics, Rules: w.cfg.rules,
		Scrape: w.cfg.scrape, Evaluate: w.cfg.evaluate,
	}, w.clock)
	if err != nil {
		return err
	}
	return w.await(ctx, 30*time.Second, fmt.Sprintf("up{job=%q} == 1", job))
}

// startStore starts the store as a process of its own, which comes back when it has died.
func (w *world) startStore(ctx, running context.Context) error {
	free, err := testbed.FreeAddresses(2)
	if err != nil {
		return err
	}
	store := &w.cfg.store
	store.Address, store.Control, store.Ledger = free[0], free[1], filepath.Join(w.cfg.dir, "ledger.jsonl")
	w.store, err = victim.NewSupervisor(
		victim.SupervisorConfig{Command: []string{w.cfg.programs.Storm, "victim", "--child"}, Victim: *store},
		victim.SupervisorDeps{Clock: w.clock, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	w.beside.Go(func() error { return w.store.Run(running) })
	w.control = victim.NewControlClient(store.Control, w.clock)
	select {
	case <-w.store.Ready():
		return nil
	case <-running.Done():
		return errors.New("observe: the store did not start")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) startGateway(ctx context.Context) error {
	g, err := testbed.StartGateway(ctx, w.clock, testbed.GatewayConfig{
		Program: w.cfg.programs.Surgegate, Dir: w.cfg.dir, Data: w.cfg.data, Core: w.cfg.core, Rest: w.cfg.settings,
		Store: fmt.Sprintf("{grpc: {address: %q, insecure: true}, timeout: 700ms}", w.cfg.store.Address),
		Mail:  fmt.Sprintf(`{smtp: {address: %q, tls: none}, base_url: "https://reset.example.com"}`, w.sink.Address()),
	})
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	w.gateway, w.operator, w.metrics = g.Process, g.Operator, g.HTTP
	return nil
}

// deliver hands a mail to whoever is there. Mails come after the last person has gone, too.
func (w *world) deliver(to, token string) {
	if reader := w.reader.Load(); reader != nil {
		(*reader)(to, token)
	}
}

// readMails is a crowd's: the sink outlives it.
func (w *world) readMails(ctx context.Context, reader testbed.Deliverer) error {
	w.reader.Store(&reader)
	<-ctx.Done()
	w.reader.Store(nil)
	return nil
}

// maxLag is wide, because everything here shares the machine; waits are seconds.
const maxLag = time.Second

// storm lets a crowd loose and waits until everybody has ended, or for the limit.
func (w *world) storm(ctx context.Context, arrivals crowd.Arrivals, start time.Time, limit time.Duration) (report crowd.Report, err error) {
	client, err := wire.New(wire.Config{Targets: []string{w.gateway.Address}, Connections: 8}, wire.Deps{Clock: w.clock})
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
	w.crowd, err = crowd.New(
		crowd.Config{People: w.cfg.people, Start: start, Limit: limit, MaxLag: maxLag, Patience: time.Minute},
		crowd.Deps{
			Arrivals: arrivals, Caller: client, Recorder: w.recorder, Clock: w.clock, Identifier: victim.Identifier, Mails: w.readMails,
		})
	if err != nil {
		return crowd.Report{}, err
	}
	return w.crowd.Run(ctx)
}

// errNever is what did not become so in time.
var errNever = errors.New("observe: it did not become so in time")

// await waits until a query finds something.
func (w *world) await(ctx context.Context, limit time.Duration, expr string) error {
	deadline := w.clock.Now().Add(limit)
	for {
		found, err := w.prom.At(ctx, expr, w.clock.Now())
		if err != nil || len(found) > 0 {
			return err
		}
		if w.clock.Now().After(deadline) {
			return fmt.Errorf("%w (%v): %s", errNever, limit, expr)
		}
		if err := w.clock.Sleep(ctx, w.cfg.scrape/4); err != nil {
			return err
		}
	}
}

// close ends all that runs, the gateway first: it drains while it can still reach the others.
func (w *world) close() error {
	if w.prom != nil {
		w.prom.Close()
	}
	if w.gateway != nil {
		w.gateway.Stop()
	}
	w.end()
	err := w.beside.Wait()
	if w.control != nil {
		w.control.Close()
	}
	if w.store != nil && int64(w.store.Status().Crashes) > w.crashes.Load() {
		err = errors.Join(err, errors.New("observe: the store ran out of memory: this was another storm"))
	}
	return err
}
