package diagnose

import (
	"fmt"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// lineFindings tell why people wait where the downstream is not ill.
func (v *view) lineFindings() []Finding {
	h := v.held
	if h == nil {
		return nil
	}
	name, d := h.name(), h.down
	does := fmt.Sprintf("It does %s with %s, %s a call.", figures.Rate(max(d.GetItemRate(), d.GetCallRate())), calls(d),
		figures.Duration(d.GetCallTime().AsDuration()))
	f := Finding{Severity: Look}
	watch := Action{"surgectl top", "watch the line for a minute: does it grow?"}
	if h.wait < long && !h.growing() {
		f.Severity = Note // a line of seconds needs nobody
	}
	switch h.by {
	case byPace:
		f.ID, f.Title, f.Runbook = "pace_overridden", "the "+words(name)+" is held at its pace by an override", "SurgegateOverrideStanding"
		f.Says = does + v.whose("pace/"+name)
		f.Actions = []Action{{"surgectl pace auto " + name, "let the pace be found by measuring again"}}
	case byHanging:
		f.ID, f.Title, f.Runbook = "downstream_hanging", "the "+words(name)+" does not answer: calls hang", "SurgegateBreakerOpen"
		f.Severity = Urgent
		f.Says = fmt.Sprintf("%s, and they do not come back. surgegate sends less, and goes on by itself; what is accepted waits safely.",
			calls(d))
		f.Actions = []Action{
			{"(the " + words(name) + " itself)", "look what it waits for (a lock, a full pool, the network): " + whoRuns(name)},
			{"surgectl breaker list", "whether the breaker opens, and since when it is out"},
		}
	case byCalls:
		f.Says, f.Runbook = v.fullSays(h, does), "SurgegateDownstreamSlow"
		switch name {
		case "hash_pool":
			f.ID, f.Title, f.Runbook = "hash_pool_busy", "hashing passwords: all slots are busy", "SurgegateHashPoolBusy"
			f.Says = does + " Each hash costs processor time: only more cores, or fewer people at once, make it faster."
			f.Actions = []Action{{"top -H", "does anything else use this machine's cores?"}, watch}
		case "mail":
			f.ID, f.Title = "mail_limit", "the mail provider: it takes no more at once"
			if slower(d) {
				f.ID, f.Title = "mail_slow", "the mail provider: it is slower than it was"
			}
			f.Actions = []Action{{"surgectl pace list", "CALL: how long the provider takes; PACE: whether somebody has bound it"}, watch}
		default:
			f.ID, f.Title = "store_limit", "the "+words(name)+": it takes no more at once"
			if slower(d) {
				f.ID, f.Title = "store_slow", "the "+words(name)+": it is slower than it was"
			}
			f.Actions = []Action{
				{"surgectl pace list", "CALL, its time: has it grown? Leave the pace alone: more calls at once would make it slower, not faster"},
				{"surgectl lanes pause revoke --duration 15m", "frees the store of session ends; they are caught up afterwards"},
				watch,
			}
		}
	case byRate:
		f.ID, f.Title, f.Runbook = "rate_limit", "the "+words(name)+"'s rate: its bound is reached", "SurgegateDownstreamSlow"
		f.Says = fmt.Sprintf("It is given at most %s and gets it.", figures.Rate(d.GetRateLimit()))
		if name == "mail" {
			f.ID = "mail_limit"
			f.Says += " That is mail.pace.rate of the configuration: what your provider takes from you."
			f.Actions = append(f.Actions, Action{"surgectl pace bound mail --rate RATE", "give it more, if the provider allows it"})
		}
		f.Actions = append(f.Actions, watch)
	case byNothing:
		f.ID, f.Title, f.Runbook = "waiting", h.lane.GetLane()+" waits, and no limit is reached that shows", "SurgegateOldestPastPromise"
		f.Says = does + " Look at the dashboard Storm, row Downstreams, and at the log."
		f.Actions = []Action{watch}
	default:
		return nil // told by another rule
	}
	return []Finding{f}
}

// slow is how much of its best a downstream delivers at most that is called slow while its line waits: a third less is more
// than ten seconds differ by chance, and than looking for the pace costs.
const slow = 2. / 3

// slower tells whether it has been much faster within the last hour.
func slower(d *operatorv1.DownstreamStatus) bool {
	return d.GetBestItemRate() > 0 && d.GetSpeedRatio() < slow
}

func (v *view) fullSays(h *held, does string) string {
	if d := h.down; slower(d) {
		says := does + fmt.Sprintf(" That is %.0f %% of its best of the last hour (%s at %s): it got slower; more people alone would not do that. ",
			100*d.GetSpeedRatio(), figures.Rate(d.GetBestItemRate()), d.GetBestTime().AsTime().Format("15:04:05 UTC"))
		if h.name() == "mail" {
			return says + "Ask the provider. Mails wait and are sent in order."
		}
		return says + "Its owner must look."
	}
	if h.name() == "mail" {
		return does + " If it was faster an hour ago, the provider throttles: ask there. Mails wait and are sent in order."
	}
	return does + " That is all it has: more people came than it serves, or it got slower. Compare a call's time with a quiet hour's " +
		"(dashboard Storm, Downstreams): if it has grown, its owner must look."
}

func calls(d *operatorv1.DownstreamStatus) string {
	return fmt.Sprintf("%d of %d calls out", d.GetInFlight(), d.GetConcurrencyLimit())
}
