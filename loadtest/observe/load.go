package observe

import (
	"io"
	"time"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/loadtest/people"
)

// wave is somebody coming at a steady rate for a time.
type wave struct {
	from, length time.Duration
	rate         float64 // a second
	who          crowd.Who
	client       string // of Lone calls, which are starts
}

// load is waves, merged. Everybody has a number of their own, so no two people share an account.
type load struct {
	waves []wave
	done  []int // arrivals so far, by wave
	next  uint64
}

func newLoad(waves ...wave) *load { return &load{waves: waves, done: make([]int, len(waves))} }

// Next implements crowd.Arrivals.
func (l *load) Next() (crowd.Arrival, error) {
	first, at := -1, time.Duration(0)
	for i, w := range l.waves {
		due := time.Duration(float64(l.done[i]) / w.rate * float64(time.Second))
		if due >= w.length {
			continue
		}
		if due += w.from; first < 0 || due < at {
			first, at = i, due
		}
	}
	if first < 0 {
		return crowd.Arrival{}, io.EOF
	}
	l.done[first]++
	l.next++
	w := l.waves[first]
	return crowd.Arrival{At: at, Number: l.next, Who: w.who, Op: people.OpStart, Client: w.client}, nil
}
