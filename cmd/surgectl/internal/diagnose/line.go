package diagnose

import (
	"cmp"
	"slices"
	"time"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	// noticeable is the wait from which a line is one: the first brownout level defers extras from 5 s on, so that most lines
	// are worked off before anybody hears of them.
	noticeable = 10 * time.Second
	// long is when people begin to ask again. A mail that takes longer than this is taken for lost.
	long = 30 * time.Second
	// minRate is what is counted at all: less than one call in two seconds is no storm.
	minRate = .5
	// busyShare of the calls at once in use is "all": in flight is one moment's, and between two calls there is a gap.
	busyShare = .7
	// failingShare of calls that fail is more than noise; SurgegateDownstreamFailing has the same bound.
	failingShare = .1
)

// by is what holds a lane up.
type by int

const (
	byNothing by = iota // nothing that the status shows
	byPaused
	byForcedOpen
	byDark
	byRecovering
	byPace // an override's
	byFailing
	byHanging
	byCalls
	byRate
	byDeferred // below every limit: bulk mail on its own budget, or deferred by the level
)

// held is the lane that holds people up most.
type held struct {
	lane  *operatorv1.LaneStatus
	down  *operatorv1.DownstreamStatus // what it waits for; nil where the status has none
	wait  time.Duration
	drain time.Duration // 0: cannot be told
	by    by
}

func (h *held) name() string { return h.down.GetDownstream() }

// stuck tells whether nothing at all gets done.
func (h *held) stuck() bool {
	return (h.lane.GetRate() < .05 || h.by == byHanging) && h.wait >= noticeable/2
}

// growing tells whether the line is about to be a long one: who comes now will wait longer than people do.
func (h *held) growing() bool {
	growth := h.lane.GetArrivalRate() - h.lane.GetRate()
	return h.wait >= noticeable/4 && h.drain >= long && growth >= minRate && growth > .05*h.lane.GetArrivalRate()
}

// view is a status with what all rules ask of it.
type view struct {
	s    *operatorv1.GetStatusResponse
	now  time.Time
	held *held // nil: none
	// drain is when the last lane that is held up is through; 0: cannot be told.
	drain time.Duration
}

func look(s *operatorv1.GetStatusResponse) *view {
	v := &view{s: s, now: s.GetTime().AsTime()}
	var all []*held
	for _, l := range s.GetLanes() {
		if h := v.hold(l); h != nil {
			all = append(all, h)
		}
	}
	slices.SortStableFunc(all, func(a, b *held) int {
		if a.stuck() != b.stuck() {
			if a.stuck() {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.wait, a.wait)
	})
	if len(all) > 0 {
		v.held = all[0]
		for _, h := range all {
			v.drain = max(v.drain, h.drain)
		}
	}
	return v
}

// hold tells whether and by what a lane is held up that people wait in.
func (v *view) hold(l *operatorv1.LaneStatus) *held {
	if !interactive(l.GetLane()) {
		return nil
	}
	h := &held{lane: l, down: v.downstreamOf(l.GetLane()), wait: l.GetOldestWait().AsDuration(), drain: l.GetDrainTime().AsDuration()}
	h.by = v.holder(h)
	ill := h.by == byDark || h.by == byHanging || h.by == byFailing || h.by == byForcedOpen || h.by == byRecovering
	switch {
	case h.by == byDeferred, h.wait < noticeable && !h.growing():
		return nil
	case l.GetWaiting() == 0 && (l.GetRetrying() == 0 || !ill):
		return nil // what is worked on now, or waits for its own next try
	case l.GetRetrying() > 0 && h.drain > 0 && h.drain < noticeable && !ill && !l.GetPaused():
		return nil // the line moves; the oldest waits for its own next try
	}
	return h
}

func (v *view) holder(h *held) by {
	d := h.down
	switch {
	case h.lane.GetPaused():
		return byPaused
	case d == nil:
		return byNothing
	case d.GetBreakerForced() && d.GetBreaker() == "open":
		return byForcedOpen
	case dark(d):
		return byDark
	case recovering(d):
		return byRecovering
	case v.override("pace/"+d.GetDownstream()) != nil && (fullCalls(d) || fullRate(d)):
		return byPace
	case failing(d):
		return byFailing
	case hanging(d):
		return byHanging
	case fullCalls(d):
		return byCalls
	case fullRate(d):
		return byRate
	case h.lane.GetLane() == "mail":
		return byDeferred
	}
	return byNothing
}

// interactive tells whether people wait for what is in the lane.
func interactive(lane string) bool {
	return lane == "start" || lane == "mail" || lane == "hash" || lane == "apply"
}

// downstreamOf is what a lane waits for. Where the hash pool has slots left a hash job waits for the look-up before it.
func (v *view) downstreamOf(lane string) *operatorv1.DownstreamStatus {
	switch lane {
	case "mail":
		return v.downstream("mail")
	case "hash":
		pool, store := v.downstream("hash_pool"), v.downstream("store")
		if pool != nil && !fullCalls(pool) && store != nil && (dark(store) || recovering(store) || failing(store)) {
			return store
		}
		return pool
	case "revoke":
		return v.downstream("revoker")
	default:
		return v.downstream("store")
	}
}

func dark(d *operatorv1.DownstreamStatus) bool {
	return d.GetBreaker() == "open" && !d.GetBreakerForced() && !untried(d) || d.GetOutageStartTime() != nil && d.GetBreaker() != "half_open" || allFail(d)
}

// allFail tells whether as good as nothing gets through. The pace sends little then, and a breaker that counts calls trips late.
func allFail(d *operatorv1.DownstreamStatus) bool {
	return d.GetFailureRate() >= .2 && d.GetCallRate() < .05*d.GetFailureRate()
}

// untried tells whether its breaker was held open until now, and no call has been made since: nobody knows how it fares.
func untried(d *operatorv1.DownstreamStatus) bool {
	return d.GetBreaker() == "open" && !d.GetBreakerForced() && d.GetOutageStartTime() == nil && d.GetFailureRate() == 0
}

func recovering(d *operatorv1.DownstreamStatus) bool {
	return d.GetBreaker() == "half_open" || d.GetRamp() > 0 && d.GetRamp() < 1
}

func failing(d *operatorv1.DownstreamStatus) bool {
	calls := d.GetCallRate() + d.GetFailureRate()
	return d.GetFailureRate() >= minRate && d.GetFailureRate() > failingShare*calls
}

// fullCalls tells whether the calls at once are used up: by those out now, or by their mean, which is their rate times their
// time (Little's law).
func fullCalls(d *operatorv1.DownstreamStatus) bool {
	limit := float64(d.GetConcurrencyLimit())
	mean := (d.GetCallRate() + d.GetFailureRate()) * d.GetCallTime().AsDuration().Seconds()
	return limit > 0 && max(float64(d.GetInFlight()), mean) >= busyShare*limit
}

// hanging tells whether the calls that are out do not come back: with a line behind them as many are out on the mean as at any
// moment, so that far fewer ended than must have if they took the time that the ended ones took. A breaker needs longer to say
// so: until the calls have timed out.
func hanging(d *operatorv1.DownstreamStatus) bool {
	took := d.GetCallTime().AsDuration().Seconds()
	mean := (d.GetCallRate() + d.GetFailureRate()) * took
	out := float64(d.GetInFlight())
	return out > 0 && out >= busyShare*float64(d.GetConcurrencyLimit()) && mean < .25*out
}

func fullRate(d *operatorv1.DownstreamStatus) bool {
	return d.GetRateLimit() > 0 && d.GetItemRate() >= .85*d.GetRateLimit()
}

func (v *view) lane(name string) *operatorv1.LaneStatus {
	for _, l := range v.s.GetLanes() {
		if l.GetLane() == name {
			return l
		}
	}
	return nil
}

func (v *view) downstream(name string) *operatorv1.DownstreamStatus {
	for _, d := range v.s.GetDownstreams() {
		if d.GetDownstream() == name {
			return d
		}
	}
	return nil
}

func (v *view) override(target string) *operatorv1.Override {
	for _, o := range v.s.GetOverrides() {
		if o.GetTarget() == target {
			return o
		}
	}
	return nil
}

// refused is all that is sent away.
func (v *view) refused() float64 {
	a := v.s.GetAdmission()
	return a.GetLimited() + a.GetShed() + a.GetRefused()
}

// reason is how many calls a second are refused for it.
func (v *view) reason(name string) float64 {
	for _, r := range v.s.GetAdmission().GetReasons() {
		if r.GetReason() == name {
			return r.GetRate()
		}
	}
	return 0
}

// growth is by how many jobs a second the queue grows. Jobs that go on to the next lane are in one's rate and the other's
// arrivals, so that they cancel out.
func (v *view) growth() float64 {
	g := 0.0
	for _, l := range v.s.GetLanes() {
		g += l.GetArrivalRate() - l.GetRate()
	}
	return g
}

// fullIn is how long the queue has room at its growth; only where that is within the hour.
func (v *view) fullIn() (time.Duration, bool) {
	q, growth := v.s.GetQueue(), v.growth()
	if q.GetHeld() == 0 || q.GetMaxBytes() == 0 || growth < minRate {
		return 0, false
	}
	left := float64(q.GetMaxBytes()) - float64(q.GetBytes())
	perJob := float64(q.GetBytes()) / float64(q.GetHeld())
	seconds := max(0, left) / max(1, perJob*growth)
	if seconds > time.Hour.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
