package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

const (
	// defaultDuration is how long an override stays in force if nobody says: about as long as an incident.
	defaultDuration = time.Hour
	// minDuration is the shortest life of an override: its effect cannot be seen in less.
	minDuration = time.Minute
	// maxDuration is the longest life of an override. What must last longer belongs into the configuration.
	maxDuration = 7 * 24 * time.Hour
	// expireEvery is how often overrides are checked for their end.
	expireEvery = time.Second
	// maxReason bounds a reason, in characters.
	maxReason = 200
)

// Records is where overrides and the audit trail are kept. Every queue engine is one.
type Records interface {
	PutAll(ctx context.Context, writes []queue.RecordWrite) error
	List(ctx context.Context, kind queue.RecordKind, after string, limit int) ([]queue.Record, error)
	ListBack(ctx context.Context, kind queue.RecordKind, before string, limit int) ([]queue.Record, error)
}

// Overrides holds the overrides in force and writes the audit trail. Make it with NewOverrides, call Load once, then Run. It is
// safe for concurrent use.
type Overrides struct {
	records Records
	targets map[string]*Target
	log     *slog.Logger
	clock   clock.Clock
	metrics *overrideMetrics

	// turn holds one value. Whoever changes something puts it in, so changes run one after the other.
	turn chan struct{}

	// mu is never held while anything is written.
	mu     sync.Mutex
	active map[string]*activeOverride // by target
	// lastAudit is the time, in µs, in the key of the last audit entry. The next key is greater whatever the clock says, so
	// that the order of the keys is the order of the actions.
	lastAudit int64
	// unwritten are audit entries of overrides that have ended but whose end is not on disk yet, by target. Only the holder of
	// the turn reads and writes it.
	unwritten map[string]queue.RecordWrite
}

// Override is one that is in force.
type Override struct {
	Target  string
	Kind    Kind
	Setting string // in words
	Before  string // what was in force before it, in words
	By      Caller
	Reason  string
	SetTime time.Time
	// ExpireTime is when it ends by itself.
	ExpireTime time.Time
}

// activeOverride is an override in force. Only left and checked change, under mu.
type activeOverride struct {
	Override
	setting  Setting
	duration time.Duration
	left     time.Duration // by the timers
	checked  time.Time     // when left was last reduced; zero before the first time
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

// OverridesDeps are what Overrides work with. All but Clock are required.
type OverridesDeps struct {
	Records    Records
	Targets    []Target
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Clock is the machine's if nil.
	Clock clock.Clock
}

// NewOverrides returns Overrides with none in force.
func NewOverrides(d OverridesDeps) (*Overrides, error) {
	if d.Records == nil || d.Logger == nil || d.Registerer == nil {
		return nil, errors.New("operator: Records, Logger and Registerer are needed")
	}
	o := &Overrides{
		records: d.Records, targets: map[string]*Target{}, log: d.Logger, clock: d.Clock, turn: make(chan struct{}, 1),
		active: map[string]*activeOverride{}, unwritten: map[string]queue.RecordWrite{},
	}
	if o.clock == nil {
		o.clock = clock.System{}
	}
	for _, t := range d.Targets {
		o.targets[t.Name] = &t
	}
	var err error
	if o.metrics, err = newOverrideMetrics(d.Registerer, d.Targets); err != nil {
		return nil, fmt.Errorf("operator: metrics: %w", err)
	}
	return o, nil
}

// Request asks for an override.
type Request struct {
	Setting Setting
	// Duration is how long it stays in force, 1 minute to 7 days; 0 means 1 hour.
	Duration time.Duration
	Reason   string // at most 200 characters
	DryRun   bool
	By       Caller
}

// Change is what was done, or what a dry run would do.
type Change struct {
	Target, Before, After string
	ExpireTime            time.Time // zero if nothing is overridden afterwards
	DryRun                bool
	Notes                 []string // what to expect of it
}

// Set puts an override into force, in place of the one on the same target. It returns reset.Violations with the field names of
// the operator API, a *reset.Error of KindNotFound for an unknown target, or an error of the queue.
func (o *Overrides) Set(ctx context.Context, r Request) (Change, error) {
	t := o.targets[r.Setting.Target]
	if t == nil {
		return Change{}, &reset.Error{Kind: reset.KindNotFound, Detail: "nothing here can be overridden by that name"}
	}
	var bad reset.Violations
	t.Check(r.Setting, &bad)
	duration := checkDuration(r.Duration, &bad)
	checkReason("steering.reason", r.Reason, &bad)
	if err := bad.Err(); err != nil {
		return Change{}, err
	}
	if err := o.takeTurn(ctx); err != nil {
		return Change{}, err
	}
	defer o.endTurn()
	now := o.clock.Now()
	next := &activeOverride{Override: Override{
		Target: t.Name, Kind: t.Kind, Setting: t.Describe(r.Setting), Before: t.InForce(), By: r.By, Reason: r.Reason,
		SetTime: now.UTC().Round(0), ExpireTime: now.Add(duration).UTC().Round(0),
	}, setting: r.Setting, duration: duration, left: duration}
	c := Change{Target: next.Target, Before: next.Before, After: next.Setting, ExpireTime: next.ExpireTime, DryRun: r.DryRun,
		Notes: t.notes(r.Setting)}
	if r.DryRun {
		return c, nil
	}
	entry := Entry{Who: r.By.Who, From: r.By.From, What: t.Action, Targets: []string{next.Target}, Before: next.Before,
		After: next.Setting, Reason: r.Reason, ExpireTime: next.ExpireTime}
	if err := o.write(ctx, entry, next.recordWrite()); err != nil {
		return Change{}, err
	}
	ctx = context.WithoutCancel(ctx) // what has been audited is done even if the caller goes away
	if err := t.Apply(r.Setting); err != nil {
		return Change{}, o.undo(ctx, t, entry, fmt.Errorf("operator: %s: %w", next.Target, err))
	}
	o.put(next)
	o.log.Warn("override set", "target", next.Target, "setting", next.Setting, "before", next.Before, "who", r.By.Who,
		"until", next.ExpireTime)
	return c, nil
}

func checkDuration(d time.Duration, bad *reset.Violations) time.Duration {
	if d == 0 {
		return defaultDuration
	}
	if d < minDuration || d > maxDuration {
		bad.Add("steering.duration", "must be between 1m and 7 days; leave it out for 1h")
	}
	return d
}

func checkReason(field, reason string, bad *reset.Violations) {
	switch {
	case utf8.RuneCountInString(reason) > maxReason:
		bad.Add(field, fmt.Sprintf("must be at most %d characters", maxReason))
	case strings.ContainsFunc(reason, unicode.IsControl):
		bad.Add(field, "must be one line without control characters")
	}
}

// undo takes back what was audited and could not be applied. It returns the cause, joined with what went wrong meanwhile.
func (o *Overrides) undo(ctx context.Context, t *Target, entry Entry, cause error) error {
	o.mu.Lock()
	old := o.active[t.Name]
	o.mu.Unlock()
	write := deletion(t.Name)
	entry.What, entry.After, entry.ExpireTime = entry.What+undoneSuffix, "not changed: "+cause.Error(), time.Time{}
	if old != nil {
		write = old.recordWrite()
		cause = errors.Join(cause, t.Apply(old.setting))
	} else {
		cause = errors.Join(cause, t.Revert())
	}
	o.log.Error("override undone: it could not be applied", "target", t.Name, "error", cause)
	return errors.Join(cause, o.write(ctx, entry, write))
}

// Lift ends the override on the target, or all of them if target is empty. It returns a *reset.Error of KindNotFound if there is
// none.
func (o *Overrides) Lift(ctx context.Context, target, reason string, dryRun bool, by Caller) ([]Change, error) {
	var bad reset.Violations
	checkReason("reason", reason, &bad)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if err := o.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer o.endTurn()
	var lifting []*activeOverride
	for _, a := range o.list() {
		if target == "" || a.Target == target {
			lifting = append(lifting, a)
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
	for _, a := range lifting {
		c, err := o.lift(ctx, a, reason, dryRun, by)
		if err != nil {
			return nil, err // those before it are lifted, and the audit trail says so
		}
		changes = append(changes, c)
		ctx = context.WithoutCancel(ctx) // a caller who goes away now does not leave some of them in force
	}
	return changes, nil
}

func (o *Overrides) lift(ctx context.Context, a *activeOverride, reason string, dryRun bool, by Caller) (Change, error) {
	t := o.targets[a.Target]
	c := Change{Target: a.Target, Before: t.InForce(), After: t.Configured(), DryRun: dryRun, Notes: t.liftNotes()}
	if dryRun {
		return c, nil
	}
	entry := Entry{Who: by.Who, From: by.From, What: actionLift, Targets: []string{a.Target}, Before: c.Before, After: c.After, Reason: reason}
	if err := o.write(ctx, entry, deletion(a.Target)); err != nil {
		return Change{}, err
	}
	if err := t.Revert(); err != nil {
		return Change{}, o.undo(context.WithoutCancel(ctx), t, entry, fmt.Errorf("operator: %s: %w", a.Target, err))
	}
	o.remove(a)
	o.log.Warn("override lifted", "target", a.Target, "setting", a.Setting, "who", by.Who)
	return c, nil
}

// List returns the overrides in force, in the order of their ends. It does not block.
func (o *Overrides) List() []Override {
	var list []Override
	for _, a := range o.list() {
		list = append(list, a.Override)
	}
	return list
}

// TargetNames returns the names of what can be overridden, in alphabetical order.
func (o *Overrides) TargetNames() []string {
	names := make([]string, 0, len(o.targets))
	for n := range o.targets {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// IsSet tells whether an override is in force on the target. It does not block.
func (o *Overrides) IsSet(target string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.active[target] != nil
}

func (o *Overrides) list() []*activeOverride {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*activeOverride, 0, len(o.active))
	for _, a := range o.active {
		list = append(list, a)
	}
	slices.SortFunc(list, func(x, y *activeOverride) int {
		return cmp.Or(x.ExpireTime.Compare(y.ExpireTime), cmp.Compare(x.Target, y.Target))
	})
	return list
}

// Reconfigure changes the configuration under the overrides. It audits e, then calls do, which puts the new configuration into
// force, all of it or nothing; then it applies every override again.
func (o *Overrides) Reconfigure(ctx context.Context, e Entry, do func() error) error {
	if err := o.takeTurn(ctx); err != nil {
		return err
	}
	defer o.endTurn()
	if err := o.Audit(ctx, e); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err := do()
	o.reapply()
	if err != nil {
		e.What, e.After = e.What+undoneSuffix, "not changed: "+err.Error()
		return errors.Join(err, o.Audit(ctx, e))
	}
	return nil
}

// reapply applies every override on top of the present configuration and describes it again: a limit's burst, for example, may
// come from the configuration. An override that cannot be applied stays listed, and the next change tries it again.
func (o *Overrides) reapply() {
	for _, a := range o.list() {
		t := o.targets[a.Target]
		if err := t.Apply(a.setting); err != nil {
			o.log.Error("override could not be put on top of another configuration", "target", a.Target, "error", err)
		}
		words := t.Describe(a.setting)
		o.mu.Lock()
		described := *a // a copy: List's callers read a without the lock
		described.Setting = words
		o.active[a.Target] = &described
		o.mu.Unlock()
	}
}

// write makes an audit entry and a change of an override durable in one step, and with them the end of the override before if
// that is not written yet.
func (o *Overrides) write(ctx context.Context, e Entry, w queue.RecordWrite) error {
	audit, err := o.auditWrite(e)
	if err != nil {
		return err
	}
	writes := []queue.RecordWrite{audit, w}
	if end, ok := o.unwritten[w.Key]; ok {
		writes = append(writes, end)
	}
	if err := o.putRecords(ctx, writes); err != nil {
		return fmt.Errorf("operator: %s of %s: %w", e.What, w.Key, err)
	}
	delete(o.unwritten, w.Key)
	o.metrics.countAction(e.What)
	return nil
}

// putRecords writes all or nothing, and waits for the outcome even if the caller goes away. If it did not wait, the queue might
// write all the same, and the next start would put into force what its operator was told had failed.
func (o *Overrides) putRecords(ctx context.Context, writes []queue.RecordWrite) error {
	if err := ctx.Err(); err != nil {
		return &reset.Error{Kind: reset.KindCanceled, Cause: err}
	}
	return o.records.PutAll(context.WithoutCancel(ctx), writes)
}

func (a *activeOverride) recordWrite() queue.RecordWrite {
	value, err := json.Marshal(record{Setting: a.setting, Before: a.Before, Who: a.By.Who, From: a.By.From, Reason: a.Reason,
		SetTime: a.SetTime, ExpireTime: a.ExpireTime, Duration: a.duration})
	if err != nil {
		panic(fmt.Sprintf("operator: a setting that Check let pass: %v", err)) // Check refuses NaN and infinities
	}
	return queue.RecordWrite{Kind: queue.RecordOverride, Key: a.Target, Value: value, Version: queue.AnyVersion}
}

func deletion(target string) queue.RecordWrite {
	return queue.RecordWrite{Kind: queue.RecordOverride, Key: target, Version: queue.AnyVersion}
}

func (o *Overrides) put(a *activeOverride) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active[a.Target] = a
	o.metrics.show(o.active)
}

func (o *Overrides) remove(a *activeOverride) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.active, a.Target)
	o.metrics.show(o.active)
}

// takeTurn waits until no other change is under way.
func (o *Overrides) takeTurn(ctx context.Context) error {
	select {
	case o.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &reset.Error{Kind: reset.KindCanceled, Cause: ctx.Err()}
	}
}

func (o *Overrides) endTurn() { <-o.turn }

// overrideMetrics count overrides and operators' actions. All series exist from the start.
type overrideMetrics struct {
	overrides map[Kind]prometheus.Gauge
	actions   map[string]prometheus.Counter
}

func newOverrideMetrics(r prometheus.Registerer, targets []Target) (*overrideMetrics, error) {
	m := &overrideMetrics{overrides: map[Kind]prometheus.Gauge{}, actions: map[string]prometheus.Counter{}}
	overrides := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "surgegate_overrides", Help: "Operators' overrides in force, by what they turn.",
	}, []string{"kind"})
	done := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "surgegate_operator_actions_total", Help: "Things that operators did, and ends of overrides, as audited.",
	}, []string{"action"})
	actions := []string{actionLift, actionExpired, ActionReload, actionRequeue, actionGiveUp}
	for _, t := range targets {
		m.overrides[t.Kind] = overrides.WithLabelValues(string(t.Kind))
		actions = append(actions, t.Action)
	}
	for _, a := range actions {
		m.actions[a] = done.WithLabelValues(a)
	}
	return m, errors.Join(r.Register(overrides), r.Register(done))
}

func (m *overrideMetrics) countAction(what string) {
	if c, ok := m.actions[what]; ok { // what was undone is not counted
		c.Inc()
	}
}

func (m *overrideMetrics) show(active map[string]*activeOverride) {
	n := map[Kind]int{}
	for _, a := range active {
		n[a.Kind]++
	}
	for kind, g := range m.overrides {
		g.Set(float64(n[kind]))
	}
}
