package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// book is what is known of the store.
type book struct {
	describe chan struct{} // asks for another Describe

	mu     sync.Mutex
	desc   credstore.Description
	known  bool
	dark   time.Time // since when it is asked without an answer; matters while nothing is known
	shares bool      // it has shown a current hash
	bare   int       // accounts that it has shown without one
}

// bareEnough is how many accounts without a current hash make a store one that does not share them. One look-up that
// was not needed costs a call; one that was left out lets the password that has to go come back.
const bareEnough = 64

// askAgain asks for another Describe: what is back may have changed.
func (b *book) askAgain() {
	select {
	case b.describe <- struct{}{}:
	default: // asked for already
	}
}

func (b *book) get() credstore.Description {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.desc
}

func (b *book) limit(of func(credstore.Description) int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.known {
		return 0
	}
	return of(b.desc)
}

func (b *book) lookups() int {
	return b.limit(func(d credstore.Description) int { return max(1, d.MaxLookupBatch) })
}

func (b *book) sets() int {
	return b.limit(func(d credstore.Description) int { return max(1, d.MaxSetBatch) })
}
func (b *book) revokes() int {
	return b.limit(func(d credstore.Description) int { return d.MaxRevokeBatch })
}
func (b *book) hashes() int { return b.limit(func(credstore.Description) int { return 1 }) }

// learn notes whether the store shares current hashes: Describe does not say.
func (b *book) learn(accounts []credstore.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range accounts {
		switch {
		case a.CurrentHash != "":
			b.shares = true
		case !a.NotResettable:
			b.bare++
		}
	}
}

// unknownSince is since when the lanes of the store rest for want of a description; zero while they do not.
func (b *book) unknownSince() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known {
		return time.Time{}
	}
	return b.dark
}

func (b *book) asksCurrent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shares || b.bare < bareEnough
}

// set takes a description over; it tells whether that changes anything.
func (b *book) set(desc credstore.Description) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	same := b.known && b.desc.Form == desc.Form && b.desc.MaxLookupBatch == desc.MaxLookupBatch &&
		b.desc.MaxSetBatch == desc.MaxSetBatch && b.desc.MaxRevokeBatch == desc.MaxRevokeBatch &&
		slices.Equal(b.desc.HashSchemes, desc.HashSchemes)
	b.desc, b.known = desc, true
	return !same
}

// describeKey is the record's key: there is one store.
const describeKey = "store"

// Prepare asks the store what it needs, or takes its recorded answer where it does not answer. The only error is an
// answer that cannot be met: without any, the lanes of the store rest until there is one.
func (d *Dispatch) Prepare(ctx context.Context) error {
	for _, l := range d.lanes {
		var p reset.Pace
		r, err := d.deps.Queue.Get(ctx, queue.RecordPace, l.name.String())
		if err == nil && p.Unmarshal(r.Value) == nil {
			l.meter.Resume(p.Rate, p.Service)
		}
	}
	if r, err := d.deps.Queue.Get(ctx, queue.RecordDescribe, describeKey); err == nil {
		var desc credstore.Description
		if json.Unmarshal(r.Value, &desc) == nil && d.meets(desc) == nil {
			d.book.set(desc)
		}
	}
	askCtx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	var desc credstore.Description
	err := downstream.Guard(func() (err error) {
		desc, err = d.deps.Store.Describe(askCtx)
		return err
	})
	if err != nil {
		d.metrics.described.Set(0)
		d.book.mu.Lock()
		d.book.dark = d.clock.Now()
		d.book.mu.Unlock()
		d.log.Warn("the store does not describe itself", "recorded", d.book.lookups() > 0, "err", err)
		return nil
	}
	return d.described(ctx, desc)
}

// meets tells why surgegate cannot do what the store needs.
func (d *Dispatch) meets(desc credstore.Description) error {
	switch desc.Form {
	case credstore.FormPlaintext:
		return nil
	case credstore.FormHash:
		if _, ok := d.scheme(desc); !ok {
			return fmt.Errorf("dispatch: the store verifies only the hash schemes %q, none of which can be made",
				desc.HashSchemes)
		}
		return nil
	default:
		return fmt.Errorf("dispatch: the store wants passwords in the unknown form %d", desc.Form)
	}
}

// described takes a fresh answer over and records it.
func (d *Dispatch) described(ctx context.Context, desc credstore.Description) error {
	if err := d.meets(desc); err != nil {
		d.metrics.described.Set(0)
		return err
	}
	d.metrics.described.Set(1)
	if !d.book.set(desc) {
		return nil
	}
	d.announce()
	value, err := json.Marshal(desc)
	if err == nil {
		err = d.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordDescribe, Key: describeKey, Value: value, Version: queue.AnyVersion,
		})
	}
	if err != nil { // the lanes know it; the fronts will after the next one
		d.log.Error("cannot record the store's description", "err", err)
	}
	return nil
}

// describeLoop asks the store again from time to time, soon while it has not answered, and when its breaker closes.
// It asks under a permit, so that with no work at hand it is also the probe that finds the store back.
func (d *Dispatch) describeLoop(ctx context.Context) error {
	failures := 0
	if d.book.lookups() == 0 {
		failures = 1
	}
	for ctx.Err() == nil {
		wait := d.cfg.DescribeEvery
		if failures > 0 {
			wait = min(wait, backoff(time.Second, 30*time.Second, failures))
		}
		d.awaitDescribe(ctx, wait)
		p, err := d.store.Acquire(ctx, downstream.Ask{Kind: downstream.KindLookup, Items: 1})
		if err != nil {
			return nil //nolint:nilerr // Run ends
		}
		var desc credstore.Description
		c := p.Do(ctx, 1, func(ctx context.Context) (err error) {
			desc, err = d.deps.Store.Describe(ctx)
			return err
		})
		if c != downstream.OK {
			failures++
			d.metrics.described.Set(0)
			continue
		}
		failures = 0
		if err := d.described(ctx, desc); err != nil {
			failures++
			d.log.Error("the store's new description cannot be met: the last one stays in use", "err", err)
		}
	}
	return nil
}

func (d *Dispatch) awaitDescribe(ctx context.Context, wait time.Duration) {
	t := d.clock.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C():
	case <-d.book.describe:
	case <-ctx.Done():
	}
}

// publishEvery is how often the lanes' paces are written while they change.
const publishEvery = time.Second

// publish writes what the lanes can do for the request side, and for start tickets.
func (d *Dispatch) publish(ctx context.Context) error {
	last := make(map[reset.Lane]reset.Pace, len(d.lanes))
	for {
		stats, err := d.deps.Queue.Stats(ctx)
		if errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			d.log.Error("cannot read the queue's numbers", "err", err)
		} else {
			d.publishOnce(ctx, stats, last)
		}
		if d.clock.Sleep(ctx, publishEvery) != nil {
			return nil
		}
	}
}

func (d *Dispatch) publishOnce(ctx context.Context, stats queue.Stats, last map[reset.Lane]reset.Pace) {
	now := d.clock.Now()
	var lookup, mail time.Duration
	var outSince []time.Time
	for _, l := range d.lanes {
		held := stats.Lanes[l.name]
		p := decide.Published(l.name, held, d.outage(l), l.meter, now)
		asks := false
		switch l.name {
		case reset.LaneStart:
			lookup, asks = p.Service, true
		case reset.LaneMail:
			mail, asks = p.Service, true
			if n := held.Crowd(); n > 0 {
				mail += time.Duration(float64(n) / p.Rate * float64(time.Second))
			}
		default:
		}
		if !p.OutageSince.IsZero() && asks {
			outSince = append(outSince, p.OutageSince)
		}
		before := last[l.name]
		before.PublishTime = now
		if before == p {
			continue
		}
		err := d.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordPace, Key: l.name.String(), Value: p.Marshal(), Version: queue.AnyVersion,
		})
		if err != nil {
			if ctx.Err() == nil {
				d.log.Error("cannot publish a pace", "lane", l.name.String(), "err", err)
			}
			continue
		}
		last[l.name] = p
	}
	d.waits.Set(lookup, mail, outSince)
}

// outage is since when any downstream of the lane is out, or the lane is paused; zero while all work. A pause is as long as
// it has been so far, like any outage: nobody knows its end, and an operator may lift it at any time.
func (d *Dispatch) outage(l *lane) time.Time {
	since := d.pausedSince(l)
	if l.name != reset.LaneMail {
		if out := d.book.unknownSince(); !out.IsZero() && (since.IsZero() || out.Before(since)) {
			since = out
		}
	}
	for _, n := range l.needs() {
		if out := n.down.Out(); !out.IsZero() && (since.IsZero() || out.Before(since)) {
			since = out
		}
	}
	return since
}
