package steer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// What operators do: Entry.What. What was audited and then undone has "_undone" behind it.
const (
	ActionPauseLane  = "pause_lane"
	ActionLaneWeight = "set_lane_weight"
	ActionPace       = "set_pace"
	ActionBreaker    = "force_breaker"
	ActionBrownout   = "force_brownout"
	ActionLimit      = "set_limit"
	ActionLift       = "lift_override"
	ActionExpired    = "override_expired"
	ActionReload     = "reload"
	ActionRequeue    = "requeue_parked"
	ActionGiveUp     = "give_up_parked"

	undone = "_undone"
)

// Self is Entry.Who of what ends by itself.
const Self = "surgegate"

// Operator is who does something.
type Operator struct {
	Who  string // token name or certificate identity; "loopback" where neither is asked for
	From string // address and port; empty for a signal
}

type operatorKey struct{}

// WithOperator tells who calls to whom the context is given.
func WithOperator(ctx context.Context, o Operator) context.Context {
	return context.WithValue(ctx, operatorKey{}, o)
}

// OperatorOf is who calls; the zero Operator where nobody said.
func OperatorOf(ctx context.Context) Operator {
	o, _ := ctx.Value(operatorKey{}).(Operator)
	return o
}

// Entry is one thing done: the value, as JSON, of a queue.RecordAudit record.
type Entry struct {
	When    time.Time `json:"when"`
	Who     string    `json:"who"`
	From    string    `json:"from"`
	What    string    `json:"what"`
	Targets []string  `json:"targets,omitempty"`
	Before  string    `json:"before"`
	After   string    `json:"after"`
	Reason  string    `json:"reason,omitempty"`
	// ExpireTime is when it ends by itself; zero where it does not.
	ExpireTime time.Time `json:"expire_time,omitzero"`
}

// maxWords bounds Before and After, so that an entry fits its record whatever a reload changes; it is cut with an ellipsis.
const maxWords = 8 << 10

// auditWrite is the record of an entry that happens now.
func (b *Book) auditWrite(e Entry) (queue.RecordWrite, error) {
	e.When = b.clock.Now().UTC().Truncate(time.Microsecond)
	e.Before, e.After = cut(e.Before), cut(e.After)
	value, err := json.Marshal(e)
	if err != nil {
		return queue.RecordWrite{}, fmt.Errorf("steer: audit record: %w", err)
	}
	b.mu.Lock()
	b.lastAudit = max(e.When.UnixMicro(), b.lastAudit+1)
	key := fmt.Sprintf("%020d-%s", b.lastAudit, reset.NewID())
	b.mu.Unlock()
	return queue.RecordWrite{Kind: queue.RecordAudit, Key: key, Value: value}, nil
}

func cut(words string) string {
	if len(words) <= maxWords {
		return words
	}
	end := maxWords
	for end > 0 && words[end]&0xC0 == 0x80 { // not inside a character
		end--
	}
	return words[:end] + "…"
}

// Audit appends an entry, with the time of now; it is durable when Audit returns. Call it before anything is changed.
func (b *Book) Audit(ctx context.Context, e Entry) error {
	w, err := b.auditWrite(e)
	if err != nil {
		return err
	}
	if err := b.put(ctx, []queue.RecordWrite{w}); err != nil {
		return fmt.Errorf("steer: audit record: %w", err)
	}
	b.count(e.What)
	return nil
}

func (b *Book) count(what string) {
	if c, ok := b.metrics.actions[what]; ok {
		c.Inc()
	}
}

// maxPage bounds what Trail returns, in bytes of records: a gRPC client takes 4 MiB by default, and an entry that names a
// thousand jobs has 35 KB.
const maxPage = 1 << 20

// Trail returns up to limit entries, newest first, from before the key on; empty: from the newest. next is the key to go
// on with, empty after the last. Large entries make it fewer, but at least one.
func (b *Book) Trail(ctx context.Context, before string, limit int) (entries []Entry, next string, err error) {
	records, err := b.records.ListBack(ctx, queue.RecordAudit, before, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("steer: audit trail: %w", err)
	}
	n, size := 0, 0
	for n < min(len(records), limit) && (n == 0 || size+len(records[n].Value) <= maxPage) {
		size += len(records[n].Value)
		n++
	}
	if len(records) > n {
		records = records[:n]
		next = records[n-1].Key
	}
	for _, r := range records {
		var e Entry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			// Of another version, or damaged: that there is one is worth more than an error for all the others.
			e = Entry{What: "unreadable", Targets: []string{r.Key}, When: r.ExpireTime}
		}
		entries = append(entries, e)
	}
	return entries, next, nil
}
