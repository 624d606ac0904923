package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/queue"
)

// Engine is the embedded queue. Make it with Open. All its exported methods may be called concurrently.
//
// Locks are taken in this order: callsMu, mu, then waitMu or watchers.mu. None of the later ones is held while an earlier
// one is taken.
type Engine struct {
	// Set by Open and not changed afterwards.
	cfg     Config
	deps    Deps
	fs      vfs.FS // deps.FS, without the hook for a full disk
	db      *pebble.DB
	cache   *pebble.Cache
	metrics *metrics
	cancel  context.CancelFunc // stops alarmLoop and upkeepLoop

	// requests carries work from callers to commitLoop. It holds two groups: a longer buffer would only hide the wait.
	// Close closes it once no call is under way, so nobody sends on a closed channel.
	requests chan *request
	// synced carries applied groups from commitLoop to syncLoop, in order. It has no buffer: while syncLoop waits for
	// one group's fsync, commitLoop makes the next and then blocks here. So at most two applied groups are not durable.
	synced chan *commitGroup

	callsMu   sync.RWMutex  // held for reading during every call, for writing by Close
	closed    bool          // guarded by callsMu; set by Close after the last call has returned
	quit      chan struct{} // closed by Close before it waits, so that calls of Wait return
	closeOnce sync.Once
	closeErr  error // written inside closeOnce

	failOnce     sync.Once
	failure      atomic.Pointer[error] // written once, by fail
	failedSignal chan struct{}         // closed by fail, after failure is set

	enqueueRefusal    atomic.Pointer[error]  // why Enqueue is refused; written by checkDisk and handleDiskFull
	freeDisk          atomic.Pointer[uint64] // bytes; written by checkDisk; nil until the first reading
	commitTimes       commitTimes            // written by syncLoop
	lastBackgroundLog atomic.Int64           // Unix second of the last logged background error
	suppressedErrors  atomic.Int64           // background errors since then that were not logged

	alarmChanged chan struct{} // capacity 1; tells alarmLoop to compute the next alarm again
	alarmTime    atomic.Int64  // µs; when commitLoop's alarm is due, 0 for never; written by alarmLoop alone

	// mu makes the database and the fields below change together. runGroup, on the committer's goroutine, is the only
	// writer after Open: it holds mu from a group's first request until the group is visible in the database. A reader
	// holds mu for reading and so sees both as they were between two groups.
	mu             sync.RWMutex
	mem            memory
	timeBase       timeBase
	memtableFilter *memtableFilter
	lastGroup      *commitGroup // the latest applied group; once it is durable, all that a reader sees is

	waitMu  sync.Mutex
	waiters map[*waiter]struct{} // guarded by waitMu; calls of Wait that have nothing to lease yet

	watchers watcherSet // has its own lock
	wg       sync.WaitGroup
}

var _ queue.Queue = (*Engine)(nil)

// Open opens the queue in cfg.Dir, or creates it. Afterwards every job that has not ended is waiting, retrying or parked:
// leases do not survive the process.
func Open(cfg Config, deps Deps) (*Engine, error) {
	cfg, deps = cfg.WithDefaults(), deps.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	if deps.Fatal == nil {
		return nil, errors.New("queue: Deps.Fatal is required: it must end the process when durability is lost")
	}
	e := &Engine{
		cfg: cfg, deps: deps, fs: deps.FS,
		requests:     make(chan *request, 2*maxGroup),
		synced:       make(chan *commitGroup),
		quit:         make(chan struct{}),
		failedSignal: make(chan struct{}),
		alarmChanged: make(chan struct{}, 1),
		waiters:      make(map[*waiter]struct{}),
	}
	e.watchers.init()
	if err := e.openDB(); err != nil {
		return nil, err
	}
	if err := e.load(); err != nil {
		return nil, errors.Join(err, e.closeDB())
	}
	e.timeBase = timeBase{begin: deps.Clock.Now(), queueTime: max(e.mem.Clock, deps.Clock.Now().UnixMicro())}
	if err := e.openMetrics(); err != nil {
		return nil, errors.Join(err, e.closeDB())
	}
	e.checkDisk()
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(context.Background())
	// Close waits for these four.
	e.wg.Go(e.commitLoop)
	e.wg.Go(e.syncLoop)
	e.wg.Go(func() { e.alarmLoop(ctx) })
	e.wg.Go(func() { e.upkeepLoop(ctx) })
	return e, nil
}

// Close implements queue.Queue. It lets the calls under way finish, stops the engine's goroutines and closes the database.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		// From here on new calls are refused (beginCall looks at quit), and calls of Wait return.
		close(e.quit)
		e.cancel()
		// Every call holds callsMu for reading until it has its answer. So once this lock is taken nobody will send on
		// requests again, and it can be closed.
		e.callsMu.Lock()
		e.closed = true
		e.callsMu.Unlock()
		// commitLoop ends when requests is empty and closes synced; syncLoop ends after the last group.
		close(e.requests)
		e.wg.Wait()
		e.metrics.unregister()
		e.closeErr = e.closeDB()
	})
	return e.closeErr
}

// beginCall begins a call: it returns ErrClosed after Close and the failure after fail. If it returns nil the caller must
// call endCall, and until then Close waits.
func (e *Engine) beginCall() error {
	e.callsMu.RLock()
	if e.closed || isClosed(e.quit) {
		e.callsMu.RUnlock()
		return queue.ErrClosed
	}
	if err := e.failureErr(); err != nil {
		e.callsMu.RUnlock()
		return err
	}
	return nil
}

func (e *Engine) endCall() { e.callsMu.RUnlock() }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// fail stops all acknowledgements for good: durability is lost. Only the first call has an effect. It closes failedSignal,
// on which every call that waits for a commit returns with an error, and then calls Deps.Fatal on this goroutine.
func (e *Engine) fail(cause error) {
	e.failOnce.Do(func() {
		err := fmt.Errorf("%w: %w", queue.ErrNotDurable, cause)
		e.failure.Store(&err)
		close(e.failedSignal)
		if e.metrics != nil {
			e.metrics.fsyncErrors.Inc()
		}
		e.deps.Logger.Error("queue: durability lost, the process must end", "error", cause.Error())
		e.deps.Fatal(err)
	})
}

// failureErr returns the error that fail recorded, or nil.
func (e *Engine) failureErr() error {
	if p := e.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// failOnPanic, deferred by a loop, turns a panic into fail: Pebble reports some WAL errors by a panic.
func (e *Engine) failOnPanic(what string) {
	if r := recover(); r != nil {
		buf := make([]byte, 8<<10)
		buf = buf[:runtime.Stack(buf, false)]
		e.fail(fmt.Errorf("%s: panic: %v\n%s", what, r, buf))
	}
}
