package schedule

import "time"

// heap is a 4-ary heap by (time, order of arrival): half as deep as a binary one, and a node's children share cache lines.
// container/heap would box each item.
type heap struct {
	items []item
	order uint64
}

type item struct {
	at    time.Duration
	order uint64
	event Event
}

func (a *item) before(b *item) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (h *heap) next() time.Duration {
	if len(h.items) == 0 {
		return never
	}
	return h.items[0].at
}

func (h *heap) push(at time.Duration, e Event) {
	h.order++
	it := item{at: at, order: h.order, event: e}
	h.items = append(h.items, it)
	i := len(h.items) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !it.before(&h.items[parent]) {
			break
		}
		h.items[i] = h.items[parent]
		i = parent
	}
	h.items[i] = it
}

func (h *heap) pop() Event {
	top := h.items[0].event
	n := len(h.items) - 1
	last := h.items[n]
	h.items[n] = item{}
	h.items = h.items[:n]
	if n == 0 {
		return top
	}
	i := 0
	for {
		child := 4*i + 1
		if child >= n {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, n); c++ {
			if h.items[c].before(&h.items[least]) {
				least = c
			}
		}
		if last.before(&h.items[least]) {
			break
		}
		h.items[i] = h.items[least]
		i = least
	}
	h.items[i] = last
	return top
}
