package control

import (
	"math"
	"math/rand/v2"

	"github.com/surgegate/surgegate/pkg/pace"
)

// Unit is what a store's contention grows with.
type Unit uint8

// The units.
const (
	ByCalls Unit = iota // calls inside: workers, connections, locks that a call holds
	ByItems             // size of the calls inside, whatever their kind: rows, buffers
	ByCost              // work inside: processor time, memory
)

// Mix is work of several kinds. The zero value is work of one kind.
type Mix struct {
	// Costs is the work of an item of each kind. Kind 0 is the reference and costs 1.
	Costs []float64
	// Phases are in order of time. Before the first the shares are equal.
	Phases []Phase
}

// Phase is what the caller has to send from a time on.
type Phase struct {
	At float64 // s
	// Shares of the calls, by kind; they add up to 1. A kind with a share has a backlog that never ends.
	Shares []float64
	// Rates are items/s that arrive of each kind, in place of shares: there may be nothing to send.
	Rates []float64
}

// phase returns what is in force at a time.
func (m Mix) phase(at float64) Phase {
	p := Phase{}
	for _, next := range m.Phases {
		if next.At > at {
			break
		}
		p = next
	}
	return p
}

// Saturated tells whether the caller always has something to send, and sends as much as it may.
func (m Model) Saturated() bool {
	return m.Slots == 0 && !m.Stops && (len(m.Mix.Phases) == 0 || m.Mix.Phases[0].Rates == nil)
}

// costOf is the work of an item of a kind beside one of kind 0.
func (m Model) costOf(kind pace.Kind) float64 {
	if len(m.Mix.Costs) == 0 {
		return 1
	}
	return m.Mix.Costs[kind]
}

// load is what a call of so many items adds to what is inside, where a full call of kind 0 adds 1.
func (m Model) load(kind pace.Kind, items int) float64 {
	share := m.callWork(items) / m.callWork(max(1, m.MaxBatch))
	switch m.Contention {
	case ByItems:
		return share
	case ByCost:
		return m.costOf(kind) * share
	default:
		return 1
	}
}

// callWork is the mean work of a call of so many items of kind 0.
func (m Model) callWork(items int) float64 { return m.Fixed + (1-m.Fixed)*float64(items) }

// bestBatch is the batch at which most items get done. Where the size of a call is what contends, a large call holds much
// for long: b ÷ callWork(b)² is largest where the item's work is the call's own.
func (m Model) bestBatch() int {
	full := max(1, m.MaxBatch)
	if m.Contention == ByCalls || m.Fixed == 1 {
		return full
	}
	return max(1, min(full, int(math.Round(m.Fixed/(1-m.Fixed)))))
}

// meanLoad is what a call of the best batch adds on average, weighed by how long calls of each kind stay.
func (m Model) meanLoad(shares []float64) float64 {
	if len(shares) == 0 {
		return m.load(0, m.bestBatch())
	}
	var stay, load float64
	for kind, share := range shares {
		k := pace.Kind(kind)
		s := share * m.costOf(k)
		stay += s
		load += s * m.load(k, m.bestBatch())
	}
	return load / stay
}

// demand is what the caller has to send.
type demand struct {
	m    Mix
	rand *rand.Rand

	turn    pace.Kind // the kind whose turn it is; it keeps its turn until it is sent
	drawn   bool
	arrived []float64 // items of kinds with a rate, up to since
	since   float64
}

func newDemand(m Mix, r *rand.Rand) *demand {
	return &demand{m: m, rand: r, arrived: make([]float64, max(1, len(m.Costs)))}
}

// next is the kind to send and how many items of it wait at most; 0 items: none until at.
func (d *demand) next(now float64, most int) (kind pace.Kind, items int, at float64) {
	if len(d.m.Costs) == 0 {
		return 0, most, 0
	}
	p := d.m.phase(now)
	if p.Rates == nil {
		if !d.drawn {
			d.turn, d.drawn = d.draw(p.Shares), true
		}
		return d.turn, most, 0
	}
	d.arrive(now, p.Rates)
	// The kind that waits for longest in its own arrivals goes first, as a fair share would have it.
	best, wait := -1, 0.
	at = math.Inf(1)
	for k, n := range d.arrived {
		if p.Rates[k] <= 0 {
			continue
		}
		if n < 1 {
			at = math.Min(at, now+(1-n)/p.Rates[k]+1e-6)
		} else if w := n / p.Rates[k]; w > wait {
			best, wait = k, w
		}
	}
	if best < 0 {
		return 0, 0, at
	}
	return pace.Kind(best), min(most, int(d.arrived[best])), 0
}

func (d *demand) arrive(now float64, rates []float64) {
	for k, r := range rates {
		d.arrived[k] += r * (now - d.since)
	}
	d.since = now
}

// sent takes what was sent off what waits.
func (d *demand) sent(kind pace.Kind, items int) {
	d.drawn = false
	if d.arrived[kind] > 0 {
		d.arrived[kind] = max(0, d.arrived[kind]-float64(items))
	}
}

func (d *demand) draw(shares []float64) pace.Kind {
	x := d.rand.Float64()
	for k, share := range shares {
		if x -= share; x < 0 {
			return pace.Kind(k)
		}
	}
	return 0
}

// stops are times in which the caller does nothing: it neither sends nor takes note of what came back.
type stops struct {
	rand     *rand.Rand
	from, to float64
}

// Stops last 50 to 500 ms and begin 1 s apart on average, as those of a process that waits for a processor.
const (
	leastStop, mostStop = .05, .5
	stopEvery           = 1.
)

func newStops(wanted bool, r *rand.Rand) *stops {
	s := &stops{rand: r, from: math.Inf(1), to: math.Inf(1)}
	if wanted {
		s.to = 0
		s.plan()
	}
	return s
}

func (s *stops) plan() {
	s.from = s.to + stopEvery*s.rand.ExpFloat64()
	s.to = s.from + leastStop + (mostStop-leastStop)*s.rand.Float64()
}

// during tells whether the caller is stopped at a time.
func (s *stops) during(t float64) bool { return t >= s.from && t < s.to }

// Mixes are the store models with several kinds of work, and those with callers that do not use what they may.
func Mixes() []Shape {
	shapes := []Shape{
		{"two-slots", "a caller that never has more than 2 calls out", func(m *Model) { usl(m); m.Slots = 2 }},
		{"stops", "usl; a caller that stops for 50 to 500 ms again and again", func(m *Model) { usl(m); m.Stops = true }},
	}
	for _, c := range []struct {
		name string
		unit Unit
	}{{"calls", ByCalls}, {"items", ByItems}, {"cost", ByCost}} {
		shapes = append(shapes,
			Shape{"mix-" + c.name, "usl by " + c.name + "; a constant mix of look-ups, writes and revocations", func(m *Model) { mixed(m, c.unit, false) }},
			Shape{"changing-" + c.name, "the same; the mix changes every 0.5 to 5 s", func(m *Model) { mixed(m, c.unit, true) }},
			Shape{"mix-crash-" + c.name, "the same; it dies over 1.5, 2 or 3 times its knee", func(m *Model) {
				mixed(m, c.unit, true)
				m.Crash, m.Restart = []float64{1.5, 2, 3}[m.rand.IntN(3)], restartAfter
			}},
			Shape{"storm-" + c.name, "a storm: look-ups first, then writes, then revocations, less than it could do; it dies over 1.5 times its knee", func(m *Model) {
				storm(m, c.unit)
			}})
	}
	return shapes
}

// mixed draws the kinds, their costs and the batch. A write costs 1, 5, 20 or 100 look-ups, a revocation between the two.
func mixed(m *Model, unit Unit, changing bool) {
	r := m.rand
	m.Contention = unit
	m.MaxBatch = []int{1, 16, 256}[r.IntN(3)]
	ratio := []float64{1, 5, 20, 100}[r.IntN(4)]
	calls := ratio // that a store does in the time of a write
	if unit == ByCost {
		if m.Service < slow { // as many look-ups as that inside, each that fast, would be a day's run
			ratio = min(ratio, 20)
		}
		calls = ratio * ratio
		m.Service = max(m.Service, 50e-6*calls)
	}
	m.Mix.Costs = []float64{1, 1 / ratio, 1 / math.Sqrt(ratio)}
	// A look-up takes 200 µs at least, and the knee is such that the run has not too many of them.
	m.Service = max(m.Service, 200e-6*ratio)
	m.Length = m.WarmUp + judged/2
	m.Knee = max(leastKnee, min(m.Knee, math.Round(m.most*m.Service/calls/m.Length)))
	usl(m)
	if m.MaxBatch > 1 { // a full call takes four times as long as one with a single item
		m.Fixed = 1 - 3/float64(m.MaxBatch-1)
		m.Service /= 4
	}
	for at := 0.; at < m.Length; at += .5 + 4.5*r.Float64() {
		shares := []float64{r.Float64(), r.Float64(), r.Float64()}
		if changing && r.IntN(2) == 0 { // one kind alone: look-ups before the first write, say
			shares = make([]float64, 3)
			shares[r.IntN(3)] = 1
		}
		sum := shares[0] + shares[1] + shares[2]
		for i := range shares {
			shares[i] /= sum
		}
		m.Mix.Phases = append(m.Mix.Phases, Phase{At: at, Shares: shares})
		if !changing {
			return
		}
	}
}

// storm is asks, then what follows from them, at six tenths of what the store could do. It has time to spare all the time.
func storm(m *Model, unit Unit) {
	mixed(m, unit, false)
	m.Mix.Costs[1] = .02
	m.Crash, m.Restart = 1.5, restartAfter
	third := m.Length / 3
	w := .6 * newStore(*m, nil).bestOf([]float64{.5, .5, 0})
	m.Mix.Phases = []Phase{
		{At: 0, Rates: []float64{0, 3 * w, 0}},
		{At: third / 2, Rates: []float64{w, w, 0}},
		{At: 2 * third, Rates: []float64{w / 2, w, w / 4}},
	}
}
