package simulate

import (
	"math/bits"
	"slices"
)

// event is something that happens at a time, in ns since the run began. The caller gives Who its meaning.
type event struct {
	At  int64
	seq uint32
	Who uint32
}

func (e event) before(f event) bool { return e.At < f.At || e.At == f.At && int32(e.seq-f.seq) < 0 } // RFC 1982

const (
	slotBits  = 20 // ns of a slot of the lowest level
	digitBits = 10
	slots     = 1 << digitBits
	levels    = 4
	blockSize = 62
)

// block is a part of a slot's chain: 1 KiB.
type block struct {
	next   int32 // 0: none
	n      int32
	_      int64
	events [blockSize]event
}

// level is one digit of the slot's number.
type level struct {
	full  [slots / 64]uint64 // which slots have events
	chain [slots]int32       // their first blocks
}

// wheel hands out events in the order of (time, sequence): of two at the same nanosecond, first the one that was added first. The zero
// value does not work: use newWheel.
//
// It is a radix structure of four levels of 1024 slots. A slot of the lowest level is 2^20 ns (1.05 ms), one of the next level 1024 of
// those (1.07 s), then 18 minutes, then 13 days.
//
//	Add ──► the level of the highest digit in which the event's slot differs from the present one
//	Next ─► the present slot, sorted; when it is empty, the next slot that is not empty (found by a bitmap);
//	        a slot of a higher level is spread over the level below when its time comes
//
// So an event is moved at most three times however many are pending; a binary heap of ten million costs about twenty cache misses for
// each. Slots are chains of blocks of 62 events in one slab, which the garbage collector does not have to scan. An event for a time that
// has passed is due at once. Sequences are 32 bits and compared as RFC 1982 says, which is right as long as the events of one nanosecond
// were added within 2^31 of each other.
type wheel struct {
	levels [levels]level
	slot   int64   // the present one's number
	now    []event // the present slot's, from at on, sorted
	at     int
	blocks slab[block]
	seq    uint32
	len    int
}

// newWheel returns an empty wheel at time 0.
func newWheel() *wheel {
	w := &wheel{}
	w.blocks.New() // number 0 means none
	return w
}

// Len returns the number of pending events.
func (w *wheel) Len() int { return w.len }

// Add adds an event for a time, at least 0.
func (w *wheel) Add(at int64, who uint32) {
	w.seq++
	w.len++
	e := event{At: at, seq: w.seq, Who: who}
	if slot := at >> slotBits; slot > w.slot {
		w.put(slot, e)
		return
	}
	// The present slot is sorted already; most of what comes is later than what is there.
	w.now = append(w.now, e)
	for i := len(w.now) - 1; i > w.at && e.before(w.now[i-1]); i-- {
		w.now[i], w.now[i-1] = w.now[i-1], e
	}
}

// put adds to a later slot than the present one.
func (w *wheel) put(slot int64, e event) {
	digit := (bits.Len64(uint64(slot^w.slot)) - 1) / digitBits
	digit = min(digit, levels-1)
	l := &w.levels[digit]
	i := slot >> (digitBits * digit) & (slots - 1)
	first := l.chain[i]
	if first == 0 || w.blocks.At(first).n == blockSize {
		added := w.blocks.New()
		b := w.blocks.At(added)
		b.next, b.n = first, 0
		l.chain[i], first = added, added
		l.full[i/64] |= 1 << (i % 64)
	}
	b := w.blocks.At(first)
	b.events[b.n] = e
	b.n++
}

// Next takes out the next event that is due before a time; false: there is none. The present slot never moves past that
// time, so that what is added next is not out of order.
func (w *wheel) Next(before int64) (event, bool) {
	if w.at == len(w.now) && !w.advance(before) {
		return event{}, false
	}
	e := w.now[w.at]
	if e.At >= before {
		return event{}, false
	}
	w.at++
	w.len--
	return e, true
}

// advance makes the next slot that has events the present one, if it begins before that time.
func (w *wheel) advance(before int64) bool {
	for digit := 0; digit < levels; {
		l := &w.levels[digit]
		shift := digitBits * digit
		i, ok := l.after(w.slot >> shift & (slots - 1))
		if !ok {
			digit++
			continue
		}
		upper := w.slot >> (shift + digitBits) << (shift + digitBits)
		slot := upper | i<<shift
		if slot<<slotBits >= before {
			return false
		}
		w.now, w.at, w.slot = w.now[:0], 0, slot
		w.empty(digit, i)
		if len(w.now) > 0 {
			sortEvents(w.now)
			return true
		}
		digit = 0
	}
	return false
}

// after is the first slot with events after i.
func (l *level) after(i int64) (int64, bool) {
	word := i / 64
	rest := l.full[word] & (^uint64(0) << (i % 64) << 1)
	for rest == 0 {
		if word++; word == int64(len(l.full)) {
			return 0, false
		}
		rest = l.full[word]
	}
	return word*64 + int64(bits.TrailingZeros64(rest)), true
}

// empty spreads a slot that has become the present one over the levels below.
func (w *wheel) empty(digit int, i int64) {
	l := &w.levels[digit]
	number := l.chain[i]
	l.chain[i] = 0
	l.full[i/64] &^= 1 << (i % 64)
	for number != 0 {
		b := w.blocks.At(number)
		for _, e := range b.events[:b.n] {
			if slot := e.At >> slotBits; slot > w.slot {
				w.put(slot, e)
			} else {
				w.now = append(w.now, e)
			}
		}
		next := b.next
		w.blocks.Free(number)
		number = next
	}
}

// sortEvents sorts a slot: a handful of events as a rule, thousands in a storm.
func sortEvents(s []event) {
	if len(s) > 24 {
		slices.SortFunc(s, func(a, b event) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		return
	}
	for i := 1; i < len(s); i++ {
		e := s[i]
		j := i
		for ; j > 0 && e.before(s[j-1]); j-- {
			s[j] = s[j-1]
		}
		s[j] = e
	}
}
