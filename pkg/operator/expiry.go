package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// maxOverrides bounds what Load reads. There are about twenty targets.
const maxOverrides = 1000

// Load puts into force what was in force when the last process ended. Call it once, before Run and before the first Set. An
// error means that the records cannot be read. An override that cannot be applied is dropped: that is audited and logged.
func (o *Overrides) Load(ctx context.Context) error {
	records, err := o.records.List(ctx, queue.RecordOverride, "", maxOverrides)
	if err != nil {
		return fmt.Errorf("operator: overrides: %w", err)
	}
	last, err := o.records.ListBack(ctx, queue.RecordAudit, "", 1)
	if err != nil {
		return fmt.Errorf("operator: audit trail: %w", err)
	}
	if err := o.takeTurn(ctx); err != nil {
		return err
	}
	defer o.endTurn()
	for _, r := range last {
		micros, _, _ := strings.Cut(r.Key, "-")
		if n, err := strconv.ParseInt(micros, 10, 64); err == nil { // a key of another form does not say a time
			o.lastAudit = n
		}
	}
	for _, r := range records {
		if err := o.load(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (o *Overrides) load(ctx context.Context, r queue.Record) error {
	drop := func(before, why string) error {
		o.log.Error("override dropped at the start", "target", r.Key, "cause", why)
		return o.write(ctx, Entry{Who: self, What: actionExpired, Targets: []string{r.Key}, Before: before, After: "as configured: " + why},
			deletion(r.Key))
	}
	var v record
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return drop("an override", "its record cannot be read")
	}
	t := o.targets[r.Key]
	if t == nil {
		return drop("an override", "there is no such target any more")
	}
	var bad reset.Violations
	if t.Check(v.Setting, &bad); bad.Err() != nil {
		return drop("an override", "it cannot be set any more: "+bad.Error())
	}
	words := t.Describe(v.Setting)
	now := o.clock.Now()
	// If the clock was set back meanwhile, the expire time may be further away than the override was given.
	left := min(v.ExpireTime.Sub(now), v.Duration, maxDuration)
	if left <= 0 {
		o.log.Info("override ended while nothing ran", "target", r.Key, "setting", words, "ended", v.ExpireTime)
		return o.write(ctx, Entry{Who: self, What: actionExpired, Targets: []string{r.Key}, Before: words, After: t.Configured()},
			deletion(r.Key))
	}
	if err := t.Apply(v.Setting); err != nil {
		return drop(words, "it cannot be applied: "+err.Error())
	}
	a := &activeOverride{Override: Override{
		Target: r.Key, Kind: t.Kind, Setting: words, Before: v.Before, By: Caller{v.Who, v.From}, Reason: v.Reason,
		SetTime: v.SetTime, ExpireTime: v.ExpireTime,
	}, setting: v.Setting, duration: v.Duration, left: left}
	if end := now.Add(left).UTC().Round(0); end.Before(a.ExpireTime) {
		a.ExpireTime = end
	}
	o.put(a)
	o.log.Warn("override stands on from before the start", "target", a.Target, "setting", a.Setting, "who", v.Who, "until", a.ExpireTime)
	return nil
}

// Run ends overrides whose time is over, until ctx ends.
func (o *Overrides) Run(ctx context.Context) {
	for o.clock.Sleep(ctx, expireEvery) == nil {
		if o.takeTurn(ctx) != nil {
			return
		}
		// An end that has begun is written even if the process is about to stop.
		o.expire(context.WithoutCancel(ctx))
		o.endTurn()
	}
}

// expire ends every override whose time is over by one of the two clocks, and writes ends that could not be written before.
func (o *Overrides) expire(ctx context.Context) {
	for target, w := range o.unwritten {
		if o.writeEnd(ctx, w, target) {
			delete(o.unwritten, target)
		}
	}
	now := o.clock.Now()
	for _, a := range o.list() {
		o.mu.Lock()
		if !a.checked.IsZero() { // the first check only begins to count: it may have been set a moment ago
			a.left -= max(expireEvery, now.Sub(a.checked))
		}
		a.checked = now
		isOver := a.left <= 0 || !now.Round(0).Before(a.ExpireTime)
		o.mu.Unlock()
		if isOver {
			o.end(ctx, a)
		}
	}
}

// end reverts an override first and writes that afterwards: it must not stay in force because the disk takes no record.
func (o *Overrides) end(ctx context.Context, a *activeOverride) {
	t := o.targets[a.Target]
	before := t.InForce()
	if err := t.Revert(); err != nil {
		o.log.Error("override is over and cannot be reverted: trying again", "target", a.Target, "error", err)
		return
	}
	o.remove(a)
	after := t.InForce()
	o.log.Info("override ended: its time is over", "target", a.Target, "setting", a.Setting, "who", a.By.Who, "in_force", after)
	w, err := o.auditWrite(Entry{Who: self, What: actionExpired, Targets: []string{a.Target}, Before: before, After: after})
	if err != nil {
		o.log.Error("cannot audit the end of an override", "target", a.Target, "error", err)
		return
	}
	o.metrics.countAction(actionExpired)
	if !o.writeEnd(ctx, w, a.Target) {
		o.unwritten[a.Target] = w
	}
}

// writeEnd writes the audit entry of an end and removes the override's record. It tells whether both are on disk.
func (o *Overrides) writeEnd(ctx context.Context, audit queue.RecordWrite, target string) bool {
	err := o.records.PutAll(ctx, []queue.RecordWrite{audit, deletion(target)})
	if err != nil {
		o.log.Error("the end of an override is not on disk yet: trying again", "target", target, "error", err)
	}
	return err == nil
}
