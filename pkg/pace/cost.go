package pace

import "math"

// callItems is what a call costs beside its items, in items. PostgreSQL takes 12 k single updates a second and 75 k in
// batches of 64, so a call is 71 µs of the whole server and an item 12 µs.
const callItems = 6

// size is what a call of so many items costs, in items of its kind.
func size(items int) float64 { return callItems + float64(items) }

// load is what is in flight: calls, and their cost in items of the reference kind (weights).
type load struct{ calls, cost float64 }

func (l load) times(f float64) load { return load{l.calls * f, l.cost * f} }

// flight is the calls in flight by kind.
type flight struct {
	calls int
	kinds [MaxKinds]kindFlight
}

type kindFlight struct {
	calls int
	size  float64
}

func (f *flight) add(kind Kind, items int) {
	f.calls++
	f.kinds[kind].calls++
	f.kinds[kind].size += size(items)
}

// remove takes a call out that add has put in, as large as it was granted.
func (f *flight) remove(c Call) {
	if f.calls == 0 || f.kinds[c.Kind].calls == 0 {
		panic("pace: Done without an Ask that was told Go")
	}
	f.calls--
	k := &f.kinds[c.Kind]
	if k.calls--; k.calls == 0 {
		k.size = 0 // no rounding error is carried on
	} else {
		k.size -= size(c.Items + c.Unused)
	}
}

// mix is the size of what is in flight, by kind.
type mix [MaxKinds]float64

func (f *flight) mix() (m mix) {
	for k := range f.kinds {
		m[k] = f.kinds[k].size
	}
	return m
}

// kindCount is what was counted of one kind.
type kindCount struct {
	calls, items float64 // that ended well
	area         float64 // ∫ calls in flight dt
	sizeArea     float64 // ∫ their size dt
}

// size is of the calls that ended well.
func (k kindCount) size() float64 { return callItems*k.calls + k.items }

func (k kindCount) plus(o kindCount) kindCount {
	return kindCount{k.calls + o.calls, k.items + o.items, k.area + o.area, k.sizeArea + o.sizeArea}
}

func (k kindCount) times(f float64) kindCount {
	return kindCount{k.calls * f, k.items * f, k.area * f, k.sizeArea * f}
}

// weights is what an item of each kind costs beside one of the reference kind, which is the kind that was asked for first.
//
// Kinds are compared with each other at the same time: by Little's law the calls of a kind in flight, divided by what of the
// kind is delivered, are the time that it takes. For two kinds that share a downstream's work the quotient is free of the setting.
// For two that wait in one line before its workers it is not: both wait alike, and the quotient goes to 1 as the line grows. So
// what was learnt with more in flight counts less.
//
// A kind that comes alone is compared with the others at the fastest that they have been. It is alone in flight then, or nearly.
type weights struct {
	first   Kind // the reference
	known   [MaxKinds]bool
	of      [MaxKinds]float64
	seen    [MaxKinds]float64 // calls that it was learnt from
	fastest [MaxKinds]float64 // s that a call took for each item of its size, at its fastest of late; 0: none has been counted
	calm    float64           // the fewest calls in flight that was learnt from of late; 0: nothing has been learnt
	at      float64           // when fastest and calm were last brought up to date
	epoch   [MaxKinds]kindCount
	since   float64
}

const (
	// unknownWeight is what an item of a kind that nobody has seen yet is taken for, in items of the cheapest known kind: a
	// password write costs up to a hundred look-ups.
	unknownWeight = 100
	// weightCalls is the fewest calls of a kind that say what it costs, weightMemory how many are remembered.
	weightCalls, weightMemory = 3, 200
	// weightEpoch in s is how long two kinds may take to have so many calls.
	weightEpoch = 5
	// weightForget in s is how long fastest and calm last: they grow by e in that time.
	weightForget = 600
)

// weight is what an item of the kind costs. A kind that is not known yet costs much.
func (w *weights) weight(kind Kind) float64 {
	if w.known[kind] {
		return w.of[kind]
	}
	if most := w.dearest(); most > 0 {
		return math.Max(most, unknownWeight*w.least())
	}
	return 1
}

// dearest is the weight of the dearest known kind; 0 where none is.
func (w *weights) dearest() (most float64) {
	for k, known := range w.known {
		if known {
			most = math.Max(most, w.of[k])
		}
	}
	return most
}

// least is the weight of the cheapest known kind.
func (w *weights) least() float64 {
	least := math.Inf(1)
	for k, known := range w.known {
		if known {
			least = math.Min(least, w.of[k])
		}
	}
	if math.IsInf(least, 1) {
		return 1
	}
	return least
}

// refer makes the kind the reference if there is none.
func (w *weights) refer(kind Kind) {
	for _, known := range w.known {
		if known {
			return
		}
	}
	w.first, w.known[kind], w.of[kind] = kind, true, 1
}

// count takes what was counted since the last time, and learns from it once there is enough of two kinds.
func (w *weights) count(now float64, kinds [MaxKinds]kindCount) {
	anchor, enough := -1, 0
	for k := range kinds {
		w.epoch[k] = w.epoch[k].plus(kinds[k])
		if w.epoch[k].calls < weightCalls {
			continue
		}
		enough++
		if w.known[k] && (anchor < 0 || w.epoch[k].calls > w.epoch[anchor].calls) {
			anchor = k
		}
	}
	switch {
	case enough >= 2 && anchor >= 0:
		w.forget(now)
		w.learn(anchor, now)
	case enough > 0 && now-w.since >= weightEpoch:
		w.forget(now)
	default:
		return
	}
	w.learnFastest()
	for k := range w.epoch {
		if w.known[k] { // the others have had too few calls so far
			w.epoch[k] = kindCount{}
		}
	}
	w.since = now
}

// forget lets fastest and calm grow with the time.
func (w *weights) forget(now float64) {
	grown := math.Exp((now - w.at) / weightForget)
	for k := range w.fastest {
		w.fastest[k] *= grown
	}
	w.calm *= grown
	w.at = now
}

// learnFastest takes the epoch's times of calls into fastest, and gives a weight to a kind that came alone.
func (w *weights) learnFastest() {
	for k, e := range w.epoch {
		if e.calls < weightCalls || e.area <= 0 {
			continue
		}
		took := e.area / e.size()
		if w.fastest[k] == 0 || took < w.fastest[k] {
			w.fastest[k] = took
		}
		if w.known[k] {
			continue
		}
		for anchor := range w.known {
			if w.known[anchor] && w.fastest[anchor] > 0 {
				w.known[k], w.of[k], w.seen[k] = true, w.of[anchor]*took/w.fastest[anchor], e.calls
				break
			}
		}
	}
}

// learn compares the other kinds of the epoch with the anchor, whose weight is known.
func (w *weights) learn(anchor int, now float64) {
	base := w.epoch[anchor]
	inFlight := 0.
	for _, e := range w.epoch {
		inFlight += e.area / math.Max(now-w.since, 1e-3)
	}
	if w.calm == 0 || inFlight < w.calm {
		w.calm = inFlight
	}
	crowded := (1 + w.calm) / (1 + inFlight)
	for k, e := range w.epoch {
		if k == anchor || e.calls < weightCalls || e.area <= 0 || base.area <= 0 {
			continue
		}
		seen := w.of[anchor] * (e.area / e.size()) / (base.area / base.size())
		if !w.known[k] {
			w.known[k], w.of[k] = true, seen
		}
		calls := math.Min(e.calls, base.calls)
		w.seen[k] = math.Min(w.seen[k]+calls, weightMemory)
		w.of[k] *= math.Pow(seen/w.of[k], crowded*crowded*math.Min(1, calls/w.seen[k]))
	}
	// The reference may have been compared with the anchor: it costs 1 all the same, or every limit would drift with it.
	unit := w.of[w.first]
	for k := range w.of {
		w.of[k] /= unit
	}
}

// change is how many times as much as by old weights a mix costs by these. Kinds whose weight was not known do not count.
func (w *weights) change(old *weights, m mix) float64 {
	var before, after float64
	for k, size := range m {
		if old.known[k] {
			before += old.of[k] * size
			after += w.of[k] * size
		}
	}
	if before <= 0 || after <= 0 {
		return 1
	}
	return after / before
}

// cost is of what is in flight.
func (w *weights) cost(f flight) float64 {
	sum := 0.
	for k := range f.kinds {
		if f.kinds[k].calls > 0 {
			sum += w.weight(Kind(k)) * f.kinds[k].size
		}
	}
	return sum
}
