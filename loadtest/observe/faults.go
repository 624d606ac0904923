package observe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// diskKind is what the gateway's data lie on.
type diskKind int

const (
	anyDisk   diskKind = iota
	smallDisk          // one that can be filled
	slowDisk           // one that can be slowed
)

// row is one fault that nobody announces, or several at once.
type row struct {
	name string
	// causes has, for each fault, those of which status may name one first. None: nothing is wrong.
	causes [][]string
	also   []string // that may be named behind them: what the fault does to others
	// isSlowness tells that all that can be seen of the fault is that things take long: on a busy machine they do anyway, so
	// there gateway_starved may come first.
	isSlowness bool
	// alert names the fault; severity tells which of its rules is meant, where it has two (empty: any).
	alert, severity string
	isAlone         bool // it takes the machine for itself: no other row runs beside it

	rate     float64       // people a second, from the start
	more     float64       // people a second more, whose passwords come from the fault on
	flood    float64       // calls a second of one client, from the fault on
	store    victim.Config // zero: that of observedStore
	settings string        // of the gateway
	disk     diskKind
	isPinned bool // the gateway has core 0 and no other

	begin []func(ctx context.Context, w *world) error // each returns when ctx ends or its fault is complete
}

const (
	quietRate = 12 // people a second: half of what the store serves at its pace
	stormRate = 36 // more than it serves
)

// observedStore can serve 33 people a second at its best: 40 ms of a worker for a look-up, 80 ms for a password.
func observedStore() victim.Config {
	return victim.Config{Workers: 4, HashTime: 80 * time.Millisecond, LookupTime: 40 * time.Millisecond}
}

// storeFails are the causes of a store that does not work. Sessions end at the store, too.
func storeFails() []string {
	return []string{"downstream_dark/store", "downstream_hanging/store", "downstream_failing/store"}
}

func storeIsSlow() []string { return []string{"downstream_slow/store", "downstream_limit/store"} }

func revokerFails() []string {
	return []string{"downstream_dark/revoker", "downstream_failing/revoker"}
}

func mailFails() []string {
	return []string{"downstream_dark/mail", "downstream_hanging/mail", "downstream_failing/mail"}
}

func rows() []row {
	dark, refused, half := stepStore(model.StoreState{Capacity: 1}), stepStore(model.StoreState{Speed: 1, Capacity: 1, Refuse: true}),
		stepStore(model.StoreState{Speed: .5, Capacity: 1})
	refuseMails := func(_ context.Context, w *world) error { w.sink.Refuse(true); return nil }
	hangMails := func(_ context.Context, w *world) error { w.sink.Hang(true); return nil }
	single := []row{
		{name: "none", rate: quietRate},
		{
			name: "store-half", causes: [][]string{storeIsSlow()}, isSlowness: true, alert: "SurgegateDownstreamSlow",
			rate: stormRate, begin: does(half),
		},
		{
			name: "store-dark", causes: [][]string{storeFails()}, also: revokerFails(), alert: "SurgegateBreakerOpen",
			rate: quietRate, begin: does(dark),
		},
		{name: "store-refuse", causes: [][]string{storeFails()}, also: revokerFails(), rate: quietRate, begin: does(refused)},
		{
			name: "store-unknown", causes: [][]string{append(storeFails(), "downstream_misconfigured/store")}, rate: quietRate,
			begin: does(stepStore(model.StoreState{Speed: 1, Capacity: 1, Unknown: true})),
		},
		{
			name: "store-crash", causes: [][]string{append(storeFails(), "recovering/store", "untried/store", "downstream_slow/store", "downstream_limit/store")},
			also: revokerFails(), rate: quietRate, begin: does(crashStore),
		},
		{
			name: "mail-throttled", causes: [][]string{{"downstream_failing/mail"}},
			also:  []string{"downstream_dark/mail"}, // the right one, but it does take some
			alert: "SurgegateDownstreamFailing", rate: quietRate,
			begin: does(func(_ context.Context, w *world) error { w.sink.Throttle(quietRate / 3.); return nil }),
		},
		{name: "mail-refuse", causes: [][]string{mailFails()}, rate: quietRate, begin: does(refuseMails)},
		{name: "mail-hang", causes: [][]string{mailFails()}, rate: quietRate, begin: does(hangMails)},
		{
			name: "hash-pool", causes: [][]string{{"hash_pool_busy/hash_pool"}}, isSlowness: true, isAlone: true,
			rate: 2, more: quietRate, store: victim.Config{Hashed: true}, settings: "hash: {slots: 1, memory: 64MiB, time: 4}\n",
		},
		{
			name: "disk-slow", causes: [][]string{{"disk_slow", "not_accepting"}}, isSlowness: true,
			rate: quietRate, disk: slowDisk, begin: does(slowTheDisk),
		},
		{
			name: "disk-filling", causes: [][]string{{"disk_filling", "disk_low"}}, alert: "SurgegateDiskFilling", severity: "page",
			rate: quietRate, disk: smallDisk, begin: does(fillDisk),
		},
		{
			name: "gateway-starved", causes: [][]string{{"gateway_starved"}}, isAlone: true, isPinned: true,
			rate: 150, store: victim.Config{Workers: 16, HashTime: 5 * time.Millisecond}, begin: does(starve),
		},
		{name: "flood", causes: [][]string{{"client_flooding"}}, alert: "SurgegateClientFlooding", rate: quietRate, flood: 300},
		{name: "lane-paused", causes: [][]string{{"lane_paused"}}, rate: quietRate, begin: does(pause("apply"))},
	}
	return append(single,
		row{
			name: "store-dark+flood", causes: [][]string{storeFails(), {"client_flooding"}}, also: revokerFails(),
			rate: quietRate, flood: 300, begin: does(dark),
		},
		row{
			name: "mail-hang+flood", causes: [][]string{mailFails(), {"client_flooding"}},
			rate: quietRate, flood: 300, begin: does(hangMails),
		},
		row{
			name: "store-half+disk-filling", causes: [][]string{storeIsSlow(), {"disk_filling", "disk_low"}}, isSlowness: true,
			rate: stormRate, disk: smallDisk, begin: does(half, fillDisk),
		},
		row{
			name: "lane-paused+disk-filling", causes: [][]string{{"lane_paused"}, {"disk_filling", "disk_low"}},
			rate: quietRate, disk: smallDisk, begin: does(pause("apply"), fillDisk),
		},
	)
}

// FaultNames lists the faults that Diagnose can make.
func FaultNames() (names []string) {
	for _, r := range rows() {
		names = append(names, r.name)
	}
	return names
}

// typing is how long patient people take from asking for a link to sending a password.
const typing = 3 * time.Second

// load is who comes, where the fault begins after so long and lasts so long.
func (r row) load(before, lasts time.Duration) *load {
	waves := []wave{{length: before + lasts, rate: r.rate}}
	if r.more > 0 {
		waves = append(waves, wave{from: before - typing, length: lasts + typing, rate: r.more})
	}
	if r.flood > 0 {
		waves = append(waves, wave{from: before, length: lasts, rate: r.flood, who: crowd.Lone, client: "a-client-in-a-loop"})
	}
	return newLoad(waves...)
}

// allowed are the causes that may be named beside those of the fault.
func (r row) allowed(busy bool) []string {
	if busy {
		return append([]string{"gateway_starved"}, r.also...)
	}
	return r.also
}

// expected are the true causes of each fault.
func (r row) expected(busy bool) (sets [][]string) {
	for _, set := range r.causes {
		if busy && r.isSlowness {
			set = append([]string{"gateway_starved"}, set...)
		}
		sets = append(sets, set)
	}
	return sets
}

type action = func(ctx context.Context, w *world) error

func does(actions ...action) []action { return actions }

func stepStore(s model.StoreState) action {
	return func(ctx context.Context, w *world) error { return w.control.Step(ctx, s) }
}

// crashStore lets it die again and again: it is up for 7 s of each 12, and cold.
func crashStore(ctx context.Context, w *world) error {
	const each = 12 * time.Second
	for {
		wait := each
		if err := w.control.Crash(ctx); err != nil {
			wait = time.Second // it is not up yet
		} else {
			w.crashes.Add(1)
		}
		if w.clock.Sleep(ctx, wait) != nil {
			return nil // it is over
		}
	}
}

// slowTheDisk makes a sync take two thirds of a second.
func slowTheDisk(ctx context.Context, w *world) error {
	const writes = 4 // a second
	if err := w.slow.Slow(w.gateway.PID(), writes); err != nil {
		return err
	}
	<-ctx.Done()
	return w.slow.Fast() // or the gateway could not end
}

const (
	// diskSize is large beside what the queue's own logs take of it in the first minutes (260 MiB): that is a trend, too.
	diskSize    = 4 << 30
	diskReserve = 1536 << 20
	diskLeft    = diskReserve * 5 / 4 // at once: a quarter of the reserve is left above it; the rest is memory, 2.1 GiB
	diskWrites  = 1 << 20             // a second, by something else, from then on
)

// fillDisk lets something else write until the reserve is nearly reached.
func fillDisk(ctx context.Context, w *world) error {
	for leave := int64(diskLeft); leave > diskReserve+4<<20; leave -= diskWrites {
		if err := w.disk.Fill(leave); err != nil {
			return err
		}
		if w.clock.Sleep(ctx, time.Second) != nil {
			return nil // it is over
		}
	}
	return nil
}

// pinnedCore is where a gateway runs that is to be starved.
const pinnedCore = 0

// starve leaves a gateway that is pinned to a core a fifth of it.
func starve(ctx context.Context, w *world) error {
	busy, err := testbed.StartBusy(busyLoops, pinnedCore, 5*time.Minute)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return busy.Stop()
}

// pause stops a lane, as an operator would.
func pause(lane string) action {
	return func(ctx context.Context, w *world) error {
		text, err := exec.CommandContext(ctx, w.cfg.programs.Surgectl, "lanes", "pause", lane, "--duration", "30m", "--reason", "a test", "--yes",
			"--address", w.operator).CombinedOutput()
		if err != nil && ctx.Err() == nil {
			return errors.Join(fmt.Errorf("observe: surgectl lanes pause: %w", err), errors.New(string(text)))
		}
		return nil
	}
}
