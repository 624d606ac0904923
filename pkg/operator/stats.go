package operator

import (
	"context"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
)

// statsPatience is how long a status waits for the present counters. The committer's lock guards them. It is held for microseconds,
// but much longer while the disk stalls the engine's writes; then the status has the counters that were read last.
const statsPatience = 100 * time.Millisecond

// statsReader reads the queue's counters, one reading at a time, and keeps the last.
type statsReader struct {
	queue Queue
	// clock is always the machine's, because it bounds how long a person waits.
	clock clock.System
	// ask asks for a reading. Its value is a channel with room for the answer, so that a late answer blocks nobody.
	ask chan chan reading

	mu   sync.Mutex
	last *reading // nil before the first
}

type reading struct {
	stats queue.Stats
	err   error
}

func newStatsReader(q Queue) *statsReader {
	return &statsReader{queue: q, ask: make(chan chan reading)}
}

// run answers requests for readings until ctx ends.
func (s *statsReader) run(ctx context.Context) {
	for {
		select {
		case answer := <-s.ask:
			var r reading
			r.stats, r.err = s.queue.Stats(ctx)
			s.mu.Lock()
			s.last = &r
			s.mu.Unlock()
			answer <- r
		case <-ctx.Done():
			return
		}
	}
}

// read returns the present counters, or those read last if the queue does not answer in time.
func (s *statsReader) read(ctx context.Context) (queue.Stats, error) {
	patience := s.clock.NewTimer(statsPatience)
	defer patience.Stop()
	answer := make(chan reading, 1)
	ask := s.ask
	for {
		select {
		case ask <- answer:
			ask = nil
		case r := <-answer:
			return r.stats, r.err
		case <-patience.C():
			s.mu.Lock()
			last := s.last
			s.mu.Unlock()
			if last != nil {
				return last.stats, last.err
			}
			return s.queue.Stats(ctx) // nobody reads yet
		case <-ctx.Done():
			return queue.Stats{}, ctx.Err()
		}
	}
}
