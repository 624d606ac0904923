package control

// entry is a call with the time that it is due: virtual work for what is inside a store, seconds for what happens to the
// driver. The sequence orders what is due at once.
type entry struct {
	due  float64
	seq  uint64
	call *call
}

func (e entry) before(f entry) bool { return e.due < f.due || e.due == f.due && e.seq < f.seq }

// schedule is a binary heap of entries, the next one first. It is container/heap without the interface: boxing each
// entry was a third of a run's time.
type schedule []entry

func (s *schedule) push(e entry) {
	h := append(*s, e)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
	*s = h
}

// pop removes the next entry; there is one.
func (s *schedule) pop() entry {
	h := *s
	first, e := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	for i := 0; len(h) > 0; {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if child >= len(h) || !h[child].before(e) {
			h[i] = e
			break
		}
		h[i] = h[child]
		i = child
	}
	*s = h
	return first
}

// line is a queue, first in first out. Deadlines are all equally far away, so they come up in the order of the starts and
// need no heap.
type line struct {
	calls []*call
	head  int
}

func (l *line) push(c *call) {
	// Half of it has gone: move the rest down, so that it does not grow for ever.
	if l.head > len(l.calls)/2 {
		l.calls = l.calls[:copy(l.calls, l.calls[l.head:])]
		l.head = 0
	}
	l.calls = append(l.calls, c)
}

// first is the oldest, nil if there is none.
func (l *line) first() *call {
	if l.head == len(l.calls) {
		return nil
	}
	return l.calls[l.head]
}

func (l *line) pop() { l.head++ }
