package capacity

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// lookEvery is short beside every window and long beside what a look costs (a page of metrics, about 1 ms of processor).
const lookEvery = 500 * time.Millisecond

// watch is a series of looks at a store and, if there is one, at its gateway.
type watch struct {
	store     *store
	gateway   *gateway // nil: something else drives the store
	limit     func() float64
	reference float64
	begin     time.Time

	mu     sync.Mutex
	points []Point
	end    context.CancelFunc
	ended  sync.WaitGroup
}

// startWatch begins to look; time 0 is begin.
func startWatch(ctx context.Context, w *watch) *watch {
	ctx, w.end = context.WithCancel(ctx)
	w.ended.Go(func() {
		for n := 0; ; n++ {
			next := w.begin.Add(time.Duration(n) * lookEvery)
			if w.store.clock.Sleep(ctx, next.Sub(w.store.clock.Now())) != nil {
				return
			}
			w.look()
		}
	})
	return w
}

// stop ends it and returns what it saw.
func (w *watch) stop() []Point {
	w.end()
	w.ended.Wait()
	return w.points
}

// now is the latest point.
func (w *watch) now() Point {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.points) == 0 {
		return Point{}
	}
	return w.points[len(w.points)-1]
}

func (w *watch) look() {
	s, ok := w.store.status()
	if !ok {
		return
	}
	p := Point{
		At: w.store.clock.Now().Sub(w.begin).Seconds(), Up: s.Up,
		work: float64(s.Applied) + float64(s.Lookups)*w.store.worth(), callSeconds: s.CallSeconds, seconds: s.Seconds,
		peak: s.PeakCalls, deaths: s.Crashes,
	}
	if s.Up {
		// A share of the workers or of the knee is that share of the best, and so is the speed.
		p.Best = w.reference * s.Step.Speed * s.Step.Workers
		if s.Cold {
			p.Best /= 2
		}
	}
	switch {
	case w.gateway != nil:
		m := w.gateway.metrics()
		p.Limit, p.Opens, p.Closed, p.Level = m[metricLimit], m[metricOpens], m[metricClosed] == 1, m[metricLevel]
	case w.limit != nil:
		p.Limit, p.Closed = w.limit(), true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.points = follow(w.points, p)
}

// follow appends a point and fills in what the store did since the point before.
func follow(points []Point, p Point) []Point {
	if len(points) > 0 && p.Up {
		before := points[len(points)-1]
		span := p.At - before.At
		if !before.Up || p.seconds < before.seconds { // another process, which counts from nothing
			before.work, before.callSeconds, before.seconds = 0, 0, 0
		}
		if span > 0 {
			p.Done = max(0, p.work-before.work) / span
		}
		if lived := p.seconds - before.seconds; lived > 0 {
			p.Inside = (p.callSeconds - before.callSeconds) / lived
		}
	}
	return append(points, p)
}

// at is the last point up to a time.
func at(points []Point, t float64) (p Point) {
	for _, q := range points {
		if q.At <= t {
			p = q
		}
	}
	return p
}

// highest number of calls inside until a time, over all processes.
func highest(points []Point, until float64) (most int) {
	for _, p := range points {
		if p.At <= until {
			most = max(most, p.peak)
		}
	}
	return most
}

// waits compares what people were told with what came.
type waits struct {
	Count      int     `json:"count"` // with a wait over least
	Inside     int     `json:"inside"`
	MedianOff  float64 `json:"median_error"`
	WidestHigh float64 `json:"high_over_low"`
	Unapplied  int     `json:"unapplied"` // accepted, and not applied when the run ended
	errors     []float64
}

// least wait that an ETA is judged for.
const leastWait = 5 * time.Second

// judge looks at the people of the phases. Those who were not applied by the end waited too long for any promise whose
// high end has passed by then; the others say nothing yet.
func (w *waits) judge(promises map[uint64]told, applied map[string]time.Time, end time.Time, of func(phase int) bool) {
	for n, t := range promises {
		if !of(t.phase) {
			continue
		}
		if t.low > 0 {
			w.WidestHigh = max(w.WidestHigh, float64(t.high)/float64(t.low))
		}
		at, ok := applied[victim.AccountID(n)]
		if !ok {
			w.Unapplied++
			if end.Sub(t.at) > max(leastWait, t.high) {
				w.Count++
				w.errors = append(w.errors, 1)
			}
			continue
		}
		wait := at.Sub(t.at)
		if wait < leastWait {
			continue
		}
		w.Count++
		if wait >= t.low && wait <= t.high {
			w.Inside++
		}
		middle := math.Sqrt(float64(t.low) * float64(t.high))
		w.errors = append(w.errors, math.Abs(float64(wait)-middle)/float64(wait))
	}
	w.MedianOff = report.Median(w.errors)
}

func (w *waits) share() float64 {
	if w.Count == 0 {
		return 0
	}
	return float64(w.Inside) / float64(w.Count)
}

// quantile of values that need not be sorted; NaN-free, 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, max(0, int(math.Ceil(q*float64(len(s))))-1))]
}

// Point is one look at a run.
type Point struct {
	At     float64 `json:"s"`
	Up     bool    `json:"up"`
	Done   float64 `json:"done_per_s"` // since the point before, in passwords' worth
	Best   float64 `json:"best_per_s"`
	Inside float64 `json:"inside"` // calls, mean since the point before
	Limit  float64 `json:"limit"`
	Opens  float64 `json:"breaker_opens"`
	Closed bool    `json:"breaker_closed"`
	Level  float64 `json:"brownout_level"`

	work, callSeconds, seconds float64 // cumulative, of the process
	peak, deaths               int
}

// goodput ÷ best over [from, until).
func goodput(points []Point, from, until float64) float64 {
	done, best := 0.0, 0.0
	for i := 1; i < len(points); i++ {
		p := points[i]
		if p.At > from && p.At <= until {
			done += p.Done * (p.At - points[i-1].At)
			best += p.Best * (p.At - points[i-1].At)
		}
	}
	if best == 0 {
		return 0
	}
	return done / best
}

// held is the time average of calls inside over [from, until), while the store was up.
func held(points []Point, from, until float64) float64 {
	sum, length := 0.0, 0.0
	for i := 1; i < len(points); i++ {
		p := points[i]
		if p.At > from && p.At <= until && p.Up {
			sum += p.Inside * (p.At - points[i-1].At)
			length += p.At - points[i-1].At
		}
	}
	if length == 0 {
		return 0
	}
	return sum / length
}

// recovery is how long after from it took until three seconds together were within 10 % of the best of these seconds,
// less one standard error of their count; −1: never.
func recovery(points []Point, from float64) float64 {
	const window = 3.0
	for i := range points {
		if points[i].At < from+window {
			continue
		}
		done, best := 0.0, 0.0
		for j := i; j > 0 && points[j].At > points[i].At-window; j-- {
			done += points[j].Done * (points[j].At - points[j-1].At)
			best += points[j].Best * (points[j].At - points[j-1].At)
		}
		if best > 0 && done >= .9*best-math.Sqrt(best) {
			return points[i].At - window - from
		}
	}
	return -1
}
