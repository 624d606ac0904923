package steer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// maxOverrides bounds what Load reads: there are about twenty targets.
const maxOverrides = 1000

// Load puts into force what stood when the process ended. Call it once, before Run and before anybody sets. An error means
// that the records cannot be read; an override that cannot be applied is none: it is audited, logged and gone.
func (b *Book) Load(ctx context.Context) error {
	records, err := b.records.List(ctx, queue.RecordOverride, "", maxOverrides)
	if err != nil {
		return fmt.Errorf("steer: overrides: %w", err)
	}
	last, err := b.records.ListBack(ctx, queue.RecordAudit, "", 1)
	if err != nil {
		return fmt.Errorf("steer: audit trail: %w", err)
	}
	if err := b.take(ctx); err != nil {
		return err
	}
	defer b.release()
	for _, r := range last {
		micros, _, _ := strings.Cut(r.Key, "-")
		if n, err := strconv.ParseInt(micros, 10, 64); err == nil { // another's key orders nothing
			b.lastAudit = n
		}
	}
	for _, r := range records {
		if err := b.load(ctx, r); err != nil {
			return err
		}
	}
	b.gauge()
	return nil
}

func (b *Book) load(ctx context.Context, r queue.Record) error {
	deletion := queue.RecordWrite{Kind: queue.RecordOverride, Key: r.Key, Version: queue.AnyVersion}
	drop := func(before, why string) error {
		b.log.Error("override dropped at the start", "target", r.Key, "cause", why)
		return b.write(ctx, Entry{Who: Self, What: ActionExpired, Targets: []string{r.Key}, Before: before, After: "as configured: " + why},
			deletion)
	}
	var v record
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return drop("an override", "its record cannot be read")
	}
	knob := b.knobs[r.Key]
	if knob == nil {
		return drop("an override", "there is no such target any more")
	}
	var bad reset.Violations
	if knob.Check(v.Setting, &bad); bad.Err() != nil {
		return drop("an override", "it cannot be set any more: "+bad.Error())
	}
	words := knob.Words(v.Setting)
	now := b.clock.Now()
	// By a clock that was set back meanwhile there may be more left than was ever given.
	left := min(v.ExpireTime.Sub(now), v.Duration, b.cfg.Longest)
	if left <= 0 {
		b.log.Info("override ended while nothing ran", "target", r.Key, "setting", words, "ended", v.ExpireTime)
		return b.write(ctx, Entry{Who: Self, What: ActionExpired, Targets: []string{r.Key}, Before: words, After: knob.Configured()}, deletion)
	}
	if err := knob.Apply(v.Setting); err != nil {
		return drop(words, "it cannot be applied: "+err.Error())
	}
	o := &standing{Override: Override{
		Target: r.Key, Kind: knob.Kind, Setting: words, Before: v.Before, By: Operator{v.Who, v.From}, Reason: v.Reason,
		SetTime: v.SetTime, ExpireTime: v.ExpireTime,
	}, setting: v.Setting, duration: v.Duration, left: left}
	if end := now.Add(left).UTC().Round(0); end.Before(o.ExpireTime) {
		o.ExpireTime = end
	}
	b.mu.Lock()
	b.set[o.Target] = o
	b.mu.Unlock()
	b.log.Warn("override stands on from before the start", "target", o.Target, "setting", o.Setting, "who", v.Who, "until", o.ExpireTime)
	return nil
}

// Lift ends the override on the target, or all of them where that is empty. It returns a *reset.Error of KindNotFound where
// none stands.
func (b *Book) Lift(ctx context.Context, target, reason string, dryRun bool, by Operator) ([]Change, error) {
	var bad reset.Violations
	checkReason("reason", reason, &bad)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if err := b.take(ctx); err != nil {
		return nil, err
	}
	defer b.release()
	var lifting []*standing
	for _, o := range b.standing() {
		if target == "" || o.Target == target {
			lifting = append(lifting, o)
		}
	}
	if len(lifting) == 0 {
		detail := "no override stands: everything is as configured"
		if target != "" {
			detail = "no override stands on that target; list the overrides to see which do"
		}
		return nil, &reset.Error{Kind: reset.KindNotFound, Detail: detail}
	}
	var changes []Change
	for _, o := range lifting {
		c, err := b.lift(ctx, o, reason, dryRun, by)
		if err != nil {
			return nil, err // those before it are lifted; their entries say so
		}
		changes = append(changes, c)
		ctx = context.WithoutCancel(ctx) // all or none, as far as it is in our hands
	}
	return changes, nil
}

func (b *Book) lift(ctx context.Context, o *standing, reason string, dryRun bool, by Operator) (Change, error) {
	knob := b.knobs[o.Target]
	c := Change{Target: o.Target, Before: knob.InForce(), After: knob.Configured(), DryRun: dryRun, Notes: knob.liftNotes()}
	if dryRun {
		return c, nil
	}
	entry := Entry{Who: by.Who, From: by.From, What: ActionLift, Targets: []string{o.Target}, Before: c.Before, After: c.After, Reason: reason}
	if err := b.write(ctx, entry, o.deletion()); err != nil {
		return Change{}, err
	}
	if err := knob.Revert(); err != nil {
		return Change{}, b.undo(context.WithoutCancel(ctx), knob, entry, fmt.Errorf("steer: %s: %w", o.Target, err))
	}
	b.forget(o)
	b.log.Warn("override lifted", "target", o.Target, "setting", o.Setting, "who", by.Who)
	return c, nil
}

// Run ends overrides whose time is over, until ctx ends.
func (b *Book) Run(ctx context.Context) {
	for b.clock.Sleep(ctx, b.cfg.LookEvery) == nil {
		if b.take(ctx) != nil {
			return
		}
		// An end that has begun is written even if the process is about to go.
		b.expire(context.WithoutCancel(ctx))
		b.release()
	}
}

// expire ends what is over, one look after the last.
func (b *Book) expire(ctx context.Context) {
	for target, w := range b.owed {
		if b.pay(ctx, w, target) {
			delete(b.owed, target)
		}
	}
	now := b.clock.Now()
	for _, o := range b.standing() {
		b.mu.Lock()
		if !o.looked.IsZero() { // set in the middle of this look, it may stand a part of one longer
			o.left -= max(b.cfg.LookEvery, now.Sub(o.looked))
		}
		o.looked = now
		over := o.left <= 0 || !now.Round(0).Before(o.ExpireTime)
		b.mu.Unlock()
		if !over {
			continue
		}
		b.end(ctx, o)
	}
}

func (b *Book) end(ctx context.Context, o *standing) {
	knob := b.knobs[o.Target]
	before := knob.InForce()
	if err := knob.Revert(); err != nil {
		b.log.Error("override is over and cannot be reverted: trying again", "target", o.Target, "error", err)
		return
	}
	b.forget(o)
	after := knob.InForce()
	b.log.Info("override ended: its time is over", "target", o.Target, "setting", o.Setting, "who", o.By.Who, "in_force", after)
	w, err := b.auditWrite(Entry{Who: Self, What: ActionExpired, Targets: []string{o.Target}, Before: before, After: after})
	if err != nil {
		b.log.Error("cannot audit the end of an override", "target", o.Target, "error", err)
		return
	}
	b.count(ActionExpired)
	if !b.pay(ctx, w, o.Target) {
		b.owed[o.Target] = w
	}
}

// pay writes the end of an override.
func (b *Book) pay(ctx context.Context, audit queue.RecordWrite, target string) bool {
	err := b.records.PutAll(ctx, []queue.RecordWrite{audit, {Kind: queue.RecordOverride, Key: target, Version: queue.AnyVersion}})
	if err != nil {
		b.log.Error("the end of an override is not on disk yet: trying again", "target", target, "error", err)
	}
	return err == nil
}
