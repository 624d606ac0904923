package embedded

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Config of the engine. Zero fields mean the defaults.
type Config struct {
	// Dir is the folder of the database; made when absent. Required.
	Dir string
	// MaxBytes bounds the bytes of the jobs held; default 20 GiB.
	MaxBytes uint64
	// MaxJobs bounds the number of jobs held; default 40 million, a storm of 15 million with room.
	MaxJobs uint64
	// DiskReserve is the free disk below which nothing is accepted; default 2 GiB. Finish and compaction live from it.
	DiskReserve uint64
	// DiskHysteresis is how far above the reserve the free disk must rise before accepting again; default a tenth of
	// the reserve, so that acceptance does not flap with every compaction.
	DiskHysteresis uint64
	// Ballast is the size of a file that is given up when the disk is full; default 64 MiB. It is one memtable's
	// flush, enough for Pebble to go on until space is made.
	Ballast uint64
	// DiskPoll is how often the free disk is looked at; default 1 s.
	DiskPoll time.Duration
	// Retention is how long final tickets stay readable; default 72 h.
	Retention time.Duration
	// Sweep is how often what is past its time is dropped; default 1 min.
	Sweep time.Duration
	// CacheBytes is Pebble's block cache; default 128 MiB.
	CacheBytes int64
	// MemTableBytes is the size of one memtable, of which there may be four; default 32 MiB.
	MemTableBytes uint64
	// MaxOpenFiles is how many tables Pebble keeps open; default 1000. Beside them a few logs and manifests are open.
	MaxOpenFiles int
	// MaxBatch is how many requests share one fsync; default 512.
	MaxBatch int

	memtableFilterKeys int // keys in a generation of recent; tests make it small
}

// WithDefaults returns the config with its zero fields set.
func (c Config) WithDefaults() Config {
	setDefault(&c.MaxBytes, 20<<30)
	setDefault(&c.MaxJobs, 40_000_000)
	setDefault(&c.DiskReserve, 2<<30)
	setDefault(&c.DiskHysteresis, c.DiskReserve/10)
	setDefault(&c.Ballast, 64<<20)
	setDefault(&c.DiskPoll, time.Second)
	setDefault(&c.Retention, 72*time.Hour)
	setDefault(&c.Sweep, time.Minute)
	setDefault(&c.CacheBytes, 128<<20)
	setDefault(&c.MemTableBytes, 32<<20)
	setDefault(&c.MaxOpenFiles, 1000)
	setDefault(&c.MaxBatch, 512)
	setDefault(&c.memtableFilterKeys, defaultFilterKeys)
	return c
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("dir: the queue needs a folder")
	case c.DiskPoll < 0:
		return errors.New("disk_poll: must not be negative")
	case c.Retention < 0:
		return errors.New("retention: must not be negative")
	case c.Sweep < 0:
		return errors.New("sweep: must not be negative")
	case c.CacheBytes < 0:
		return errors.New("cache_bytes: must not be negative")
	case c.MaxOpenFiles < 0:
		return errors.New("max_open_files: must not be negative")
	case c.MaxBatch < 0:
		return errors.New("max_batch: must not be negative")
	case c.MemTableBytes != 0 && c.MemTableBytes < 1<<20:
		return errors.New("mem_table_bytes: must be at least 1 MiB, an item's atomic write must fit many times")
	}
	return nil
}

// Deps of the engine. Zero fields mean the machine's clock, a private registry, the default logger and the disk.
type Deps struct {
	Clock      clock.Clock
	Registerer prometheus.Registerer
	Logger     *slog.Logger
	FS         vfs.FS
	// Fatal is called once, when durability is lost: the process must end. Nothing is acknowledged after it. It must
	// not call the engine, whose locks are held. Required.
	Fatal func(error)
	// Ended is told of each job that ends, as it is written and before that is durable: for metrics. A job that hands its
	// ticket on to a follow-up has not ended. It must neither wait nor call the engine. nil: nobody is told.
	OnJobEnd func(lane reset.Lane, unique bool, state reset.State, age time.Duration)
}

// Engine is the embedded queue. Make it with Open.
type Engine struct {
	cfg      Config
	deps     Deps
	fs       vfs.FS // without the disk-full hook
	db       *pebble.DB
	cache    *pebble.Cache
	metrics  *metrics
	watchers watcherSet

	requests  chan *request
	synced    chan *commitGroup // to the syncer; unbuffered, so that at most one group waits for its fsync while one is made
	quit      chan struct{}
	closeOnce sync.Once
	closeErr  error
	callsMu   sync.RWMutex // held for reading by every call under way
	closed    bool         // under entered
	cancel    context.CancelFunc

	lastBackgroundLog atomic.Int64 // unix second of the latest line about a background error
	suppressedErrors  atomic.Int64 // background errors since

	alarmChanged chan struct{} // the next alarm has come nearer
	alarmTime    atomic.Int64  // µs; what the alarm is set to, 0 for nothing
	wg           sync.WaitGroup

	failure        atomic.Pointer[error]
	failOnce       sync.Once
	failedSignal   chan struct{} // closed once failure is set
	commitTimes    commitTimes
	enqueueRefusal atomic.Pointer[error]
	freeDisk       atomic.Pointer[uint64] // bytes, as last looked at; nil before the first look

	mu             sync.RWMutex // held by the committer while it changes the fields below and the database together
	mem            memory
	timeBase       timeBase
	memtableFilter *memtableFilter
	lastGroup      *commitGroup // the latest group applied; its sync makes all that a reader sees durable

	waitMu  sync.Mutex
	waiters map[*waiter]struct{}
}

var _ queue.Queue = (*Engine)(nil)

// Open opens or creates the queue. Everything that was not ended is waiting, retrying or parked afterwards.
func Open(cfg Config, deps Deps) (*Engine, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Registerer == nil {
		deps.Registerer = prometheus.NewRegistry()
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	if deps.FS == nil {
		deps.FS = vfs.Default
	}
	if deps.OnJobEnd == nil {
		deps.OnJobEnd = func(reset.Lane, bool, reset.State, time.Duration) {}
	}
	if deps.Fatal == nil {
		return nil, errors.New("queue: fatal: somebody must end the process when durability is lost")
	}
	e := &Engine{
		cfg: cfg, deps: deps, fs: deps.FS,
		requests:     make(chan *request, 2*cfg.MaxBatch), // two groups' worth; more would only hide the wait
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
	e.wg.Add(4)
	go func() { defer e.wg.Done(); e.commitLoop() }()
	go func() { defer e.wg.Done(); e.syncLoop() }()
	go func() { defer e.wg.Done(); e.alarmLoop(ctx) }()
	go func() { defer e.wg.Done(); e.upkeepLoop(ctx) }()
	return e, nil
}

func (e *Engine) openDB() error {
	if err := e.fs.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("queue: make %s: %w", e.cfg.Dir, err)
	}
	e.cache = pebble.NewCache(e.cfg.CacheBytes)
	opts := &pebble.Options{
		FS:                          vfs.OnDiskFull(e.fs, e.handleDiskFull),
		Cache:                       e.cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                e.cfg.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		// At 2 the base level was rewritten with every other flush: 40 µs of processor time a completion and 14.7 a start
		// where 4 takes 32 and 13.5, at 256 callers, all compactions and the callers included (BenchmarkEnqueue…).
		L0CompactionThreshold: 4,
		L0StopWritesThreshold: 1000, // a stalled commit is worse than a slower read
		LBaseMaxBytes:         64 << 20,
		MaxOpenFiles:          e.cfg.MaxOpenFiles,
		WALBytesPerSync:       512 << 10,
		BytesPerSync:          512 << 10,
		// Half of the processors: on two, a second compaction beside a flush would leave none to answer with.
		CompactionConcurrencyRange: func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		Logger:                     (*pebbleLog)(e),
		EventListener:              e.events(),
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := e.openPebble(opts)
	if err != nil {
		e.cache.Unref()
		return fmt.Errorf("queue: open %s: %w", e.cfg.Dir, err)
	}
	e.db = db
	if e.memtableFilter, err = newMemtableFilter(db, e.cfg.memtableFilterKeys); err != nil {
		return errors.Join(fmt.Errorf("queue: open %s: %w", e.cfg.Dir, err), e.closeDB())
	}
	return nil
}

// openPebble does not wait for an Open that never returns: when a flush or compaction of the replay finds a damaged
// table, Pebble calls Fatalf in the background and waits for what that one was to do. The process ends with it.
func (e *Engine) openPebble(opts *pebble.Options) (db *pebble.DB, err error) {
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		err = errors.New("pebble gave up") // unless Open returns: Fatalf may end this goroutine
		db, err = pebble.Open(e.cfg.Dir, opts)
	}()
	select {
	case <-opened:
	case <-e.failedSignal:
		return nil, explainOpenError(e.failureErr())
	}
	if err == nil {
		return db, nil
	}
	if e.failureErr() != nil {
		err = e.failureErr()
	}
	return nil, explainOpenError(err)
}

// remedy adds what to do about an error of Open.
func explainOpenError(err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES) && strings.Contains(err.Error(), "LOCK"):
		return fmt.Errorf("another process holds it: end that one, or give this one its own folder (%w)", err)
	case pebble.IsCorruptionError(err), errors.Is(err, errCorrupt), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its files are damaged or incomplete: put back what is missing, or move the folder away to begin with an "+
			"empty queue, which loses what waits in this one (%w)", err)
	default:
		return err
	}
}

func (e *Engine) closeDB() error {
	if e.failureErr() != nil {
		return nil // Pebble may wait for ever for what has failed
	}
	err := e.db.Close()
	e.cache.Unref()
	if err != nil {
		return fmt.Errorf("queue: close: %w", err)
	}
	return nil
}

// load reads the counters and the retry index, and the head of every line.
func (e *Engine) load() error {
	m := &e.mem
	m.leaseByToken, m.leaseBySlot = make(map[uint64]*lease), make(map[slot]*lease)
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails since Go 1.24
	m.lastToken = binary.BigEndian.Uint64(seed[:]) >> 1
	b, closer, err := e.db.Get([]byte{prefixCounters})
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return fmt.Errorf("queue: read the counters: %w", err)
	default:
		err = m.decode(b)
		_ = closer.Close()
		if err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixRetry}, UpperBound: []byte{prefixRetry + 1}})
	if err != nil {
		return fmt.Errorf("queue: read retries: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()
		if len(k) != 19 || !isValidLaneClass(reset.Lane(k[1]), reset.Class(k[2])) {
			return errors.Join(fmt.Errorf("queue: retry key: %w", errCorrupt), it.Close())
		}
		v, err := it.ValueAndErr()
		if err != nil || len(v) != 8 {
			return errors.Join(fmt.Errorf("queue: retry of %d bytes: %w", len(v), errCorrupt), err, it.Close())
		}
		p := slot{reset.Lane(k[1]), reset.Class(k[2]), binary.BigEndian.Uint64(k[11:])}
		m.queueOf(p).retries.add(p.seq, int64(binary.BigEndian.Uint64(k[3:])))
		m.queueOf(p).addRetryByAccept(p, int64(binary.BigEndian.Uint64(v)))
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("queue: read retries: %w", err)
	}
	for _, lane := range reset.Lanes() {
		for _, class := range reset.Classes() {
			ln, k := &m.queues[lane][class], &m.Queues[lane][class]
			k.Floor = max(k.Floor, 1)
			ln.nextUnread, ln.deletedBelow = k.Floor, k.Floor
			if err := e.refill(lane, class, k.Last, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// refill reads a line's next window. Sequences above visible are in the batch that is being made.
func (e *Engine) refill(lane reset.Lane, class reset.Class, visible uint64, gone map[string]overlayEntry) error {
	ln := &e.mem.queues[lane][class]
	if len(ln.window) > 0 || ln.nextUnread > visible {
		return nil
	}
	it, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: keySlot(prefixJob, slot{lane, class, ln.nextUnread}),
		UpperBound: keySlot(prefixJob, slot{lane, class, visible + 1}),
	})
	if err != nil {
		return fmt.Errorf("queue: read line: %w", err)
	}
	ok := it.First()
	for ; ok && len(ln.window) < windowJobs && ln.bytes < windowBytes; ok = it.Next() {
		seq := binary.BigEndian.Uint64(it.Key()[3:])
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("queue: read line: %w", err), it.Close())
		}
		ln.nextUnread = seq + 1
		if o, ok := gone[string(it.Key())]; ok && o.deleted {
			continue
		}
		if e.mem.leaseBySlot[slot{lane, class, seq}] != nil {
			continue // leased out of turn, as expired
		}
		ln.window = append(ln.window, windowEntry{seq, append([]byte(nil), v...)})
		ln.bytes += len(v)
	}
	if !ok {
		ln.nextUnread = visible + 1
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("queue: read line: %w", err)
	}
	return nil
}

// Close implements queue.Queue.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		close(e.quit)
		e.cancel()
		e.callsMu.Lock() // every call has its answer
		e.closed = true
		e.callsMu.Unlock()
		close(e.requests)
		e.wg.Wait()
		e.metrics.unregister()
		if e.failureErr() != nil {
			// Pebble's commit pipeline stays locked after a failed commit; what it holds is freed by the process's end.
			return
		}
		e.closeErr = e.closeDB()
	})
	return e.closeErr
}

// enter begins a call; leave ends it.
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

// fail ends all trust in the engine.
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

func (e *Engine) failureErr() error {
	if p := e.failure.Load(); p != nil {
		return *p
	}
	return nil
}
