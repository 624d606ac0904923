package fair

import (
	"fmt"
	"math"
)

// Scheduler shares one thing among flows, which are numbered from 0. Make it with New.
type Scheduler struct {
	virtual float64
	flows   []flow
}

type flow struct {
	weight  float64
	tag     float64 // start tag of its next request: cost over weight
	woke    float64 // the virtual time when it began to wait
	waiting int
}

// New returns a scheduler of as many flows as there are weights, none of which waits. Only the ratios of weights matter;
// each must be a positive number.
func New(weights ...float64) (*Scheduler, error) {
	s := &Scheduler{flows: make([]flow, len(weights))}
	for i, w := range weights {
		if err := valid(i, w); err != nil {
			return nil, err
		}
		s.flows[i].weight = w
	}
	return s, nil
}

func valid(i int, weight float64) error {
	if !(weight > 0) || math.IsInf(weight, 1) {
		return fmt.Errorf("fair: weight %v of flow %d is not a positive number", weight, i)
	}
	return nil
}

// SetWeight gives the flow another weight from now on. What it was served before counts as if it had had that weight then:
// its lead over the virtual time is a cost, and is divided by the weight that holds.
func (s *Scheduler) SetWeight(i int, weight float64) error {
	if err := valid(i, weight); err != nil {
		return err
	}
	f := &s.flows[i]
	if lead := f.tag - s.virtual; lead > 0 {
		f.tag = s.virtual + lead*(f.weight/weight)
	}
	if f.waiting > 0 {
		// A correction that comes later is divided by the new weight, so it must not reach back to before it.
		f.woke = max(f.woke, min(f.tag, s.virtual))
	}
	f.weight = weight
	return nil
}

// Weight returns the flow's weight.
func (s *Scheduler) Weight(i int) float64 { return s.flows[i].weight }

// Wait says that one more request of the flow waits.
func (s *Scheduler) Wait(i int) {
	f := &s.flows[i]
	if f.waiting == 0 {
		f.woke = s.virtual
		f.tag = max(f.tag, f.woke)
	}
	f.waiting++
}

// Leave says that a request of the flow waits no more and was not served.
func (s *Scheduler) Leave(i int) {
	f := &s.flows[i]
	if f.waiting == 0 {
		panic(fmt.Sprintf("fair: flow %d leaves and does not wait", i))
	}
	f.waiting--
}

// Next returns the flow whose request is served next, false if none waits. It changes nothing.
func (s *Scheduler) Next() (int, bool) {
	best := -1
	for i := range s.flows {
		f := &s.flows[i]
		if f.waiting == 0 {
			continue
		}
		if best < 0 || f.tag < s.flows[best].tag || f.tag == s.flows[best].tag && f.weight > s.flows[best].weight {
			best = i
		}
	}
	return best, best >= 0
}

// Serve says that a waiting request of the flow is served, at that cost.
func (s *Scheduler) Serve(i int, cost float64) {
	f := &s.flows[i]
	s.Leave(i)
	s.virtual = max(s.virtual, f.tag)
	s.Charge(i, cost)
}

// Charge corrects what the flow was charged: by a negative cost where less was served than was thought. What that gives
// back for the time before the flow began to wait is gone, as it would be had the cost been known at once.
func (s *Scheduler) Charge(i int, cost float64) {
	if math.IsNaN(cost) || math.IsInf(cost, 0) {
		panic(fmt.Sprintf("fair: a cost of %v for flow %d", cost, i))
	}
	f := &s.flows[i]
	f.tag += cost / f.weight
	if f.waiting > 0 {
		f.tag = max(f.tag, f.woke)
	}
}
