package gate

import (
	"math"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	// unpublishedRate and unpublishedService are used until the work side has published a lane's pace for the first time. Before its first
	// measurement it publishes the configured floor.
	unpublishedRate    = 50 // jobs/s
	unpublishedService = 250 * time.Millisecond
	// spread makes the interval of a point estimate: high ÷ low = spread², which must stay below 2.
	spread = 1.4
	// longest keeps sums of durations from overflowing: 10 years.
	longest = 10 * 365 * 24 * time.Hour
)

func (v *View) rate(lane reset.Lane) float64 {
	if p := v.pace[lane]; p.Rate > 0 && !math.IsInf(p.Rate, 0) {
		return p.Rate
	}
	return unpublishedRate
}

func (v *View) service(lane reset.Lane) time.Duration {
	if p, ok := v.pace[lane]; ok {
		return min(max(p.Service, 0), longest)
	}
	return unpublishedService
}

func (v *View) outage(lane reset.Lane, now time.Time) time.Duration {
	if p := v.pace[lane]; !p.OutageSince.IsZero() {
		return min(max(now.Sub(p.OutageSince), 0), longest)
	}
	return 0
}

// drain returns how long a lane takes for n jobs.
func (v *View) drain(lane reset.Lane, n uint64, now time.Time) time.Duration {
	return v.outage(lane, now) + seconds(float64(n)/v.rate(lane))
}

// waiting returns how many jobs of a lane go before a new one of the class.
func (v *View) waiting(lane reset.Lane, upTo reset.Class) uint64 {
	s := v.stats.Lanes[lane]
	n := s.Retrying // jobs whose time for another try has come go first
	for _, c := range reset.Classes() {
		if c <= upTo {
			n += s.Waiting[c]
		}
	}
	return n
}

// startMean estimates when the mail of a start with so many ahead will have left.
func (v *View) startMean(ahead uint64, now time.Time) time.Duration {
	mailed := v.service(reset.LaneMail)
	if crowd := v.stats.Lanes[reset.LaneMail].Crowd(); crowd > 0 { // fewer mails would show that single accounts exist
		mails := float64(crowd)
		// A mail line that is longer than a second's work holds starts up. It goes on growing while the starts ahead are looked up faster
		// than mails leave.
		if growth := v.rate(reset.LaneStart) - v.rate(reset.LaneMail); growth > 0 && mails > v.rate(reset.LaneMail) {
			mails += min(growth*seconds(float64(ahead)/v.rate(reset.LaneStart)).Seconds(), float64(ahead))
		}
		mailed += v.outage(reset.LaneMail, now) + seconds(mails/v.rate(reset.LaneMail))
	}
	leased := v.drain(reset.LaneStart, ahead, now)
	return leased + reset.StartLife(v.service(reset.LaneStart)+mailed)
}

// completionMean estimates when a completion with so many ahead will be applied. lane is where its job is now.
func (v *View) completionMean(lane reset.Lane, ahead uint64, now time.Time) time.Duration {
	apply := v.drain(reset.LaneApply, ahead, now)
	if lane != reset.LaneHash {
		return apply + v.service(reset.LaneApply)
	}
	// Hash and apply work at the same time: the slower one sets the speed of the line.
	return max(apply, v.drain(reset.LaneHash, ahead, now)) + v.service(reset.LaneHash) + v.service(reset.LaneApply)
}

// mean returns the point estimate for a ticket that is not final.
func (v *View) mean(ref reset.Ref, st queue.Status, now time.Time) time.Duration {
	if ref.Lane == reset.LaneStart {
		ahead := st.Ahead
		if ref.Class > reset.ClassInteractive {
			ahead += v.waiting(reset.LaneStart, ref.Class-1)
		}
		return v.startMean(ahead, now)
	}
	if st.State == reset.StateRunning || st.Retrying {
		// How long the rest takes is not known. The best guess is as long as it has taken so far.
		return max(v.service(st.Lane), min(now.Sub(st.UpdateTime), longest))
	}
	ahead := st.Ahead
	if ref.Class > reset.ClassInteractive {
		ahead += v.waiting(reset.LaneHash, ref.Class-1) + v.waiting(reset.LaneApply, ref.Class-1)
	}
	return v.completionMean(st.Lane, ahead, now)
}

// ETA returns what a caller is told of a ticket that is not final.
func (v *View) ETA(ref reset.Ref, st queue.Status, now time.Time) reset.ETA {
	if ref.Lane == reset.LaneStart && !st.DoneTime.IsZero() {
		left := max(st.DoneTime.Sub(now), 0)
		return reset.ETA{Low: left, High: left}
	}
	return interval(v.mean(ref, st, now))
}

// newcomerETA returns the ETA of work that is not in line yet. lane is the first that it enters.
func (g *Gate) newcomerETA(v *View, lane reset.Lane, class reset.Class, now time.Time) reset.ETA {
	since := &g.completionsSinceView
	if lane == reset.LaneStart {
		since = &g.startsSinceView
	}
	return v.newcomerETA(lane, class, uint64(max(since.Load(), 0)), now)
}

// newcomerETA returns the same, with so many accepted since the view was read.
func (v *View) newcomerETA(lane reset.Lane, class reset.Class, since uint64, now time.Time) reset.ETA {
	if lane == reset.LaneStart {
		return interval(v.startMean(v.waiting(lane, class)+since, now))
	}
	ahead := v.waiting(reset.LaneHash, class) + v.waiting(reset.LaneApply, class) + since
	return interval(v.completionMean(lane, ahead, now))
}

// Over returns by how much the ETA of work that is not in line yet misses its bound; late is false if it does not. lane is the first
// that the work enters, since is how many were accepted since the view was read.
func (v *View) Over(c Config, lane reset.Lane, class reset.Class, since uint64, now time.Time) (over time.Duration, late bool) {
	return c.missedBy(lane, v.newcomerETA(lane, class, since, now))
}

// missedBy returns by how much an ETA misses the bound of the lane that the work enters first; late is false if it does not.
func (c Config) missedBy(lane reset.Lane, eta reset.ETA) (over time.Duration, late bool) {
	if lane == reset.LaneStart {
		return eta.High - c.MaxStartWait, eta.High > c.MaxStartWait
	}
	return eta.High - c.MaxSealedWait/2, eta.High >= c.MaxSealedWait/2
}

// interval returns the ETA of a point estimate.
func interval(mean time.Duration) reset.ETA {
	mean = min(max(mean, 0), longest)
	return reset.ETA{Low: time.Duration(float64(mean) / spread), High: time.Duration(float64(mean) * spread)}
}

// PollAfter returns when asking again makes sense: halfway to the high end of the ETA, from 1 s to 15 min. A random number in [0, 1)
// spreads it by ± 20 %, so that those who came together do not come back together. At n tickets and a drain rate r all polls together
// are about 2·r·ln(n) a second.
func PollAfter(eta reset.ETA, random float64) time.Duration {
	base := min(max(eta.High/2, time.Second), 15*time.Minute)
	return time.Duration(float64(base) * (0.8 + 0.4*random))
}

// seconds converts to a duration of at most longest.
func seconds(s float64) time.Duration {
	if !(s < longest.Seconds()) { // NaN too
		return longest
	}
	return time.Duration(s * float64(time.Second))
}
