package measure

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/codes"

	"github.com/surgegate/surgegate/loadtest/people"
)

// Recorder hears what people do; it is a people.Observer. The zero value does not work: use New.
type Recorder struct {
	sent, peopleSent, failed, attackerFailed atomic.Int64
	inFlight, owed                           atomic.Int64
	came                                     atomic.Int64

	mu       sync.Mutex
	wait     *hdrhistogram.Histogram // µs
	outcomes []people.Outcome
	done     int
	gaveUp   int
	samples  []Sample
	// The counts at the last two samples.
	last, previous counts
	peak           int
}

// leastInterval is the shortest over which a rate is told. The sample at a run's end may come a moment after another:
// three failures within 0.6 ms were drawn as 3,000 a second.
const leastInterval = 100 * time.Millisecond

type counts struct {
	at                    time.Duration
	sent, failed, applied int64
}

// Store is what is known of the store at one moment.
type Store struct {
	Up, Cold bool
	Inside   int64
	Applied  int64
	Crashes  int
}

// New returns an empty Recorder.
func New() *Recorder {
	return &Recorder{wait: hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
}

// Sent implements people.Observer.
func (r *Recorder) Sent(_ people.Op, fromAttack bool) {
	r.sent.Add(1)
	r.inFlight.Add(1)
	if !fromAttack {
		r.peopleSent.Add(1)
	}
}

// Called implements people.Observer.
func (r *Recorder) Called(c people.Call) {
	r.inFlight.Add(-1)
	switch {
	case c.Code == codes.OK:
	case c.FromAttack:
		r.attackerFailed.Add(1)
	default:
		r.failed.Add(1)
	}
}

// Owes implements people.Observer.
func (r *Recorder) Owes(delta int) { r.owed.Add(int64(delta)) }

// Came counts a person at the beginning.
func (r *Recorder) Came() { r.came.Add(1) }

// Ended takes a person's outcome.
func (r *Recorder) Ended(o people.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes = append(r.outcomes, o)
	if o.Completed {
		r.done++
		_ = r.wait.RecordValue(min(max(1, o.Wait.Microseconds()), time.Hour.Microseconds())) // in range by construction
	}
	if o.GaveUp {
		r.gaveUp++
	}
}

// Sample adds one moment to the timeline and returns it.
func (r *Recorder) Sample(at time.Duration, s Store) Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := counts{at: at, sent: r.sent.Load(), failed: r.failed.Load(), applied: s.Applied}
	from := r.last
	if now.at-from.at < leastInterval {
		from = r.previous
	}
	seconds := max((now.at - from.at).Seconds(), 1e-3)
	sample := Sample{
		Seconds:     at.Seconds(),
		OfferedRate: float64(now.sent-from.sent) / seconds,
		FailedRate:  float64(now.failed-from.failed) / seconds,
		AppliedRate: float64(now.applied-from.applied) / seconds,
		Came:        int(r.came.Load()), Completed: r.done, GaveUp: r.gaveUp,
		Backlog: int(r.inFlight.Load() + r.owed.Load()),
		Inside:  s.Inside, Up: s.Up, Cold: s.Cold, Crashes: s.Crashes,
	}
	r.peak = max(r.peak, sample.Backlog)
	r.previous, r.last = r.last, now
	r.samples = append(r.samples, sample)
	return sample
}

// Waits returns the median and the 99th percentile of those who have completed so far.
func (r *Recorder) Waits() (p50, p99 time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	micros := func(q float64) time.Duration { return time.Duration(r.wait.ValueAtQuantile(q)) * time.Microsecond }
	return micros(50), micros(99)
}

// Truth is what the store holds after the run.
type Truth struct {
	Has                      func(person uint64) bool // the password that the person chose
	AppliedTwice, OutOfOrder int
	Crashes                  int
}

// Arm sums up, once everybody's outcome is in.
func (r *Recorder) Arm(name string, truth Truth) Arm {
	p50, p99 := r.Waits()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := Arm{
		Name: name, People: int(r.came.Load()), FailedCalls: int(r.failed.Load()), AttackerFails: int(r.attackerFailed.Load()),
		OfferedCalls: int(r.sent.Load()), PeopleCalls: int(r.peopleSent.Load()), PeakBacklog: r.peak,
		WaitP50MS: p50.Milliseconds(), WaitP99MS: p99.Milliseconds(), StoreCrashes: truth.Crashes,
		AppliedTwice: truth.AppliedTwice, OutOfOrder: truth.OutOfOrder, Samples: r.samples, Broken: []string{},
	}
	if len(r.samples) > 0 {
		a.Seconds = r.samples[len(r.samples)-1].Seconds
	}
	for _, o := range r.outcomes {
		has := truth.Has(o.Person)
		count(&a.Accepted, o.Accepted)
		count(&a.Promised, o.Promised)
		count(&a.Completed, o.Completed)
		count(&a.GaveUp, o.GaveUp)
		count(&a.StillWaiting, !o.Completed && !o.GaveUp)
		count(&a.Lost, o.Promised && !has)
		count(&a.Untold, has && !o.Completed)
	}
	a.EverybodyP50MS, a.EverybodyP99MS = r.everybodyLocked(50), r.everybodyLocked(99)
	return a
}

// everybodyLocked is a percentile of all who came, in ms; -1 when it falls among those who never got there.
func (r *Recorder) everybodyLocked(percent float64) int64 {
	came := float64(r.came.Load())
	if r.done == 0 || float64(r.done) < came*percent/100 {
		return -1
	}
	return r.wait.ValueAtQuantile(percent*came/float64(r.done)) / 1000
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}
