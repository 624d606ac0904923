package capacity

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/victim"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

const (
	password  = "a benchmark's password 4711"
	impatient = .3 // share of clients that retry at once
	attempts  = 3
)

// offer is one first call of a schedule.
type offer struct {
	person uint64
	token  string // of a completion; empty: a start
	phase  int
}

// told is what a completion was told when it was accepted.
type told struct {
	phase     int
	at        time.Time
	low, high time.Duration
}

// tally is what became of one phase's calls of one kind. People count in the phase in which they came, calls in that in
// which they were made.
type tally struct {
	offered, accepted      int // people
	calls, refused, failed int
	accept, refuse         []float64 // latencies in ms
	late                   []float64 // how late people's first calls were made, in ms
}

// kinds of calls.
const (
	starts = iota
	completions
)

// caller is everybody who calls one gateway.
type caller struct {
	o       Options
	g       *gateway
	draws   model.Random
	begin   time.Time // of the schedule; zero: calls count in the phase of their people
	phases  []phase
	next    atomic.Uint64 // connection
	mu      sync.Mutex
	tallies map[int]*[2]tally // by phase
	told    map[uint64]told   // by person
	failure error             // the last that was no refusal
}

func newCaller(o Options, g *gateway) *caller {
	return &caller{o: o, g: g, draws: model.NewRandom(o.Seed), tallies: map[int]*[2]tally{}, told: map[uint64]told{}}
}

// phaseOf is the phase in which a call is made.
func (c *caller) phaseOf(at time.Time, f offer) int {
	if c.begin.IsZero() {
		return f.phase
	}
	for i, p := range c.phases {
		if at.Sub(c.begin) < p.until {
			return i
		}
	}
	return len(c.phases) - 1
}

// person makes the attempts of one offer.
func (c *caller) person(ctx context.Context, f offer, intended time.Time) {
	kind := starts
	if f.token != "" {
		kind = completions
	}
	late := float64(c.o.Clock.Now().Sub(intended)) / float64(time.Millisecond)
	c.count(f.phase, kind, func(t *tally) {
		t.offered++
		t.late = append(t.late, late)
	})
	for i := range uint32(attempts) {
		again, after := c.once(ctx, kind, f)
		if !again || ctx.Err() != nil {
			return
		}
		if impatientPerson(c, f.person) {
			continue
		}
		if after < 0 {
			return // told not to come back for now
		}
		backoff := time.Duration(c.draws.Uniform(f.person, model.Draw{Kind: 2, Nth: i}) * float64(time.Second<<i))
		if c.o.Clock.Sleep(ctx, max(backoff, after)) != nil {
			return
		}
	}
}

// impatientPerson tells whether a person's client retries at once.
func impatientPerson(c *caller, n uint64) bool {
	return c.draws.Uniform(n, model.Draw{Kind: 1}) < impatient
}

// once makes one call. after is how long the gateway wants the client to stay away; −1: do not retry by yourself.
func (c *caller) once(ctx context.Context, kind int, f offer) (again bool, after time.Duration) {
	client := c.g.clients[c.next.Add(1)%connections]
	timed, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	who := &resetv1.Client{Ip: fmt.Sprintf("10.%d.%d.%d", f.person>>16&255, f.person>>8&255, f.person&255)}
	var (
		trailer metadata.MD
		ticket  *resetv1.Ticket
		err     error
	)
	begin := c.o.Clock.Now()
	if kind == completions {
		var r *resetv1.CompleteResetResponse
		r, err = client.CompleteReset(timed, &resetv1.CompleteResetRequest{Token: f.token, NewPassword: password, Client: who}, grpc.Trailer(&trailer))
		ticket = r.GetTicket()
	} else {
		var r *resetv1.StartResetResponse
		r, err = client.StartReset(timed, &resetv1.StartResetRequest{Identifier: victim.Identifier(f.person), Client: who}, grpc.Trailer(&trailer))
		ticket = r.GetTicket()
	}
	end, made := c.o.Clock.Now(), c.phaseOf(begin, f)
	if err != nil && ctx.Err() != nil {
		return false, 0 // the run is over
	}
	took := float64(end.Sub(begin)) / float64(time.Millisecond)
	switch code := status.Code(err); code {
	case codes.OK:
		c.count(f.phase, kind, func(t *tally) { t.accepted++ })
		c.count(made, kind, func(t *tally) {
			t.calls++
			t.accept = append(t.accept, took)
			if kind == completions {
				c.told[f.person] = told{phase: f.phase, at: end, low: ticket.GetEta().GetLow().AsDuration(), high: ticket.GetEta().GetHigh().AsDuration()}
			}
		})
		return false, 0
	case codes.ResourceExhausted, codes.Unavailable:
		after = pushback(err, trailer)
		c.count(made, kind, func(t *tally) {
			t.calls++
			t.refused++
			t.refuse = append(t.refuse, took)
		})
		return true, after
	default:
		c.count(made, kind, func(t *tally) {
			t.calls++
			t.failed++
			c.failure = err
		})
		return code == codes.DeadlineExceeded, 0
	}
}

func pushback(err error, trailer metadata.MD) (after time.Duration) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			after = info.GetRetryDelay().AsDuration()
		}
	}
	if values := trailer.Get("grpc-retry-pushback-ms"); len(values) > 0 {
		ms, err := strconv.Atoi(values[0])
		if err != nil || ms < 0 {
			return -1
		}
		after = max(after, time.Duration(ms)*time.Millisecond)
	}
	return after
}

func (c *caller) count(phase, kind int, f func(*tally)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[phase]
	if t == nil {
		t = &[2]tally{}
		c.tallies[phase] = t
	}
	f(&t[kind])
}

// tally is a phase's, of one kind.
func (c *caller) tally(phase, kind int) tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tallies[phase]; t != nil {
		return t[kind]
	}
	return tally{}
}

// late is how late the first calls of a phase were made, at p99.
func (c *caller) late(phase int) time.Duration {
	all := append(append([]float64(nil), c.tally(phase, starts).late...), c.tally(phase, completions).late...)
	return time.Duration(quantile(all, .99) * float64(time.Millisecond))
}

// promises are all completions that were accepted.
func (c *caller) promises() map[uint64]told {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make(map[uint64]told, len(c.told))
	for n, t := range c.told {
		list[n] = t
	}
	return list
}

// phase of a schedule: calls a second between two times.
type phase struct {
	from, until         time.Duration
	starts, completions float64
}

// schedule spreads the phases' calls evenly; people are numbered from first on. Completions get their tokens from sign.
func arrivals(phases []phase, first uint64, sign func(first uint64, n int) ([]string, error)) ([]schedule.Item[offer], error) {
	var items []schedule.Item[offer]
	person := first
	for number, p := range phases {
		length := (p.until - p.from).Seconds()
		wanted := [2]int{starts: int(math.Round(p.starts * length)), completions: int(math.Round(p.completions * length))}
		tokens, err := sign(person, wanted[completions])
		if err != nil {
			return nil, err
		}
		at := func(i, of int) time.Duration {
			return p.from + time.Duration((float64(i)+.5)/float64(of)*length*float64(time.Second))
		}
		done := [2]int{}
		for done[starts] < wanted[starts] || done[completions] < wanted[completions] {
			kind := starts
			if done[starts] == wanted[starts] || done[completions] < wanted[completions] &&
				at(done[completions], wanted[completions]) < at(done[starts], wanted[starts]) {
				kind = completions
			}
			f := offer{phase: number}
			if kind == completions {
				f.person, f.token = person+uint64(done[kind]), tokens[done[kind]]
			} else {
				f.person = person + uint64(wanted[completions]+done[kind])
			}
			items = append(items, schedule.Item[offer]{At: at(done[kind], wanted[kind]), Value: f})
			done[kind]++
		}
		person += uint64(wanted[starts] + wanted[completions])
	}
	return items, nil
}
