package downstream

import (
	"context"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
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
	d.serve()
	d.showLocked()
	d.mu.Unlock()
	if p.host != nil {
		p.host.end(items, c.ofHost())
	}
}

// seen counts a call and its strain at the moment when it ends, which for an abandoned one is before its permit.
func (d *Downstream) seen(c Class, took time.Duration, items int) {
	d.metrics.calls[c].Inc()
	d.metrics.handled[c].Add(float64(items))
	d.metrics.seconds.Observe(took.Seconds())
	d.metrics.items.Observe(float64(items))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c {
	case OK, Error:
		d.strain = 0
	case Overload, Timeout:
		d.strain++
	}
}

// Do makes one call under the permit and ends it, at once or, if the downstream may still be at work, at the deadline.
func (p *Permit) Do(ctx context.Context, items int, f func(context.Context) error) Class {
	p.begin()
	d := p.d
	d.markSent(p.start)
	callCtx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	err := Guard(func() error { return f(callCtx) })
	c := Classify(err)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		c = Canceled
	case callCtx.Err() != nil:
		c = Timeout
	}
	now := d.clock.Now()
	d.seen(c, now.Sub(p.start), items)
	p.count(now, c, items)
	if c != OK && c != Canceled {
		d.log.DebugContext(ctx, "call failed", "downstream", d.name, "outcome", c.String(), "items", items)
	}
	if left := p.deadline.Sub(now); left > 0 && (c == Timeout || c == Canceled) {
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
