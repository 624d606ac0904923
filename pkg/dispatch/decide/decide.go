package decide

import (
	"time"

	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/mailbudget"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/meter"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// The kinds of calls that share the store's pacer.
const (
	KindMain   = downstream.KindMain
	KindLookup = downstream.KindLookup
	KindRevoke = downstream.KindRevoke
)

// MostCalls bounds the calls in flight to one downstream.
const MostCalls = downstream.MostCalls

// Cost is what a call of so many items costs its lane's share.
func Cost(kind pace.Kind, items int) float64 { return downstream.Cost(kind, items) }

// Meter measures what a lane can do.
type Meter = meter.Meter

// NewMeter returns a meter that starts with the rate that is published before any measurement.
func NewMeter(floor float64) *Meter { return meter.New(floor) }

// Published is what a lane can do, as the request side is told. Only accounts have mails, so that fewer than a crowd of
// them must not show in what is said of the start and the mail lane. out is since when the lane's downstream is out; zero
// while it works.
func Published(lane reset.Lane, held queue.LaneStats, out time.Time, m *Meter, now time.Time) reset.Pace {
	p := reset.Pace{Lane: lane, PublishTime: now}
	// An idle lane has no outage: its downstream may be back, and only work would find out.
	if held.Waiting != [3]uint64{} || held.Leased+held.Retrying > 0 {
		p.OutageSince = out
	}
	asks := lane == reset.LaneStart || lane == reset.LaneMail
	few := held.Crowd() == 0
	least := 0
	if asks && few {
		least = queue.CrowdMin
	}
	p.Rate, p.Service = m.Read(now, !out.IsZero(), least)
	if asks {
		p.Service = reset.OnStartGrid(p.Service)
	}
	if lane == reset.LaneMail && few {
		p.OutageSince = time.Time{}
	}
	return p
}

// MailBudget keeps interactive and bulk mail apart.
type MailBudget = mailbudget.Budget

// NewMailBudget returns a budget whose buckets are full.
func NewMailBudget(c mailbudget.Config) *MailBudget { return mailbudget.New(c) }

// Size decides for how many jobs a lane asks its next permit. Too few waste calls; too many tell the pacer of a backlog
// that is not there, and keep tokens of its rate until the call ends. So it asks for what waits, spread over the calls
// that are free: while there are some, the last of a hundred jobs need not wait for the other ninety-nine in one call, and
// when there are none batches grow with the backlog. What it holds is the least to ask for: places of coalesced asks are no
// backlog, and a lease that brought nothing else is followed by one of twice as many.
type Size int

// Want is what to ask for, with so many jobs waiting and so many calls free (0 or less: none or not known).
func (s Size) Want(backlog, free, limit int) int {
	free = max(1, free)
	return max(1, min(max(int(s), (backlog+free-1)/free), limit))
}

// Leased notes what a lease of at most so many jobs brought.
func (s *Size) Leased(n, most int) {
	if *s = 0; n == 0 {
		*s = Size(2 * most)
	}
}

// OverloadMost bounds the back-off after an overload. Permits and the breaker hold the load down already; the back-off
// only spreads who comes back first, and nobody should wait much longer than the downstream was away.
const OverloadMost = 5 * time.Second

// Overloaded is how long a job rests after an overload that was the last of so many in a row: exponential with full jitter
// (AWS architecture blog, "Exponential Backoff And Jitter") from a draw in [0, 1).
func Overloaded(base time.Duration, strain int, random float64) time.Duration {
	return Backoff(base, OverloadMost, max(0, strain-1), random)
}

// Backoff is, at step n, a time from all of 0 to base·2ⁿ, at most limit, by a draw in [0, 1).
func Backoff(base, limit time.Duration, n int, random float64) time.Duration {
	ceiling := limit
	if n < 63 && base < limit>>n {
		ceiling = base << n
	}
	return min(time.Duration(random*float64(ceiling))+1, ceiling)
}
