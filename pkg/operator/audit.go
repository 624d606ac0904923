package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Entry.What of actions that are not the setting of an override; those have Target.Action.
const (
	ActionReload  = "reload"
	actionLift    = "lift_override"
	actionExpired = "override_expired"
	actionRequeue = "requeue_parked"
	actionGiveUp  = "give_up_parked"

	// undoneSuffix is behind the action in the entry that says that what was audited was not done.
	undoneSuffix = "_undone"
)

// self is Entry.Who of what happens without an operator.
const self = "surgegate"

// Caller is the operator who makes a call.
type Caller struct {
	Who  string // token name or certificate identity; "loopback" where neither is required
	From string // address and port; empty for a signal
}

type callerKey struct{}

// WithCaller returns a context that CallerOf reads.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the operator who makes the call; the zero Caller if nobody said.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Entry is one action in the audit trail: the value, as JSON, of a queue.RecordAudit record.
type Entry struct {
	When    time.Time `json:"when"`
	Who     string    `json:"who"`
	From    string    `json:"from"`
	What    string    `json:"what"`
	Targets []string  `json:"targets,omitempty"`
	Before  string    `json:"before"`
	After   string    `json:"after"`
	Reason  string    `json:"reason,omitempty"`
	// ExpireTime is when the effect ends by itself; zero if it does not.
	ExpireTime time.Time `json:"expire_time,omitzero"`
}

// maxWords bounds Before and After, in bytes, so that an entry fits into a record however much a reload changes.
const maxWords = 8 << 10

// auditWrite returns the record of an entry that happens now.
func (o *Overrides) auditWrite(e Entry) (queue.RecordWrite, error) {
	e.When = o.clock.Now().UTC().Truncate(time.Microsecond)
	e.Before, e.After = truncate(e.Before), truncate(e.After)
	value, err := json.Marshal(e)
	if err != nil {
		return queue.RecordWrite{}, fmt.Errorf("operator: audit record: %w", err)
	}
	o.mu.Lock()
	o.lastAudit = max(e.When.UnixMicro(), o.lastAudit+1)
	key := fmt.Sprintf("%020d-%s", o.lastAudit, reset.NewID())
	o.mu.Unlock()
	return queue.RecordWrite{Kind: queue.RecordAudit, Key: key, Value: value}, nil
}

// truncate cuts words to maxWords bytes, between two characters, and marks the cut with an ellipsis.
func truncate(words string) string {
	if len(words) <= maxWords {
		return words
	}
	end := maxWords
	for end > 0 && words[end]&0xC0 == 0x80 { // inside a character
		end--
	}
	return words[:end] + "…"
}

// Audit appends an entry with the present time. It is durable when Audit returns. Call it before anything is changed.
func (o *Overrides) Audit(ctx context.Context, e Entry) error {
	w, err := o.auditWrite(e)
	if err != nil {
		return err
	}
	if err := o.putRecords(ctx, []queue.RecordWrite{w}); err != nil {
		return fmt.Errorf("operator: audit record: %w", err)
	}
	o.metrics.countAction(e.What)
	return nil
}

// maxPage bounds what Trail returns, in bytes of records: a gRPC client takes 4 MiB by default, and an entry that names a
// thousand jobs has 35 KB.
const maxPage = 1 << 20

// Trail returns up to limit entries of the audit trail, newest first. It begins after the entry with the key before, or with the
// newest if that is empty. It returns fewer entries, but at least one, if they are large. next is the key for the following call;
// it is empty after the last entry.
func (o *Overrides) Trail(ctx context.Context, before string, limit int) (entries []Entry, next string, err error) {
	records, err := o.records.ListBack(ctx, queue.RecordAudit, before, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("operator: audit trail: %w", err)
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
			// The entry is damaged or of another version. Show that there is one, and all the others.
			e = Entry{What: "unreadable", Targets: []string{r.Key}, When: r.ExpireTime}
		}
		entries = append(entries, e)
	}
	return entries, next, nil
}
