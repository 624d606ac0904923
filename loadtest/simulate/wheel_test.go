package simulate

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reference is the order in words: by time, then by who was added first.
type reference struct {
	events []event
	seq    uint32
}

func (r *reference) add(at int64, who uint32) {
	r.seq++
	r.events = append(r.events, event{At: at, seq: r.seq, Who: who})
}

func (r *reference) next(before int64) (event, bool) {
	best := -1
	for i, e := range r.events {
		if best < 0 || e.At < r.events[best].At || e.At == r.events[best].At && e.seq < r.events[best].seq {
			best = i
		}
	}
	if best < 0 || r.events[best].At >= before {
		return event{}, false
	}
	e := r.events[best]
	r.events = slices.Delete(r.events, best, best+1)
	return e, true
}

// Whatever is added and taken, at whatever distances and however many at the same nanosecond, the wheel's order is the
// reference's.
func TestTheOrderIsTotal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, r := newWheel(), &reference{}
		now := int64(0)
		distance := rapid.SampledFrom([]int64{0, 1, 1000, 1 << slotBits, 1 << (slotBits + 1), 1 << 31, 1 << 42, 1 << 53})
		for step := range rapid.IntRange(1, 300).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				at := now + distance.Draw(t, "distance")*rapid.Int64Range(0, 3).Draw(t, "times")
				w.Add(at, uint32(step))
				r.add(at, uint32(step))
				continue
			}
			before := now + distance.Draw(t, "until") + 1
			got, ok := w.Next(before)
			want, found := r.next(before)
			if got != want || ok != found {
				t.Fatalf("step %d: %+v (%v), want %+v (%v)", step, got, ok, want, found)
			}
			if ok {
				now = got.At
			} else {
				now = before - 1
			}
			if w.Len() != len(r.events) {
				t.Fatalf("step %d: %d pending, want %d", step, w.Len(), len(r.events))
			}
		}
	})
}

func TestBlocksAreUsedAgain(t *testing.T) {
	t.Parallel()
	w, r := newWheel(), rand.New(rand.NewPCG(1, 1))
	now := int64(0)
	for range 1000 {
		w.Add(r.Int64N(int64(time.Hour)), 0)
	}
	for range 1_000_000 {
		e, ok := w.Next(1 << 62)
		if !ok || e.At < now {
			t.Fatalf("after %d came %+v", now, e)
		}
		now = e.At
		w.Add(now+r.Int64N(int64(time.Hour)), 0)
	}
	if used := w.blocks.Used(); used > 2100 { // one a pending event at the most, and the slots' own
		t.Errorf("1000 pending events take %d blocks", used)
	}
}

func TestALineKeepsItsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var f fifo[int]
		var want []int
		for step := range rapid.IntRange(1, 50).Draw(t, "steps") {
			n := rapid.SampledFrom([]int{1, 2, 4095, 4096, 5000}).Draw(t, "n")
			if rapid.Bool().Draw(t, "push") {
				for i := range n {
					f.Push(step*10_000 + i)
					want = append(want, step*10_000+i)
				}
			}
			for range min(n, len(want)) {
				if first := f.First(); first != want[0] || f.Pop() != first {
					t.Fatalf("step %d: %d, want %d", step, first, want[0])
				}
				want = want[1:]
			}
			if f.Len() != len(want) {
				t.Fatalf("step %d: %d in line, want %d", step, f.Len(), len(want))
			}
		}
	})
}

func TestRecordsStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	var s slab[int]
	first := s.At(s.New())
	*first = 7
	for range 10_000 {
		*s.At(s.New()) = 1
	}
	if s.At(0) != first || *first != 7 {
		t.Error("a record has moved")
	}
	s.Free(3)
	if n := s.New(); n != 3 || s.Len() != 10_001 {
		t.Errorf("number %d was used, %d in use", n, s.Len())
	}
}

// bare is the reference of the benchmark: the standard library's heap.
type bare []event

func (b bare) Len() int           { return len(b) }
func (b bare) Less(i, j int) bool { return b[i].before(b[j]) }
func (b bare) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *bare) Push(v any)        { *b = append(*b, v.(event)) }
func (b *bare) Pop() any          { e := (*b)[len(*b)-1]; *b = (*b)[:len(*b)-1]; return e }

// BenchmarkEvents takes one event out and adds one, with so many pending as people have on a day in a storm.
func BenchmarkWheel(b *testing.B) {
	for _, pending := range []struct {
		name string
		n    int
	}{{"10k", 10_000}, {"10M", 10_000_000}} {
		r := rand.New(rand.NewPCG(1, 1))
		later := func() int64 { return int64(time.Second) + r.Int64N(int64(time.Minute)) }
		b.Run("wheel/"+pending.name, func(b *testing.B) {
			w := newWheel()
			for range pending.n {
				w.Add(later(), 0)
			}
			for b.Loop() {
				e, _ := w.Next(1 << 62)
				w.Add(e.At+later(), 0)
			}
		})
		b.Run("reference=container/heap/"+pending.name, func(b *testing.B) {
			h := make(bare, 0, pending.n)
			for range pending.n {
				h = append(h, event{At: later()})
			}
			heap.Init(&h)
			for b.Loop() {
				e := heap.Pop(&h).(event)
				e.At += later()
				heap.Push(&h, e)
			}
		})
	}
}
