package book

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch/decide"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
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

// describeKey is the record's key: there is one store.
const describeKey = "store"

// Prepare asks the store what it needs, or takes its recorded answer where it does not answer. The only error is an
// answer that cannot be met: without any, the lanes of the store rest until there is one.
func (b *Book) Prepare(ctx context.Context) error {
	if r, err := b.deps.Queue.Get(ctx, queue.RecordDescribe, describeKey); err == nil {
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
	if err != nil {
		b.deps.Described.Set(0)
		b.mu.Lock()
		b.dark = b.deps.Clock.Now()
		b.mu.Unlock()
		b.deps.Logger.Warn("the store does not describe itself", "recorded", b.Lookups() > 0, "err", err)
		return nil
	}
	return b.described(ctx, desc)
}

// described takes a fresh answer over and records it.
func (b *Book) described(ctx context.Context, desc credstore.Description) error {
	if err := b.deps.Meets(desc); err != nil {
		b.deps.Described.Set(0)
		return err
	}
	b.deps.Described.Set(1)
	if !b.set(desc) {
		return nil
	}
	b.deps.Changed()
	value, err := json.Marshal(desc)
	if err == nil {
		err = b.deps.Queue.Put(ctx, queue.RecordWrite{
			Kind: queue.RecordDescribe, Key: describeKey, Value: value, Version: queue.AnyVersion,
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
			return nil //nolint:nilerr // Run ends
		}
		var desc credstore.Description
		c := p.Do(ctx, 1, func(ctx context.Context) (err error) {
			desc, err = b.deps.Store.Describe(ctx)
			return err
		})
		if c != downstream.OK {
			failures++
			b.deps.Described.Set(0)
			continue
		}
		failures = 0
		if err := b.described(ctx, desc); err != nil {
			failures++
			b.deps.Logger.Error("the store's new description cannot be met: the last one stays in use", "err", err)
		}
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
