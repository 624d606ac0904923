package embedded

import (
	"container/heap"
	"sync"
	"sync/atomic"

	"github.com/surgegate/surgegate/pkg/reset"
)

// watcherSet finds the watchers of a ticket that has changed. Without watchers a change costs one atomic load.
type watcherSet struct {
	count           atomic.Int64 // watchers; changed by Watch and remove
	mu              sync.Mutex   // guards the rest, and each watcher's rank, heap and index
	byTicket        map[reset.ID]map[*watcher]struct{}
	startsNotPassed [classCount]watchHeap // starts whose place has not been passed, by sequence
	startsNotDone   watchHeap             // starts that were passed and are not done, by DoneTime
}

// watcher is one call of Watch.
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
	default: // one signal is pending already
	}
}

// move puts the watcher into a heap with a rank, out of the one in which it is; nil for none.
func (w *watcher) move(to *watchHeap, order int64) {
	if w.heap != nil {
		heap.Remove(w.heap, w.index)
	}
	w.heap, w.rank = to, order
	if to != nil {
		heap.Push(to, w)
	}
}

// watchHeap is a container/heap of watchers by rank.
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
	h.count.Add(1) // before the caller reads the ticket, so that no later change is missed
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

// watchStart puts the watcher of a start into the heap where it belongs. It holds Engine.mu, so that no passage comes between
// the look and the registration.
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

// signalGroup signals the watchers of what a durable group changed. It reports whether the next alarm may be earlier now.
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

// signalDoneStarts signals the starts that are done at now, and returns when the next one is, in µs; 0 for never.
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
