package schedule

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// lagMax is where the recorded lag ends: a longer one counts as this.
const lagMax = time.Minute

// Report is what the generator itself did.
type Report struct {
	Intended, Sent, Dropped int64 // planned events; Intended = Sent + Dropped
	LagP50, LagP99, LagMax  time.Duration
	Bound                   time.Duration           // of LagP99
	Lag                     *hdrhistogram.Histogram // of the planned events, in µs, from 1 µs to a minute
}

// Valid is an error when the generator could not keep its schedule.
func (r Report) Valid() error {
	if r.LagP99 > r.Bound {
		return fmt.Errorf("the load generator was behind its schedule by %v at p99; its bound is %v", r.LagP99.Round(time.Microsecond), r.Bound)
	}
	return nil
}

func (l *Loop) report(dropped int64) Report {
	micros := func(q float64) time.Duration { return time.Duration(l.lag.ValueAtQuantile(q)) * time.Microsecond }
	return Report{
		Intended: l.sent + dropped, Sent: l.sent, Dropped: dropped,
		LagP50: micros(50), LagP99: micros(99), LagMax: time.Duration(l.lag.Max()) * time.Microsecond,
		Bound: l.cfg.MaxLag, Lag: l.lag,
	}
}
