package meter

import (
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
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

// DoneAfter returns how long after their lease the tickets of starts become DONE: the published waits of the look-up and of mails, and the
// outages so far, on the grid of reset.StartLife.
func (p *Waits) DoneAfter(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.lookup + p.mail
	for _, since := range p.outSince {
		sum += now.Sub(since)
	}
	return reset.StartLife(sum)
}
