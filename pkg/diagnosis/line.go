package diagnosis

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	// noticeable is the wait from which a line is one: the first brownout level defers extras from 5 s on, so that most lines
	// are worked off before anybody hears of them.
	noticeable = 10 * time.Second
	// long is when people begin to ask again. A mail that takes longer than this is taken for lost.
	long = 30 * time.Second
)

// waitingLane is a lane that people wait in.
type waitingLane struct {
	lane     *operatorv1.LaneStatus
	down     *operatorv1.DownstreamStatus // what it waits for; nil where the status has none
	cause    condition                    // of down; fine: nothing that the status shows
	wait     time.Duration
	drain    time.Duration // 0: cannot be told
	isHeldUp bool          // it is held up
}

func (h *waitingLane) name() string { return h.down.GetDownstream() }

// isStuck tells whether nothing at all gets done.
func (h *waitingLane) isStuck() bool {
	return (h.lane.GetRate() < .05 || h.cause == hanging) && h.wait >= noticeable/2
}

// isGrowing tells whether the line is about to be a long one: who comes now will wait longer than people do.
func (h *waitingLane) isGrowing() bool {
	growth := h.lane.GetArrivalRate() - h.lane.GetRate()
	return h.wait >= noticeable/4 && h.drain >= long && growth >= minRate && growth > .05*h.lane.GetArrivalRate()
}

// view is a status with what all rules ask of it.
type view struct {
	s   *operatorv1.GetStatusResponse
	now time.Time
	is  map[string]condition // of each downstream, as it is shown
	// starvedTime is when surgegate last lacked processor time, storeIllTime when the store was last not well by itself; zero: never.
	starvedTime, storeIllTime time.Time
	isDiskSlow                bool // for some seconds
	// unanswered tells since when calls of each downstream are out and none has come back; zero: it is not so.
	unanswered map[string]time.Time
	waiting    *waitingLane // the lane that holds people up most; nil: none
	// drain is when the last lane that is held up is through; 0: cannot be told.
	drain time.Duration
}

// findLine sets the lane that holds people up most.
func (o *Diagnoser) findLine(v *view) {
	var all []*waitingLane
	for _, l := range v.s.GetLanes() {
		if isInteractive(l.GetLane()) {
			all = append(all, v.readLane(l))
		}
	}
	slices.SortStableFunc(all, func(a, b *waitingLane) int {
		switch {
		case a.isHeldUp != b.isHeldUp:
			return order(a.isHeldUp)
		case a.isStuck() != b.isStuck():
			return order(a.isStuck())
		}
		return cmp.Compare(b.wait, a.wait)
	})
	if len(all) == 0 {
		return
	}
	worst := all[0]
	raw := ""
	if worst.isHeldUp {
		raw = worst.lane.GetLane()
	}
	i := slices.IndexFunc(all, func(h *waitingLane) bool { return h.lane.GetLane() == o.line.shown })
	// One that stands still where the other moves is more urgent.
	shown := o.line.next(v.now, raw, i >= 0 && worst.isHeldUp && worst.isStuck() && !all[i].isStuck())
	for _, h := range all {
		if shown != "" && h.lane.GetLane() == shown {
			v.waiting = h
		}
		if h.isHeldUp || h == v.waiting {
			v.drain = max(v.drain, h.drain)
		}
	}
}

// order puts what is true first.
func order(isTrue bool) int {
	if isTrue {
		return -1
	}
	return 1
}

// readLane tells whether and by what a lane is held up.
func (v *view) readLane(l *operatorv1.LaneStatus) *waitingLane {
	h := &waitingLane{lane: l, down: v.downstreamOf(l.GetLane()), wait: l.GetOldestWait().AsDuration(), drain: l.GetDrainTime().AsDuration()}
	h.cause = v.is[h.name()]
	isIll, isPaused := h.cause.isIll(), l.GetPaused()
	switch {
	case h.cause == fine && !isPaused && l.GetLane() == "mail" && h.down != nil && !usesItsCalls(h.down) && !usesItsRate(h.down):
		// Below every limit: bulk mail on its own budget, or deferred by the level.
	case h.wait < noticeable && !h.isGrowing():
	case l.GetWaiting() == 0 && (l.GetRetrying() == 0 || (!isIll || h.cause == hanging) && !isPaused):
		// What is worked on now, or waits for its own next try; a call that hangs says nothing of those.
	case l.GetRetrying() > 0 && h.drain > 0 && h.drain < noticeable && !isIll && !isPaused:
		// The line moves; the oldest waits for its own next try.
	default:
		h.isHeldUp = true
	}
	return h
}

// isInteractive tells whether people wait for what is in the lane.
func isInteractive(lane string) bool {
	return lane == "start" || lane == "mail" || lane == "hash" || lane == "apply"
}

// downstreamOf is what a lane waits for. Where the hash pool has slots left a hash job waits for the look-up before it.
func (v *view) downstreamOf(lane string) *operatorv1.DownstreamStatus {
	switch lane {
	case "mail":
		return v.downstream("mail")
	case "hash":
		pool, store := v.downstream("hash_pool"), v.downstream("store")
		if pool != nil && !usesItsCalls(pool) && store != nil && v.is["store"].isIll() {
			return store
		}
		return pool
	default:
		return v.downstream("store")
	}
}

// starved tells whether surgegate lacks processor time, or did within the window of the rates and times in the status.
func (v *view) starved() bool {
	return !v.starvedTime.IsZero() && v.now.Sub(v.starvedTime) < ratesWindow
}

// since is how long ago that was.
func (v *view) since(t *timestamppb.Timestamp) time.Duration { return v.now.Sub(t.AsTime()) }

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

// totalRefusals is all that is sent away.
func (v *view) totalRefusals() float64 {
	a := v.s.GetAdmission()
	return a.GetLimited() + a.GetShed() + a.GetRefused()
}

// refusalRate is how many calls a second are refused for it.
func (v *view) refusalRate(name string) float64 {
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

// timeUntilFull is how long the queue has room at its growth; only where that is within the hour.
func (v *view) timeUntilFull() (time.Duration, bool) {
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
