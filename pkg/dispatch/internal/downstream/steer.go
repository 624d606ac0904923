package downstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// What cannot be steered.
var (
	ErrNoBreaker = errors.New("has no breaker")
	ErrNoPace    = errors.New("has no pace of its own")
)

// Steerable tells whether its pace can be.
func (d *Downstream) Steerable() bool { return d.host == nil && d.pacer.Steerable() }

// SetWeight gives a lane another share, of what is handed out from now on.
func (d *Downstream) SetWeight(l reset.Lane, weight float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.share.SetWeight(int(l), weight); err != nil {
		return fmt.Errorf("downstream %s: %w", d.name, err)
	}
	d.serve() // another may be next
	return nil
}

// SetPace puts an override of the pace in force; the zero one lifts it.
func (d *Downstream) SetPace(o pace.Override) error {
	return d.repace(func() error { return d.pacer.Steer(d.clock.Now(), o) })
}

// Repace takes over what is configured of a pacer that has not been asked yet.
func (d *Downstream) Repace(p pace.Pacer) error {
	return d.repace(func() error { return d.pacer.Configure(d.clock.Now(), p) })
}

func (d *Downstream) repace(change func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.host != nil {
		return fmt.Errorf("downstream %s: %w: its calls are the %s's", d.name, ErrNoPace, d.host.name)
	}
	if err := change(); err != nil {
		return fmt.Errorf("downstream %s: %w", d.name, err)
	}
	d.serve() // more may be let out, and who waits for a time waits for another
	d.showLocked()
	return nil
}

// SetStarved says whether this process is short of processor time, so that the time of a call says little of the downstream.
// It does nothing where the calls are the host's: that one is told itself.
func (d *Downstream) SetStarved(starved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.host == nil {
		d.pacer.SetStarved(d.clock.Now(), starved)
		d.showLocked()
	}
}

// ForceBreaker holds the breaker, or lets go of it.
func (d *Downstream) ForceBreaker(f breaker.Force) error {
	if d.breaker == nil {
		return fmt.Errorf("downstream %s: %w", d.name, ErrNoBreaker)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	wasOut, was := !d.ownOut().IsZero(), d.breaker.Forced()
	if d.breaker.Force(now, f) {
		d.pacer.Resume(now)
	}
	switch {
	case f == breaker.ForceOpen && was != f:
		d.heldOut = !wasOut
	case was == breaker.ForceOpen && f == breaker.ForceNone && d.heldOut:
		// Nothing has failed. Without this the hold would count as an outage for as long as nobody comes, and after 12 h of it
		// nobody could: ETAs count outages, and only what is accepted makes the probe that ends one.
		d.state.Lock()
		d.outage = time.Time{}
		d.state.Unlock()
	}
	for _, e := range d.evidence {
		e.wake() // one that is held closed lets all through
	}
	d.serve()
	d.showLocked()
	return nil
}
