package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// findings asks every rule. The order is that of causes: what comes first explains what comes after it.
func (v *view) findings() []Finding {
	var all []Finding
	for _, rule := range []func() []Finding{
		v.queueFindings, v.diskFindings, v.pausedFindings, v.downstreamFindings, v.lineFindings, v.fullFindings, v.floodFindings,
		v.limitFindings, v.levelFindings, v.parkedFindings, v.overrideFindings, v.drainingFindings,
	} {
		all = append(all, rule()...)
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return all
}

func (v *view) queueFindings() []Finding {
	var all []Finding
	q := v.s.GetQueue()
	if q == nil {
		return nil
	}
	if q.GetConservation() != 0 {
		all = append(all, Finding{
			ID: "conservation", Severity: Urgent, Title: "jobs do not add up", Runbook: "SurgegateConservationBroken",
			Says:    fmt.Sprintf("Enqueued less ended less held is %d and must be 0: a fault of surgegate's own.", q.GetConservation()),
			Actions: []Action{{"surgectl status -o json > status.json", "keep it for who repairs it, with the log; restart nothing yet"}},
		})
	}
	if !q.GetAccepting() && !v.diskLow() {
		all = append(all, Finding{
			ID: "not_accepting", Severity: Urgent, Title: "nothing can be made durable", Runbook: "SurgegateNotAccepting",
			Says:    "All that is new is refused: " + sentence(q.GetNotAcceptingCause()) + " What is in line goes on.",
			Actions: []Action{{"surgectl status", "look again: the cause is in the queue's line"}},
		})
	}
	return all
}

// fullFindings are a queue that has no room, or soon none.
func (v *view) fullFindings() []Finding {
	q := v.s.GetQueue()
	if share, late := fill(q), v.reason("queue_full"); share >= .75 || late >= minRate {
		f := Finding{
			ID: "queue_full", Severity: Look, Title: "the line is as long as may be promised", Runbook: "SurgegateQueueFullSoon",
			Actions: []Action{{"surgectl lanes list", "which lane holds the jobs"}},
		}
		var says []string
		if late >= minRate {
			says = append(says, figures.Rate(late)+" calls are refused because they could not be finished in time.")
		}
		if share >= .75 {
			says = append(says, "The queue has "+figures.Share(share)+" of its bytes in use.")
		}
		f.Says = strings.Join(says, " ")
		if share >= .95 {
			f.Severity = Urgent
		}
		return []Finding{f}
	}
	if full, ok := v.fullIn(); ok && full < 10*time.Minute {
		return []Finding{{
			ID: "queue_filling", Severity: Urgent, Title: "the queue is full in about " + figures.Duration(full), Runbook: "SurgegateQueueFullSoon",
			Says:    fmt.Sprintf("It grows by %s jobs. When it is full, what is new is refused.", figures.Rate(v.growth())),
			Actions: []Action{{"surgectl brownout force 3 --duration 15m", "refuse new starts now, so that completions keep their room"}},
		}}
	}
	return nil
}

func fill(q *operatorv1.QueueStatus) float64 {
	if q.GetMaxBytes() == 0 {
		return 0
	}
	return float64(q.GetBytes()) / float64(q.GetMaxBytes())
}

func (v *view) diskLow() bool {
	d := v.s.GetDisk()
	return d.GetReserveBytes() > 0 && d.GetAvailableBytes() <= d.GetReserveBytes()
}

func (v *view) diskFindings() []Finding {
	d := v.s.GetDisk()
	reserve := d.GetReserveBytes()
	if reserve == 0 {
		return nil
	}
	free := Action{"df -h; du -xsh /var/log", "find what fills the disk of data_dir and free it; delete nothing in data_dir"}
	switch left := float64(d.GetAvailableBytes()) - float64(reserve); {
	case left <= 0:
		return []Finding{{
			ID: "disk_low", Severity: Urgent, Title: "the disk is full up to its reserve", Runbook: "SurgegateNotAccepting",
			Says: fmt.Sprintf("%s are free and %s are kept for finishing what is in line, so all that is new is refused. It accepts again by "+
				"itself a moment after there is room.", figures.Bytes(d.GetAvailableBytes()), figures.Bytes(reserve)),
			Actions: []Action{free},
		}}
	case left < .5*float64(reserve): // SurgegateDiskFilling also follows the trend; a status has none
		f := Finding{
			ID: "disk_filling", Severity: Look, Title: "the disk is filling", Runbook: "SurgegateDiskFilling",
			Says: fmt.Sprintf("%s are left above the reserve of %s. Below it, all that is new is refused. surgegate itself holds %s.",
				figures.Bytes(uint64(left)), figures.Bytes(reserve), figures.Bytes(v.s.GetQueue().GetBytes())),
			Actions: []Action{free},
		}
		if left < .2*float64(reserve) {
			f.Severity = Urgent
		}
		return []Finding{f}
	}
	return nil
}

// pausedFindings are lanes that an operator stopped and in which people wait.
func (v *view) pausedFindings() []Finding {
	var all []Finding
	for _, l := range v.s.GetLanes() {
		if !l.GetPaused() || l.GetWaiting() == 0 {
			continue
		}
		f := Finding{
			ID: "lane_paused", Severity: Look, Title: "the lane " + l.GetLane() + " is paused", Runbook: "SurgegateOverrideStanding",
			Says: fmt.Sprintf("%s jobs wait, the oldest for %s.%s", figures.Count(l.GetWaiting()),
				figures.Duration(l.GetOldestWait().AsDuration()), v.whose("lane/"+l.GetLane()+"/paused")),
			Actions: []Action{{"surgectl lanes resume " + l.GetLane(), "go on with it, if the reason is over"}},
		}
		if interactive(l.GetLane()) && l.GetOldestWait().AsDuration() >= noticeable {
			f.Severity = Urgent
		}
		all = append(all, f)
	}
	return all
}

// downstreamFindings are downstreams that are ill by themselves, whoever waits for them.
func (v *view) downstreamFindings() []Finding {
	var all []Finding
	for _, d := range v.s.GetDownstreams() {
		name := d.GetDownstream()
		severity := Look
		if v.held != nil && v.held.name() == name {
			severity = Urgent
		}
		switch {
		case d.GetBreakerForced() && d.GetBreaker() == "open":
			all = append(all, Finding{
				ID: "breaker_forced_open", Severity: severity, Title: "the " + words(name) + "'s breaker is held open by an override",
				Says:    "Nothing is sent to it." + v.whose("breaker/"+name),
				Actions: []Action{{"surgectl breaker auto " + name, "let the breaker decide again"}}, Runbook: "SurgegateBreakerOpen",
			})
		case dark(d):
			all = append(all, v.darkFinding(d, severity))
		case untried(d):
			all = append(all, Finding{
				ID: "untried", Severity: Note, Title: "the " + words(name) + " has not been tried since its breaker was let go",
				Says: "The next call is a probe; if it goes well calls come back by a ramp. Nothing to do.",
			})
		case recovering(d):
			all = append(all, Finding{
				ID: "recovering", Severity: Note, Title: "the " + words(name) + " is coming back",
				Says: fmt.Sprintf("It gets %s of full speed and more as long as it goes well; nothing to do.", figures.Share(d.GetRamp())),
			})
		case failing(d):
			all = append(all, v.failingFinding(d, severity))
		}
	}
	return all
}

func (v *view) darkFinding(d *operatorv1.DownstreamStatus, severity Severity) Finding {
	name := d.GetDownstream()
	since := ""
	if start := d.GetOutageStartTime(); start != nil {
		since = " for " + figures.Duration(v.now.Sub(start.AsTime())) + ", since " + start.AsTime().UTC().Format("15:04:05") + " UTC"
	}
	says := "It has not been working" + since + ". What is accepted waits safely; surgegate tries one call at a time and goes on by itself."
	switch {
	case since != "":
	case d.GetBreaker() != "open":
		says = fmt.Sprintf("All its calls fail (%s, %s a call). What is accepted waits safely; surgegate sends less and goes on by itself.",
			figures.Rate(d.GetFailureRate()), figures.Duration(d.GetCallTime().AsDuration()))
	default:
		says = "Its breaker is open: calls failed, and nothing is sent but probes. What is accepted waits safely and goes on by itself."
	}
	return Finding{
		ID: "downstream_dark", Severity: severity, Title: "the " + words(name) + " does not work", Says: says, Runbook: "SurgegateBreakerOpen",
		Actions: []Action{
			{"surgectl breaker list", "since when, and whether a probe got through"},
			{"(the " + words(name) + " itself)", "get it up again: " + whoRuns(name) + "; surgegate is not the cause and needs nothing"},
		},
	}
}

func (v *view) failingFinding(d *operatorv1.DownstreamStatus, severity Severity) Finding {
	name, calls := d.GetDownstream(), d.GetCallRate()+d.GetFailureRate()
	f := Finding{
		ID: "downstream_failing", Severity: max(Look, severity-1), Title: "the " + words(name) + " refuses or fails calls",
		Runbook: "SurgegateDownstreamFailing",
		Says: fmt.Sprintf("%s of its calls fail (%s of %s). The pace gives way by itself; nothing is lost.",
			figures.Share(d.GetFailureRate()/calls), figures.Rate(d.GetFailureRate()), figures.Rate(calls)),
		Actions: []Action{
			{"surgectl pace list", "what it is given and what it takes"},
			{"(log)", "grep surgegate's log for " + name + ": the answers are there in words"},
		},
	}
	if name == "mail" {
		f.ID, f.Title = "mail_failing", "the mail provider throttles or refuses"
		f.Actions[1] = Action{"(mail provider)", "ask for the limit that it holds you to"}
		f.Actions = append(f.Actions,
			Action{"surgectl pace bound mail --rate RATE", "keep under that limit, so that mails pass instead of being refused"})
	}
	if v.held != nil && v.held.name() == name && v.held.wait >= long {
		f.Severity = Urgent
	}
	return f
}

// words is a downstream's name in a sentence.
func words(name string) string {
	switch name {
	case "hash_pool":
		return "hash pool"
	case "mail":
		return "mail provider"
	case "revoker":
		return "session service"
	}
	return name
}

func whoRuns(name string) string {
	switch name {
	case "mail":
		return "whoever runs the relay, or the provider's status page"
	case "revoker":
		return "whoever runs sessions"
	}
	return "whoever runs accounts and sign-in"
}

// whose tells who set an override, why and until when, as a sentence with a blank before it.
func (v *view) whose(target string) string {
	o := v.override(target)
	if o == nil {
		return ""
	}
	says := " Set"
	if o.GetWho() != "" {
		says += " by " + o.GetWho()
	}
	says += " " + figures.Duration(v.now.Sub(o.GetSetTime().AsTime())) + " ago"
	if o.GetReason() != "" {
		says += fmt.Sprintf(" (%q)", o.GetReason())
	}
	return says + ", ends in " + figures.Duration(o.GetExpireTime().AsTime().Sub(v.now)) + "."
}

// sentence makes one of a cause.
func sentence(cause string) string {
	if cause == "" {
		return "no cause is given."
	}
	return strings.TrimRight(cause, ". ") + "."
}
