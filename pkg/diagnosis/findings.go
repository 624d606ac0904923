package diagnosis

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// findings asks every rule. The order is that of causes: what comes first explains what comes after it.
func (v *view) findings() []*finding {
	var all []*finding
	for _, rule := range []func() []*finding{
		v.starvedFindings, v.queueFindings, v.diskFindings, v.slowDiskFindings, v.pausedFindings, v.downstreamFindings, v.lineFindings, v.fullFindings,
		v.floodFindings, v.limitFindings, v.levelFindings, v.parkedFindings, v.overrideFindings, v.drainingFindings,
	} {
		all = append(all, rule()...)
	}
	return all
}

// starvedFindings come first: what surgegate measures of others cannot be trusted then.
func (v *view) starvedFindings() []*finding {
	if !v.starved() {
		return nil
	}
	p := v.s.GetProcess()
	f := &finding{
		Id: idStarved, Severity: look, Title: "surgegate itself gets too little processor time", Runbook: "SurgegateStarved",
		Actions: []*operatorv1.Action{
			newAction("top", "what else uses this machine's processors? Stop it, or give surgegate more of them or a larger CPU quota"),
			newAction("surgectl limits set global --rate RATE", "let fewer in, if nothing else can be done"),
		},
	}
	f.Says = fmt.Sprintf("It used %.1f of %.1f processors, and what is ready to run waits %s for one.", p.GetCpuUsed(), p.GetCpuLimit(),
		humanize.Duration(p.GetSchedulingDelay().AsDuration()))
	if p.GetThrottledShare() > 0 {
		f.Says += fmt.Sprintf(" Its CPU quota stopped it for %s of the time.", humanize.Share(p.GetThrottledShare()))
	}
	switch {
	case !p.GetCpuStarved():
		f.Says += " It was short of it until " + humanize.Duration(v.now.Sub(v.starvedTime)) + " ago."
	case p.GetCpuStarvedSince() != nil:
		f.Says += " So it has been for " + humanize.Duration(v.since(p.GetCpuStarvedSince())) + "."
	}
	f.Says += " Times of calls are its own as long as that lasts: nothing slow is another's fault until it is mended."
	if v.waiting != nil && v.waiting.wait >= long {
		f.Severity = urgent
	}
	return []*finding{f}
}

func (v *view) queueFindings() []*finding {
	var all []*finding
	q := v.s.GetQueue()
	if q == nil {
		return nil
	}
	if q.GetConservation() != 0 {
		all = append(all, &finding{
			Id: "conservation", Severity: urgent, Title: "jobs do not add up", Runbook: "SurgegateConservationBroken",
			Says:    fmt.Sprintf("Enqueued less ended less held is %d and must be 0: a fault of surgegate's own.", q.GetConservation()),
			Actions: []*operatorv1.Action{newAction("surgectl status -o json > status.json", "keep it for who repairs it, with the log; restart nothing yet")},
		})
	}
	if !q.GetAccepting() && !v.diskLow() {
		all = append(all, &finding{
			Id: "not_accepting", Severity: urgent, Title: "nothing can be made durable", Runbook: "SurgegateNotAccepting",
			Says:    "All that is new is refused: " + sentence(q.GetNotAcceptingCause()) + " What is in line goes on.",
			Actions: []*operatorv1.Action{newAction("surgectl status", "look again: the cause is in the queue's line")},
		})
	}
	return all
}

// fullFindings are a queue that has no room, or soon none.
func (v *view) fullFindings() []*finding {
	q := v.s.GetQueue()
	if share, late := fillShare(q), v.refusalRate("queue_full"); share >= .75 || late >= minRate {
		f := &finding{
			Id: idQueueFull, Severity: look, Title: "the line is as long as may be promised", Runbook: "SurgegateQueueFullSoon",
			Actions: []*operatorv1.Action{newAction("surgectl lanes list", "which lane holds the jobs")},
		}
		var says []string
		if late >= minRate {
			says = append(says, humanize.Rate(late)+" calls are refused because they could not be finished in time.")
		}
		if share >= .75 {
			says = append(says, "The queue has "+humanize.Share(share)+" of its bytes in use.")
		}
		f.Says = strings.Join(says, " ")
		if share >= .95 {
			f.Severity = urgent
		}
		return []*finding{f}
	}
	if full, ok := v.timeUntilFull(); ok && full < 10*time.Minute {
		return []*finding{{
			Id: idQueueFilling, Severity: urgent, Title: "the queue is full in about " + humanize.Duration(full), Runbook: "SurgegateQueueFullSoon",
			Says:    fmt.Sprintf("It grows by %s jobs. When it is full, what is new is refused.", humanize.Rate(v.growth())),
			Actions: []*operatorv1.Action{newAction("surgectl brownout force 3 --duration 15m", "refuse new starts now, so that completions keep their room")},
		}}
	}
	return nil
}

func fillShare(q *operatorv1.QueueStatus) float64 {
	if q.GetMaxBytes() == 0 {
		return 0
	}
	return float64(q.GetBytes()) / float64(q.GetMaxBytes())
}

// slowCommit is the time of a commit from which the disk holds people up. A reset is committed some eight times on its way, and
// a busy disk of a usual kind takes 5 to 50 ms.
const slowCommit = 200 * time.Millisecond

// noteDisk notes since when the disk takes long to make changes durable. A process that waits for a processor sees that of every
// disk, and may know a second or two later that it waits: so it must last. It is called once for each status.
func (o *Diagnoser) noteDisk(v *view) {
	switch {
	case v.s.GetQueue().GetCommitTime().AsDuration() < slowCommit || v.starved():
		o.diskSlowSince = time.Time{}
	case o.first:
		o.diskSlowSince = v.now.Add(-confirm)
	case o.diskSlowSince.IsZero():
		o.diskSlowSince = v.now
	}
	v.isDiskSlow = !o.diskSlowSince.IsZero() && v.now.Sub(o.diskSlowSince) >= confirm
}

func (v *view) slowDiskFindings() []*finding {
	if !v.isDiskSlow {
		return nil
	}
	took := v.s.GetQueue().GetCommitTime().AsDuration()
	f := &finding{
		Id: idDiskSlow, Severity: look, Title: "the disk is slow", Runbook: "SurgegateDiskSlow",
		Says: fmt.Sprintf("A change takes %s until it is durable on the disk of data_dir, and nobody is answered before that.",
			humanize.Duration(took)),
		Actions: []*operatorv1.Action{
			newAction("iostat -x 5; pidstat -d 5", "what else writes to that disk, and how busy is it? Stop the other writer, or raise the volume's quota"),
			newAction("surgectl brownout force 3 --duration 15m", "if it cannot be mended soon: let fewer in"),
		},
	}
	if took >= 2*time.Second || v.waiting != nil && v.waiting.wait >= long {
		f.Severity = urgent
	}
	return []*finding{f}
}

func (v *view) diskLow() bool {
	d := v.s.GetDisk()
	return d.GetReserveBytes() > 0 && d.GetAvailableBytes() <= d.GetReserveBytes()
}

func (v *view) diskFindings() []*finding {
	d := v.s.GetDisk()
	reserve := d.GetReserveBytes()
	if reserve == 0 {
		return nil
	}
	free := newAction("df -h; du -xsh /var/log", "find what fills the disk of data_dir and free it; delete nothing in data_dir")
	switch left := float64(d.GetAvailableBytes()) - float64(reserve); {
	case left <= 0:
		return []*finding{{
			Id: "disk_low", Severity: urgent, Title: "the disk is full up to its reserve", Runbook: "SurgegateNotAccepting",
			Says: fmt.Sprintf("%s are free and %s are kept for finishing what is in line, so all that is new is refused. It accepts again by "+
				"itself a moment after there is room.", humanize.Bytes(d.GetAvailableBytes()), humanize.Bytes(reserve)),
			Actions: []*operatorv1.Action{free},
		}}
	case left < .5*float64(reserve): // SurgegateDiskFilling also follows the trend; a status has none
		f := &finding{
			Id: "disk_filling", Severity: look, Title: "the disk is filling", Runbook: "SurgegateDiskFilling",
			Says: fmt.Sprintf("%s are left above the reserve of %s. Below it, all that is new is refused. surgegate itself holds %s.",
				humanize.Bytes(uint64(left)), humanize.Bytes(reserve), humanize.Bytes(v.s.GetQueue().GetBytes())),
			Actions: []*operatorv1.Action{free},
		}
		if left < .2*float64(reserve) {
			f.Severity = urgent
		}
		return []*finding{f}
	}
	return nil
}

// pausedFindings are lanes that an operator stopped and in which people wait.
func (v *view) pausedFindings() []*finding {
	var all []*finding
	for _, l := range v.s.GetLanes() {
		if !l.GetPaused() || l.GetWaiting() == 0 {
			continue
		}
		f := &finding{
			Id: "lane_paused", Severity: look, Title: "the lane " + l.GetLane() + " is paused", Runbook: "SurgegateOverrideStanding",
			Says: fmt.Sprintf("%s jobs wait, the oldest for %s.%s", humanize.Count(l.GetWaiting()),
				humanize.Duration(l.GetOldestWait().AsDuration()), v.overrideNote("lane/"+l.GetLane()+"/paused")),
			Actions: []*operatorv1.Action{newAction("surgectl lanes resume "+l.GetLane(), "go on with it, if the reason is over")},
		}
		if isInteractive(l.GetLane()) && l.GetOldestWait().AsDuration() >= noticeable {
			f.Severity = urgent
		}
		all = append(all, f)
	}
	return all
}

// displayName is a downstream's name in a sentence.
func displayName(name string) string {
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

// overrideNote tells who set an override, why and until when, as a sentence with a blank before it.
func (v *view) overrideNote(target string) string {
	o := v.override(target)
	if o == nil {
		return ""
	}
	says := " Set"
	if o.GetWho() != "" {
		says += " by " + o.GetWho()
	}
	says += " " + humanize.Duration(v.now.Sub(o.GetSetTime().AsTime())) + " ago"
	if o.GetReason() != "" {
		says += fmt.Sprintf(" (%q)", o.GetReason())
	}
	return says + ", ends in " + humanize.Duration(o.GetExpireTime().AsTime().Sub(v.now)) + "."
}

// sentence makes one of a cause.
func sentence(cause string) string {
	if cause == "" {
		return "no cause is given."
	}
	return strings.TrimRight(cause, ". ") + "."
}

// ago is how long ago and when that was.
func (v *view) ago(t *timestamppb.Timestamp) string {
	return humanize.Duration(v.since(t)) + " ago (" + clockOf(t) + ")"
}

func clockOf(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format("15:04:05 UTC") }
