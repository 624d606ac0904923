package pace

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// line is a downstream with workers and one line before them, first in, first out, as a connection pool is. All kinds wait alike.
type line struct {
	chart   *Chart
	each    []time.Duration // that a worker takes for a call of one item, by kind, ± a half
	rand    *rand.Rand
	now     time.Time
	workers []time.Time // when each is free
	out     callHeap
	slots   int // most calls that the caller makes at once; 0: as many as it may

	done       [MaxKinds]int
	mostCalls  int           // in flight
	mostOfKind [MaxKinds]int // in flight
}

type callOut struct {
	ends time.Time
	call Call
}

type callHeap []callOut

func (h callHeap) Len() int           { return len(h) }
func (h callHeap) Less(i, j int) bool { return h[i].ends.Before(h[j].ends) }
func (h callHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *callHeap) Push(x any)        { *h = append(*h, x.(callOut)) }
func (h *callHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

func newLine(t *testing.T, seed uint64, workers int, each ...time.Duration) *line {
	t.Helper()
	chart, err := NewChart(ChartConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return &line{
		chart: chart, each: each, rand: rand.New(rand.NewPCG(seed, 5)), now: time.Unix(1_700_000_000, 0), workers: make([]time.Time, workers),
	}
}

// run lets a caller that always has something to send run for so long; next says of which kind.
func (l *line) run(length time.Duration, next func() Kind) {
	until, kind := l.now.Add(length), next()
	l.done, l.mostCalls, l.mostOfKind = [MaxKinds]int{}, 0, [MaxKinds]int{}
	for l.now.Before(until) {
		var retry time.Time
		for l.slots == 0 || l.out.Len() < l.slots {
			v := l.chart.Ask(l.now, kind, 1)
			if !v.Go {
				retry = v.RetryAt
				break
			}
			l.send(kind, v)
			kind = next()
		}
		at := until
		if l.out.Len() > 0 && l.out[0].ends.Before(at) {
			at = l.out[0].ends
		}
		if retry.After(l.now) && retry.Before(at) {
			at = retry
		}
		l.now = at
		for l.out.Len() > 0 && !l.out[0].ends.After(l.now) {
			l.end()
		}
	}
}

func (l *line) send(kind Kind, v Verdict) {
	first := 0
	for i, at := range l.workers {
		if at.Before(l.workers[first]) {
			first = i
		}
	}
	starts := l.now
	if l.workers[first].After(starts) {
		starts = l.workers[first]
	}
	ends := starts.Add(time.Duration(float64(l.each[kind]) * (.5 + l.rand.Float64())))
	l.workers[first] = ends
	heap.Push(&l.out, callOut{ends, Call{Kind: kind, Start: l.now, Items: v.Items, Grant: v.Grant}})
	l.mostCalls = max(l.mostCalls, l.chart.flight.calls)
	l.mostOfKind[kind] = max(l.mostOfKind[kind], l.chart.flight.kinds[kind].calls)
}

func (l *line) end() {
	c := heap.Pop(&l.out).(callOut)
	l.done[c.call.Kind] += c.call.Items
	l.chart.Done(c.ends, c.call)
}

// pause lets what is out end, and nothing is sent for so long.
func (l *line) pause(length time.Duration) {
	for l.out.Len() > 0 {
		l.now = l.out[0].ends
		l.end()
	}
	l.now = l.now.Add(length)
}

func only(k Kind) func() Kind { return func() Kind { return k } }

const write, lookup, revocation = 0, 1, 2

func (l *line) half() Kind {
	if l.rand.Float64() < .5 {
		return write
	}
	return lookup
}

// A kind that comes alone is worked off at full speed: what it costs is learnt from it alone.
func TestAKindThatComesAlone(t *testing.T) {
	t.Parallel()
	l := newLine(t, 1, 40, 20*time.Millisecond, 5*time.Millisecond, 5*time.Millisecond)
	l.run(20*time.Second, only(lookup))
	l.pause(10 * time.Second)
	l.run(30*time.Second, only(write))
	l.run(10*time.Second, only(write))
	if rate := float64(l.done[write]) / 10; rate < .9*40/.02 {
		t.Errorf("%.0f writes/s of 2000 after look-ups and a pause", rate)
	}
	l.pause(5 * time.Second)
	l.run(30*time.Second, only(revocation))
	l.run(10*time.Second, only(revocation))
	if rate := float64(l.done[revocation]) / 10; rate < .9*40/.005 {
		t.Errorf("%.0f revocations/s of 8000 after a storm", rate)
	}
	if w := l.chart.weights.of; w[write]/w[lookup] < 3 || w[write]/w[lookup] > 5.5 {
		t.Errorf("a write costs %.1f look-ups, not 4", w[write]/w[lookup])
	}
}

// All kinds wait alike in a line, so the longer it is the more alike are the times of their calls. Their weights stay apart.
func TestWeightsOfKindsInOneLine(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		l := newLine(t, seed, 20, 20*time.Millisecond, time.Millisecond)
		l.run(2*time.Minute, l.half)
		if w := l.chart.weights.of; w[write]/w[lookup] < 8 || w[write]/w[lookup] > 30 {
			t.Errorf("seed %d: a write costs %.1f look-ups, not 20", seed, w[write]/w[lookup])
		}
	}
}

// A mix that flips within a look: what was found with one kind is not taken for a gain of the other.
func TestAMixThatFlips(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		l := newLine(t, seed, 20, 20*time.Millisecond, time.Millisecond)
		l.run(5*time.Second, l.half)
		most := 0
		for range 50 {
			l.run(300*time.Millisecond, only(lookup))
			l.run(300*time.Millisecond, only(write))
			most = max(most, l.mostOfKind[write])
		}
		if most > 44 {
			t.Errorf("seed %d: %d writes at once for 20 workers", seed, most)
		}
	}
}

// An outage in the climb leaves a ceiling of the cost. It stands for what was in flight, whatever a weight is found to be later.
func TestACeilingOutlivesItsWeights(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		l := newLine(t, seed, 20, 20*time.Millisecond, time.Millisecond)
		for range 500 {
			if l.run(10*time.Millisecond, l.half); l.chart.flight.calls >= 30 {
				break
			}
		}
		for l.out.Len() > 0 { // it dies, and refuses all that is out
			c := heap.Pop(&l.out).(callOut)
			c.call.Outcome = OutcomeOverload
			l.chart.Done(l.now, c.call)
		}
		l.now = l.now.Add(20 * time.Second)
		l.chart.Resume(l.now)
		l.run(30*time.Second, l.half)
		l.run(30*time.Second, l.half)
		if rate := float64(l.done[write]) / 30; rate < .8*20/.021 {
			t.Errorf("seed %d: %.0f writes/s of 952, a minute after an outage; ceiling %v", seed, rate, l.chart.ceilingNow())
		}
	}
}

// Where little is asked for, the return from an outage ends all the same.
func TestTheRampEndsInQuietTraffic(t *testing.T) {
	t.Parallel()
	chart, err := NewChart(ChartConfig{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	second := func() {
		if v := chart.Ask(now, 0, 1); v.Go {
			chart.Done(now.Add(20*time.Millisecond), Call{Start: now, Items: 1, Grant: v.Grant})
		}
		now = now.Add(time.Second)
	}
	for range 100 {
		second()
	}
	chart.Resume(now)
	for range 10 {
		second()
	}
	if r := chart.Limits().Ramp; r >= 1 {
		t.Errorf("a ramp of %v after 10 s", r)
	}
	for range 40 {
		second()
	}
	if l := chart.Limits(); math.Abs(l.Ramp-1) > 1e-9 {
		t.Errorf("50 s after an outage, with a call a second: %+v", l)
	}
}
