package downstream

import (
	"cmp"
	"context"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Permit is the right to make one call. It ends exactly once, by Do or by Release.
type Permit struct {
	d        *Downstream
	host     *Permit // of the downstream that it stands on
	lane     reset.Lane
	kind     pace.Kind
	granted  int     // items
	grant    uint64  // the pacer's
	charged  float64 // to the lane's share
	start    time.Time
	deadline time.Time
	report   func(time.Time, breaker.Result)
	probe    bool // of its kind, while that is out
}

// Items is how many the call may carry.
func (p *Permit) Items() int {
	if p.host != nil {
		return min(p.granted, p.host.granted)
	}
	return p.granted
}

// Downstream is whose permit it is.
func (p *Permit) Downstream() *Downstream { return p.d }

// Kind is of the call that it is for.
func (p *Permit) Kind() pace.Kind { return p.kind }

// Use says how many items the call will carry, as soon as that is known: the lane pays for no more.
func (p *Permit) Use(items int) {
	p.d.mu.Lock()
	p.pay(items)
	p.d.mu.Unlock()
	if p.host != nil {
		p.host.Use(items)
	}
}

// pay corrects the charge, under mu. A permit that nobody waited for was not charged.
func (p *Permit) pay(items int) {
	if p.charged == 0 {
		return
	}
	cost := 0.
	if items > 0 {
		cost = p.d.cost(p.kind, items)
	}
	p.d.share.Charge(int(p.lane), cost-p.charged)
	p.charged = cost
}

// Release gives the permit back without a call.
func (p *Permit) Release() { p.end(0, unused) }

// begin starts the call's clock: the time between the permit and the lease is not the downstream's.
func (p *Permit) begin() {
	p.start = p.d.clock.Now()
	p.deadline = p.start.Add(p.d.timeout)
	if p.host != nil {
		p.host.begin()
	}
}

// end gives the permit back and hands it on.
func (p *Permit) end(items int, c Class) {
	d := p.d
	now := d.clock.Now()
	d.mu.Lock()
	p.pay(items)
	if counter := d.metrics.cost[p.lane]; counter != nil {
		counter.Add(p.charged)
	}
	// No probe is out while the breaker is open: the call began before, and says nothing more. To report it would
	// even end the wait, because gobreaker looks at its own, shorter one with each report.
	before := breaker.Closed
	if d.breaker != nil {
		before = d.breaker.State()
	}
	if before != breaker.Open {
		p.report(now, c.result())
	}
	d.pacer.Done(now, pace.Call{
		Kind: p.kind, Start: p.start, Items: items, Unused: max(0, p.granted-items), Grant: p.grant, Outcome: c.outcome(),
	})
	if before != breaker.Closed && d.breaker.State() == breaker.Closed {
		d.pacer.Resume(now)
	}
	d.endProbe(p, c, now)
	d.serve()
	d.showLocked()
	d.mu.Unlock()
	if p.host != nil {
		p.host.end(items, c.ofHost())
	}
}

// seen judges a call, and counts it and its strain at the moment when it ends, which for an abandoned one is before its
// permit.
func (p *Permit) seen(ctx context.Context, job reset.ID, items int, e ending) Class {
	d, now := p.d, p.d.clock.Now()
	d.mu.Lock()
	v := d.judge(p, job, items, e, now)
	switch v.class {
	case OK, Error, Item:
		d.strain = 0
	case Overload, Timeout, Outage:
		d.strain++
	}
	d.mu.Unlock()
	c := v.class
	d.metrics.calls[c].Inc()
	d.metrics.handled[c].Add(float64(items))
	d.metrics.seconds.Observe(now.Sub(p.start).Seconds())
	d.metrics.items.Observe(float64(items))
	if c != OK && c != Canceled {
		d.failures.record(ctx, now, d.callName(p.kind), c, e.failure, items)
	}
	switch {
	case v.began:
		d.log.WarnContext(ctx, "nothing succeeds: an outage, for which no job's tries are used", "downstream", d.name,
			"call", d.callName(p.kind), "code", e.failure.Code,
			"meaning", cmp.Or(e.failure.Advice, failure.Meaning(d.name, e.failure.Code)))
	case v.ended > 0:
		d.log.InfoContext(ctx, "calls succeed again", "downstream", d.name, "call", d.callName(p.kind),
			"after", v.ended.Round(time.Millisecond))
	}
	return c
}

// RecordItem counts an item that a call could not do though it was answered: what the answer says of the item.
func (d *Downstream) RecordItem(ctx context.Context, kind pace.Kind, code string) {
	d.failures.record(ctx, d.clock.Now(), d.callName(kind), Item, failure.Error{Scope: failure.Item, Code: code}, 1)
}

// callName is the kind of a call as operators see it.
func (d *Downstream) callName(kind pace.Kind) string {
	switch {
	case kind == KindLookup:
		return "lookup"
	case kind == KindRevoke, d.name == "revoker":
		return "revoke"
	case d.name == "mail":
		return "mail"
	case d.name == "hash_pool":
		return "hash"
	default:
		return "write"
	}
}

// Do makes one call for no job in particular; see DoFor.
func (p *Permit) Do(ctx context.Context, items int, f func(context.Context) error) Class {
	return p.DoFor(ctx, reset.ID{}, items, f)
}

// DoFor makes one call under the permit and ends it, at once or, if the downstream may still be at work, at the deadline.
// job is the first one that the call is for: a call of one item that fails speaks against it.
func (p *Permit) DoFor(ctx context.Context, job reset.ID, items int, f func(context.Context) error) Class {
	p.begin()
	d := p.d
	d.markSent(p.start)
	callCtx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	err := Guard(func() error { return f(callCtx) })
	e := classify(err)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		e.class = Canceled
	case callCtx.Err() != nil && e.class != Timeout:
		e = ending{class: Timeout, failure: failure.Error{Scope: failure.Downstream, Class: failure.Timeout, Code: failure.TimedOut}}
	}
	c := p.seen(ctx, job, items, e)
	p.count(d.clock.Now(), c, items)
	if left := p.deadline.Sub(d.clock.Now()); left > 0 && (c == Timeout || c == Canceled) {
		until := d.clock.NewTimer(left) // here: until the goroutine runs the clock may have moved on
		d.holds.Go(func() {
			defer until.Stop()
			select {
			case <-until.C():
			case <-ctx.Done(): // ours: nothing will ask for this permit again
			}
			p.end(items, c)
		})
		return c
	}
	p.end(items, c)
	return c
}
