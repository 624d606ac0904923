package victim

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"time"
)

// curve works on all that is inside at once. Work is counted in seconds of a call alone: what each call inside has got
// since the start is the same, so a call ends when that reaches what it was at its entry plus its own work.
type curve struct {
	workers *workers
	news    chan struct{} // has room for one: something changed

	mu     sync.Mutex
	at     time.Time
	done   float64 // seconds of work that each call has got
	inside pieces
	count  uint64
}

type piece struct {
	until float64
	count uint64 // entered first, leaves first
	task  task
}

type pieces []piece

func (p pieces) Len() int { return len(p) }
func (p pieces) Less(i, j int) bool {
	return p[i].until < p[j].until || p[i].until == p[j].until && p[i].count < p[j].count
}
func (p pieces) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pieces) Push(x any)   { *p = append(*p, x.(piece)) }
func (p *pieces) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

func newCurve(w *workers) *curve {
	return &curve{workers: w, news: make(chan struct{}, 1), at: w.clock.Now()}
}

func (c *curve) enter(t task) {
	cost := t.cost().Seconds()
	now := c.workers.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	c.count++
	heap.Push(&c.inside, piece{until: c.done + cost, count: c.count, task: t})
	c.wake()
}

func (c *curve) wake() {
	select {
	case c.news <- struct{}{}:
	default: // it is told already
	}
}

// rate is how much work each call inside gets a second. The lock is held.
func (c *curve) rate(now time.Time) float64 {
	step, _ := c.workers.state()
	if len(c.inside) == 0 || step.Workers <= 0 {
		return 0
	}
	// Half the workers are half the knee: the same curve, pressed together.
	return c.workers.speed(now) * c.workers.cfg.pace(float64(len(c.inside))/step.Workers)
}

// advance works until now, from end to end of the calls on the way. The lock is held.
func (c *curve) advance(now time.Time) {
	for now.After(c.at) {
		rate := c.rate(c.at)
		if rate == 0 {
			break
		}
		left := time.Duration(math.Ceil((c.inside[0].until - c.done) / rate * 1e9))
		if c.at.Add(left).After(now) {
			c.done += rate * now.Sub(c.at).Seconds()
			break
		}
		c.at = c.at.Add(left)
		p := heap.Pop(&c.inside).(piece)
		c.done = p.until
		p.task.work()
		c.workers.leave(p.task)
	}
	if now.After(c.at) {
		c.at = now
	}
}

// run works until ctx ends.
func (c *curve) run(ctx context.Context) {
	const longest = 100 * time.Millisecond // a store gets warm without telling
	for ctx.Err() == nil {
		now := c.workers.clock.Now()
		c.mu.Lock()
		c.advance(now)
		wait := longest
		if rate := c.rate(now); rate > 0 {
			wait = time.Duration(min(longest.Seconds(), max(0, c.inside[0].until-c.done)/rate) * 1e9)
		}
		c.mu.Unlock()
		t := c.workers.clock.NewTimer(wait)
		select {
		case <-t.C():
		case <-c.news:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// empty lets everybody go.
func (c *curve) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.inside {
		c.workers.leave(p.task)
	}
	c.inside = nil
}
