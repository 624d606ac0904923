package diagnosis

import (
	"fmt"
	"strings"

	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// hashBusy is what a hash pool at its limit is told as.
const hashBusy condition = "hash_pool_busy"

// downstreamFindings are downstreams that are not well by themselves, whoever waits for them.
func (v *view) downstreamFindings() []*finding {
	var all []*finding
	for _, d := range v.s.GetDownstreams() {
		name := d.GetDownstream()
		var f *finding
		switch v.is[name] {
		case forcedOpen:
			f = &finding{
				Title: "the " + displayName(name) + "'s breaker is held open by an override", Says: "Nothing is sent to it." + v.overrideNote("breaker/"+name),
				Actions: []*operatorv1.Action{newAction("surgectl breaker auto "+name, "let the breaker decide again")}, Runbook: "SurgegateBreakerOpen",
			}
		case misconfigured:
			f = &finding{
				Title: "the " + displayName(name) + " cannot be used until something is changed", Runbook: "SurgegateBreakerOpen",
				Says: sentence(d.GetMisconfiguration()) + topFailure(d) + " What is accepted waits safely and goes on by itself.",
				Actions: []*operatorv1.Action{
					newAction("(the "+displayName(name)+" itself)", sentence(d.GetMisconfiguration())),
					newAction("surgectl reload --dry-run", "whether a change of surgegate's own configuration is taken"),
				},
			}
		case dark:
			f = v.darkFinding(d)
		case untried:
			f = v.untriedFinding(d)
		case recovering:
			f = &finding{
				Title: "the " + displayName(name) + " is coming back",
				Says:  fmt.Sprintf("It gets %s of full speed and more as long as it goes well; nothing to do.", humanize.Share(d.GetRamp())),
			}
		case failing:
			f = v.failingFinding(d)
		case hanging:
			f = v.hangingFinding(d)
		default:
			continue
		}
		f.Id, f.Downstream = string(v.is[name]), name
		f.Severity = v.severityOf(name)
		all = append(all, f)
	}
	return all
}

// severityOf is how much the condition of a downstream matters that is not well by itself.
func (v *view) severityOf(name string) operatorv1.Severity {
	waits := v.waiting != nil && v.waiting.name() == name
	switch c := v.is[name]; {
	case c == recovering:
		return note
	case c == untried && (name == "revoker" || v.downstream(name).GetOutageStartTime() == nil):
		return note // nobody waits for the end of sessions
	case c == untried:
		return look
	case c == failing && waits && v.waiting.wait >= long:
		return urgent
	case c == failing:
		return look
	case c == hanging && !waits && v.downstream(name).GetInFlight() < 2:
		return note // one call that takes long hangs by itself
	case waits:
		return urgent
	}
	return look
}

func (v *view) darkFinding(d *operatorv1.DownstreamStatus) *finding {
	name := d.GetDownstream()
	start := d.GetOutageStartTime()
	var says string
	switch raw := v.read(d).condition; {
	case raw == failing:
		says = fmt.Sprintf("Hardly any of its calls succeeded until a moment ago; now %s fail and %s succeed.", humanize.Rate(d.GetFailureRate()),
			humanize.Rate(d.GetCallRate())) + topFailure(d)
	case raw != dark:
		says = "Its calls have been going well for a moment; surgegate sends more and more, and whether it stays so is not known yet."
	case d.GetBreaker() != "open" && d.GetBreaker() != "half_open" && start != nil && v.succeededSince(d):
		says = "One kind of its calls has not succeeded for " + humanize.Duration(v.since(start)) + ", since " + clockOf(start) + "; others do." +
			topFailure(d) + " What needs it waits safely; surgegate tries one call at a time and goes on by itself."
	case d.GetBreaker() != "open" && d.GetBreaker() != "half_open" && start == nil:
		says = fmt.Sprintf("None of its calls succeeds (%s fail, %s a call).", humanize.Rate(d.GetFailureRate()),
			humanize.Duration(d.GetCallTime().AsDuration()))
		if done := d.GetLastSuccessTime(); done != nil {
			says += " The last success was " + v.ago(done) + "."
		}
		says += topFailure(d) + " What is accepted waits safely; surgegate sends less and goes on by itself."
	case start != nil:
		says = "It has not been working for " + humanize.Duration(v.since(start)) + ", since " + clockOf(start) + "." + v.lastTried(d) +
			topFailure(d) + " What is accepted waits safely; surgegate tries one call at a time and goes on by itself."
	default:
		says = "Its breaker is open: calls failed, and nothing is sent but probes." + v.lastTried(d) + topFailure(d) +
			" What is accepted waits safely and goes on by itself."
	}
	return &finding{
		Title: "the " + displayName(name) + " does not work", Says: says, Runbook: "SurgegateBreakerOpen",
		Actions: []*operatorv1.Action{
			newAction("surgectl breaker list", "since when, and whether a probe got through"),
			newAction("(the "+displayName(name)+" itself)", "get it up again: "+whoRuns(name)+"; surgegate is not the cause and needs nothing"),
		},
	}
}

// lastTried tells of the last call and of the last that succeeded, as sentences with a blank before them.
func (v *view) lastTried(d *operatorv1.DownstreamStatus) string {
	says := ""
	switch {
	case d.GetBreaker() == "half_open":
		says = " It is being tried now."
	case d.GetLastCallTime() != nil:
		says = " It was last tried " + v.ago(d.GetLastCallTime()) + "."
	}
	if d.GetLastSuccessTime() != nil {
		says += " A call last succeeded " + v.ago(d.GetLastSuccessTime()) + "."
	}
	return says
}

func (v *view) untriedFinding(d *operatorv1.DownstreamStatus) *finding {
	name := d.GetDownstream()
	says := "Nobody knows how it fares now: nothing has come for it since. The next call is a probe; if it goes well calls come back " +
		"by a ramp. Nothing to do."
	if d.GetOutageStartTime() == nil {
		return &finding{Title: "the " + displayName(name) + " has not been tried since its breaker was let go", Says: says}
	}
	f := &finding{
		Title: "the " + displayName(name) + " failed when it was last tried; not tried since " + clockOf(d.GetLastCallTime()),
		Says: "It was last tried " + v.ago(d.GetLastCallTime()) + ", and had not been working since " + clockOf(d.GetOutageStartTime()) + "." +
			topFailure(d) + " " + says,
	}
	if v.severityOf(name) > note {
		f.Runbook = "SurgegateBreakerOpen"
		f.Actions = []*operatorv1.Action{newAction("surgectl breaker list", "since when, and whether a probe got through")}
	}
	return f
}

func (v *view) failingFinding(d *operatorv1.DownstreamStatus) *finding {
	name, calls := d.GetDownstream(), d.GetCallRate()+d.GetFailureRate()
	f := &finding{
		Title: "the " + displayName(name) + " refuses or fails calls", Runbook: "SurgegateDownstreamFailing",
		Says: fmt.Sprintf("%s of its calls fail (%s of %s).%s The pace gives way by itself; nothing is lost.",
			humanize.Share(d.GetFailureRate()/max(calls, 1e-9)), humanize.Rate(d.GetFailureRate()), humanize.Rate(calls), topFailure(d)),
		Actions: []*operatorv1.Action{
			newAction("surgectl pace list", "what it is given and what it takes"),
			newAction("surgectl status -o json", "failures of the downstream: each code, how often, and what it means"),
		},
	}
	if breaker := d.GetBreaker(); breaker == "open" || breaker == "half_open" {
		f.Says = "It takes some calls and answers to the others that they are too many. Its breaker is open now." + v.lastTried(d) +
			topFailure(d) + " What is accepted waits safely and goes on by itself."
	}
	if name == "mail" {
		f.Title = "the mail provider throttles or refuses"
		f.Actions[1] = newAction("(mail provider)", "ask for the limit that it holds you to")
		f.Actions = append(f.Actions,
			newAction("surgectl pace bound mail --rate RATE", "keep under that limit, so that mails pass instead of being refused"))
	}
	return f
}

// lineFindings tell why people wait where the downstream itself is not ill.
func (v *view) lineFindings() []*finding {
	h := v.waiting
	if h == nil || h.lane.GetPaused() || h.cause.isIll() || h.cause == fine && (v.starved() || v.isDiskSlow) {
		return nil // told by another rule
	}
	name := h.name()
	f := &finding{Id: string(h.cause), Downstream: name, Severity: look, Runbook: "SurgegateDownstreamSlow"}
	if h.wait < long && !h.isGrowing() {
		f.Severity = note // a line of seconds needs nobody
	}
	watch := newAction("surgectl top", "watch the line for a minute: does it grow?")
	switch h.cause {
	case fine, untried:
		f.Id, f.Downstream, f.Title, f.Runbook = "waiting", "", h.lane.GetLane()+" waits, and no limit is reached that shows", "SurgegateOldestPastPromise"
		f.Says = throughput(h.down) + lostInside(h.down) + " Look at the dashboard Storm, row Downstreams, and at the log."
		f.Actions = []*operatorv1.Action{watch}
	case overridden:
		f.Title, f.Runbook = "the "+displayName(name)+" is held at its pace by an override", "SurgegateOverrideStanding"
		f.Says = throughput(h.down) + v.overrideNote("pace/"+name)
		f.Actions = []*operatorv1.Action{newAction("surgectl pace auto "+name, "let the pace be found by measuring again")}
	case slow, full:
		fullFinding(f, h, watch)
	case rateFull:
		f.Title = "the " + displayName(name) + "'s rate: its bound is reached"
		f.Says = fmt.Sprintf("It is given at most %s and gets it.", humanize.Rate(h.down.GetRateLimit()))
		if name == "mail" {
			f.Says += " That is mail.pace.rate of the configuration: what your provider takes from you."
			f.Actions = append(f.Actions, newAction("surgectl pace bound mail --rate RATE", "give it more, if the provider allows it"))
		}
		f.Actions = append(f.Actions, watch)
	}
	return []*finding{f}
}

func (v *view) hangingFinding(d *operatorv1.DownstreamStatus) *finding {
	name := d.GetDownstream()
	says := callsOut(d) + ", and none has come back for " + humanize.Duration(v.now.Sub(v.unanswered[name]))
	if d.GetLastSuccessTime() != nil {
		says += "; the last that went well did so " + v.ago(d.GetLastSuccessTime())
	}
	return &finding{
		Title: "the " + displayName(name) + " does not answer: calls hang", Runbook: "SurgegateBreakerOpen",
		Says: says + ". surgegate sends less, and goes on by itself; what is accepted waits safely.",
		Actions: []*operatorv1.Action{
			newAction("(the "+displayName(name)+" itself)", "look what it waits for (a lock, a full pool, the network): "+whoRuns(name)),
			newAction("surgectl breaker list", "whether the breaker opens, and since when it is out"),
		},
	}
}

// fullFinding is a downstream that takes no more at once.
func fullFinding(f *finding, h *waitingLane, watch *operatorv1.Action) {
	name := h.name()
	if name == "hash_pool" {
		f.Id, f.Title, f.Runbook = string(hashBusy), "hashing passwords: all slots are busy", "SurgegateHashPoolBusy"
		f.Says = throughput(h.down) + " Each hash costs processor time: only more cores, or fewer people at once, make it faster."
		f.Actions = []*operatorv1.Action{newAction("top -H", "does anything else use this machine's cores?"), watch}
		return
	}
	f.Title = "the " + displayName(name) + ": it takes no more at once"
	if h.cause == slow {
		f.Title = "the " + displayName(name) + ": it is slower than it was"
	}
	f.Says = throughput(h.down) + besideItsBest(h)
	if name == "mail" {
		f.Actions = []*operatorv1.Action{newAction("surgectl pace list", "CALL: how long the provider takes; PACE: whether somebody has bound it"), watch}
		return
	}
	f.Actions = []*operatorv1.Action{
		newAction("surgectl pace list", "CALL, its time: has it grown? Leave the pace alone: more calls at once would make it slower, not faster"),
		newAction("surgectl lanes pause revoke --duration 15m", "frees the store of session ends; they are caught up afterwards"),
		watch,
	}
}

// besideItsBest tells how fast it is beside its best of the last hour.
func besideItsBest(h *waitingLane) string {
	d := h.down
	isMail := h.name() == "mail"
	share := humanize.Share(d.GetSpeedRatio())
	switch {
	case h.cause == slow && d.GetBestTime() != nil:
		says := fmt.Sprintf(" For the same kinds of calls that is %s of its best of the last hour (%s at %s): each takes longer; more people "+
			"alone would not do that.", share, humanize.Rate(d.GetBestItemRate()), clockOf(d.GetBestTime()))
		if isMail {
			return says + " Ask the provider. Mails wait and are sent in order."
		}
		return says + " Its owner must look."
	case d.GetSpeedRatio() > 0:
		return fmt.Sprintf(" For the same kinds of calls that is %s of its best of the last hour: it is not slower, more people came than it "+
			"serves.", share)
	}
	says := " More people came than it serves, or it got slower: there is nothing alike in the last hour to compare it with."
	if isMail {
		return says + " If it was faster before, the provider throttles: ask there. Mails wait and are sent in order."
	}
	return says + " Compare a call's time with a quiet hour's (dashboard Storm, Downstreams): if it has grown, its owner must look."
}

// throughput tells what a downstream delivers, and by kind where it has several.
func throughput(d *operatorv1.DownstreamStatus) string {
	if d == nil {
		return "The status has nothing on what it waits for."
	}
	says := fmt.Sprintf("It does %s with %s, %s a call", humanize.Rate(max(d.GetItemRate(), d.GetCallRate())), callsOut(d),
		humanize.Duration(d.GetCallTime().AsDuration()))
	var each []string
	for _, k := range d.GetKinds() {
		if k.GetItemRate() > 0 {
			each = append(each, fmt.Sprintf("%s %s at %s", k.GetKind(), humanize.Rate(k.GetItemRate()), humanize.Duration(k.GetCallTime().AsDuration())))
		}
	}
	if len(each) > 1 {
		says += " (" + strings.Join(each, ", ") + ")"
	}
	return says + "."
}

// lostInside says where slots are taken and calls are short: the time between is surgegate's own.
func lostInside(d *operatorv1.DownstreamStatus) string {
	limit := float64(d.GetConcurrencyLimit())
	if limit == 0 || float64(d.GetInFlight()) < busyShare*limit || meanCalls(d) >= float64(d.GetInFlight())*idleShare {
		return ""
	}
	return " Its calls are given out, and yet it is idle most of the time: the time is lost inside surgegate (its disk, its processors), not there."
}

func callsOut(d *operatorv1.DownstreamStatus) string {
	return fmt.Sprintf("%d of %d calls out", d.GetInFlight(), d.GetConcurrencyLimit())
}
