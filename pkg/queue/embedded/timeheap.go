package embedded

import (
	"container/heap"
)

type timeItem struct {
	at    int64
	seq   uint64
	index int
}

// timeHeap holds sequences ordered by a time in µs, then by sequence. The exported methods are for container/heap.
type timeHeap struct {
	items []*timeItem
	bySeq map[uint64]*timeItem
}

func (h *timeHeap) Len() int { return len(h.items) }
func (h *timeHeap) Less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (h *timeHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}
func (h *timeHeap) Push(x any) {
	it := x.(*timeItem)
	it.index = len(h.items)
	h.items = append(h.items, it)
}
func (h *timeHeap) Pop() any {
	it := h.items[len(h.items)-1]
	h.items[len(h.items)-1] = nil
	h.items = h.items[:len(h.items)-1]
	return it
}

func (h *timeHeap) add(seq uint64, at int64) {
	if h.bySeq == nil {
		h.bySeq = make(map[uint64]*timeItem)
	}
	it := &timeItem{at: at, seq: seq}
	h.bySeq[seq] = it
	heap.Push(h, it)
}

// remove removes a sequence, if it is there.
func (h *timeHeap) remove(seq uint64) {
	if it, ok := h.bySeq[seq]; ok {
		heap.Remove(h, it.index)
		delete(h.bySeq, seq)
	}
}

func (h *timeHeap) hasDue(now int64) bool { return len(h.items) > 0 && h.items[0].at <= now }

// countDue counts the items due at now in the subtree of the i-th, but at most most. Below an item that is not due none is.
func (h *timeHeap) countDue(i int, now int64, most int) int {
	if i >= len(h.items) || most <= 0 || h.items[i].at > now {
		return 0
	}
	n := 1 + h.countDue(2*i+1, now, most-1)
	return n + h.countDue(2*i+2, now, most-n)
}
