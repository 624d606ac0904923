package measure

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/people"
)

// Call is one attempt that has ended. Times are since the run's start.
type Call struct {
	Op            people.Op
	Intended, End time.Duration // latency counts from Intended
	Code          codes.Code
	Reason        string // of ErrorInfo, where there was one
	FromAttack    bool
}

// Refused tells whether the system sent the caller away with a time to come back, or could not be reached.
func (c Call) Refused() bool { return c.Code == codes.ResourceExhausted || c.Code == codes.Unavailable }

// Config of a Recorder. The zero value keeps counts and histograms only, so that memory does not grow with the run.
type Config struct {
	// Keep outcomes, 56 bytes a person, so that they can be compared with what the store holds and with another arm's.
	Keep bool
	// Samples kept at most; past it every other one is dropped and so on. Default 4000.
	Samples int
}

// Recorder hears what people do. It may be used from many goroutines. The zero value does not work: use New.
type Recorder struct {
	cfg                                      Config
	sent, peopleSent, failed, attackerFailed atomic.Int64
	worked, refused                          atomic.Int64
	inFlight, owed                           atomic.Int64
	oldest                                   atomic.Int64 // coming, ns since the start; Nobody: nobody is inside
	came                                     atomic.Int64

	mu       sync.Mutex
	wait     *hdrhistogram.Histogram // µs
	ops      [people.Ops]opTally
	reasons  map[string]int
	outcomes []people.Outcome
	totals   totals
	every    int // one sample in so many is kept
	taken    int
	samples  []Sample
	// The counts at the last two samples.
	last, previous counts
	peak           int
}

type opTally struct {
	calls, refused, failed int
	latency                *hdrhistogram.Histogram // µs, of what was answered, from the intended time
	refusal                *hdrhistogram.Histogram // µs, of what was refused
}

// totals of outcomes, for when they are not kept.
type totals struct{ accepted, promised, completed, gaveUp, inside int }

const (
	longest     = time.Hour // that histograms tell apart
	mostReasons = 32        // told apart; ours are a closed set, a stranger's server may say anything
)

// leastInterval is the shortest over which a rate is told. The sample at a run's end may come a moment after another:
// three failures within 0.6 ms were drawn as 3,000 a second.
const leastInterval = 100 * time.Millisecond

type counts struct {
	at                                     time.Duration
	sent, failed, applied, worked, refused int64
}

// Store is what is known of the store at one moment.
type Store struct {
	Seen     bool // false: nothing is known of it
	Up, Cold bool
	Inside   int64
	Applied  int64
	Crashes  int
}

// New returns an empty Recorder.
func New(cfg Config) *Recorder {
	if cfg.Samples == 0 {
		cfg.Samples = 4000
	}
	r := &Recorder{cfg: cfg, wait: histogram(), reasons: map[string]int{}, every: 1}
	r.oldest.Store(int64(Nobody))
	for i := range r.ops {
		r.ops[i].latency, r.ops[i].refusal = histogram(), histogram()
	}
	return r
}

func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest.Microseconds(), 3) }

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), longest.Microseconds())) // in range by construction
}

// Sent counts a call that goes out.
func (r *Recorder) Sent(fromAttack bool) {
	r.sent.Add(1)
	r.inFlight.Add(1)
	if !fromAttack {
		r.peopleSent.Add(1)
	}
}

// Called counts a call's end.
func (r *Recorder) Called(c Call) {
	r.inFlight.Add(-1)
	if c.Refused() {
		r.refused.Add(1)
	}
	switch {
	case c.Code == codes.OK:
		r.worked.Add(1)
	case c.FromAttack:
		r.attackerFailed.Add(1)
	default:
		r.failed.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	op := &r.ops[c.Op]
	op.calls++
	switch {
	case c.Refused():
		op.refused++
		record(op.refusal, c.End-c.Intended)
	case c.Code != codes.OK:
		op.failed++
		record(op.latency, c.End-c.Intended)
	default:
		record(op.latency, c.End-c.Intended)
	}
	if c.Code == codes.OK {
		return
	}
	reason := c.Reason
	if reason == "" {
		reason = c.Code.String()
	}
	if _, known := r.reasons[reason]; !known && len(r.reasons) == mostReasons {
		reason = "others"
	}
	r.reasons[reason]++
}

// Owes is told +1 when the system has taken something on for a person (a mail, a ticket), −1 when that has come.
func (r *Recorder) Owes(delta int) { r.owed.Add(int64(delta)) }

// Came counts a person at the beginning.
func (r *Recorder) Came() { r.came.Add(1) }

// Nobody is Oldest's when nobody is inside.
const Nobody = time.Duration(math.MaxInt64)

// Oldest is told when the person came who came first of those inside.
func (r *Recorder) Oldest(came time.Duration) { r.oldest.Store(int64(came)) }

// Ended takes a person's outcome.
func (r *Recorder) Ended(o people.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cfg.Keep {
		r.outcomes = append(r.outcomes, o)
	}
	count(&r.totals.accepted, o.Accepted)
	count(&r.totals.promised, o.Promised)
	count(&r.totals.completed, o.Completed)
	count(&r.totals.gaveUp, o.GaveUp)
	count(&r.totals.inside, o.Inside)
	if o.Completed {
		record(r.wait, o.Wait)
	}
}

// Sample adds one moment to the timeline and returns it.
func (r *Recorder) Sample(at time.Duration, s Store) Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := counts{at: at, sent: r.sent.Load(), failed: r.failed.Load(), applied: s.Applied, worked: r.worked.Load(), refused: r.refused.Load()}
	from := r.last
	if now.at-from.at < leastInterval {
		from = r.previous
	}
	seconds := max((now.at - from.at).Seconds(), 1e-3)
	sample := Sample{
		Seconds:      at.Seconds(),
		OfferedRate:  float64(now.sent-from.sent) / seconds,
		FailedRate:   float64(now.failed-from.failed) / seconds,
		AppliedRate:  float64(now.applied-from.applied) / seconds,
		AcceptedRate: float64(now.worked-from.worked) / seconds,
		RefusedRate:  float64(now.refused-from.refused) / seconds,
		OldestS:      max(0, at-time.Duration(r.oldest.Load())).Seconds(),
		Came:         int(r.came.Load()), Completed: r.totals.completed, GaveUp: r.totals.gaveUp,
		Backlog: int(r.inFlight.Load() + r.owed.Load()),
		Inside:  s.Inside, StoreSeen: s.Seen, Up: s.Up, Cold: s.Cold, Crashes: s.Crashes,
	}
	r.peak = max(r.peak, sample.Backlog)
	r.previous, r.last = r.last, now
	r.keepLocked(sample)
	return sample
}

// keepLocked adds a sample; when there are too many, every other one goes, and from then on only half as many come.
func (r *Recorder) keepLocked(s Sample) {
	r.taken++
	if r.taken%r.every != 0 {
		return
	}
	r.samples = append(r.samples, s)
	if len(r.samples) <= r.cfg.Samples {
		return
	}
	half := r.samples[:0]
	for i, kept := range r.samples {
		if i%2 == 1 {
			half = append(half, kept)
		}
	}
	r.samples, r.every = half, r.every*2
}

// Waits returns the median and the 99th percentile of those who have completed so far.
func (r *Recorder) Waits() (p50, p99 time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	micros := func(q float64) time.Duration { return time.Duration(r.wait.ValueAtQuantile(q)) * time.Microsecond }
	return micros(50), micros(99)
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}
