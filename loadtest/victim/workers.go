package victim

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// task is one item inside: it holds its memory until a worker is done with it.
type task struct {
	memory []byte
	cost   func() time.Duration // asked when a worker takes it
	work   func()
	done   *sync.WaitGroup
}

// workers is the store's machine: a line, c workers, and a bound on what is inside.
type workers struct {
	cfg       Config
	clock     clock.Clock
	coldUntil time.Time
	inside    atomic.Int64
	bytes     atomic.Int64
	// line never blocks: it has room for every item that fits under the memory bound, and one more.
	line    chan task
	die     func() // called once the bound is passed; does not come back in production
	stop    context.CancelFunc
	running sync.WaitGroup // the workers
	waiters sync.WaitGroup // of whole calls
}

func newWorkers(cfg Config, c clock.Clock, die func()) *workers {
	ctx, stop := context.WithCancel(context.Background())
	w := &workers{
		cfg: cfg, clock: c, die: die, stop: stop,
		line: make(chan task, cfg.MemoryBound/cfg.RequestMemory+1),
	}
	if cfg.Cold {
		w.coldUntil = c.Now().Add(cfg.ColdFor)
	}
	for range cfg.Workers {
		w.running.Go(func() { w.run(ctx) })
	}
	return w
}

// enter puts one item in line. False means that the process is dying.
func (w *workers) enter(t task) bool {
	if w.bytes.Add(int64(w.cfg.RequestMemory)) > int64(w.cfg.MemoryBound) {
		w.die()
		return false
	}
	w.inside.Add(1)
	t.memory = make([]byte, w.cfg.RequestMemory)
	for i := 0; i < len(t.memory); i += 4096 {
		t.memory[i] = 1 // touched, so that the kernel really hands the page out
	}
	t.done.Add(1)
	select {
	case w.line <- t:
		return true
	default: // the line has room for all that fits under the bound, so this is past it
		w.leave(t)
		w.die()
		return false
	}
}

func (w *workers) cold() bool { return w.clock.Now().Before(w.coldUntil) }

// run is one worker. It keeps its own account of when it is free again, so that late timers cost no capacity; being more
// than 50 ms behind means that the process was starved of CPU, and that time is gone, as it would be for a core.
func (w *workers) run(ctx context.Context) {
	var free time.Time
	for {
		t, idle, ok := w.take(ctx)
		if !ok {
			return
		}
		now := w.clock.Now()
		if idle || now.Sub(free) > 50*time.Millisecond {
			free = now
		}
		cost := t.cost()
		if now.Before(w.coldUntil) {
			cost *= 2
		}
		free = free.Add(cost)
		if err := w.clock.Sleep(ctx, free.Sub(now)); err == nil {
			t.work()
		}
		w.leave(t)
	}
}

func (w *workers) take(ctx context.Context) (t task, idle, ok bool) {
	select {
	case t = <-w.line:
		return t, false, ctx.Err() == nil || w.leave(t)
	default:
	}
	select {
	case t = <-w.line:
		return t, true, true
	case <-ctx.Done():
		return task{}, true, false
	}
}

// leave gives the item's memory back. It returns false.
func (w *workers) leave(t task) bool {
	clear(t.memory[:1]) // the memory lives until here
	w.inside.Add(-1)
	w.bytes.Add(-int64(w.cfg.RequestMemory))
	t.done.Done()
	return false
}

// close ends the workers, then whoever still waits in line.
func (w *workers) close() {
	w.stop()
	w.running.Wait()
	for len(w.line) > 0 {
		w.leave(<-w.line)
	}
	w.waiters.Wait()
}
