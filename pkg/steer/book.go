package steer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Book holds the overrides in force. Make it with New, Load it once, then Run it. It is safe for concurrent use.
type Book struct {
	cfg     Config
	records Records
	knobs   map[string]*Knob
	log     *slog.Logger
	clock   clock.Clock
	metrics *metrics

	turn chan struct{} // holds one: who changes something has taken it

	mu  sync.Mutex // inside a turn, or alone; never held while anything is written
	set map[string]*standing
	// lastAudit is the µs in the key of the last entry: the next is later, whatever the clock says, so that the order of the
	// trail is the order of doing.
	lastAudit int64
	// owed are ends that are not on disk yet, by target; only who has the turn touches them.
	owed map[string]queue.RecordWrite
}

// Override is one that stands.
type Override struct {
	Target  string
	Kind    Kind
	Setting string // in words
	Before  string // what was in force before it, in words
	By      Operator
	Reason  string
	SetTime time.Time
	// ExpireTime is when it ends by itself.
	ExpireTime time.Time
}

// standing is an override in force. Its fields do not change but for left, under mu.
type standing struct {
	Override
	setting  Setting
	duration time.Duration
	left     time.Duration // as the timers see it
	looked   time.Time     // when left was taken; zero before the first look
}

// record is the value of a queue.RecordOverride record, as JSON.
type record struct {
	Setting    Setting       `json:"setting"`
	Before     string        `json:"before"`
	Who        string        `json:"who"`
	From       string        `json:"from"`
	Reason     string        `json:"reason,omitempty"`
	SetTime    time.Time     `json:"set_time"`
	ExpireTime time.Time     `json:"expire_time"`
	Duration   time.Duration `json:"duration_ns"`
}

// New returns an empty book.
func New(cfg Config, deps Deps) (*Book, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("steer: %w", err)
	}
	if err := deps.validate(); err != nil {
		return nil, fmt.Errorf("steer: %w", err)
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("steer: metrics: %w", err)
	}
	b := &Book{cfg: cfg, records: deps.Records, knobs: map[string]*Knob{}, log: deps.Logger, clock: deps.Clock, metrics: m,
		turn: make(chan struct{}, 1), set: map[string]*standing{}, owed: map[string]queue.RecordWrite{}}
	for _, k := range deps.Knobs {
		b.knobs[k.Target] = &k
	}
	return b, nil
}

// Request asks for an override.
type Request struct {
	Setting Setting
	// Duration is how long it stands; 0 means Config.Duration.
	Duration time.Duration
	Reason   string
	DryRun   bool
	By       Operator
}

// Change is what was done, or would be done in a dry run.
type Change struct {
	Target, Before, After string
	ExpireTime            time.Time // zero where nothing stands
	DryRun                bool
	Notes                 []string // what to expect of it
}

// MaxReason bounds Request.Reason, in characters.
const MaxReason = 200

// Set puts an override into force, in place of one that stands on its target. Errors are reset.Violations, whose fields
// are those of the operator API, or those of the queue.
func (b *Book) Set(ctx context.Context, r Request) (Change, error) {
	knob := b.knobs[r.Setting.Target]
	if knob == nil {
		return Change{}, &reset.Error{Kind: reset.KindNotFound, Detail: "nothing here can be overridden by that name"}
	}
	var bad reset.Violations
	knob.Check(r.Setting, &bad)
	duration := b.checkSteering(r.Duration, r.Reason, &bad)
	if err := bad.Err(); err != nil {
		return Change{}, err
	}
	if err := b.take(ctx); err != nil {
		return Change{}, err
	}
	defer b.release()
	now := b.clock.Now()
	o := &standing{Override: Override{
		Target: knob.Target, Kind: knob.Kind, Setting: knob.Words(r.Setting), Before: knob.InForce(), By: r.By, Reason: r.Reason,
		SetTime: now.UTC().Round(0), ExpireTime: now.Add(duration).UTC().Round(0),
	}, setting: r.Setting, duration: duration, left: duration}
	c := Change{Target: o.Target, Before: o.Before, After: o.Setting, ExpireTime: o.ExpireTime, DryRun: r.DryRun, Notes: knob.notes(r.Setting)}
	if r.DryRun {
		return c, nil
	}
	entry := Entry{Who: r.By.Who, From: r.By.From, What: knob.Action, Targets: []string{o.Target}, Before: o.Before, After: o.Setting,
		Reason: r.Reason, ExpireTime: o.ExpireTime}
	if err := b.write(ctx, entry, o.recordWrite()); err != nil {
		return Change{}, err
	}
	ctx = context.WithoutCancel(ctx) // what has been audited is done even if the caller goes away
	if err := knob.Apply(r.Setting); err != nil {
		return Change{}, b.undo(ctx, knob, entry, fmt.Errorf("steer: %s: %w", o.Target, err))
	}
	b.mu.Lock()
	b.set[o.Target] = o
	b.mu.Unlock()
	b.gauge()
	b.log.Warn("override set", "target", o.Target, "setting", o.Setting, "before", o.Before, "who", r.By.Who, "until", o.ExpireTime)
	return c, nil
}

func (b *Book) checkSteering(d time.Duration, reason string, bad *reset.Violations) time.Duration {
	if d == 0 {
		d = b.cfg.Duration
	}
	if d < b.cfg.Shortest || d > b.cfg.Longest {
		bad.Add("steering.duration", fmt.Sprintf("must be between %s and %s; leave it out for %s", short(b.cfg.Shortest),
			days(b.cfg.Longest), short(b.cfg.Duration)))
	}
	checkReason("steering.reason", reason, bad)
	return d
}

// undo takes back what was audited and could not be applied, and returns the cause.
func (b *Book) undo(ctx context.Context, knob *Knob, entry Entry, cause error) error {
	b.mu.Lock()
	old := b.set[knob.Target]
	b.mu.Unlock()
	write := queue.RecordWrite{Kind: queue.RecordOverride, Key: knob.Target, Version: queue.AnyVersion}
	entry.What, entry.After, entry.ExpireTime = entry.What+undone, "not changed: "+cause.Error(), time.Time{}
	if old != nil {
		write = old.recordWrite()
		cause = errors.Join(cause, knob.Apply(old.setting))
	} else {
		cause = errors.Join(cause, knob.Revert())
	}
	b.log.Error("override undone: it could not be applied", "target", knob.Target, "error", cause)
	return errors.Join(cause, b.write(ctx, entry, write))
}

// List returns the overrides in force, that which ends first first. It waits for nothing.
func (b *Book) List() []Override {
	var list []Override
	for _, o := range b.standing() {
		list = append(list, o.Override)
	}
	return list
}

// Targets lists what can be overridden, in alphabetical order.
func (b *Book) Targets() []string {
	targets := make([]string, 0, len(b.knobs))
	for t := range b.knobs {
		targets = append(targets, t)
	}
	slices.Sort(targets)
	return targets
}

// Standing tells whether an override stands on the target. It waits for nothing.
func (b *Book) Standing(target string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set[target] != nil
}

func (b *Book) standing() []*standing {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*standing, 0, len(b.set))
	for _, o := range b.set {
		list = append(list, o)
	}
	slices.SortFunc(list, func(x, y *standing) int {
		return cmp.Or(x.ExpireTime.Compare(y.ExpireTime), cmp.Compare(x.Target, y.Target))
	})
	return list
}

// Reconfigure changes what lies below the overrides, with an entry before it: do puts the new configuration into force, all
// of it or nothing, and every override that stands is put on top again.
func (b *Book) Reconfigure(ctx context.Context, e Entry, do func() error) error {
	if err := b.take(ctx); err != nil {
		return err
	}
	defer b.release()
	if err := b.Audit(ctx, e); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := do(); err != nil {
		e.What, e.After = e.What+undone, "not changed: "+err.Error()
		b.reapply()
		return errors.Join(err, b.Audit(ctx, e))
	}
	b.reapply()
	return nil
}

// reapply puts what stands on top of what is configured now, and tells it so: a limit's burst may be the configured one. One
// that cannot be applied stands in the list all the same, and the next change tries it again: what it replaced is not what its
// operator wants.
func (b *Book) reapply() {
	for _, o := range b.standing() {
		knob := b.knobs[o.Target]
		if err := knob.Apply(o.setting); err != nil {
			b.log.Error("override could not be put on top of another configuration", "target", o.Target, "error", err)
		}
		words := knob.Words(o.setting)
		b.mu.Lock()
		told := *o // another: who lists them reads o without the lock
		told.Setting = words
		b.set[o.Target] = &told
		b.mu.Unlock()
	}
}

// write makes an entry and a change of an override durable in one step, with the end of the one before if that is owed.
func (b *Book) write(ctx context.Context, e Entry, w queue.RecordWrite) error {
	audit, err := b.auditWrite(e)
	if err != nil {
		return err
	}
	writes := []queue.RecordWrite{audit, w}
	if end, ok := b.owed[w.Key]; ok {
		writes = append(writes, end)
	}
	if err := b.put(ctx, writes); err != nil {
		return fmt.Errorf("steer: %s of %s: %w", e.What, w.Key, err)
	}
	delete(b.owed, w.Key)
	b.count(e.What)
	return nil
}

// put writes all or nothing, and waits for the outcome even if the caller goes away: a queue that is left waiting may write
// all the same, and the next start would put into force what its operator was told had failed.
func (b *Book) put(ctx context.Context, writes []queue.RecordWrite) error {
	if err := ctx.Err(); err != nil {
		return &reset.Error{Kind: reset.KindCanceled, Cause: err}
	}
	return b.records.PutAll(context.WithoutCancel(ctx), writes)
}

func (o *standing) recordWrite() queue.RecordWrite {
	value, err := json.Marshal(record{Setting: o.setting, Before: o.Before, Who: o.By.Who, From: o.By.From, Reason: o.Reason,
		SetTime: o.SetTime, ExpireTime: o.ExpireTime, Duration: o.duration})
	if err != nil {
		panic(fmt.Sprintf("steer: a setting that Check let pass: %v", err)) // NaN and infinities are refused there
	}
	return queue.RecordWrite{Kind: queue.RecordOverride, Key: o.Target, Value: value, Version: queue.AnyVersion}
}

func (o *standing) deletion() queue.RecordWrite {
	return queue.RecordWrite{Kind: queue.RecordOverride, Key: o.Target, Version: queue.AnyVersion}
}

func (b *Book) forget(o *standing) {
	b.mu.Lock()
	delete(b.set, o.Target)
	b.mu.Unlock()
	b.gauge()
}

func (b *Book) gauge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := map[Kind]int{}
	for _, o := range b.set {
		n[o.Kind]++
	}
	for kind, g := range b.metrics.overrides {
		g.Set(float64(n[kind]))
	}
}

// take waits for the turn.
func (b *Book) take(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &reset.Error{Kind: reset.KindCanceled, Cause: ctx.Err()}
	}
}

func (b *Book) release() { <-b.turn }
