// Package drive feeds a CredentialStore in real time as fast as a pace.Pacer allows, with a backlog that never ends: what
// pkg/dispatch does, less everything but the pacing. It is how baselines are run against the same stores as surgegate.
//
// A call has the deadline of dispatch's default. One that times out keeps its slot until then, which is when it is told of.
package drive

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
)

// Timeout of one call.
const Timeout = 5 * time.Second

// Deps of a drive.
type Deps struct {
	Pacer pace.Pacer
	Clock clock.Clock
	// Call makes one call of so many items.
	Call func(ctx context.Context, items int) error
}

// Drive is one under way. Make it with New.
type Drive struct {
	deps Deps
	most int // items asked for

	mu    sync.Mutex
	ended chan struct{} // has room for one: a call has ended
}

// New returns a drive that asks for calls of at most so many items.
func New(most int, deps Deps) (*Drive, error) {
	if most < 1 || deps.Pacer == nil || deps.Clock == nil || deps.Call == nil {
		return nil, errors.New("drive: most is below 1, or a dependency is missing")
	}
	return &Drive{deps: deps, most: most, ended: make(chan struct{}, 1)}, nil
}

// Limit is the pacer's present one.
func (d *Drive) Limit() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deps.Pacer.Limits().Concurrency
}

// Run drives until ctx ends, and returns when all calls have.
func (d *Drive) Run(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for ctx.Err() == nil {
		now := d.deps.Clock.Now()
		d.mu.Lock()
		v := d.deps.Pacer.Ask(now, 0, d.most)
		d.mu.Unlock()
		if v.Go {
			calls.Go(func() { d.call(ctx, v.Items) })
			continue
		}
		d.wait(ctx, v.RetryAt, now)
	}
}

// wait returns when a call has ended, or at a time if there is one.
func (d *Drive) wait(ctx context.Context, until, now time.Time) {
	var fired <-chan time.Time
	if !until.IsZero() {
		t := d.deps.Clock.NewTimer(max(time.Millisecond, until.Sub(now)))
		defer t.Stop()
		fired = t.C()
	}
	select {
	case <-d.ended:
	case <-fired:
	case <-ctx.Done():
	}
}

func (d *Drive) call(ctx context.Context, items int) {
	start := d.deps.Clock.Now()
	timed, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	outcome := classify(d.deps.Call(timed, items))
	if ctx.Err() != nil {
		outcome = pace.OutcomeCanceled
	}
	d.mu.Lock()
	d.deps.Pacer.Done(d.deps.Clock.Now(), pace.Call{Start: start, Items: items, Outcome: outcome})
	d.mu.Unlock()
	select {
	case d.ended <- struct{}{}:
	default: // it is told already
	}
}

// classify sorts a call's error as grpcstore and dispatch do.
func classify(err error) pace.Outcome {
	switch status.Code(err) {
	case codes.OK:
		return pace.OutcomeOK
	case codes.DeadlineExceeded:
		return pace.OutcomeTimeout
	case codes.Unavailable, codes.ResourceExhausted:
		return pace.OutcomeOverload
	case codes.Canceled:
		return pace.OutcomeCanceled
	default:
		return pace.OutcomeError
	}
}
