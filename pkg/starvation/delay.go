package starvation

import (
	"math"
	"runtime/metrics"
	"slices"
	"time"
)

const (
	// Enough is the delay, of the 90th percentile, from which measurements of others cannot be trusted: a store's call takes some
	// milliseconds.
	Enough = 5 * time.Millisecond
	// Calm is how long no quarter may have reached Enough before starvation counts as over.
	Calm = 3 * time.Second

	// quantile is the one that is looked at. See the package comment.
	quantile = .9
	// smoothing is the time constant of Status.Delay: longer than a garbage collection and a batch, shorter than a person's patience.
	smoothing = 5 * time.Second
	// most bounds the delay of a quarter that goes into Status.Delay, so that one pause is soon forgotten.
	most = time.Second
)

// judge decides from the delays of quarters of a second. The zero value is served.
type judge struct {
	starved  bool
	since    time.Time     // when it was found starved; zero while it is not
	late     bool          // the last quarter reached Enough
	lastLate time.Time     // the end of the latest quarter that did
	at       time.Time     // of the last step
	smoothed time.Duration // over smoothing
}

// step takes the delay of the quarter that ends at now.
func (j *judge) step(now time.Time, delay time.Duration) {
	weight := 0.0
	if !j.at.IsZero() {
		weight = 1 - math.Exp(-max(0, now.Sub(j.at).Seconds())/smoothing.Seconds())
	}
	j.at = now
	j.smoothed += time.Duration(weight * float64(min(delay, most)-j.smoothed))
	late := delay >= Enough
	if late {
		j.lastLate = now
	}
	switch {
	case late && j.late && !j.starved:
		j.starved, j.since = true, now
	case j.starved && now.Sub(j.lastLate) >= Calm:
		j.starved, j.since = false, time.Time{}
	}
	j.late = late
}

// latenesses are those of the Monitor's timer within a quarter of a second.
type latenesses []time.Duration

// mostLate bounds what a single lateness adds: a machine that slept for a day adds no more samples than one for 10 s.
const mostLate = 10 * time.Second

// add notes that a timer of the interval was so late, for the moment at which it was due and for each interval that it slept
// over.
func (l *latenesses) add(late, interval time.Duration) {
	for late = min(late, mostLate); late >= 0; late -= interval {
		*l = append(*l, late)
	}
}

// quantile returns the lateness that a share of q did not exceed; 0 without any. It sorts l.
func (l latenesses) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[max(0, int(math.Ceil(q*float64(len(l))))-1)]
}

// histogramQuantile returns the upper bound of the bucket in which the quantile q of what now has more than before lies, in
// the histogram's unit; the lower one of a bucket without an upper bound. 0 where nothing came, or the two do not fit.
func histogramQuantile(before []uint64, now *metrics.Float64Histogram, q float64) float64 {
	if len(before) != len(now.Counts) {
		return 0
	}
	var total uint64
	for i, n := range now.Counts {
		total += n - before[i]
	}
	if total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(total)))
	var sum uint64
	for i, n := range now.Counts {
		if sum += n - before[i]; sum >= rank {
			if upper := now.Buckets[i+1]; !math.IsInf(upper, 1) {
				return upper
			}
			return now.Buckets[i]
		}
	}
	return 0
}
