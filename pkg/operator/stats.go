package operator

import (
	"context"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
)

// statsPatience is how long a status waits for counters of this moment. They are behind the committer's lock, which is held
// for microseconds, but for as long as the disk likes where the engine's writes are stalled: then those read last are told.
const statsPatience = 100 * time.Millisecond

// statsReader reads the queue's counters, one reading at a time, and keeps the last.
type statsReader struct {
	queue Queue
	// clock is the machine's always: it bounds how long somebody waits at a terminal, whatever time others say it is.
	clock clock.System
	// ask has a reading done; whoever asks leaves a channel of one, so that an answer that comes late waits for nobody.
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

// run reads for who asks, until ctx ends.
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

// read returns the counters of now, or those read last where the queue does not answer in time.
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
