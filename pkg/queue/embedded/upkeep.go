package embedded

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
)

// errDiskLow is why nothing is accepted below the reserve.
var errDiskLow = errors.New("free disk below the reserve")

// upkeepLoop looks at the disk and drops what is past its time.
func (e *Engine) upkeepLoop(ctx context.Context) {
	disk := e.deps.Clock.NewTimer(e.cfg.DiskPoll)
	defer disk.Stop()
	sweep := e.deps.Clock.NewTimer(e.cfg.Sweep)
	defer sweep.Stop()
	for {
		select {
		case <-disk.C():
			e.checkDisk()
			disk.Reset(e.cfg.DiskPoll)
		case <-sweep.C():
			if err := e.sweep(ctx); err != nil && ctx.Err() == nil {
				e.deps.Logger.Warn("queue: sweep", "error", err.Error())
			}
			sweep.Reset(e.cfg.Sweep)
		case <-ctx.Done():
			return
		case <-e.failedSignal:
			return
		}
	}
}

// checkDisk opens or shuts acceptance by the free disk, with hysteresis, and restores the ballast when there is room.
func (e *Engine) checkDisk() {
	usage, err := e.fs.GetDiskUsage(e.cfg.Dir)
	if err != nil {
		if !errors.Is(err, vfs.ErrUnsupported) {
			e.deps.Logger.Warn("queue: free disk unknown", "error", err.Error())
		}
		return
	}
	e.freeDisk.Store(&usage.AvailBytes)
	shut := e.enqueueRefusal.Load() != nil
	switch {
	case usage.AvailBytes < e.cfg.DiskReserve && !shut:
		e.enqueueRefusal.Store(&errDiskLow)
		e.deps.Logger.Error("queue: not accepting: free disk below the reserve", "free", usage.AvailBytes, "reserve", e.cfg.DiskReserve)
	case shut && usage.AvailBytes >= e.cfg.DiskReserve+e.cfg.DiskHysteresis:
		e.enqueueRefusal.Store(nil)
		e.deps.Logger.Info("queue: accepting again", "free", usage.AvailBytes)
	case !shut && usage.AvailBytes >= e.cfg.DiskReserve+e.cfg.DiskHysteresis+e.cfg.Ballast:
		if err := e.ensureBallast(); err != nil {
			e.deps.Logger.Warn("queue: no ballast", "error", err.Error())
		}
	}
}

func (e *Engine) ballastPath() string { return e.fs.PathJoin(e.cfg.Dir, "BALLAST") }

func (e *Engine) ensureBallast() error {
	if _, err := e.fs.Stat(e.ballastPath()); err == nil {
		return nil
	}
	f, err := e.fs.Create(e.ballastPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Preallocate(0, int64(e.cfg.Ballast)), f.Close())
}

// diskFull is called by Pebble's file system when a write found no space; the write is tried once more after it.
func (e *Engine) handleDiskFull() {
	e.enqueueRefusal.Store(&errDiskLow)
	err := e.fs.Remove(e.ballastPath())
	e.deps.Logger.Error("queue: disk full: not accepting, ballast given up", "ballast_error", err)
}

// sweepStep bounds one sweep request, so that no group is held up for more than a few milliseconds.
const sweepBatch = 1000

// sweep drops final tickets, marks, records and passages that are past their time.
func (e *Engine) sweep(ctx context.Context) error {
	for more := true; more; {
		if err := e.submit(ctx, func(t *tx) { more = t.sweepRetention() }); err != nil {
			return err
		}
	}
	for more := true; more; {
		if err := e.submit(ctx, func(t *tx) { more = t.sweepPassages() }); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) sweepRetention() (more bool) {
	hour := uint32(t.wallTime / time.Hour.Microseconds())
	upper := binary.BigEndian.AppendUint32([]byte{prefixRetention}, hour)
	it, err := t.e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixRetention}, UpperBound: upper})
	if err != nil {
		t.abort(err)
		return false
	}
	var last []byte
	n := 0
	for ok := it.First(); ok && n < sweepBatch; ok = it.Next() {
		last = append(last[:0], it.Key()...)
		n++
		if len(last) > 5 && t.isPastRetention(last[5:]) {
			t.delete(bytes.Clone(last[5:]))
		}
	}
	if err := it.Close(); err != nil {
		t.abort(err)
	}
	if n > 0 {
		if err := t.batch.DeleteRange([]byte{prefixRetention}, append(last, 0), nil); err != nil {
			t.abort(err)
		}
	}
	return n == sweepBatch
}

// outdated tells whether the entry that a drop names is past its time; it may have been written again since.
func (t *tx) isPastRetention(key []byte) bool {
	b := t.get(key)
	if b == nil {
		return false
	}
	switch key[0] {
	case prefixTicket:
		r, err := decodeTicket(b)
		return err == nil && r.state.Final() && r.update+t.e.cfg.Retention.Microseconds() <= t.now
	case prefixMark:
		r, err := decodeMark(b)
		return err == nil && r.expire != 0 && r.expire <= t.wallTime
	case prefixRecord:
		r, err := decodeRecord("", "", b)
		return err == nil && isRecordExpired(r, t.wallTime)
	}
	return false
}

func (t *tx) sweepPassages() (more bool) {
	for _, class := range reset.Classes() {
		it, err := t.e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixPassage, byte(class)}, UpperBound: []byte{prefixPassage, byte(class) + 1}})
		if err != nil {
			t.abort(err)
			return false
		}
		var last []byte
		n := 0
		for ok := it.First(); ok && n < sweepBatch; ok = it.Next() {
			v := it.Value()
			if len(v) != 16 || int64(binary.BigEndian.Uint64(v[8:]))+t.e.cfg.Retention.Microseconds() > t.now {
				break
			}
			last = append(last[:0], it.Key()...)
			n++
		}
		if err := it.Close(); err != nil {
			t.abort(err)
		}
		if n > 0 {
			if err := t.batch.DeleteRange([]byte{prefixPassage, byte(class)}, append(last, 0), nil); err != nil {
				t.abort(err)
			}
		}
		more = more || n == sweepBatch
	}
	return more
}

// pebbleLog is Engine as Pebble's logger. Fatalf ends the calling goroutine: Pebble does not expect it to return.
type pebbleLog Engine

func (*pebbleLog) Infof(string, ...any) {}

func (l *pebbleLog) Errorf(format string, args ...any) {
	l.deps.Logger.Error("queue: pebble: " + fmt.Sprintf(format, args...))
}

func (l *pebbleLog) Fatalf(format string, args ...any) {
	(*Engine)(l).fail(fmt.Errorf("pebble: "+format, args...))
	runtime.Goexit()
}

// events listens to background errors: Pebble tries flushes and compactions again by itself, and a full disk ends
// when space is made; commits, the WAL and the manifest end the process through Fatalf.
func (e *Engine) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: e.backgroundError,
		// Without this Pebble calls Fatalf with a page of stack traces.
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			e.fail(fmt.Errorf("pebble: %s: %w", i.Path, i.Details))
		},
	}
}

// backgroundError logs one line a second: Pebble tries again without a pause, 500 times a second were seen.
func (e *Engine) backgroundError(err error) {
	now := e.deps.Clock.Now().Unix()
	if last := e.lastBackgroundLog.Load(); last == now || !e.lastBackgroundLog.CompareAndSwap(last, now) {
		e.suppressedErrors.Add(1)
		return
	}
	// As text: printed with %+v, as slog does, Pebble's errors bring pages of stack.
	e.deps.Logger.Error("queue: pebble background", "error", err.Error(), "suppressed", e.suppressedErrors.Swap(0))
}

func (e *Engine) openMetrics() (err error) {
	e.metrics, err = newMetrics(metricsDeps{
		Registerer: e.deps.Registerer, Clock: e.deps.Clock, Snapshot: e.takeSnapshot, DiskReserve: e.cfg.DiskReserve,
	})
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

// snapshot is what metrics show.
func (e *Engine) takeSnapshot() metricsSnapshot {
	s := metricsSnapshot{Stats: e.stats(), DiskAvailable: math.NaN()}
	s.Accepting = s.NotAccepting == nil && e.failureErr() == nil
	if free := e.freeDisk.Load(); free != nil {
		s.DiskAvailable = float64(*free)
	}
	return s
}

// hub tells watchers that a ticket may have changed. With nobody watching it costs one atomic load a change.
type watcherSet struct {
	count           atomic.Int64
	mu              sync.Mutex
	byTicket        map[reset.ID]map[*watcher]struct{}
	startsNotPassed [classCount]watchHeap // starts that have not been passed, by sequence
	startsNotDone   watchHeap             // starts that were passed and are not done, by time
}

type watcher struct {
	ref     reset.Ref
	changed chan struct{}
	rank    int64      // in its heap: the sequence, or the time in µs
	heap    *watchHeap // nil when in none
	index   int
}

func (w *watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // one is waiting already
	}
}

func (w *watcher) move(to *watchHeap, order int64) {
	if w.heap != nil {
		heap.Remove(w.heap, w.index)
	}
	w.heap, w.rank = to, order
	if to != nil {
		heap.Push(to, w)
	}
}

type watchHeap []*watcher

func (h watchHeap) Len() int           { return len(h) }
func (h watchHeap) Less(i, j int) bool { return h[i].rank < h[j].rank }
func (h watchHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *watchHeap) Push(x any) {
	w := x.(*watcher)
	w.index = len(*h)
	*h = append(*h, w)
}
func (h *watchHeap) Pop() any {
	w := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return w
}

func (h *watcherSet) init() { h.byTicket = make(map[reset.ID]map[*watcher]struct{}) }

func (h *watcherSet) hasWatchers() bool { return h.count.Load() > 0 }

// Watch implements queue.Producer.
func (e *Engine) Watch(ref reset.Ref) (<-chan struct{}, func()) {
	w := &watcher{ref: ref, changed: make(chan struct{}, 1)}
	h := &e.watchers
	h.count.Add(1) // before the caller reads the ticket: no change falls between
	if ref.Lane == reset.LaneStart && isValidLaneClass(ref.Lane, ref.Class) {
		e.watchStart(w)
	} else {
		h.mu.Lock()
		if h.byTicket[ref.ID] == nil {
			h.byTicket[ref.ID] = make(map[*watcher]struct{})
		}
		h.byTicket[ref.ID][w] = struct{}{}
		h.mu.Unlock()
	}
	var once sync.Once
	return w.changed, func() { once.Do(func() { h.remove(w) }) }
}

// watchStart finds out, under the engine's lock, whether the place was passed already.
func (e *Engine) watchStart(w *watcher) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	now, _ := e.readTimes()
	h := &e.watchers
	if e.mem.passedOrdinal(w.ref.Lane, w.ref.Class) < w.ref.Seq {
		h.mu.Lock()
		w.move(&h.startsNotPassed[w.ref.Class], int64(w.ref.Seq))
		h.mu.Unlock()
		return
	}
	if isClosed(e.quit) {
		return
	}
	if s, err := e.startStatus(w.ref, now); err == nil && s.State != reset.StateDone {
		h.mu.Lock()
		w.move(&h.startsNotDone, micros(s.DoneTime))
		h.mu.Unlock()
		e.rescheduleAlarm()
	}
}

func (h *watcherSet) remove(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.move(nil, 0)
	if m := h.byTicket[w.ref.ID]; m != nil {
		delete(m, w)
		if len(m) == 0 {
			delete(h.byTicket, w.ref.ID)
		}
	}
	h.count.Add(-1)
}

// signal tells what a group changed, once it is durable. It reports whether the next alarm may have come nearer.
func (h *watcherSet) signalGroup(g *commitGroup) (nearer bool) {
	if len(g.ticketSignals) == 0 && len(g.passages) == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range g.ticketSignals {
		for w := range h.byTicket[id] {
			w.signal()
		}
	}
	for _, p := range g.passages {
		for line := &h.startsNotPassed[p.class]; len(*line) > 0 && (*line)[0].rank <= int64(p.upTo); {
			w := (*line)[0]
			w.move(&h.startsNotDone, p.done)
			w.signal()
			nearer = true
		}
	}
	return nearer
}

// done signals the starts whose time has come, and tells when the next one's does; 0 for never.
func (h *watcherSet) signalDoneStarts(now int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.startsNotDone) > 0 && h.startsNotDone[0].rank <= now {
		w := h.startsNotDone[0]
		w.move(nil, 0)
		w.signal()
	}
	if len(h.startsNotDone) == 0 {
		return 0
	}
	return h.startsNotDone[0].rank
}

// alarmLoop wakes the committer when a lease expires or a retry becomes due, and watchers when a start is done.
func (e *Engine) alarmLoop(ctx context.Context) {
	timer := e.deps.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		e.mu.RLock()
		now, _ := e.readTimes()
		next := e.mem.nextAlarm(e.mem.Clock) // not now: what fell due since the last commit has not woken anybody
		e.alarmTime.Store(next)
		e.mu.RUnlock()
		if done := e.watchers.signalDoneStarts(now); done != 0 && (next == 0 || done < next) {
			next = done
		}
		e.setAlarm(timer, now, next)
		select {
		case <-timer.C():
			if e.submit(ctx, func(*tx) {}) != nil {
				return
			}
		case <-e.alarmChanged:
		case <-ctx.Done():
			return
		case <-e.failedSignal:
			return
		}
	}
}

// setAlarm sets the timer for next, 0 for never. A timer counts from when it is set: the clock may have moved since it
// was read, by a step or because this goroutine was held up, and the alarm would be late by as much, or, with a clock
// that somebody moves by hand, never come.
func (e *Engine) setAlarm(timer clock.Timer, now, next int64) {
	const slack = int64(time.Millisecond / time.Microsecond)
	for {
		wait := time.Hour
		if next != 0 {
			wait = min(wait, max(0, time.Duration(next-now)*time.Microsecond))
		}
		timer.Reset(wait)
		before := now
		e.mu.RLock()
		now, _ = e.readTimes()
		e.mu.RUnlock()
		if now-before < slack {
			return
		}
	}
}

func (e *Engine) rescheduleAlarm() {
	select {
	case e.alarmChanged <- struct{}{}:
	default: // it will look anyway
	}
}
