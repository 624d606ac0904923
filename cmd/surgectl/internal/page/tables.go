package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// noticeable waits are in colour; what waits shorter is work as usual.
const noticeable = 10 * time.Second

// Lanes is a table.
func (s Style) Lanes(lanes []*operatorv1.LaneStatus) []string {
	t := figures.NewTable("LANE", ">WAIT", ">RUN", ">RETRY", ">PARKED", ">OLDEST", ">IN/s", ">OUT/s", ">DRAIN", ">WEIGHT", "")
	for _, l := range lanes {
		drain, state := "-", ""
		switch {
		case l.GetWaiting() == 0:
			drain = "0s"
		case l.GetDrainTime() != nil:
			drain = humanize.Duration(l.GetDrainTime().AsDuration())
		}
		if l.GetPaused() {
			state = s.of(screen.Red, "PAUSED")
		}
		oldest := humanize.Duration(l.GetOldestWait().AsDuration())
		if l.GetWaiting() > 0 && l.GetOldestWait().AsDuration() >= noticeable {
			oldest = s.of(screen.Yellow, oldest)
		}
		parked := humanize.Count(l.GetParked())
		if l.GetParked() > 0 {
			parked = s.of(screen.Yellow, parked)
		}
		weight := "-"
		if l.GetWeight() > 0 {
			weight = strconv.FormatFloat(l.GetWeight(), 'g', 4, 64)
		}
		t.Add(l.GetLane(), humanize.Count(l.GetWaiting()), humanize.Count(l.GetLeased()), humanize.Count(l.GetRetrying()), parked, oldest,
			humanize.Number(l.GetArrivalRate()), humanize.Number(l.GetRate()), drain, weight, state)
	}
	return t.Lines()
}

// Downstreams is a table of the downstreams: calls in flight and their limit, the time of a call, items done a second and their
// limit, calls that fail a second. An item is one look-up, one password, one mail, and so on.
func (s Style) Downstreams(downstreams []*operatorv1.DownstreamStatus) []string {
	t := figures.NewTable("DOWNSTREAM", ">OUT", ">MAX", ">CALL", ">DONE/s", ">MOST/s", ">FAIL/s", ">BATCH", "PACE", "BREAKER")
	for _, d := range downstreams {
		rate := "-"
		if d.GetRateLimit() > 0 {
			rate = humanize.Number(d.GetRateLimit())
		}
		took := "-"
		if d.GetCallTime().AsDuration() > 0 {
			took = humanize.Duration(d.GetCallTime().AsDuration())
		}
		failures := humanize.Number(d.GetFailureRate())
		if d.GetFailureRate() >= .5 {
			failures = s.of(screen.Yellow, failures)
		}
		t.Add(d.GetDownstream(), humanize.Count(uint64(d.GetInFlight())), humanize.Count(uint64(d.GetConcurrencyLimit())), took,
			humanize.Number(itemRate(d)), rate, failures, strconv.Itoa(int(d.GetBatch())), or(d.GetPaceMode(), "-"), s.Breaker(d))
	}
	return t.Lines()
}

// itemRate returns the items that a downstream does a second, of all kinds of calls.
func itemRate(d *operatorv1.DownstreamStatus) (perSecond float64) {
	for _, k := range d.GetKinds() {
		perSecond += k.GetItemRate()
	}
	return max(perSecond, d.GetItemRate()) // revocations at the store are only among its kinds
}

// Kinds tells what a downstream's DONE/s is made of, a line for each downstream that does several kinds of calls.
func (s Style) Kinds(downstreams []*operatorv1.DownstreamStatus) []string {
	var lines []string
	for _, d := range downstreams {
		var parts []string
		for _, k := range d.GetKinds() {
			if k.GetItemRate() > 0 {
				parts = append(parts, k.GetKind()+" "+humanize.Rate(k.GetItemRate()))
			}
		}
		if len(parts) > 1 {
			lines = append(lines, s.indented(d.GetDownstream()+" does "+strings.Join(parts, ", "), "")...)
		}
	}
	return lines
}

// Breaker is its state, and the ramp while there is one.
func (s Style) Breaker(d *operatorv1.DownstreamStatus) string {
	text, colour := d.GetBreaker(), screen.None
	switch d.GetBreaker() {
	case "open":
		text, colour = "OPEN", screen.Red
	case "half_open":
		text, colour = "half open", screen.Yellow
	case "none":
		text = "-"
	default:
		if d.GetRamp() > 0 && d.GetRamp() < 1 {
			text, colour = "ramp "+humanize.Share(d.GetRamp()), screen.Yellow
		}
	}
	if d.GetBreakerForced() {
		text, colour = text+" (held)", screen.Red
	}
	return s.of(colour, text)
}

// Overrides is a table with two rows each: what stands, and under it what was before and why.
func (s Style) Overrides(overrides []*operatorv1.Override, now time.Time) []string {
	t := figures.NewTable("OVERRIDE", "SETTING", ">ENDS IN", ">SET", "BY")
	for _, o := range overrides {
		t.Add(o.GetTarget(), o.GetSetting(), humanize.Duration(o.GetExpireTime().AsTime().Sub(now)),
			humanize.Duration(now.Sub(o.GetSetTime().AsTime()))+" ago", o.GetWho())
	}
	rows := s.Clip(t.Lines())
	lines := rows[:1:1]
	for i, o := range overrides {
		lines = append(lines, rows[i+1])
		why := "before: " + or(o.GetBefore(), "-")
		if o.GetReason() != "" {
			why += "; why: " + o.GetReason()
		}
		lines = append(lines, s.indented(why, "    ")...)
	}
	return lines
}

// Clip cuts lines to the width; the rest is in the JSON.
func (s Style) Clip(lines []string) []string {
	for i, line := range lines {
		lines[i] = screen.Fit(line, s.Width)
	}
	return lines
}

// Change tells what a call did, or would do.
func (s Style) Change(c *operatorv1.Change, now time.Time) []string {
	verb := ""
	if c.GetDryRun() {
		verb = "dry run, nothing is changed: "
	}
	text := verb + c.GetTarget() + ": " + or(c.GetBefore(), "-") + " → " + s.of(screen.Bold, or(c.GetAfter(), "-"))
	if e := c.GetExpireTime(); e != nil {
		text += fmt.Sprintf(", until %s UTC (%s)", e.AsTime().UTC().Format("15:04:05"), humanize.Duration(e.AsTime().Sub(now)))
	}
	lines := figures.Wrap(text, s.Width)
	for _, note := range c.GetNotes() {
		lines = append(lines, s.indented(note, "  ")...)
	}
	return lines
}

func or(text, instead string) string {
	if strings.TrimSpace(text) == "" {
		return instead
	}
	return text
}

// Outages tell since when downstreams have not been working; nothing where all work.
func (s Style) Outages(downstreams []*operatorv1.DownstreamStatus, now time.Time) []string {
	var lines []string
	for _, d := range downstreams {
		if d.GetOutageStartTime() == nil {
			continue
		}
		since := d.GetOutageStartTime().AsTime()
		lines = append(lines, s.of(screen.Red, fmt.Sprintf("%s has not been working for %s, since %s UTC", d.GetDownstream(),
			humanize.Duration(now.Sub(since)), since.UTC().Format("15:04:05"))))
	}
	return lines
}
