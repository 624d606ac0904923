package diagnosis

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Short names of what is used on each line below.
type (
	finding = operatorv1.Finding
	answer  = operatorv1.Answer
)

const (
	note   = operatorv1.Severity_SEVERITY_NOTE
	look   = operatorv1.Severity_SEVERITY_LOOK
	urgent = operatorv1.Severity_SEVERITY_URGENT
)

// newAction returns one thing to do.
func newAction(command, why string) *operatorv1.Action {
	return &operatorv1.Action{Command: command, Why: why}
}

// Clients names the clients that were refused most, most first. It is asked only when one floods; it may be nil.
type Clients func() []*operatorv1.LimitedClient

// Diagnoser diagnoses one surgegate over time. It is not safe for concurrent use; New makes one.
type Diagnoser struct {
	first    bool // no status has been seen yet
	states   map[string]*state
	line     steady[string]                       // the lane that holds people up
	measured map[string]*lasting                  // findings that are not a downstream's and follow from rates
	severity map[key]*steady[operatorv1.Severity] // of findings that are shown
	since    map[key]time.Time                    // when a finding was first shown without a break
	// See view.
	starvedTime, storeIllTime time.Time
	diskSlowSince             time.Time // since when commits take long, without a break
	unanswered                map[string]time.Time
}

// key tells findings apart.
type key struct{ id, downstream string }

func keyOf(f *finding) key { return key{f.GetId(), f.GetDownstream()} }

// lasting is a finding that outlives the seconds in which its rule does not hold.
type lasting struct {
	steady steady[bool]
	last   *finding
}

// New returns a Diagnoser that has seen nothing.
func New() *Diagnoser {
	return &Diagnoser{
		first: true, states: map[string]*state{}, measured: map[string]*lasting{}, severity: map[key]*steady[operatorv1.Severity]{},
		since: map[key]time.Time{},
	}
}

// Once diagnoses a status that has no past.
func Once(s *operatorv1.GetStatusResponse, clients Clients) *operatorv1.Diagnosis {
	return New().Observe(s, clients)
}

// Observe takes the status of this second, of which it uses everything but the diagnosis, and returns the diagnosis. It should
// be called once a second; s is not changed.
func (o *Diagnoser) Observe(s *operatorv1.GetStatusResponse, clients Clients) *operatorv1.Diagnosis {
	v := &view{s: s, now: s.GetTime().AsTime()}
	o.forgetTheFuture(v.now)
	if s.GetProcess().GetCpuStarved() {
		o.starvedTime = v.now
	}
	v.starvedTime = o.starvedTime
	o.noteUnanswered(v)
	o.noteDisk(v)
	v.is = o.conditions(v)
	o.first = false
	o.findLine(v)
	findings := o.hold(v.now, v.findings())
	nameClients(findings, clients)
	d := &operatorv1.Diagnosis{Helped: v.helped(), Limit: limit(findings), Over: v.over(), Findings: findings}
	v.warnOfOutage(d)
	d.Actions, d.Runbooks = collect(findings)
	return d
}

// forgetTheFuture drops times that lie ahead: the clock was set back.
func (o *Diagnoser) forgetTheFuture(now time.Time) {
	for _, at := range []*time.Time{&o.starvedTime, &o.storeIllTime, &o.diskSlowSince} {
		if at.After(now) {
			*at = time.Time{}
		}
	}
	for name, since := range o.unanswered {
		if since.After(now) {
			delete(o.unanswered, name)
		}
	}
}

// hold applies the state machine to the findings that are measured and to the severities of all, and sorts them.
func (o *Diagnoser) hold(now time.Time, findings []*finding) []*finding {
	// These follow from rates that jump around a bound, and are not a downstream's.
	for _, id := range []string{idDiskSlow, idFlood, idGlobalLimit, idQueueFull, idQueueFilling} {
		l := o.measured[id]
		if l == nil {
			l = &lasting{}
			o.measured[id] = l
		}
		i := slices.IndexFunc(findings, func(f *finding) bool { return f.GetId() == id })
		if i >= 0 {
			l.last = proto.CloneOf(findings[i])
		}
		if l.steady.next(now, i >= 0, false) && i < 0 {
			findings = append(findings, proto.CloneOf(l.last))
		}
	}
	since := map[key]time.Time{}
	severity := map[key]*steady[operatorv1.Severity]{}
	for _, f := range findings {
		k := keyOf(f)
		if since[k] = o.since[k]; since[k].IsZero() {
			since[k] = now
		}
		f.StartTime = timestampOf(since[k])
		if severity[k] = o.severity[k]; severity[k] == nil {
			severity[k] = &steady[operatorv1.Severity]{}
		}
		f.Severity = severity[k].next(now, f.GetSeverity(), f.GetSeverity() > severity[k].shown)
	}
	o.since, o.severity = since, severity
	slices.SortStableFunc(findings, func(a, b *finding) int { return int(b.GetSeverity()) - int(a.GetSeverity()) })
	return findings
}

// maxActions keeps the answer readable.
const maxActions = 5

// collect returns what to do and what to read. The first two findings have all that they have, the others their first action:
// what else is wrong must not hide what to do.
func collect(findings []*finding) (actions []*operatorv1.Action, runbooks []string) {
	for n, f := range findings {
		for i, a := range f.GetActions() {
			isKnown := slices.ContainsFunc(actions, func(b *operatorv1.Action) bool { return a.GetCommand() == b.GetCommand() })
			if !isKnown && len(actions) < maxActions && (n < 2 || i == 0) {
				actions = append(actions, a)
			}
		}
		if f.GetRunbook() != "" && !slices.Contains(runbooks, f.GetRunbook()) && f.GetSeverity() > note {
			runbooks = append(runbooks, f.GetRunbook())
		}
	}
	return actions, runbooks
}

func timestampOf(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

// Cause is a finding's id and the downstream that it is about, if it is about one.
type Cause struct{ ID, Downstream string }

// Causes lists every finding that there can be: the labels of surgegate_diagnosis.
func Causes() []Cause {
	var all []Cause
	add := func(downstream string, ids ...condition) {
		for _, id := range ids {
			all = append(all, Cause{string(id), downstream})
		}
	}
	for _, name := range []string{"store", "mail"} {
		add(name, forcedOpen, misconfigured, untried, dark, recovering, failing, hanging, overridden, slow, full, rateFull)
	}
	add("revoker", forcedOpen, misconfigured, untried, dark, recovering, failing)
	add("hash_pool", dark, recovering, failing, hanging, overridden, hashBusy, rateFull)
	add("", idStarved, "conservation", "not_accepting", idQueueFull, idQueueFilling, "disk_low", "disk_filling", idDiskSlow, "lane_paused", "waiting",
		idFlood, idGlobalLimit, "level_forced", "level", "parked", "override_standing", "draining")
	return all
}
