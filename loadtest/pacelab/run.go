package pacelab

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

// deadline of a call in s, as dispatch's default for stores.
const deadline = 5.0

// Result of one run.
type Result struct {
	Goodput  float64   // ÷ best, after warm-up
	Recovery []float64 // s until within 10 % of the best, one a step that changes the best; the run's rest where never
	Holding  float64   // inside ÷ knee, time average after warm-up
	Peak     float64   // inside ÷ knee, at its highest before any step
	Crashes  int
	Late     int // crashes after the first minute
	Trace    []Point
}

// Point is a second of a run.
type Point struct {
	At, Done, Best, Inside, Limit float64
	Batch                         int
}

type call struct {
	kind        pace.Kind
	items       int
	start       float64
	ended       bool
	probe       bool
	fails       bool
	bestStart   float64
	sequence    uint64
	overOutcome pace.Outcome
}

// event is a time at which the driver does something.
type event struct {
	at   float64
	seq  uint64
	call *call // its deadline, or its refusal; nil: ask again
	end  pace.Outcome
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(a, b int) bool {
	return e[a].at < e[b].at || e[a].at == e[b].at && e[a].seq < e[b].seq
}
func (e events) Swap(a, b int) { e[a], e[b] = e[b], e[a] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// epoch is time 0 of every run.
var epoch = time.Unix(1_600_000_000, 0) //nolint:gochecknoglobals // a constant that Go cannot write as one

func at(t float64) time.Time { return epoch.Add(time.Duration(t * 1e9)) }

type run struct {
	m       Model
	pacer   pace.Pacer
	store   *store
	breaker breakerModel
	rand    *rand.Rand
	queue   events
	seq     uint64
	now     float64
	poll    float64 // when an ask is due already; +Inf: none

	done, best   float64 // items since warm-up
	second       Point
	points       []Point
	steps        []Step
	peak         float64
	holding, end float64
}

// Run drives the pacer against the model.
func Run(m Model, pacer pace.Pacer, seed uint64) Result {
	r := &run{m: m, pacer: pacer, rand: rand.New(rand.NewPCG(seed, 1)), poll: math.Inf(1), steps: m.Steps}
	r.store = newStore(m, rand.New(rand.NewPCG(seed, 2)))
	r.breaker.rand = rand.New(rand.NewPCG(seed, 3))
	r.ask()
	for r.now < m.Length {
		r.turn()
	}
	return r.result()
}

// turn goes to the next thing that happens.
func (r *run) turn() {
	next, what := r.store.next(), 0
	if len(r.queue) > 0 && r.queue[0].at < next {
		next, what = r.queue[0].at, 1
	}
	if len(r.steps) > 0 && r.steps[0].At < next {
		next, what = r.steps[0].At, 2
	}
	// Speeds change with time (creep, cold, back from a crash): never leap over a whole second.
	if second := math.Floor(r.now) + 1; second < next {
		next, what = second, 3
	}
	if until := r.store.downUntil; until > r.now && until < next {
		next, what = until, 4
	}
	r.account(next)
	switch what {
	case 0:
		r.leave(r.store.leave())
	case 1:
		e := heap.Pop(&r.queue).(event)
		if e.call == nil {
			if e.at >= r.poll {
				r.poll = math.Inf(1)
			}
			r.ask()
		} else {
			r.finish(e.call, e.end)
		}
	case 2:
		s := r.steps[0]
		r.steps = r.steps[1:]
		if r.store.speed == 0 && s.Speed > 0 {
			r.store.coldUntil = r.now + 60
		}
		r.store.step(s)
		if r.peak == 0 {
			r.peak = r.store.peak
		}
	case 3:
		r.close()
	}
}

func (r *run) account(t float64) {
	best := r.store.best()
	if r.now >= r.m.WarmUp {
		r.best += best * (t - r.now)
		r.holding += float64(len(r.store.inside)) / r.store.knee() * (t - r.now)
	}
	r.second.Best += best * (t - r.now)
	r.store.advance(t)
	r.now = t
}

// close ends a second.
func (r *run) close() {
	l := r.pacer.Limits()
	r.second.At, r.second.Inside = r.now, float64(len(r.store.inside))
	r.second.Limit, r.second.Batch = float64(l.Concurrency), l.Batch
	r.points = append(r.points, r.second)
	r.second = Point{}
}

// ask starts what the pacer and the breaker allow.
func (r *run) ask() {
	most := max(1, r.m.MaxBatch)
	for {
		items := most
		if r.breaker.state != closed {
			items = 1
		}
		v := r.pacer.Ask(at(r.now), 0, items)
		if !v.Go {
			if !v.RetryAt.IsZero() {
				r.again(math.Max(v.RetryAt.Sub(epoch).Seconds(), r.now+1e-3))
			}
			return
		}
		probe, wait := r.breaker.allow(r.now)
		if wait > 0 {
			r.pacer.Done(at(r.now), pace.Call{Start: at(r.now), Unused: v.Items, Outcome: pace.OutcomeCanceled})
			r.again(r.now + wait)
			return
		}
		c := &call{items: v.Items, start: r.now, probe: probe, fails: r.rand.Float64() < r.m.Noise}
		r.seq++
		taken, crashed := r.store.enter(c, r.seq)
		switch {
		case !taken:
			r.at(r.now+1e-3, c, pace.OutcomeOverload)
		default:
			r.at(r.now+deadline, c, pace.OutcomeTimeout)
			for _, dead := range crashed {
				if !dead.ended {
					r.at(r.now+1e-3*r.rand.Float64(), dead, pace.OutcomeOverload)
				}
			}
		}
	}
}

func (r *run) at(t float64, c *call, o pace.Outcome) {
	r.seq++
	heap.Push(&r.queue, event{at: t, seq: r.seq, call: c, end: o})
}

func (r *run) again(t float64) {
	if t < r.poll {
		r.poll = t
		r.at(t, nil, 0)
	}
}

// leave is a call that the store has worked.
func (r *run) leave(c *call) {
	if c.ended {
		return // nobody waits for it any more
	}
	if c.fails {
		r.finish(c, pace.OutcomeOverload)
		return
	}
	if r.now >= r.m.WarmUp {
		r.done += float64(c.items)
	}
	r.second.Done += float64(c.items)
	r.finish(c, pace.OutcomeOK)
}

// finish ends a call's permit.
func (r *run) finish(c *call, o pace.Outcome) {
	if c.ended {
		return
	}
	c.ended = true
	was := r.breaker.state
	r.breaker.report(r.now, c.probe, o)
	r.pacer.Done(at(r.now), pace.Call{Start: at(c.start), Items: c.items, Outcome: o})
	if was != closed && r.breaker.state == closed {
		r.pacer.Resume(at(r.now))
	}
	r.ask()
}

func (r *run) result() Result {
	res := Result{
		Goodput: r.done / math.Max(1, r.best), Holding: r.holding / (r.m.Length - r.m.WarmUp),
		Peak: r.peak, Crashes: len(r.store.crashes), Trace: r.points,
	}
	if res.Peak == 0 {
		res.Peak = r.store.peak
	}
	for _, t := range r.store.crashes {
		if t > 60 {
			res.Late++
		}
	}
	for i, s := range r.m.Steps {
		until := r.m.Length
		if i+1 < len(r.m.Steps) {
			until = r.m.Steps[i+1].At
		}
		if s.Speed > 0 {
			res.Recovery = append(res.Recovery, r.recovery(s.At, until))
		}
	}
	return res
}

// recovery is how long after a step the last second of three was first within 10 % of the best.
func (r *run) recovery(from, until float64) float64 {
	const window = 3
	for i := range r.points {
		p := r.points[i]
		if p.At <= from+window || p.At > until || i < window {
			continue
		}
		done, best := 0.0, 0.0
		for _, q := range r.points[i-window+1 : i+1] {
			done, best = done+q.Done, best+q.Best
		}
		// Poisson noise of a slow store's three seconds is no fault of the pacer: allow one standard error.
		if done >= .9*best-math.Sqrt(best) {
			return p.At - window - from
		}
	}
	return until - from
}
