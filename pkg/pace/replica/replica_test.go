package replica_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/pace/replica"
)

func at(s float64) time.Time {
	return time.Unix(1_600_000_000, 0).Add(time.Duration(s * float64(time.Second)))
}

func member(t testing.TB, id string) *replica.Member {
	t.Helper()
	m, err := replica.NewMember(replica.Config{}, id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func leader(t testing.TB, term uint64) *replica.Leader {
	t.Helper()
	l, err := replica.NewLeader(replica.Config{}, pace.ChartConfig{}, term)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ask starts as many calls as it is let, n at most.
func ask(m *replica.Member, now time.Time, n int) int {
	for i := range n {
		if !m.Ask(now, 0, 1).Go {
			return i
		}
	}
	return n
}

func share(m *replica.Member) int { return m.Limits().Concurrency }

func TestSilenceHalvesTheShare(t *testing.T) {
	t.Parallel()
	m := member(t, "a")
	m.Ask(at(0), 0, 1)
	m.Done(at(0), pace.Call{Start: at(0), Outcome: pace.OutcomeCanceled})
	if share(m) != 1 {
		t.Fatalf("a share of %d before any order", share(m))
	}
	order := replica.Order{Term: 1, Look: 1, Share: 20, Batch: 1}
	m.Hear(at(0), order)
	for _, tc := range []struct {
		at   float64
		want int
	}{{4.9, 20}, {5, 10}, {9.9, 10}, {10, 5}, {15, 2}, {20, 1}, {500, 1}} {
		if m.Report(at(tc.at)); share(m) != tc.want {
			t.Errorf("%d after %v s of silence, want %d", share(m), tc.at, tc.want)
		}
	}
	// What it was told stays known to a new leader, and the same order makes it whole again.
	r := m.Report(at(500))
	if r.Share != 20 || r.Term != 0 {
		t.Errorf("it says %d of term %d", r.Share, r.Term)
	}
	if m.Hear(at(500), order); share(m) != 20 {
		t.Errorf("%d after an order", share(m))
	}
	// It has none while there are fewer calls than members; silence brings it back to work.
	m.Hear(at(501), replica.Order{Term: 1, Look: 2, Share: 0, Batch: 1})
	if n := ask(m, at(502), 1); n != 0 {
		t.Error("it calls with a share of 0")
	}
	if m.Report(at(506)); share(m) != 1 {
		t.Errorf("%d after silence", share(m))
	}
}

func TestOldOrdersAreDropped(t *testing.T) {
	t.Parallel()
	m := member(t, "a")
	m.Hear(at(0), replica.Order{Term: 2, Look: 5, Share: 8, Batch: 1})
	for _, old := range []replica.Order{{Term: 2, Look: 4, Share: 99}, {Term: 1, Look: 77, Share: 99}} {
		m.Hear(at(1), old)
	}
	if m.Report(at(5)); share(m) != 4 {
		t.Errorf("a share of %d: old orders are obeyed, or end a silence", share(m))
	}
	m.Hear(at(6), replica.Order{Term: 3, Look: 1, Share: 6, Batch: 1})
	if share(m) != 6 {
		t.Errorf("%d of a new term", share(m))
	}
}

// What was in flight at a switch is not counted, nor what is counted before most of it is back.
func TestALookCountsWhatBeganWithIt(t *testing.T) {
	t.Parallel()
	m := member(t, "a")
	m.Hear(at(0), replica.Order{Term: 1, Look: 1, Share: 10, Batch: 1, Settle: 100 * time.Millisecond})
	if n := ask(m, at(0), 20); n != 10 {
		t.Fatalf("%d calls with a share of 10", n)
	}
	m.Hear(at(1), replica.Order{Term: 1, Look: 2, Share: 12, Batch: 1, Settle: time.Second})
	ask(m, at(1), 20)
	back := func(now, start float64, n int) {
		for range n {
			m.Done(at(now), pace.Call{Start: at(start), Items: 1})
			m.Ask(at(now), 0, 1)
		}
	}
	back(1.5, 0, 7)
	if r := m.Report(at(1.9)); r.Look != 2 || r.Seconds != 0 {
		t.Errorf("it counts before it has settled: %+v", r)
	}
	back(2, 1, 1)
	back(3, 1, 1)
	back(4, 1.5, 5)
	m.Ask(at(4), 0, 1)
	r := m.Report(at(4))
	if r.Seconds != 2 || r.Area != 24 || r.Counted[0].Calls != 7 || r.Good[0].Calls != 14 || !r.Wanting || r.InFlight != 12 {
		t.Errorf("%+v", r)
	}
}

func TestFailuresFromBeforeACutAreNoNews(t *testing.T) {
	t.Parallel()
	m := member(t, "a")
	m.Hear(at(0), replica.Order{Term: 1, Look: 1, Share: 4, Batch: 1})
	ask(m, at(0), 4)
	fail := func(now, start float64) {
		m.Done(at(now), pace.Call{Start: at(start), Items: 1, Outcome: pace.OutcomeTimeout})
	}
	fail(5, 0)
	m.Hear(at(5), replica.Order{Term: 1, Look: 2, Cut: 2, Share: 4, Batch: 1})
	m.Ask(at(6), 0, 1)
	fail(7, 0)
	fail(7, 0)
	fail(11, 6)
	if r := m.Report(at(11)); r.Timeouts != 2 {
		t.Errorf("%d time-outs, want the one before the cut and the one that began after it", r.Timeouts)
	}
}

func TestDoneWithoutAnAskPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it took it")
		}
	}()
	member(t, "a").Done(at(0), pace.Call{})
}

// group is a leader with members that it hears without lag.
type group struct {
	t       *testing.T
	leader  *replica.Leader
	members map[string]*replica.Member
	now     float64
}

func newGroup(t *testing.T, term uint64, n int) *group {
	g := &group{t: t, leader: leader(t, term), members: map[string]*replica.Member{}}
	for i := range n {
		id := fmt.Sprint("m", i)
		g.members[id] = member(t, id)
	}
	return g
}

// pass lets time pass, with Reports and Orders each quarter second.
func (g *group) pass(s float64) {
	for end := g.now + s; g.now < end; g.now += .25 {
		for _, m := range g.members {
			g.leader.Hear(at(g.now), m.Report(at(g.now)))
		}
		for id, o := range g.leader.Orders(at(g.now)) {
			if m, ok := g.members[id]; ok {
				m.Hear(at(g.now), o)
			}
		}
	}
}

func (g *group) shares() (total int) {
	for _, m := range g.members {
		total += share(m)
	}
	return total
}

func TestSharesAddUpToTheChart(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 4, 7} {
		g := newGroup(t, 1, n)
		g.pass(6)
		if got := g.leader.Limits().Concurrency; g.shares() != got || got != 4 {
			t.Errorf("%d of %d members, and the chart has %d", g.shares(), n, got)
		}
	}
}

func TestWhatIsLeftOverGoesRound(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, 3)
	g.pass(6)
	got := map[string]int{}
	for range 9 { // somebody who comes and goes makes a look of each
		g.leader.Hear(at(g.now), replica.Report{Member: "x", Number: 1})
		g.leader.Hear(at(g.now), replica.Report{Member: "x", Number: 2, Leaving: true})
		for id, o := range g.leader.Orders(at(g.now)) {
			got[id] += o.Share
		}
	}
	if want := map[string]int{"m0": 12, "m1": 12, "m2": 12}; !maps.Equal(got, want) {
		t.Errorf("%v of 9 looks at 4 calls", got)
	}
}

func TestTheSharesOfThoseWhoAreGoneGoToTheOthers(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, 4)
	g.pass(6)
	before := share(g.members["m0"])
	left := g.members["m3"].Leave(at(g.now))
	delete(g.members, "m3")
	if !g.leader.Hear(at(g.now), left) {
		t.Error("there is nothing to tell when one leaves")
	}
	g.pass(.5)
	if g.shares() != 4 || before != 1 {
		t.Errorf("%d when one has left", g.shares())
	}
	// A late report of the one who left does not bring it back for long, and one without a word is missed after a while.
	delete(g.members, "m2")
	g.pass(4)
	if g.shares() == 4 {
		t.Error("its share was given away while it may still use it")
	}
	g.pass(2)
	if g.shares() != 4 {
		t.Errorf("%d of two members", g.shares())
	}
}

func TestANewLeaderBeginsWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, 2)
	for _, m := range g.members {
		m.Hear(at(0), replica.Order{Term: 1, Look: 99, Share: 30, Batch: 1})
	}
	g.leader = leader(t, 2)
	g.pass(4.5)
	if orders := g.leader.Orders(at(g.now)); orders != nil {
		t.Errorf("it decides before it has listened: %v", orders)
	}
	g.pass(2)
	if g.shares() != 60 {
		t.Errorf("%d calls, want the 60 of before", g.shares())
	}
}

// One outage closes every member's breaker: speed falls to a quarter once, not once for each.
func TestOneOutageIsOneResumption(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, 4)
	for _, m := range g.members {
		m.Hear(at(0), replica.Order{Term: 1, Look: 1, Share: 20, Batch: 1})
	}
	g.leader = leader(t, 2)
	g.pass(6)
	if g.shares() != 80 {
		t.Fatalf("%d calls", g.shares())
	}
	for _, m := range g.members {
		m.Resume(at(g.now))
	}
	g.pass(.5)
	if g.shares() != 20 {
		t.Errorf("%d calls after an outage at 80", g.shares())
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]replica.Config{
		"patience": {Patience: time.Millisecond},
		"period":   {Period: time.Minute},
	} {
		if _, err := replica.NewMember(c, "a"); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
		if _, err := replica.NewLeader(c, pace.ChartConfig{}, 1); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := replica.NewMember(replica.Config{}, ""); err == nil {
		t.Error("a member without an id")
	}
	if _, err := replica.NewLeader(replica.Config{}, pace.ChartConfig{}, 0); err == nil {
		t.Error("a leader without a term")
	}
	if _, err := replica.NewLeader(replica.Config{}, pace.ChartConfig{Headroom: 2}, 1); err == nil {
		t.Error("a chart that is not valid")
	}
}

func ExampleNewLeader() {
	member, err := replica.NewMember(replica.Config{}, "gateway-1")
	if err != nil {
		panic(err)
	}
	leader, err := replica.NewLeader(replica.Config{}, pace.ChartConfig{}, 1)
	if err != nil {
		panic(err)
	}
	// Each second the one hears the other; the caller carries it.
	for s := range 7 {
		now := time.Unix(0, 0).Add(time.Duration(s) * time.Second)
		leader.Hear(now, member.Report(now))
		if order, ok := leader.Orders(now)["gateway-1"]; ok {
			member.Hear(now, order)
		}
	}
	fmt.Println(member.Limits().Concurrency)
	// Output: 4
}
