package embedded

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/reset"
)

// openDB opens Pebble. When it fails it has released everything.
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
		// At 2 the base level is rewritten with every other flush, which costs a quarter more processor time a completion
		// (BenchmarkEnqueueComplete).
		L0CompactionThreshold: 4,
		L0StopWritesThreshold: 1000, // a stalled commit is worse than a slower read
		LBaseMaxBytes:         64 << 20,
		MaxOpenFiles:          e.cfg.MaxOpenFiles,
		WALBytesPerSync:       512 << 10,
		BytesPerSync:          512 << 10,
		// Half of the processors: on two, a second compaction beside a flush would leave none for requests.
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

// openPebble calls pebble.Open, but returns when fail was called meanwhile. If a flush or compaction during the replay of
// the log finds a damaged table, Pebble calls Fatalf on a background goroutine and pebble.Open waits forever for that
// goroutine. The process ends then, and the goroutine that is left behind ends with it.
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

// explainOpenError adds to an error of pebble.Open what the operator can do about it.
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

// closeDB closes the database and releases the cache. After fail it does nothing: Pebble's commit pipeline may stay locked
// after a failed commit, so closing could block forever. The end of the process frees the rest.
func (e *Engine) closeDB() error {
	if e.failureErr() != nil {
		return nil // the failure was reported when it happened
	}
	err := e.db.Close()
	e.cache.Unref()
	if err != nil {
		return fmt.Errorf("queue: close: %w", err)
	}
	return nil
}

// load fills the memory image from the database: the counters, the index of retries and the head of every line. It reads
// no other job. The counters are written in the same batch as what they count, so they agree with the rest.
func (e *Engine) load() error {
	m := &e.mem
	m.leaseByToken, m.leaseBySlot = make(map[uint64]*lease), make(map[slot]*lease)
	// Tokens begin at a random number, so that a lease of an earlier process does not match one of this process.
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails since Go 1.24
	m.lastToken = binary.BigEndian.Uint64(seed[:]) >> 1
	b, closer, err := e.db.Get([]byte{prefixCounters})
	switch {
	case errors.Is(err, pebble.ErrNotFound): // a new queue
	case err != nil:
		return fmt.Errorf("queue: read the counters: %w", err)
	default:
		err = m.decode(b)
		_ = closer.Close()
		if err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	if err := e.loadRetries(); err != nil {
		return err
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

// loadRetries puts every retry into its line's heaps.
func (e *Engine) loadRetries() error {
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
		ln := e.mem.queueOf(p)
		ln.retries.add(p.seq, int64At(k[3:]))
		ln.addRetryByAccept(p, int64At(v))
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("queue: read retries: %w", err)
	}
	return nil
}

// refill reads the next window of a line from the database, if the window is empty. It takes in no sequence above visible:
// those are in the batch that is being made, and not in the database yet. overlay has what the batch deletes; nil at Open.
// Called under Engine.mu.
func (e *Engine) refill(lane reset.Lane, class reset.Class, visible uint64, overlay map[string]overlayEntry) error {
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
		if o, ok := overlay[string(it.Key())]; ok && o.deleted {
			continue
		}
		if e.mem.leaseBySlot[slot{lane, class, seq}] != nil {
			continue // it was leased out of turn because it had expired
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
