package embedded

import (
	"context"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/surgegate/surgegate/pkg/reset"
)

// request is one call's work for the committer.
type request struct {
	// run changes the queue through the tx. The committer calls it once, under Engine.mu; it must not block.
	run func(*tx)
	// done is closed by syncLoop when the caller may be answered: when the effects of run are durable, or earlier with
	// answerBeforeSync. It is never closed after fail.
	done chan struct{}
	// answerBeforeSync is set by run. It is true when the answer depends only on earlier groups: then done is closed
	// when those are durable, before this group's own fsync.
	answerBeforeSync bool
}

// commitGroup is a set of requests that share one batch and one fsync. commitLoop fills it and hands it to syncLoop over
// Engine.synced.
type commitGroup struct {
	requests []*request
	started  time.Time     // when its first request was taken
	now      int64         // µs; the queue's time of all its writes; no later group has an earlier one
	batch    *pebble.Batch // nil when the group wrote nothing; syncLoop sets it to nil after the fsync
	// synced is closed by syncLoop once this group and all before it are durable. After fail it stays open.
	synced chan struct{}
	// previous is the group before, or nil when that one is durable. Written by runGroup, guarded by Engine.mu.
	previous *commitGroup
	// Written by runGroup before the group is visible to others, read-only afterwards.
	markAccounts  []reset.Key // accounts whose marks it wrote
	ticketSignals []reset.ID  // tickets whose watchers must be signalled once it is durable
	passages      []passage   // passages of the start lane that it wrote, for the watchers of starts
}

// passage is what one Lease decided for the start places of a class up to a sequence: when their tickets become DONE.
type passage struct {
	class reset.Class
	upTo  uint64
	done  int64 // µs
}

// answer closes done of the group's requests that have answerBeforeSync as given.
func (g *commitGroup) answer(beforeSync bool) {
	for _, r := range g.requests {
		if r.answerBeforeSync == beforeSync {
			close(r.done)
		}
	}
}

// newestUnsyncedGroup returns the newest group whose time is at or before the given µs, or nil if all of these are
// durable. All groups that wrote something with this time are that group or older ones, so waiting for it is enough: a
// group becomes durable after those before it. The caller holds Engine.mu.
func (e *Engine) newestUnsyncedGroup(at int64) *commitGroup {
	g := e.lastGroup
	for g != nil && g.now > at {
		g = g.previous
	}
	return g
}

// unsyncedMarkGroup returns the newest group that wrote the account's mark, or nil if the mark on disk is the newest. The
// caller holds Engine.mu.
func (e *Engine) unsyncedMarkGroup(account reset.Key) *commitGroup {
	g := e.lastGroup
	for g != nil && !slices.Contains(g.markAccounts, account) {
		g = g.previous
	}
	return g
}

// waitDurable blocks until g, and with it every group before it, is durable. A nil g is durable. A reader takes g
// (mostly Engine.lastGroup) under Engine.mu together with what it read, and calls this after it has released mu. So
// it never tells anybody what a power cut could still take back.
func (e *Engine) waitDurable(ctx context.Context, g *commitGroup) error {
	if g == nil {
		return nil
	}
	select {
	case <-g.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.failedSignal:
		return e.failureErr()
	}
}
