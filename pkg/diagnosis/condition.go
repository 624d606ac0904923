package diagnosis

import (
	"strings"
	"time"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// condition is what is the matter with one downstream: the id of its finding, or empty.
type condition string

// The conditions, in the order of the package comment.
const (
	fine          condition = ""
	forcedOpen    condition = "breaker_forced_open"
	misconfigured condition = "downstream_misconfigured"
	untried       condition = "untried"
	dark          condition = "downstream_dark"
	recovering    condition = "recovering"
	failing       condition = "downstream_failing"
	hanging       condition = "downstream_hanging"
	overridden    condition = "pace_overridden"
	slow          condition = "downstream_slow"
	full          condition = "downstream_limit"
	rateFull      condition = "rate_limit"
)

const (
	// untriedAfter is the time without a call after which nothing is known of a downstream whose breaker is open. With work
	// for it there is a probe every few seconds.
	untriedAfter = 10 * time.Second
	// hangAfter is the shortest time without an answer that is called hanging; hangTimes the usual time of a call, likewise.
	hangAfter = 3 * time.Second
	hangTimes = 10
	// silence is how long nothing must have come back for a shortage of processor time to be no excuse: it delays by less.
	silence = 10 * time.Second
	// deadAfter is how long calls must have been made without a success: longer than a burst of failures.
	deadAfter = 5 * time.Second
	// busyShare of the calls at once in use is "all": between two calls there is a gap.
	busyShare = .7
	// failingShare of calls that fail is more than noise; SurgegateDownstreamFailing has the same bound.
	failingShare = .1
	// throttledFor is how long one success and one refusal say that a downstream takes some calls and refuses others. An open
	// breaker sends a probe every 2 s at least, and a provider that takes a tenth of them takes one in 15 s most of the time.
	throttledFor = 15 * time.Second
	// ratesWindow is what the rates of a status are measured over.
	ratesWindow = 10 * time.Second
	// minRate is what is counted at all: less than one call in two seconds is no storm.
	minRate = .5
)

// reading is a condition as one status has it.
type reading struct {
	condition condition
	fact      bool // true at this moment, not measured over seconds
}

// state is a downstream's condition over time.
type state struct {
	steady steady[condition]
	fact   bool // the one that is shown is a fact
}

// next takes a reading and returns the condition to show.
func (s *state) next(now time.Time, r reading) condition {
	if s.steady.shown == fine && r.condition == slow {
		r.condition = full // what has just begun to be busy has not been slow for long enough to say so
	}
	before := s.steady.shown
	atOnce := r.fact || s.fact
	if (before == dark || before == failing && s.fact) && r.condition != dark && r.condition != untried && r.condition != forcedOpen && r.condition != misconfigured {
		atOnce = false // what is back for a moment is not back
	}
	shown := s.steady.next(now, r.condition, atOnce)
	if shown != before || shown == r.condition {
		s.fact = r.fact
	}
	return shown
}

// conditions returns the condition of every downstream.
func (o *Diagnoser) conditions(v *view) map[string]condition {
	all := map[string]condition{}
	if v.storeIsIll() {
		o.storeIllTime = v.now
	}
	v.storeIllTime = o.storeIllTime
	for _, d := range v.s.GetDownstreams() {
		name := d.GetDownstream()
		s := o.states[name]
		if s == nil { // downstreams are a closed set
			s = &state{}
			o.states[name] = s
		}
		r := v.read(d)
		if o.first { // a status without a past is taken at its word
			s.steady.shown, s.fact = r.condition, r.fact
		}
		all[name] = s.next(v.now, r)
	}
	return all
}

// read returns the first condition that is true.
func (v *view) read(d *operatorv1.DownstreamStatus) reading {
	open, half := d.GetBreaker() == "open", d.GetBreaker() == "half_open"
	switch {
	case d.GetBreakerForced() && open:
		return reading{forcedOpen, true}
	case d.GetMisconfiguration() != "":
		return reading{misconfigured, true}
	case d.GetDownstream() == "revoker" && v.now.Sub(v.storeIllTime) < ratesWindow:
		return reading{fine, true} // its calls are the store's, and its rates are of a time when the store was ill
	case d.GetDownstream() == "revoker" && open && !v.storeIllTime.IsZero() && !d.GetLastCallTime().AsTime().After(v.storeIllTime):
		return reading{untried, true} // since the store is well
	case v.isThrottled(d, open || half):
		return reading{failing, true}
	case open && v.isUntried(d), half && d.GetOutageStartTime() == nil:
		return reading{untried, true}
	case open, half: // half open: a probe is out, and nobody knows yet
		return reading{dark, true}
	case d.GetOutageStartTime() != nil: // of a kind of its calls
		return reading{dark, true}
	}
	r := v.readCalls(d)
	if d.GetRamp() <= 0 || d.GetRamp() >= 1 || r.condition == hanging || (r.condition == dark || r.condition == failing) && v.hasJustFailed(d) {
		return r
	}
	return reading{recovering, true}
}

// hasJustFailed tells whether a call has failed since it came back: the rates are still those of the outage.
func (v *view) hasJustFailed(d *operatorv1.DownstreamStatus) bool {
	for _, f := range ofDownstream(d) {
		if v.since(f.GetLastTime()) < hangAfter {
			return true
		}
	}
	return false
}

// readCalls returns the condition that follows from calls and their times.
func (v *view) readCalls(d *operatorv1.DownstreamStatus) reading {
	starved := v.starved() && d.GetDownstream() != "hash_pool" // that all of its slots are in use is true all the same
	switch {
	case starved && timesOut(d) && v.isAnswered(d):
		return reading{fine, false} // the times are surgegate's own
	case v.nothingSucceeds(d):
		return reading{dark, false}
	case isFailing(d):
		return reading{failing, false}
	case d.GetDownstream() != "revoker" && v.isHanging(d): // the revoker is the store
		return reading{hanging, true}
	case starved:
		return reading{fine, false}
	case !usesItsCalls(d) && !usesItsRate(d):
		return reading{fine, false}
	case v.override("pace/"+d.GetDownstream()) != nil:
		return reading{overridden, false}
	case d.GetSpeedRatio() > 0 && d.GetSpeedRatio() <= slowShare:
		return reading{slow, false}
	case usesItsCalls(d):
		return reading{full, false}
	}
	return reading{rateFull, false}
}

// storeIsIll tells whether the store, which the revoker stands on, is not well by itself.
func (v *view) storeIsIll() bool {
	store := v.downstream("store")
	if store == nil {
		return false
	}
	switch v.read(store).condition {
	case forcedOpen, misconfigured, untried, dark, recovering, failing, hanging:
		return true
	}
	return false
}

// isUntried tells whether an open breaker says nothing of the present: it was let go and no call has been made, or the last call
// is long ago.
func (v *view) isUntried(d *operatorv1.DownstreamStatus) bool {
	if d.GetOutageStartTime() == nil && d.GetFailureRate() == 0 {
		return true
	}
	return d.GetLastCallTime() != nil && v.since(d.GetLastCallTime()) >= untriedAfter
}

// isThrottled tells whether it takes some calls and answers to the others that they are too many. Its breaker may open and close
// every few seconds meanwhile.
func (v *view) isThrottled(d *operatorv1.DownstreamStatus, isOpen bool) bool {
	var last *operatorv1.FailureStatus
	for _, f := range ofDownstream(d) {
		if last == nil || f.GetLastTime().AsTime().After(last.GetLastTime().AsTime()) {
			last = f
		}
	}
	if last.GetOutcome() != "overload" || v.since(last.GetLastTime()) >= throttledFor {
		return false
	}
	return (isOpen || isFailing(d)) && d.GetLastSuccessTime() != nil && v.since(d.GetLastSuccessTime()) < throttledFor
}

// succeededSince tells whether a call has gone well since the outage began.
func (v *view) succeededSince(d *operatorv1.DownstreamStatus) bool {
	return d.GetOutageStartTime() == nil ||
		d.GetLastSuccessTime() != nil && d.GetLastSuccessTime().AsTime().After(d.GetOutageStartTime().AsTime())
}

// nothingSucceeds tells whether calls are made and as good as none does what was asked for. The pace sends little then, and a
// breaker that counts calls trips late.
func (v *view) nothingSucceeds(d *operatorv1.DownstreamStatus) bool {
	if d.GetFailureRate() >= .2 && d.GetCallRate() < .05*d.GetFailureRate() {
		return true
	}
	sent, done := d.GetLastCallTime(), d.GetLastSuccessTime()
	if sent == nil || v.since(sent) >= time.Minute || d.GetCallRate() > 0 && d.GetFailureRate() == 0 {
		return false
	}
	quiet := v.since(done)
	if done == nil {
		quiet = v.since(v.s.GetStartTime())
	} else if !sent.AsTime().After(done.AsTime()) {
		return false
	}
	var failed uint64
	for _, f := range ofDownstream(d) {
		failed += f.GetCount()
	}
	// In a quiet night: what failed in the last 5 minutes, with no success in them.
	return d.GetFailureRate() >= .2 && quiet >= deadAfter || failed >= 3 && quiet >= 5*time.Minute
}

// isAnswered tells whether a call has gone well within silence.
func (v *view) isAnswered(d *operatorv1.DownstreamStatus) bool {
	return d.GetLastSuccessTime() != nil && v.since(d.GetLastSuccessTime()) < silence
}

// timesOut tells whether its calls fail mostly by taking too long.
func timesOut(d *operatorv1.DownstreamStatus) bool {
	failures := ofDownstream(d)
	return len(failures) > 0 && failures[0].GetOutcome() == "timeout"
}

func isFailing(d *operatorv1.DownstreamStatus) bool {
	calls := d.GetCallRate() + d.GetFailureRate()
	return d.GetFailureRate() >= minRate && d.GetFailureRate() > failingShare*calls
}

// noteUnanswered notes for each downstream since when calls are out and none has come back, well or not. It is called once for
// each status, before conditions.
func (o *Diagnoser) noteUnanswered(v *view) {
	before := o.unanswered
	o.unanswered = map[string]time.Time{}
	for _, d := range v.s.GetDownstreams() {
		name, answered := d.GetDownstream(), lastAnswer(d)
		if d.GetInFlight() == 0 {
			continue
		}
		since := before[name]
		switch {
		case o.first && d.GetLastCallTime() != nil: // no past: the newest call has been out for as long as it has
			since = d.GetLastCallTime().AsTime()
		case since.IsZero():
			since = v.now
		}
		if answered.After(since) {
			since = answered
		}
		o.unanswered[name] = since
	}
	v.unanswered = o.unanswered
}

// lastAnswer is when a call last came back, well or not; zero: never.
func lastAnswer(d *operatorv1.DownstreamStatus) (at time.Time) {
	if d.GetLastSuccessTime() != nil {
		at = d.GetLastSuccessTime().AsTime()
	}
	for _, f := range d.GetFailures() {
		if t := f.GetLastTime().AsTime(); t.After(at) {
			at = t
		}
	}
	return at
}

// isHanging tells whether calls are out and none has come back for long, however many more are sent meanwhile.
func (v *view) isHanging(d *operatorv1.DownstreamStatus) bool {
	since := v.unanswered[d.GetDownstream()]
	patience := max(hangAfter, hangTimes*d.GetCallTime().AsDuration())
	if v.starved() {
		patience = max(patience, silence)
	}
	return !since.IsZero() && v.now.Sub(since) >= patience && d.GetFailureRate() < .2
}

// usesItsCalls tells whether the calls at once are used up: by their mean, which is rate × time (Little's law), or by those
// out now if the downstream is what holds them. The limit may have been raised within the window of the rates.
func usesItsCalls(d *operatorv1.DownstreamStatus) bool {
	limit, mean, out := float64(d.GetConcurrencyLimit()), meanCalls(d), float64(d.GetInFlight())
	return limit > 0 && (mean >= busyShare*limit || out >= busyShare*limit && mean >= out*idleShare)
}

// idleShare of the calls that are out is the mean under which the downstream is idle most of the time, while slots are taken.
const idleShare = 1. / 3

func meanCalls(d *operatorv1.DownstreamStatus) float64 {
	return (d.GetCallRate() + d.GetFailureRate()) * d.GetCallTime().AsDuration().Seconds()
}

func usesItsRate(d *operatorv1.DownstreamStatus) bool {
	return d.GetRateLimit() > 0 && d.GetItemRate() >= .85*d.GetRateLimit()
}

// isIll tells whether it is not well by itself, whoever waits for it.
func (c condition) isIll() bool {
	switch c {
	case forcedOpen, misconfigured, dark, recovering, failing, hanging:
		return true
	}
	return false
}

// ofDownstream are the failures that say something of the downstream, most first, and not only of an item, as a mailbox that is
// full.
func ofDownstream(d *operatorv1.DownstreamStatus) (all []*operatorv1.FailureStatus) {
	for _, f := range d.GetFailures() {
		if f.GetOutcome() != "item" {
			all = append(all, f)
		}
	}
	return all
}

// topFailure says in a sentence what most calls fail with; empty where the status does not know.
func topFailure(d *operatorv1.DownstreamStatus) string {
	failures := ofDownstream(d)
	if len(failures) == 0 {
		return ""
	}
	f := failures[0]
	says := " Most of its failures are " + f.GetCode()
	if f.GetMeaning() != "" {
		says += ": " + strings.TrimRight(f.GetMeaning(), ". ")
	}
	return says + "."
}
