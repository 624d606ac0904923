package fair_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/fair"
)

func ExampleNew() {
	s, err := fair.New(2, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 6 {
		s.Wait(0)
		s.Wait(1)
	}
	for range 6 {
		i, _ := s.Next()
		s.Serve(i, 1)
		fmt.Print(i, " ")
	}
	// Output: 0 1 0 0 1 0
}

// game is a scheduler with what a test remembers of it.
type game struct {
	*rapid.T
	s       *fair.Scheduler
	weights []float64
	waiting []int
	largest []float64 // cost of one request
	served  []float64 // cost
	count   []int
}

func newGame(t *rapid.T) *game {
	weights := rapid.SliceOfN(rapid.Float64Range(.5, 64), 2, 6).Draw(t, "weights")
	s, err := fair.New(weights...)
	if err != nil {
		t.Fatal(err)
	}
	n := len(weights)
	return &game{t, s, weights, make([]int, n), make([]float64, n), make([]float64, n), make([]int, n)}
}

func (g *game) wait(i int) {
	g.s.Wait(i)
	g.waiting[i]++
}

func (g *game) leave(i int) {
	g.s.Leave(i)
	g.waiting[i]--
}

// serve serves whoever is next; some requests turn out cheaper than they were thought.
func (g *game) serve() int {
	i, ok := g.s.Next()
	if ok != slices.ContainsFunc(g.waiting, func(n int) bool { return n > 0 }) {
		g.Fatalf("somebody is next: %v, waiting %v", ok, g.waiting)
	}
	if !ok {
		return -1
	}
	if g.waiting[i] == 0 {
		g.Fatalf("flow %d is served and does not wait", i)
	}
	cost := rapid.Float64Range(.25, 300).Draw(g.T, "cost")
	thought := cost
	if rapid.Bool().Draw(g.T, "cheaper") {
		thought += rapid.Float64Range(0, 300).Draw(g.T, "thought")
	}
	g.s.Serve(i, thought)
	g.s.Charge(i, cost-thought)
	g.waiting[i]--
	g.served[i] += cost
	g.count[i]++
	g.largest[i] = max(g.largest[i], cost)
	return i
}

// some plays a while at random, so that properties are shown from any state.
func (g *game) some() {
	for range rapid.IntRange(0, 60).Draw(g.T, "before") {
		i := rapid.IntRange(0, len(g.weights)-1).Draw(g.T, "flow")
		switch what := rapid.IntRange(0, 5).Draw(g.T, "what"); {
		case what < 3:
			g.wait(i)
		case what == 3 && g.waiting[i] > 0:
			g.leave(i)
		default:
			g.serve()
		}
	}
}

// reweigh changes weights at random.
func (g *game) reweigh() {
	for range rapid.IntRange(0, 3).Draw(g.T, "changes") {
		i := rapid.IntRange(0, len(g.weights)-1).Draw(g.T, "whose")
		g.weights[i] = rapid.Float64Range(.1, 1000).Draw(g.T, "weight")
		if err := g.s.SetWeight(i, g.weights[i]); err != nil {
			g.Fatal(err)
		}
		if g.s.Weight(i) != g.weights[i] {
			g.Fatalf("flow %d weighs %v", i, g.s.Weight(i))
		}
	}
}

// backlog makes flow i wait for as long as the rest of a test takes.
func (g *game) backlog(i int) {
	for g.waiting[i] < 500 {
		g.wait(i)
	}
}

// Theorem 1 of the paper: of flows that wait all the time, costs over weights stay within one request of each.
func TestBackloggedFlowsGetTheirShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t)
		g.some()
		busy := rapid.SliceOfNDistinct(rapid.IntRange(0, len(g.weights)-1), 2, -1, rapid.ID[int]).Draw(t, "backlogged")
		for _, i := range busy {
			g.backlog(i)
		}
		before := slices.Clone(g.served)
		for range rapid.IntRange(1, 200).Draw(t, "served") {
			g.serve()
			if i := rapid.IntRange(0, len(g.weights)-1).Draw(t, "joins"); g.waiting[i] < 400 {
				g.wait(i) // others come and go
			}
		}
		for _, a := range busy {
			for _, b := range busy {
				ofA, ofB := (g.served[a]-before[a])/g.weights[a], (g.served[b]-before[b])/g.weights[b]
				bound := g.largest[a]/g.weights[a] + g.largest[b]/g.weights[b]
				if math.Abs(ofA-ofB) > bound*(1+1e-9) {
					t.Fatalf("flows %d and %d of weights %v: %v and %v, %v apart at most", a, b, g.weights, ofA, ofB, bound)
				}
			}
		}
	})
}

func TestIdleFlowGainsNothingAndIsServedAtOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t)
		g.some()
		idle := rapid.IntRange(0, len(g.weights)-1).Draw(t, "idle")
		for g.waiting[idle] > 0 {
			g.leave(idle)
		}
		for i := range g.weights {
			if i != idle {
				g.backlog(i)
			}
		}
		// Long enough that whatever it was served before is behind it.
		for range rapid.IntRange(30, 100).Draw(t, "while it is idle") {
			g.serve()
		}
		behind := g.tags(idle)
		g.backlog(idle)
		before, counts := slices.Clone(g.served), slices.Clone(g.count)
		for behind && g.serve() != idle {
			for i := range counts {
				if g.count[i]-counts[i] > 1 {
					t.Fatalf("flow %d was served twice before the one that woke", i)
				}
			}
		}
		// From then on it gets its share and no more.
		for range rapid.IntRange(0, 100).Draw(t, "afterwards") {
			g.serve()
		}
		for i := range g.weights {
			ofIdle, of := (g.served[idle]-before[idle])/g.weights[idle], (g.served[i]-before[i])/g.weights[i]
			if bound := g.largest[idle]/g.weights[idle] + g.largest[i]/g.weights[i]; ofIdle-of > bound*(1+1e-9) {
				t.Fatalf("the one that woke got %v, flow %d %v, %v apart at most", ofIdle, i, of, bound)
			}
		}
	})
}

// tags tells whether every other flow has been served so much since that the idle one's last request is behind them all.
func (g *game) tags(idle int) bool {
	total := 0
	for i, n := range g.count {
		if i != idle {
			total += n
		}
	}
	return g.count[idle] == 0 && total >= 30
}

func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t)
		g.some()
		for i := range g.weights {
			g.backlog(i)
		}
		last, lastCost := slices.Clone(g.served), make([]float64, len(g.weights))
		seen := make([][]float64, len(g.weights)) // what all had been served when flow i was, last
		for range 200 {
			i := g.serve()
			lastCost[i] = g.served[i] - last[i]
			last = slices.Clone(g.served)
			if seen[i] == nil {
				seen[i] = make([]float64, len(g.weights))
			}
			copy(seen[i], g.served)
			for waits := range g.weights {
				if seen[waits] == nil {
					continue
				}
				for other := range g.weights {
					got := g.served[other] - seen[waits][other]
					bound := lastCost[waits]*g.weights[other]/g.weights[waits] + 2*g.largest[other]
					if other != waits && got > bound*(1+1e-9) {
						t.Fatalf("while flow %d waited, flow %d was served %v, more than %v", waits, other, got, bound)
					}
				}
			}
		}
	})
}

// Theorem 1 holds from the last change of weights on, whatever was served before it.
func TestSharesHoldFromAChangeOfWeightsOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t)
		g.some()
		for i := range g.weights {
			g.backlog(i)
		}
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			g.reweigh()
			before := slices.Clone(g.served)
			for range rapid.IntRange(1, 60).Draw(t, "served") {
				g.serve()
			}
			for a := range g.weights {
				for b := range g.weights {
					ofA, ofB := (g.served[a]-before[a])/g.weights[a], (g.served[b]-before[b])/g.weights[b]
					bound := g.largest[a]/g.weights[a] + g.largest[b]/g.weights[b]
					if math.Abs(ofA-ofB) > bound*(1+1e-9) {
						t.Fatalf("flows %d and %d of weights %v: %v and %v, %v apart at most", a, b, g.weights, ofA, ofB, bound)
					}
				}
			}
		}
	})
}

// What it was charged while it was light does not keep a flow waiting once it is heavy.
func TestHeavierFlowDoesNotWaitOutItsPast(t *testing.T) {
	t.Parallel()
	s, err := fair.New(.1, 100)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		s.Wait(0)
		s.Wait(1)
	}
	s.Serve(0, 300) // now 3000 ahead: the other would be served 300,000 before it is next
	s.Serve(1, 1)
	if err := s.SetWeight(0, 100); err != nil {
		t.Fatal(err)
	}
	for other := 0; ; other++ {
		i, _ := s.Next()
		if i == 0 {
			break
		}
		if s.Serve(i, 3); other > 300/3+1 {
			t.Fatalf("served %d times before the one of the same weight that is 300 ahead", other)
		}
	}
}

// What a flow is given back for a request of long ago is no credit for the time that it was idle.
func TestLateCorrectionIsNoCredit(t *testing.T) {
	t.Parallel()
	s, err := fair.New(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.Wait(0)
	s.Serve(0, 1000)
	for range 2000 {
		s.Wait(1)
		s.Serve(1, 1)
	}
	s.Wait(0)
	s.Charge(0, -990) // it was 10 after all
	for range 200 {
		s.Wait(0)
		s.Wait(1)
	}
	var served [2]int
	for range 100 {
		i, _ := s.Next()
		s.Serve(i, 1)
		served[i]++
	}
	if served[1] < 49 {
		t.Errorf("of 100 requests the one that was idle got %d, the other %d", served[0], served[1])
	}
	// One that never stopped waiting gets back what it was charged too much.
	s, err = fair.New(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		s.Wait(0)
		s.Wait(1)
	}
	s.Serve(0, 100)
	s.Charge(0, -99)
	served = [2]int{1, 0}
	for range 99 {
		i, _ := s.Next()
		s.Serve(i, 1)
		served[i]++
	}
	if served[0] < 49 {
		t.Errorf("of 100 requests the one that was charged too much got %d, the other %d", served[0], served[1])
	}
}

func TestWhatIsAFaultPanics(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*fair.Scheduler){
		"served without waiting": func(s *fair.Scheduler) { s.Serve(0, 1) },
		"left without waiting":   func(s *fair.Scheduler) { s.Leave(1) },
		"no such flow":           func(s *fair.Scheduler) { s.Wait(2) },
		"no number":              func(s *fair.Scheduler) { s.Charge(0, math.NaN()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := fair.New(1, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if recover() == nil {
					t.Error("it went through")
				}
			}()
			fault(s)
		})
	}
	for _, w := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := fair.New(1, w); err == nil {
			t.Errorf("a weight of %v was taken", w)
		}
		s, err := fair.New(2)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetWeight(0, w); err == nil || s.Weight(0) != 2 {
			t.Errorf("a weight of %v was set (%v)", w, err)
		}
	}
}
