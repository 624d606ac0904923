package diagnosis

import (
	"fmt"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	// floodRate is the volume from which refusals of clients are a flood: one front end that retries gets there never.
	floodRate = 5
	// The ids of findings that more than one place names.
	idFlood        = "client_flooding"
	idGlobalLimit  = "global_limit"
	idQueueFull    = "queue_full"
	idQueueFilling = "queue_filling"
	idStarved      = "gateway_starved"
	idDiskSlow     = "disk_slow"
	// standing is how long an override may stand before somebody should ask what for.
	standing = 4 * time.Hour
)

// floodFindings: few clients offer most of what comes.
func (v *view) floodFindings() []*finding {
	ip, id := v.refusalRate("limit_client_ip"), v.refusalRate("limit_client_id")
	offered := v.s.GetAdmission().GetOffered()
	if ip+id < floodRate || ip+id <= .5*offered {
		return nil
	}
	by := "address"
	if id > ip {
		by = "client id"
	}
	return []*finding{{
		Id: idFlood, Severity: look, Title: "a client floods (limit by " + by + ")", Runbook: "SurgegateClientFlooding",
		Says: fmt.Sprintf("%s of %s calls are refused by the limit of each client: few clients send most of what comes. The others have "+
			"limits of their own and are not held up by it.", humanize.Share((ip+id)/offered), humanize.Rate(offered)),
		Actions: []*operatorv1.Action{
			newAction("surgectl limits clients", "who it is. Strangers: block them before surgegate. Your own front end or proxy: it does not pass "+
				"client.ip, or is missing in trust.callers"),
			newAction("surgectl limits set client --rate 5/m", "let each client have less, if they are many"),
		},
	}}
}

// limitFindings are the other rules of admission.
func (v *view) limitFindings() []*finding {
	var all []*finding
	offered := v.s.GetAdmission().GetOffered()
	if r := v.refusalRate("limit_global"); r >= minRate && r > .05*offered {
		all = append(all, &finding{
			Id: idGlobalLimit, Severity: look, Title: "the limit for all together is reached", Runbook: "SurgegateGlobalLimitHit",
			Says: fmt.Sprintf("%s of %s calls are refused by admission.global.", humanize.Share(r/offered), humanize.Rate(offered)),
			Actions: []*operatorv1.Action{
				newAction("surgectl limits list", "the limit in force, and whether an override set it"),
				newAction("surgectl limits set global --rate RATE", "let more in; the level still protects the queue"),
			},
		})
	}
	return all
}

func (v *view) levelFindings() []*finding {
	level, asked := v.s.GetBrownoutLevel(), v.s.GetBrownoutLevelAsked()
	o := v.override("brownout")
	if o != nil && level != asked {
		f := &finding{
			Id: "level_forced", Severity: look, Title: fmt.Sprintf("level %d is held by an override; the signals ask for %d", level, asked),
			Says: Level(level) + "." + v.overrideNote("brownout"), Runbook: "SurgegateBrownoutHigh",
			Actions: []*operatorv1.Action{newAction("surgectl brownout auto", "let the signals decide again")},
		}
		if level >= 3 && asked < 3 {
			f.Severity = urgent
		}
		return []*finding{f}
	}
	if level == 0 {
		return nil
	}
	f := &finding{
		Id: "level", Severity: note, Title: fmt.Sprintf("level %d (%s)", level, LevelName(level)),
		Says: Level(level) + ": " + sentence(v.s.GetBrownoutCause()) + " It goes back by itself.",
	}
	if level >= 3 {
		f.Severity, f.Runbook = look, "SurgegateBrownoutHigh"
		f.Actions = []*operatorv1.Action{newAction("surgectl brownout show", "the level, its cause, and what is refused")}
	}
	return []*finding{f}
}

// LevelName is a brownout level in two words.
func LevelName(level uint32) string {
	names := [...]string{"normal", "defer extras", "shed bulk", "completions only", "closed"}
	if int(level) >= len(names) {
		return "unknown"
	}
	return names[level]
}

// Level tells what a brownout level means for people.
func Level(level uint32) string {
	says := [...]string{
		"Everything is done as it comes",
		"Session ends and confirmation mails wait",
		"Calls that look automated are refused too",
		"Nobody gets a new link; who has one can still finish",
		"Everything new is refused; what is in line goes on",
	}
	if int(level) >= len(says) {
		return "A level that this surgectl does not know"
	}
	return says[level]
}

func (v *view) parkedFindings() []*finding {
	var lanes []string
	total := uint64(0)
	for _, l := range v.s.GetLanes() {
		if n := l.GetParked(); n > 0 {
			total += n
			lanes = append(lanes, l.GetLane()+" "+humanize.Count(n))
		}
	}
	if total == 0 {
		return nil
	}
	return []*finding{{
		Id: "parked", Severity: look, Title: "parked jobs: " + strings.Join(lanes, ", "), Runbook: "SurgegateParkedJobs",
		Says: "They failed as often as is tried and wait for you: nobody else moves them.",
		Actions: []*operatorv1.Action{
			newAction("surgectl parked list", "what each failed of"),
			newAction("surgectl parked requeue --all", "try them again, once the cause is gone"),
		},
	}}
}

// overrideFindings are the overrides themselves: whoever is on duty next must know of them.
func (v *view) overrideFindings() []*finding {
	var targets []string
	severity, runbook := note, ""
	for _, o := range v.s.GetOverrides() {
		targets = append(targets, fmt.Sprintf("%s: %s", o.GetTarget(), o.GetSetting()))
		if v.now.Sub(o.GetSetTime().AsTime()) > standing {
			severity, runbook = look, "SurgegateOverrideStanding"
		}
	}
	if len(targets) == 0 {
		return nil
	}
	title := "1 override stands"
	if len(targets) > 1 {
		title = fmt.Sprintf("%d overrides stand", len(targets))
	}
	return []*finding{{
		Id: "override_standing", Severity: severity, Title: title, Runbook: runbook,
		Says: strings.Join(targets, "; ") + ". Each ends by itself.",
		Actions: []*operatorv1.Action{
			newAction("surgectl overrides list", "who set what, why, and until when"),
			newAction("surgectl overrides lift TARGET", "end one that is not needed any more"),
		},
	}}
}

func (v *view) drainingFindings() []*finding {
	if !v.s.GetDraining() {
		return nil
	}
	return []*finding{{
		Id: "draining", Severity: look, Title: "this surgegate is shutting down",
		Says: "It was told to stop: it refuses what is new and finishes what it works on. What is in line stays for the next start.",
	}}
}

// ReasonWords says a reason of refusals, as it is in metrics, in words.
func ReasonWords(reason string) string {
	switch reason {
	case "limit_client_ip":
		return "over the limit of one address"
	case "limit_client_id":
		return "over the limit of one client id"
	case "limit_client":
		return "over the limit of one client"
	case "limit_global":
		return "over the limit of all together"
	case "shed_level_2", "shed_level_3", "shed_level_4":
		return "shed by level " + strings.TrimPrefix(reason, "shed_level_")
	case "queue_full":
		return "could not be finished in time"
	case "not_durable":
		return "could not be made durable"
	case "draining":
		return "shutting down"
	case "key_unknown":
		return "a key is not here yet"
	case "store_unknown":
		return "the store was never reached yet"
	}
	return strings.ReplaceAll(reason, "_", " ")
}
