package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	// describeKey is where dispatch keeps the store's last Describe answer.
	describeKey = "store"
	// unpublishedRate and unpublishedService stand in until the work side has published a lane's pace for the first
	// time; then its configured floor does.
	unpublishedRate    = 50 // jobs/s
	unpublishedService = 250 * time.Millisecond
	// startGrid is what the moment of a start ticket's DONE is rounded up to (SECURITY.md 2).
	startGrid = 250 * time.Millisecond
	// startMost is the longest from the lease of a start job to its tickets' DONE: dispatch ends them then, whatever
	// outage there is.
	startMost = time.Hour
	// spread makes the interval of a point estimate: high ÷ low = spread², which must stay below 2.
	spread = 1.4
	// longest keeps sums of durations from overflowing: 10 years.
	longest = 10 * 365 * 24 * time.Hour
)

// View is what the gate decides by, for a simulator that decides the same in another time. Make it with NewView.
type View = view

// NewView returns a view of these counts and paces; it keeps the maps, and sees what is changed in them.
func NewView(stats queue.Stats, pace map[reset.Lane]reset.Pace) *View {
	return &view{stats: stats, pace: pace}
}

// view is what the gate knows of lanes, paces and store. It is immutable; a nil map reads as empty.
type view struct {
	stats    queue.Stats
	pace     map[reset.Lane]reset.Pace
	describe *credstore.Description
}

// refresh reads a new view.
func (g *Gate) refresh(ctx context.Context) error {
	// Read before the snapshot: what is accepted in between is counted twice, which errs to the safe side.
	starts, completions := g.startSince.Load(), g.completeSince.Load()
	stats, err := g.d.Queue.Stats(ctx)
	if err != nil {
		return err
	}
	v := &view{stats: stats, pace: make(map[reset.Lane]reset.Pace)}
	for _, lane := range []reset.Lane{reset.LaneStart, reset.LaneMail, reset.LaneHash, reset.LaneApply} {
		record, err := g.d.Queue.Get(ctx, queue.RecordPace, lane.String())
		if errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var p reset.Pace
		if err := p.Unmarshal(record.Value); err != nil {
			return fmt.Errorf("pace of lane %s: %w", lane, err)
		}
		v.pace[lane] = p
	}
	if v.describe, err = g.readDescription(ctx); err != nil {
		return err
	}
	g.view.Store(v)
	g.startSince.Add(-starts)
	g.completeSince.Add(-completions)
	return nil
}

// description returns the store's last Describe answer, nil if there is none yet. The record is read when the view
// has none, so that completions are accepted from the moment that it is there.
func (g *Gate) description(ctx context.Context, v *view) (*credstore.Description, error) {
	if v.describe != nil {
		return v.describe, nil
	}
	return g.readDescription(ctx)
}

func (g *Gate) readDescription(ctx context.Context) (*credstore.Description, error) {
	record, err := g.d.Queue.Get(ctx, queue.RecordDescribe, describeKey)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := new(credstore.Description)
	if err := json.Unmarshal(record.Value, d); err != nil {
		return nil, fmt.Errorf("the store's description: %w", err)
	}
	return d, nil
}

func (v *view) rate(lane reset.Lane) float64 {
	if p := v.pace[lane]; p.Rate > 0 && !math.IsInf(p.Rate, 0) {
		return p.Rate
	}
	return unpublishedRate
}

func (v *view) service(lane reset.Lane) time.Duration {
	if p, ok := v.pace[lane]; ok {
		return min(max(p.Service, 0), longest)
	}
	return unpublishedService
}

func (v *view) outage(lane reset.Lane, now time.Time) time.Duration {
	if p := v.pace[lane]; !p.OutageSince.IsZero() {
		return min(max(now.Sub(p.OutageSince), 0), longest)
	}
	return 0
}

// drain is how long a lane takes for n jobs.
func (v *view) drain(lane reset.Lane, n uint64, now time.Time) time.Duration {
	return v.outage(lane, now) + seconds(float64(n)/v.rate(lane))
}

// waiting counts the jobs of a lane that go before a newcomer of the class.
func (v *view) waiting(lane reset.Lane, upTo reset.Class) uint64 {
	s := v.stats.Lanes[lane]
	n := s.Retrying // those whose time has come go first
	for _, c := range reset.Classes() {
		if c <= upTo {
			n += s.Waiting[c]
		}
	}
	return n
}

// startMean estimates when a mail should have left for a start with so many ahead.
func (v *view) startMean(ahead uint64, now time.Time) time.Duration {
	mailed := v.service(reset.LaneMail)
	if crowd := v.stats.Lanes[reset.LaneMail].Crowd(); crowd > 0 { // fewer mails would tell of single accounts
		mails := float64(crowd)
		// A mail line that is longer than a second's work is what holds starts up; it goes on growing while the looked-up
		// ones ahead arrive faster than mails leave.
		if growth := v.rate(reset.LaneStart) - v.rate(reset.LaneMail); growth > 0 && mails > v.rate(reset.LaneMail) {
			mails += min(growth*seconds(float64(ahead)/v.rate(reset.LaneStart)).Seconds(), float64(ahead))
		}
		mailed += v.outage(reset.LaneMail, now) + seconds(mails/v.rate(reset.LaneMail))
	}
	leased := v.drain(reset.LaneStart, ahead, now)
	return leased + roundUp(min(v.service(reset.LaneStart)+mailed, startMost), startGrid)
}

// completionMean estimates when a completion with so many ahead is applied. lane is where its job is now.
func (v *view) completionMean(lane reset.Lane, ahead uint64, now time.Time) time.Duration {
	apply := v.drain(reset.LaneApply, ahead, now)
	if lane != reset.LaneHash {
		return apply + v.service(reset.LaneApply)
	}
	// Hash and apply work at the same time: the slower one sets the speed of the line.
	return max(apply, v.drain(reset.LaneHash, ahead, now)) + v.service(reset.LaneHash) + v.service(reset.LaneApply)
}

// mean is the point estimate for a ticket that is not final.
func (v *view) mean(ref reset.Ref, st queue.Status, now time.Time) time.Duration {
	if ref.Lane == reset.LaneStart {
		ahead := st.Ahead
		if ref.Class > reset.ClassInteractive {
			ahead += v.waiting(reset.LaneStart, ref.Class-1)
		}
		return v.startMean(ahead, now)
	}
	if st.State == reset.StateRunning || st.Retrying {
		// How long the rest takes is not known; what has lasted a while will last about as long again.
		return max(v.service(st.Lane), min(now.Sub(st.UpdateTime), longest))
	}
	ahead := st.Ahead
	if ref.Class > reset.ClassInteractive {
		ahead += v.waiting(reset.LaneHash, ref.Class-1) + v.waiting(reset.LaneApply, ref.Class-1)
	}
	return v.completionMean(st.Lane, ahead, now)
}

// eta is what a caller is told of a ticket that is not final.
func (v *view) eta(ref reset.Ref, st queue.Status, now time.Time) reset.ETA {
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() {
		left := max(st.DoneTime.Sub(now), 0)
		return reset.ETA{Low: left, High: left}
	}
	return interval(v.mean(ref, st, now))
}

// newcomer is the ETA of work that is not in line yet. lane is the first that it enters.
func (g *Gate) newcomer(v *view, lane reset.Lane, class reset.Class, now time.Time) reset.ETA {
	since := &g.completeSince
	if lane == reset.LaneStart {
		since = &g.startSince
	}
	return v.newcomer(lane, class, uint64(max(since.Load(), 0)), now)
}

// newcomer is the same with so many accepted since the view was read.
func (v *view) newcomer(lane reset.Lane, class reset.Class, since uint64, now time.Time) reset.ETA {
	if lane == reset.LaneStart {
		return interval(v.startMean(v.waiting(lane, class)+since, now))
	}
	ahead := v.waiting(reset.LaneHash, class) + v.waiting(reset.LaneApply, class) + since
	return interval(v.completionMean(lane, ahead, now))
}

// Over tells by how much the ETA of work that is not in line yet misses its bound; false: it does not. lane is the first
// that it enters, since is how many were accepted since the view was read.
func (v *view) Over(c Config, lane reset.Lane, class reset.Class, since uint64, now time.Time) (over time.Duration, full bool) {
	return c.over(lane, v.newcomer(lane, class, since, now))
}

// over holds an ETA to the bound of the lane that the work enters first.
func (c Config) over(lane reset.Lane, eta reset.ETA) (over time.Duration, full bool) {
	if lane == reset.LaneStart {
		return eta.High - c.MaxStartWait, eta.High > c.MaxStartWait
	}
	return eta.High - c.MaxSealedWait/2, eta.High >= c.MaxSealedWait/2
}

// ETA is what a caller is told of a ticket that is not final.
func (v *view) ETA(ref reset.Ref, st queue.Status, now time.Time) reset.ETA {
	return v.eta(ref, st, now)
}

// Signals are what the lanes say to the brownout ladder: waits as shares of their acceptance bounds, and the queue's bytes.
func (c Config) Signals(stats queue.Stats, now time.Time) admission.Signals {
	var s admission.Signals
	for _, l := range [...]struct {
		lane  reset.Lane
		bound time.Duration
	}{
		{reset.LaneStart, c.MaxStartWait}, {reset.LaneMail, c.MaxStartWait},
		{reset.LaneHash, c.MaxSealedWait / 2}, {reset.LaneApply, c.MaxSealedWait / 2},
	} {
		oldest := stats.Lanes[l.lane].OldestAccept
		if oldest.IsZero() {
			continue
		}
		if l.lane == reset.LaneMail && stats.Lanes[l.lane].Crowd() == 0 {
			continue // only accounts have mails: a level that a few of them raise would tell everybody of them
		}
		wait := now.Sub(oldest)
		s.OldestInteractiveWait = max(s.OldestInteractiveWait, wait)
		s.WaitShare = max(s.WaitShare, float64(wait)/float64(l.bound))
	}
	if stats.MaxBytes > 0 {
		s.QueueFill = float64(stats.Bytes) / float64(stats.MaxBytes)
	}
	return s
}

func interval(mean time.Duration) reset.ETA {
	mean = min(max(mean, 0), longest)
	return reset.ETA{Low: time.Duration(float64(mean) / spread), High: time.Duration(float64(mean) * spread)}
}

// pollAfter is when asking again makes sense: halfway to the high end, 1 s to 15 min, ± 20 % so that those who came
// together do not come back together. At n tickets and a drain rate r all polls together are about 2·r·ln(n) a second.
func pollAfter(eta reset.ETA) time.Duration {
	return PollAfter(eta, rand.Float64()) //nolint:gosec // jitter is no secret
}

// PollAfter is the same with a draw in [0, 1).
func PollAfter(eta reset.ETA, random float64) time.Duration {
	base := min(max(eta.High/2, time.Second), 15*time.Minute)
	return time.Duration(float64(base) * (0.8 + 0.4*random))
}

func seconds(s float64) time.Duration {
	if !(s < longest.Seconds()) { // NaN too
		return longest
	}
	return time.Duration(s * float64(time.Second))
}

func roundUp(d, grid time.Duration) time.Duration {
	return (d + grid - 1) / grid * grid
}
