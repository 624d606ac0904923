package diagnosis

import (
	"math"
	"slices"
	"time"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	// slowShare of its best is what a downstream is called slow at; steadyShare ends that. Ten seconds differ by a tenth to a fifth
	// by chance, and looking for the pace costs as much again.
	slowShare, steadyShare = .6, .8
	// dearer is how much a call for the same items must at least have grown before it counts as proof: to 1 / .8.
	dearer = .8
	// memory is how far back a downstream is compared with itself.
	memory = time.Hour
	// window is the length of time that the status has its rates of; fewCalls in it tell nothing.
	window   = 10 * time.Second
	fewCalls = 20
	// likeness is how much the kinds' shares of the time may differ, as half the sum of the differences, between two windows that
	// are compared. Calls queue behind each other inside a downstream, so the time of one kind depends on the others.
	likeness = .15
	// minor is the share of the time under which a kind is left out: its times say nothing of the whole.
	minor = .05
	// smaller is how small a batch may be beside that of then: an item of a large batch costs less.
	smaller = 2. / 3
)

// Speeds compares downstreams with themselves, over the last hour. It is not safe for concurrent use; the zero value is
// ready.
//
// A window is 10 s of calls. For each kind k of calls it has the cost c, in seconds of calls an item, and the share s of the time
// of all calls that k had; A is the mean number of calls at once. Beside a window of then, with about the same shares and no larger
// batches:
//
//	cost share       K = Σ s·c(then)/c(now)    what the present mix would have needed then ÷ what it needs now
//	delivered share  D = K·A(now)/A(then)      what it delivers ÷ what it delivered then (throughput = calls at once ÷ cost)
//
// It is slower if D ≤ 0.6 and K ≤ 0.8: it delivers less, and each item takes longer. D alone would accuse a store whose pace has just
// begun to climb; K alone one that is given more calls at once than before. Once proven, D alone counts, until it is at
// 0.8 again: the pace follows a slow downstream down, to where each call is as short as before.
type Speeds struct {
	of      map[string]*speed
	starved time.Time // when surgegate last lacked processor time; zero: never
}

// speed is one downstream's past.
type speed struct {
	past   []pastWindow
	proven *pastWindow // it is slower than then; nil: it is not
	used   time.Time   // when its pace was used up last, while proven
}

// The kinds of calls, as in CallKindStatus.
const kinds = 5

func kindIndex(name string) int {
	return slices.Index([]string{"lookup", "write", "revoke", "mail", "hash"}, name)
}

// pastWindow is one window.
type pastWindow struct {
	at    time.Time
	calls float64 // at once
	kinds [kinds]kindCost
}

// kindCost is one kind's in a window; zero where there was none.
type kindCost struct {
	share float64 // of the time of all calls
	cost  float64 // seconds of calls an item
	batch float64 // items a call
}

// Observe takes the status of this second into the past and fills speed_ratio, best_item_rate and best_time of its
// downstreams. It needs kinds, rates and limits of the downstreams.
func (s *Speeds) Observe(status *operatorv1.GetStatusResponse) {
	if s.of == nil {
		s.of = map[string]*speed{}
	}
	now := status.GetTime().AsTime()
	if status.GetProcess().GetCpuStarved() {
		s.starved = now
	}
	isStarved := !s.starved.IsZero() && now.Sub(s.starved) < window && !s.starved.After(now)
	if isStarved || now.Sub(status.GetStartTime().AsTime()) < window {
		return // the times are surgegate's own, or of a window that is too short
	}
	for _, d := range status.GetDownstreams() {
		o := s.of[d.GetDownstream()]
		if o == nil { // downstreams are a closed set
			o = &speed{}
			s.of[d.GetDownstream()] = o
		}
		o.observe(now, d)
	}
}

func (o *speed) observe(now time.Time, d *operatorv1.DownstreamStatus) {
	o.past = slices.DeleteFunc(o.past, func(p pastWindow) bool { return now.Sub(p.at) >= memory || p.at.After(now) })
	w, ok := windowOf(now, d)
	isComingBack := d.GetBreaker() == "open" || d.GetBreaker() == "half_open" || d.GetRamp() > 0 && d.GetRamp() < 1
	if !ok || isComingBack {
		o.forgetProof(now)
		return
	}
	if usesItsCalls(d) || usesItsRate(d) {
		if best, ratio := o.compare(now, w); best != nil {
			d.SpeedRatio, d.BestTime = min(1, ratio), timestampOf(best.at)
			d.BestItemRate = d.GetItemRate() / d.GetSpeedRatio()
		}
	} else {
		o.forgetProof(now)
	}
	o.remember(w)
}

// forgetProof ends a proof that has not been looked at for a minute: nobody asks for more.
func (o *speed) forgetProof(now time.Time) {
	if o.proven != nil && now.Sub(o.used) >= time.Minute {
		o.proven = nil
	}
}

// compare returns the window in which it was fastest beside now, and how fast it is beside that; nil without one.
func (o *speed) compare(now time.Time, w pastWindow) (best *pastWindow, ratio float64) {
	if o.proven != nil {
		o.used = now
		_, delivered, ok := w.beside(*o.proven)
		if ok && delivered < steadyShare && now.Sub(o.proven.at) < memory {
			return o.proven, delivered
		}
		o.proven = nil
	}
	ratio = math.Inf(1)
	for i := range o.past {
		then := o.past[i]
		cost, delivered, ok := w.beside(then)
		if !ok {
			continue
		}
		both := max(cost, delivered)
		if delivered <= slowShare && cost <= dearer {
			both = delivered
		}
		if both < ratio {
			best, ratio = &then, both
		}
	}
	if best != nil && ratio <= slowShare {
		o.proven, o.used = best, now
	}
	return best, ratio
}

// beside returns the cost share and the delivered share; not ok where the two cannot be compared.
func (w pastWindow) beside(then pastWindow) (cost, delivered float64, ok bool) {
	differ, weight := 0., 0.
	for k, n := range w.kinds {
		t := then.kinds[k]
		differ += math.Abs(n.share-t.share) / 2
		if n.share < minor || t.share < minor {
			continue
		}
		if n.batch < smaller*t.batch {
			return 0, 0, false
		}
		cost += n.share * t.cost / n.cost
		weight += n.share
	}
	if differ > likeness || weight == 0 {
		return 0, 0, false
	}
	cost /= weight
	return cost, cost * w.calls / then.calls, true
}

// remember keeps, for each minute, the window that delivered most among those of its mix.
func (o *speed) remember(w pastWindow) {
	for i := range o.past {
		p := &o.past[i]
		if p.mix() != w.mix() || p.at.Unix()/60 != w.at.Unix()/60 {
			continue
		}
		if _, delivered, ok := w.beside(*p); ok && delivered > 1 {
			*p = w
		}
		return
	}
	o.past = append(o.past, w)
}

// mix is the kinds' shares in quarters: at most 15 of them for 3 kinds, so that the past is bounded.
func (w pastWindow) mix() (m [kinds]int8) {
	for k, n := range w.kinds {
		m[k] = int8(math.Round(4 * n.share))
	}
	return m
}

// windowOf returns the window that a status ends; not ok where too few calls were made.
func windowOf(now time.Time, d *operatorv1.DownstreamStatus) (w pastWindow, ok bool) {
	w = pastWindow{at: now}
	calls := 0.
	for _, k := range d.GetKinds() {
		i, took := kindIndex(k.GetKind()), k.GetCallTime().AsDuration().Seconds()
		if i < 0 || k.GetItemRate() <= 0 || took <= 0 {
			continue
		}
		busy := k.GetCallRate() * took
		w.kinds[i] = kindCost{share: busy, cost: busy / k.GetItemRate(), batch: k.GetItemRate() / k.GetCallRate()}
		w.calls += busy
		calls += k.GetCallRate() * window.Seconds()
	}
	if calls < fewCalls || w.calls <= 0 {
		return w, false
	}
	for i := range w.kinds {
		w.kinds[i].share /= w.calls
	}
	return w, true
}
