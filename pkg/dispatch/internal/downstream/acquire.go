package downstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Ask is what a permit is asked for.
type Ask struct {
	Lane  reset.Lane // whose share pays; 0: nobody's in particular
	Kind  pace.Kind
	Items int // 1 to as many as the call could carry
}

// waiter is one Acquire; its fields below wake are guarded by Downstream.mu.
type waiter struct {
	ask  Ask
	wake chan struct{} // has a value when one of the fields below has changed

	permit *Permit
	retry  time.Time // when the lines must be served again; zero: when a call ends
}

func (w *waiter) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // it has not looked since the last one
	}
}

// get waits for a permit of the downstream and of its host. The error is only ever ctx's.
func (d *Downstream) get(ctx context.Context, a Ask) (*Permit, error) {
	if d.host == nil {
		return d.acquire(ctx, a)
	}
	onHost := a
	onHost.Kind = KindRevoke
	for {
		look, err := d.acquire(ctx, a)
		if err != nil {
			return nil, err
		}
		look.Release()
		host, err := d.host.acquire(ctx, onHost)
		if err != nil {
			return nil, err
		}
		if p := d.now(a); p != nil {
			p.host = host
			return p, nil
		}
		host.Release() // its breaker has opened meanwhile, or another probe is out
	}
}

// now is a permit without waiting, nil if there is none to be had.
func (d *Downstream) now(a Ask) *Permit {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, _ := d.try(a)
	return p
}

func (d *Downstream) acquire(ctx context.Context, a Ask) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{ask: a, wake: make(chan struct{}, 1)}
	d.mu.Lock()
	d.lines[a.Lane] = append(d.lines[a.Lane], w)
	d.share.Wait(int(a.Lane))
	d.serve()
	d.mu.Unlock()
	for {
		d.mu.Lock()
		p, retry := w.permit, w.retry
		d.mu.Unlock()
		if p != nil {
			return p, nil
		}
		if err := d.pause(ctx, w, retry); err != nil {
			d.leave(w)
			return nil, err
		}
	}
}

// pause waits until the waiter is told something, or serves the lines once its time has come.
func (d *Downstream) pause(ctx context.Context, w *waiter, retry time.Time) error {
	var fired <-chan time.Time
	if !retry.IsZero() {
		t := d.clock.NewTimer(retry.Sub(d.clock.Now()))
		defer t.Stop()
		fired = t.C()
	}
	select {
	case <-w.wake:
		return nil
	case <-fired:
		d.mu.Lock()
		defer d.mu.Unlock()
		w.retry = time.Time{} // should another be next by now, this one has no time any more
		d.serve()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave takes a waiter out of its line, or gives back what it was handed meanwhile.
func (d *Downstream) leave(w *waiter) {
	d.mu.Lock()
	if w.permit != nil {
		d.mu.Unlock()
		w.permit.Release()
		return
	}
	defer d.mu.Unlock()
	line := d.lines[w.ask.Lane]
	d.lines[w.ask.Lane] = slices.DeleteFunc(line, func(o *waiter) bool { return o == w })
	d.share.Leave(int(w.ask.Lane))
	d.serve() // it may have been the one with the timer
}

// serve hands out what there is to those who wait, in the order of the share. Called under mu, after everything that may
// have changed what there is or who waits.
func (d *Downstream) serve() {
	for {
		lane, ok := d.share.Next()
		if !ok {
			return
		}
		w := d.lines[lane][0]
		p, retry := d.try(w.ask)
		if p == nil {
			// Nobody overtakes: a lane that asks for little would keep one that asks for much from ever getting it.
			if !retry.Equal(w.retry) {
				w.retry = retry
				w.poke()
			}
			return
		}
		d.lines[lane] = d.lines[lane][1:]
		p.charged = d.cost(p.kind, p.granted)
		d.share.Serve(lane, p.charged)
		w.permit = p
		w.poke()
	}
}

// minWait keeps a controller that answers with a time just past from spinning.
const minWait = time.Millisecond

// try asks pacer and breaker once, under mu; without a permit it tells when to ask again (zero: when a call ends).
func (d *Downstream) try(a Ask) (p *Permit, retry time.Time) {
	now := d.clock.Now()
	if d.pacer.Limits().InFlight >= d.most {
		return nil, time.Time{}
	}
	items := max(1, a.Items)
	if d.breaker != nil && d.breaker.State() != breaker.Closed {
		items = 1 // a probe risks as little as it can
	}
	v := d.pacer.Ask(now, a.Kind, items)
	if !v.Go {
		return nil, later(now, v.RetryAt)
	}
	p = &Permit{d: d, lane: a.Lane, kind: a.Kind, granted: v.Items, grant: v.Grant, report: func(time.Time, breaker.Result) {}}
	p.begin()
	if d.breaker != nil {
		done, err := d.breaker.Allow(now)
		if err != nil {
			d.pacer.Done(now, pace.Call{Kind: a.Kind, Start: now, Unused: v.Items, Grant: v.Grant, Outcome: pace.OutcomeCanceled})
			at := now.Add(time.Second)
			var open *breaker.OpenError
			if errors.As(err, &open) && !open.RetryAt.IsZero() {
				at = open.RetryAt
			}
			return nil, later(now, at)
		}
		p.report = done
	}
	d.showLocked()
	return p, time.Time{}
}

func later(now, at time.Time) time.Time {
	if least := now.Add(minWait); !at.IsZero() && at.Before(least) {
		return least
	}
	return at
}
