package control

import (
	"fmt"
	"math"

	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/pace/replica"
)

// Group is several replicas of a gateway that feed one store, each with a backlog that never ends and a breaker.
type Group struct {
	Model    Model
	Replicas int
	Shared   bool    // one chart for all; else each has its own, and they know nothing of each other
	Lag      float64 // s that a message takes, each way
	Changes  []Change
	// What is told from SilentFrom to SilentTo is lost, in s; with Successor by another leader, which begins at the end.
	SilentFrom, SilentTo float64
	Successor            bool
}

// Change is a replica that goes or comes.
type Change struct {
	At      float64 // s
	Replica int
	Away    bool
	Crash   bool // goes without a word
}

// Cases are what happens to replicas on one store.
func Cases() []string {
	return []string{"steady", "come and go", "leader silent for 10 s", "leader lost for 10 s"}
}

// NewGroup is a case of Cases with half a second of lag, after the warm-up.
func NewGroup(m Model, replicas int, shared bool, which string) Group {
	g := Group{Model: m, Replicas: replicas, Shared: shared, Lag: lag}
	switch which {
	case "come and go": // one is away most of the time; every second one of them has crashed
		for i := range 5 {
			away := Change{At: m.WarmUp + 10 + 20*float64(i), Replica: i % replicas, Away: true, Crash: i%2 == 1}
			back := Change{At: away.At + 15, Replica: away.Replica}
			g.Changes = append(g.Changes, away, back)
		}
	case "leader silent for 10 s", "leader lost for 10 s":
		g.SilentFrom, g.SilentTo = m.WarmUp+30, m.WarmUp+40
		g.Successor = which == "leader lost for 10 s"
	}
	return g
}

// lag in s: of a message between regions, with room for a slow collector.
const lag = .5

// GroupResult is a run of several replicas.
type GroupResult struct {
	Result
	// Jain is (Σx)² / (n·Σx²) of what each completed in a second that it was there, after the warm-up: 1 if all got the same.
	Jain float64
}

// RunGroup drives the replicas against the store. The same seed gives the same run.
func RunGroup(g Group, seed uint64) (GroupResult, error) {
	n := &network{g: g, period: replica.Config{}.WithDefaults().Period.Seconds(), since: make([]float64, g.Replicas), there: make([]float64, g.Replicas)}
	chart := pace.ChartConfig{Batch: max(1, g.Model.MaxBatch)}
	pacers := make([]pace.Pacer, g.Replicas)
	for i := range pacers {
		var err error
		if g.Shared {
			var m *replica.Member
			m, err = replica.NewMember(replica.Config{}, fmt.Sprint("replica-", i))
			n.members = append(n.members, m)
			pacers[i] = m
		} else {
			pacers[i], err = pace.NewChart(chart)
		}
		if err != nil {
			return GroupResult{}, err
		}
	}
	if err := n.lead(1, chart); err != nil {
		return GroupResult{}, err
	}
	n.run = newRun(g.Model, seed, pacers...)
	n.run.wire = n
	n.run.drive()
	if n.err != nil {
		return GroupResult{}, n.err
	}
	return GroupResult{Result: n.run.result(), Jain: n.jain()}, nil
}

// network carries Reports and Orders, each for as long: they arrive in the order that they were sent in.
type network struct {
	g       Group
	run     *run
	leader  *replica.Leader
	term    uint64
	members []*replica.Member
	period  float64
	rounds  int // of telling
	sent    []message
	changed int // of the Changes
	since   []float64
	there   []float64 // s that each replica was there for, after the warm-up
	err     error
}

type message struct {
	due    float64
	report replica.Report
	orders map[string]replica.Order // nil: a report
}

func (n *network) lead(term uint64, chart pace.ChartConfig) (err error) {
	n.term = term
	n.leader, err = replica.NewLeader(replica.Config{}, chart, term)
	return err
}

// next implements wire.
func (n *network) next() float64 {
	next := math.Inf(1)
	if n.g.Shared {
		next = float64(n.rounds) * n.period
		if len(n.sent) > 0 {
			next = min(next, n.sent[0].due)
		}
	}
	if n.changed < len(n.g.Changes) {
		next = min(next, n.g.Changes[n.changed].At)
	}
	return next
}

// turn implements wire.
func (n *network) turn(now float64) {
	for ; n.changed < len(n.g.Changes) && n.g.Changes[n.changed].At <= now; n.changed++ {
		n.change(n.g.Changes[n.changed])
	}
	if !n.g.Shared {
		return
	}
	if n.g.Successor && n.term == 1 && now >= n.g.SilentTo {
		n.err = n.lead(2, pace.ChartConfig{Batch: max(1, n.g.Model.MaxBatch)})
	}
	for len(n.sent) > 0 && n.sent[0].due <= now {
		m := n.sent[0]
		n.sent = n.sent[1:]
		n.arrive(m)
	}
	if float64(n.rounds)*n.period <= now {
		n.rounds++
		for i, m := range n.members {
			if !n.run.drivers[i].away {
				n.send(message{report: m.Report(at(now))})
			}
		}
		n.send(message{orders: n.leader.Orders(at(now))})
	}
}

func (n *network) change(c Change) {
	d := n.run.drivers[c.Replica]
	if c.Away == d.away {
		return
	}
	d.away = c.Away
	if c.Away {
		n.there[c.Replica] += max(0, c.At-max(n.since[c.Replica], n.g.Model.WarmUp))
		if n.g.Shared && !c.Crash {
			n.send(message{report: n.members[c.Replica].Leave(at(n.run.now))})
		}
		return
	}
	n.since[c.Replica] = c.At
	n.run.ask(d)
}

func (n *network) send(m message) {
	now := n.run.now
	if now >= n.g.SilentFrom && now < n.g.SilentTo {
		return
	}
	m.due = now + n.g.Lag
	n.sent = append(n.sent, m)
}

func (n *network) arrive(m message) {
	now := at(n.run.now)
	if m.orders == nil {
		if n.leader.Hear(now, m.report) {
			n.send(message{orders: n.leader.Orders(now)})
		}
		return
	}
	for i, member := range n.members {
		d := n.run.drivers[i]
		if o, ok := m.orders[fmt.Sprint("replica-", i)]; ok && !d.away {
			member.Hear(now, o)
			n.run.ask(d)
		}
	}
}

func (n *network) jain() float64 {
	sum, squares := 0.0, 0.0
	for i, d := range n.run.drivers {
		if !d.away {
			n.there[i] += n.run.now - max(n.since[i], n.g.Model.WarmUp)
		}
		x := d.done / max(1, n.there[i])
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(n.run.drivers)) * max(squares, 1e-9))
}
