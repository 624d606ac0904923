package victim

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// task is one piece of work inside: it holds its memory until it is done.
type task struct {
	items  int
	memory []byte
	cost   func() time.Duration // asked when the work begins
	work   func()
	done   *sync.WaitGroup
}

// workers is the store's machine: a bound on what is inside, and either a line before c workers or a curve.
type workers struct {
	cfg   Config
	clock clock.Clock
	// line never blocks: it has room for every item that fits under the memory bound, and one more.
	line    chan task
	curve   *curve          // nil: line
	die     func()          // called once the bound is passed; does not come back in production
	life    context.Context // the machine's own, ended by close
	stop    context.CancelFunc
	running sync.WaitGroup // the workers
	waiters sync.WaitGroup // of whole calls

	mu        sync.Mutex
	rand      *rand.Rand
	coldUntil time.Time
	step      Step
	changed   chan struct{} // closed and replaced with each step
	inside    inside
}

// inside is what occupies the store. Peak and CallSeconds are of calls.
type inside struct {
	items, bytes int64
	calls, peak  int
	seconds      float64 // ∫ calls dt
	at           time.Time
}

func (i *inside) add(now time.Time, calls int) {
	if !i.at.IsZero() {
		i.seconds += float64(i.calls) * now.Sub(i.at).Seconds()
	}
	i.at = now
	i.calls += calls
	i.peak = max(i.peak, i.calls)
}

func newWorkers(cfg Config, c clock.Clock, die func()) *workers {
	ctx, stop := context.WithCancel(context.Background())
	w := &workers{
		cfg: cfg, clock: c, die: die, life: ctx, stop: stop,
		line: make(chan task, cfg.MemoryBound/cfg.RequestMemory+1),
		rand: rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Deaths))), // draws of a load test
		step: Step{Speed: 1, Workers: 1}, changed: make(chan struct{}),
	}
	w.inside.at = c.Now()
	if cfg.Cold {
		w.coldUntil = c.Now().Add(cfg.ColdFor)
	}
	if cfg.Knee > 0 {
		w.curve = newCurve(w)
		w.running.Go(func() { w.curve.run(ctx) })
		return w
	}
	for i := range cfg.Workers {
		w.running.Go(func() { w.run(ctx, i) })
	}
	return w
}

// call notes a call's arrival (1) or end (-1). False means that the process is dying.
func (w *workers) call(n int) bool {
	now := w.clock.Now()
	w.mu.Lock()
	w.inside.add(now, n)
	over := w.cfg.MaxCalls > 0 && w.inside.calls > w.cfg.MaxCalls
	w.mu.Unlock()
	if over && n > 0 {
		w.die()
		return false
	}
	return true
}

// enter takes one piece of work in. False means that the process is dying.
func (w *workers) enter(t task) bool {
	size := t.items * w.cfg.RequestMemory
	w.mu.Lock()
	w.inside.bytes += int64(size)
	over := w.inside.bytes > int64(w.cfg.MemoryBound)
	if !over {
		w.inside.items += int64(t.items)
	}
	w.mu.Unlock()
	if over {
		w.die()
		return false
	}
	t.memory = make([]byte, size)
	for i := 0; i < len(t.memory); i += 4096 {
		t.memory[i] = 1 // touched, so that the kernel really hands the page out
	}
	t.done.Add(1)
	if w.curve != nil {
		w.curve.enter(t)
		return true
	}
	select {
	case w.line <- t:
		return true
	default: // the line has room for all that fits under the bound, so this is past it
		w.leave(t)
		w.die()
		return false
	}
}

// draw is a factor on a piece of work, and whether the call fails for no reason of load.
func (w *workers) draw() (factor float64, noise bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	factor = 1
	if w.cfg.Spread > 0 {
		variance := math.Log1p(w.cfg.Spread * w.cfg.Spread)
		factor = math.Exp(math.Sqrt(variance)*w.rand.NormFloat64() - variance/2)
	}
	return factor, w.cfg.Noise > 0 && w.rand.Float64() < w.cfg.Noise
}

// speed is how fast work goes now: 0 for a store that stands still.
func (w *workers) speed(now time.Time) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.coldUntil) {
		return w.step.Speed / 2
	}
	return w.step.Speed
}

// state is what holds now, and a channel that is closed when it changes.
func (w *workers) state() (Step, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.step, w.changed
}

// change takes a step.
func (w *workers) change(s Step) {
	now := w.clock.Now()
	if w.curve != nil {
		w.curve.mu.Lock()
		defer w.curve.mu.Unlock()
		w.curve.advance(now) // what was done until here was done as it was before
	}
	w.mu.Lock()
	w.step = s
	if s.ColdFor > 0 {
		w.coldUntil = now.Add(s.ColdFor)
	}
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	if w.curve != nil {
		w.curve.wake()
	}
}

// run is one worker. It keeps its own account of when it is free again, so that late timers cost no capacity; being more
// than 50 ms behind means that the process was starved of CPU, and that time is gone, as it would be for a core.
// What it has begun it ends, whatever step comes.
func (w *workers) run(ctx context.Context, number int) {
	var free time.Time
	for {
		if !w.mayWork(ctx, number) {
			return
		}
		t, idle, ok := w.take(ctx)
		if !ok {
			return
		}
		now := w.clock.Now()
		if idle || now.Sub(free) > 50*time.Millisecond {
			free = now
		}
		for w.speed(now) == 0 && w.mayWork(ctx, number) { // it was taken while the store came to stand still
			now = w.clock.Now()
			free = now
		}
		if speed := w.speed(now); speed > 0 {
			free = free.Add(time.Duration(float64(t.cost()) / speed))
			if err := w.clock.Sleep(ctx, free.Sub(now)); err == nil {
				t.work()
			}
		}
		w.leave(t)
	}
}

// mayWork waits while the store stands still or has less workers than this one's number. False: it is over.
func (w *workers) mayWork(ctx context.Context, number int) bool {
	for {
		step, changed := w.state()
		if step.Speed > 0 && float64(number) < math.Ceil(step.Workers*float64(w.cfg.Workers)) {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
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

// leave gives the memory back. It returns false.
func (w *workers) leave(t task) bool {
	clear(t.memory[:1]) // the memory lives until here
	w.mu.Lock()
	w.inside.items -= int64(t.items)
	w.inside.bytes -= int64(len(t.memory))
	w.mu.Unlock()
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
	if w.curve != nil {
		w.curve.empty()
	}
	w.waiters.Wait()
}
