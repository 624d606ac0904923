package meter

import (
	"sync"
	"time"
)

// Waits is what DoneAfter is computed from: what the lanes published last.
type Waits struct {
	mu       sync.Mutex
	lookup   time.Duration
	mail     time.Duration
	outSince []time.Time
}

// Set publishes: a high percentile of the look-up and of mails from their start job's end to their hand-off, and since
// when the start and the mail lane are out.
func (p *Waits) Set(lookup, mail time.Duration, outSince []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookup, p.mail, p.outSince = lookup, mail, outSince
}

const (
	doneGrid = 250 * time.Millisecond
	// doneMost ends a ticket that an outage would keep open: it promises no mail at that moment, it hides all.
	doneMost = time.Hour
)

// DoneAfter is the published look-up and mail waits of the lanes as a whole, rounded up to the grid.
func (p *Waits) DoneAfter(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.lookup + p.mail
	for _, since := range p.outSince {
		sum += now.Sub(since)
	}
	return OnGrid(min(sum, doneMost))
}

// OnGrid rounds up to the grid, once at least.
func OnGrid(d time.Duration) time.Duration {
	return (max(d, 1) + doneGrid - 1) / doneGrid * doneGrid
}
