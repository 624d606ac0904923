package downstream

import (
	"context"
	"slices"
	"time"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// How many different jobs must have failed alone, with no success between, to be taken for an outage.
const (
	accusedJobs = 3
	// refusedMails is for refusals of recipients with one code: dead mailboxes are common, five in a row without a mail that
	// goes out are not.
	refusedMails = 5
)

const (
	// mostSuspects bounds the jobs that are remembered as poisonous, mostAccused those that have failed since the last success.
	mostSuspects = 64
	mostAccused  = 64
	// lapse is after how long without a call an outage is forgotten. While a job waits there is a probe a minute at least;
	// with none, nobody would ever ask again if new jobs were refused because of the outage.
	lapse = 5 * time.Minute
	// suspicion is how long after the last success a suspect is not heard.
	suspicion = time.Minute
	// mostProbesApart bounds for how many probes a job that has failed as one stays out of the line.
	mostProbesApart = 32
)

// evidence is what the calls of one kind have shown since the last one that succeeded. Downstream.mu guards it.
type evidence struct {
	// accused are the jobs that failed alone since then, by the code; suspects failed alone while others succeeded.
	accused   map[reset.ID]accusation
	suspects  []reset.ID
	succeeded time.Time // when the last call did

	since    time.Time     // since when the kind is out; zero: it is not
	last     failure.Error // the last failure that was no job's
	failures int           // such failures in a row
	failed   time.Time     // when the last of them was
	told     time.Time     // when it was last logged that it is out
	probing  bool
	next     time.Time // when the next probe may go out
	changed  chan struct{}
}

type accusation struct {
	code    string
	refusal bool
}

func newEvidence() *evidence {
	return &evidence{accused: make(map[reset.ID]accusation), changed: make(chan struct{})}
}

// wake tells who waits at the gate that something has changed.
func (e *evidence) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// outSince tells since when the kind is out; zero if it is not, or if nothing is known of it any more.
func (e *evidence) outSince(now time.Time) time.Time {
	if !e.since.IsZero() && !e.probing && now.Sub(e.failed) > lapse {
		e.since, e.failures, e.last = time.Time{}, 0, failure.Error{}
		e.wake()
	}
	return e.since
}

// succeed takes note of a call that did what was asked for. It tells for how long the kind had been out; 0 if it had not,
// or nobody was told.
func (e *evidence) succeed(now time.Time) (lasted time.Duration) {
	for job := range e.accused {
		e.suspects = append(e.suspects, job)
	}
	e.suspects = e.suspects[max(0, len(e.suspects)-mostSuspects):]
	clear(e.accused)
	e.succeeded = now
	since := e.since
	e.since, e.failures, e.last = time.Time{}, 0, failure.Error{}
	if since.IsZero() {
		return 0
	}
	e.wake()
	if e.told.Before(since) {
		return 0
	}
	return now.Sub(since)
}

// accuse takes note of a job that failed alone. It tells whether that makes an outage. A suspect's failure says nothing of the
// kind, as long as others have succeeded of late.
func (e *evidence) accuse(job reset.ID, a accusation, now time.Time) bool {
	if slices.Contains(e.suspects, job) && now.Sub(e.succeeded) < suspicion {
		return false
	}
	if len(e.accused) == mostAccused { // refusals with many codes
		clear(e.accused)
	}
	e.accused[job] = a
	alike := 0
	for _, other := range e.accused {
		if other == a || !other.refusal && !a.refusal {
			alike++
		}
	}
	if a.refusal {
		return alike >= refusedMails
	}
	return alike >= accusedJobs
}

// verdict is what a call has turned out to be.
type verdict struct {
	class Class
	began bool          // it began an outage of its kind, and that is to be logged
	ended time.Duration // it ended a logged outage that had lasted so long
}

// judge tells what a call has turned out to be, beside the calls of its kind before it; see the package comment. A call
// for no job in particular neither begins nor ends an outage. Called under mu.
func (d *Downstream) judge(p *Permit, job reset.ID, items int, c ending, now time.Time) verdict {
	v := verdict{class: c.class}
	e := d.evidence[p.kind]
	out := !e.outSince(now).IsZero()
	switch {
	case job == reset.ID{}:
	case c.class == OK:
		v.ended = e.succeed(now)
	case c.class == Outage:
		v.began = e.fail(now, c.failure, d.probeWaits.Consecutive)
	case c.class != Error:
	case out, items == 1 && e.accuse(job, accusation{c.failure.Code, c.refusal}, now):
		v.began = e.fail(now, c.failure, 0)
		v.class = Outage
	}
	if v.class == Error && c.refusal && (job == reset.ID{} || slices.Contains(e.suspects, job)) {
		v.class = Item // others went out meanwhile: it is about this recipient
	}
	return v
}

// fail takes note of a failure that is no job's. The kind is out once there are so many of them in a row. It tells whether
// that is to be logged: at most once a minute, because of several backends behind one address one may fail.
func (e *evidence) fail(now time.Time, f failure.Error, inARow int) (log bool) {
	e.last, e.failed = f, now
	e.failures++
	if !e.since.IsZero() || e.failures < inARow {
		return false
	}
	e.since, e.next = now, now
	if log = e.told.IsZero() || now.Sub(e.told) >= logEvery; log {
		e.told = now
	}
	return log
}

// probeWait is how long the next probe of a kind waits: a tenth of the breaker's first wait, doubled with each failure up
// to the breaker's longest.
func (d *Downstream) probeWait(e *evidence) time.Duration {
	wait := d.probeWaits.OpenWait / 10
	for range min(e.failures, 16) {
		wait *= 2
	}
	return min(wait, d.probeWaits.MaxOpenWait)
}

// gated tells whether calls of the kind are let out as probes only. An operator who holds the breaker closed wants them
// all to go out. Called under mu.
func (d *Downstream) gated(e *evidence) bool {
	return !e.outSince(d.clock.Now()).IsZero() && (d.breaker == nil || d.breaker.Forced() != breaker.ForceClosed)
}

// Acquire waits for a permit. While the kind is out there is one permit at a time, for one item, and a wait between two.
// The error is only ever ctx's.
func (d *Downstream) Acquire(ctx context.Context, a Ask) (*Permit, error) {
	if a.Lane == 0 { // for no job: it says nothing of the kind, and waits for no probe
		return d.get(ctx, a)
	}
	for {
		items, err := d.awaitGate(ctx, a)
		if err != nil {
			return nil, err
		}
		turn := a
		turn.Items = items
		p, err := d.get(ctx, turn)
		if err != nil {
			return nil, err
		}
		if d.claim(p, turn) {
			return p, nil
		}
		p.Release() // the kind went out meanwhile, or another has the probe
	}
}

// awaitGate waits while the kind is out and its next probe is not due, and returns for how many items to ask.
func (d *Downstream) awaitGate(ctx context.Context, a Ask) (items int, err error) {
	for {
		d.mu.Lock()
		e, now := d.evidence[a.Kind], d.clock.Now()
		gated, probing, next, changed := d.gated(e), e.probing, e.next, e.changed
		d.mu.Unlock()
		switch {
		case !gated:
			return a.Items, nil
		case !probing && !now.Before(next):
			return 1, nil
		}
		if err := d.awaitChange(ctx, changed, probing, next.Sub(now)); err != nil {
			return 0, err
		}
	}
}

func (d *Downstream) awaitChange(ctx context.Context, changed <-chan struct{}, probing bool, wait time.Duration) error {
	var fired <-chan time.Time
	if !probing {
		t := d.clock.NewTimer(wait)
		defer t.Stop()
		fired = t.C()
	}
	select {
	case <-changed:
	case <-fired:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// claim makes the permit the probe of its kind where that is out; false if it may not be used.
func (d *Downstream) claim(p *Permit, a Ask) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.evidence[p.kind]
	if !d.gated(e) {
		return true
	}
	if a.Items > 1 || e.probing || d.clock.Now().Before(e.next) {
		return false
	}
	e.probing, p.probe = true, true
	return true
}

// endProbe lets the next probe of the kind out: after a wait, or at once if this one was not used. Called under mu.
func (d *Downstream) endProbe(p *Permit, c Class, now time.Time) {
	if !p.probe {
		return
	}
	e := d.evidence[p.kind]
	e.probing = false
	if c != unused {
		e.next = now.Add(d.probeWait(e))
	}
	e.wake()
}

// ProbeDelay is for how long a job that was sent while its kind is out should stay out of the line: as many probes as
// have failed, so that the next ones are of other jobs. 0 while the kind is not out.
func (d *Downstream) ProbeDelay(kind pace.Kind) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.evidence[kind]
	if e.outSince(d.clock.Now()).IsZero() {
		return 0
	}
	return d.probeWait(e) * time.Duration(min(e.failures, mostProbesApart))
}

// OutOf tells since when calls of the kind cannot succeed; zero while they can, for all that is known.
func (d *Downstream) OutOf(kind pace.Kind) time.Time {
	d.mu.Lock()
	since := d.evidence[kind].outSince(d.clock.Now())
	d.mu.Unlock()
	return earlier(since, d.Out())
}

// earlier returns the earlier of two times that are not zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
