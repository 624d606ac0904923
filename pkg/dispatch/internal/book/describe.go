package book

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/queue"
)

// Config of a Book; there are no defaults.
type Config struct {
	// Timeout is the deadline of the first Describe, Every how often it is asked again.
	Timeout, Every time.Duration
}

// Deps is what a Book needs; all of it.
type Deps struct {
	Store interface {
		Describe(ctx context.Context) (credstore.Description, error)
	}
	Queue interface {
		Get(ctx context.Context, kind queue.RecordKind, key string) (queue.Record, error)
		Put(ctx context.Context, w queue.RecordWrite) error
	}
	// Meets tells why what a store needs cannot be done.
	Meets func(credstore.Description) error
	// Changed is called when the description has changed.
	Changed   func()
	Described prometheus.Gauge // 1 if the last description was had and can be met
	Clock     clock.Clock
	Logger    *slog.Logger
}

// New returns a book in which nothing is written.
func New(cfg Config, deps Deps) *Book {
	return &Book{cfg: cfg, deps: deps, describe: make(chan struct{}, 1)}
}

// Prepare asks the store what it needs, or takes its recorded answer where it does not answer. Without any answer that can
// be met the lanes of the store rest until there is one.
func (b *Book) Prepare(ctx context.Context) {
	if r, err := b.deps.Queue.Get(ctx, queue.RecordDescribe, queue.DescribeKey); err == nil {
		var desc credstore.Description
		if json.Unmarshal(r.Value, &desc) == nil && b.deps.Meets(desc) == nil {
			b.set(desc)
		}
	}
	askCtx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	var desc credstore.Description
	err := downstream.Guard(func() (err error) {
		desc, err = b.deps.Store.Describe(askCtx)
		return err
	})
	if err == nil {
		err = b.described(ctx, desc)
	}
	if err == nil {
		return
	}
	b.mu.Lock()
	if b.dark.IsZero() {
		b.dark = b.deps.Clock.Now()
	}
	b.mu.Unlock()
	b.complain(ctx, err)
}

// complainEvery is the least time between two lines about a description that is missing or cannot be met.
const complainEvery = time.Minute

// problem is why there is no description that can be met.
type problem struct {
	failure.Error
	told time.Time // when it was last logged
}

// complain notes why there is no description, and logs it: once, and once a minute while it lasts.
func (b *Book) complain(ctx context.Context, err error) {
	b.deps.Described.Set(0)
	f, now := failure.Of(err), b.deps.Clock.Now()
	if errors.Is(err, credstore.ErrConfig) {
		f.Class = failure.Config
	}
	b.mu.Lock()
	due := b.problem == nil || b.problem.Code != f.Code || now.Sub(b.problem.told) >= complainEvery
	if b.problem == nil {
		b.problem = &problem{}
	}
	b.problem.Error = f
	if due {
		b.problem.told = now
	}
	known := b.known
	b.mu.Unlock()
	if !due {
		return
	}
	message := "the store does not describe itself: its lanes rest until it does"
	switch {
	case f.Class == failure.Config && known:
		message = "the store's description cannot be used: the last one that could be is in force"
	case f.Class == failure.Config:
		message = "the store's description cannot be used: its lanes rest until it can be"
	case known:
		message = "the store does not describe itself: its last description is in force"
	}
	b.deps.Logger.ErrorContext(ctx, message, "code", f.Code, "meaning", b.meaning(f))
}

func (b *Book) meaning(f failure.Error) string {
	return cmp.Or(f.Advice, failure.Meaning("store", f.Code))
}

// Misconfiguration says what must be changed before the store's description can be used; empty while it can, or where it
// is only missing.
func (b *Book) Misconfiguration() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.problem == nil || b.problem.Class != failure.Config {
		return ""
	}
	return b.meaning(b.problem.Error)
}

// described takes a fresh answer over and records it.
func (b *Book) described(ctx context.Context, desc credstore.Description) error {
	if err := b.deps.Meets(desc); err != nil {
		b.forget()
		return err
	}
	b.deps.Described.Set(1)
	b.mu.Lock()
	mended := b.problem != nil
	b.problem = nil
	b.mu.Unlock()
	if mended {
		b.deps.Logger.InfoContext(ctx, "the store describes itself again")
	}
	if !b.set(desc) {
		return nil
	}
	b.deps.Changed()
	value, err := json.Marshal(desc)
	if err == nil {
		err = b.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordDescribe, Key: queue.DescribeKey, Value: value, Version: queue.AnyVersion,
		})
	}
	if err != nil { // the lanes know it; the fronts will after the next one
		b.deps.Logger.Error("cannot record the store's description", "err", err)
	}
	return nil
}

// Run asks the store again from time to time, soon while it has not answered, and when its breaker closes.
// It asks under a permit, so that with no work at hand it is also the probe that finds the store back.
func (b *Book) Run(ctx context.Context, store *downstream.Downstream) error {
	failures := 0
	if b.Lookups() == 0 {
		failures = 1
	}
	for ctx.Err() == nil {
		wait := b.cfg.Every
		if failures > 0 {
			wait = min(wait, decide.Backoff(time.Second, 30*time.Second, failures, rand.Float64()))
		}
		b.await(ctx, wait)
		p, err := store.Acquire(ctx, downstream.Ask{Kind: downstream.KindLookup, Items: 1})
		if err != nil {
			return nil // Run ends
		}
		var desc credstore.Description
		c := p.Do(ctx, 1, func(ctx context.Context) error {
			desc, err = b.deps.Store.Describe(ctx)
			return err
		})
		switch {
		case c == downstream.Canceled:
			continue
		case c == downstream.OK:
			err = b.described(ctx, desc)
		case err == nil: // a panic
			err = downstream.ErrPanic
		}
		if err == nil {
			failures = 0
			continue
		}
		failures++
		b.complain(ctx, err)
	}
	return nil
}

func (b *Book) await(ctx context.Context, wait time.Duration) {
	t := b.deps.Clock.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C():
	case <-b.describe:
	case <-ctx.Done():
	}
}
