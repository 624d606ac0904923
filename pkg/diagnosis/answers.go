package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// warnOfOutage keeps the answers from saying that all is well where nobody waits yet for what does not work: a line is seconds away.
func (v *view) warnOfOutage(d *operatorv1.Diagnosis) {
	if v.waiting != nil {
		return
	}
	i := slices.IndexFunc(d.GetFindings(), func(f *finding) bool {
		switch f.GetId() {
		case string(dark), string(misconfigured):
			return f.GetDownstream() != "revoker" // sessions that end later keep nobody from anything
		case "not_accepting", "disk_low":
			return true
		}
		return false
	})
	if i < 0 {
		return
	}
	f := d.GetFindings()[i]
	if d.Helped.Severity == note {
		d.Helped.Word, d.Helped.Severity = "NOT FOR LONG", f.GetSeverity()
	}
	d.Over = &answer{Word: "NOT BEFORE THAT IS MENDED", Severity: f.GetSeverity(), Says: []string{"Nobody waits in line yet: " + f.GetTitle() + "."}}
}

// helped tells of the people: what is done, who waits, who is refused.
func (v *view) helped() *answer {
	a := &answer{Word: "YES", Severity: note}
	refused := v.totalRefusals()
	openFew := refused > minRate && refused > .1*v.s.GetAdmission().GetOffered()
	switch {
	case v.waiting != nil && v.waiting.isStuck():
		a.Word, a.Severity = "NO", urgent
	case v.s.GetQueue() != nil && !v.s.GetQueue().GetAccepting(), v.s.GetBrownoutLevel() >= 4:
		a.Word, a.Severity = "ONLY WHO IS IN LINE ALREADY", urgent
	case v.waiting != nil && v.waiting.wait >= long:
		a.Word, a.Severity = "SLOWLY", look
	case v.s.GetBrownoutLevel() == 3:
		a.Word, a.Severity = "WHO HAS A LINK; nobody gets a new one", look
	case v.waiting != nil:
		a.Word = "YES, with a line"
	case openFew && v.s.GetBrownoutLevel() > 0, openFew && v.refusalRate("limit_global") > 0:
		a.Word, a.Severity = "WHO IS LET IN; others are told when to come back", look
	}
	done := fmt.Sprintf("%s passwords set, %s mails out; ", humanize.Rate(v.lane("apply").GetRate()), humanize.Rate(v.lane("mail").GetRate()))
	if v.waiting != nil {
		done += fmt.Sprintf("the oldest waits %s (%s, %s in line).", humanize.Duration(v.waiting.wait), v.waiting.lane.GetLane(),
			humanize.Count(v.waiting.lane.GetWaiting()))
	} else {
		done += "nobody waits long."
	}
	a.Says = append(a.Says, done)
	if refused > minRate {
		ad := v.s.GetAdmission()
		a.Says = append(a.Says, fmt.Sprintf("Of %s calls %s are let in and %s refused with a time to come back (%s).",
			humanize.Rate(ad.GetOffered()), humanize.Rate(max(0, ad.GetAdmitted()-ad.GetRefused())), humanize.Rate(refused), v.reasons()))
	}
	return a
}

// reasons are the two that refuse most, in words.
func (v *view) reasons() string {
	var words []string
	for _, r := range v.s.GetAdmission().GetReasons() {
		if len(words) < 2 && r.GetRate() >= minRate {
			words = append(words, ReasonWords(r.GetReason()))
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, ", ")
}

// limit is the first finding, and the others in a line each.
func limit(findings []*finding) *answer {
	if len(findings) == 0 {
		return &answer{Word: "NOTHING", Severity: note, Says: []string{"What comes is let in and done as it comes."}}
	}
	f := findings[0]
	a := &answer{Word: f.GetTitle(), Severity: f.GetSeverity(), Says: []string{f.GetSays()}}
	if f.GetSeverity() == note {
		a.Word = "NOTHING that needs you: " + f.GetTitle()
	}
	for _, f := range findings[1:] {
		also := "Also: " + f.GetTitle() + "."
		if f.GetId() == idFlood {
			also += " " + f.GetSays() // it has the name of who floods
		}
		a.Says = append(a.Says, also)
	}
	return a
}

// over tells when.
func (v *view) over() *answer {
	h := v.waiting
	if h == nil {
		return &answer{Word: "NOW", Severity: note, Says: []string{"No line to be worked off."}}
	}
	a := &answer{Severity: look}
	lane := h.lane.GetLane()
	switch {
	case h.lane.GetPaused():
		a.Word, a.Severity = "NOT BY ITSELF SOON: "+lane+" is paused", urgent
		a.Says = append(a.Says, v.endsIn("lane/"+lane+"/paused"))
	case h.cause == forcedOpen:
		a.Word, a.Severity = "NOT BY ITSELF SOON: the breaker is held open", urgent
		a.Says = append(a.Says, v.endsIn("breaker/"+h.name()))
	case h.cause == dark, h.cause == hanging, h.cause == misconfigured:
		a.Word, a.Severity = "AFTER THE "+strings.ToUpper(displayName(h.name()))+" WORKS AGAIN", urgent
		a.Says = append(a.Says, "Then the pace ramps up by itself, and what was accepted is done in order. Nothing is lost.")
	case h.isStuck():
		a.Word, a.Severity = "CANNOT BE SAID", urgent
		a.Says = append(a.Says, "Nothing of "+lane+" gets done at the moment.")
	case v.drain > 0:
		a.Word, a.Severity = "IN ABOUT "+humanize.Duration(rounded(v.drain))+", if nothing more comes", note
	default:
		a.Word = "CANNOT BE SAID YET"
	}
	v.trend(a)
	if full, ok := v.timeUntilFull(); ok {
		a.Severity = max(a.Severity, look)
		a.Says = append(a.Says, "The queue is full in about "+humanize.Duration(full)+" at this rate.")
	}
	return a
}

// trend adds whether the line grows.
func (v *view) trend(a *answer) {
	h := v.waiting
	in, out := h.lane.GetArrivalRate(), h.lane.GetRate()
	switch growth := in - out; {
	case in < minRate:
	case growth > .05*in:
		a.Severity = max(a.Severity, look)
		a.Says = append(a.Says, fmt.Sprintf("But %s come and %s get done: the line of %s grows by %s.",
			humanize.Rate(in), humanize.Rate(out), h.lane.GetLane(), humanize.Rate(growth)))
	case -growth > .05*in && h.drain > 0:
		through := time.Duration(float64(h.lane.GetWaiting()) / -growth * float64(time.Second))
		a.Says = append(a.Says, fmt.Sprintf("With what comes now (%s in, %s done) in about %s.", humanize.Rate(in), humanize.Rate(out),
			humanize.Duration(through)))
	case h.drain > 0:
		a.Says = append(a.Says, fmt.Sprintf("As much comes as gets done (%s): the line keeps its length.", humanize.Rate(in)))
	}
}

// rounded to what an estimate is worth.
func rounded(d time.Duration) time.Duration {
	if d >= 10*time.Minute {
		return d.Round(time.Minute)
	}
	return d
}

// nameClients adds who is refused most to what is said of a flood.
func nameClients(findings []*finding, clients Clients) {
	i := slices.IndexFunc(findings, func(f *finding) bool { return f.GetId() == idFlood })
	if i < 0 || clients == nil {
		return
	}
	most := clients()
	if len(most) == 0 {
		return
	}
	says := fmt.Sprintf(" Most refused: %s %s, about %s in the last minute", most[0].GetKind(), most[0].GetClient(),
		humanize.Count(most[0].GetRefused()))
	if len(most) > 1 {
		says += fmt.Sprintf("; then %s %s, %s", most[1].GetKind(), most[1].GetClient(), humanize.Count(most[1].GetRefused()))
	}
	findings[i].Says += says + "."
}

// endsIn tells how long an override stands.
func (v *view) endsIn(target string) string {
	o := v.override(target)
	if o == nil {
		return "It is not an override of this surgegate's list: look at its configuration."
	}
	return fmt.Sprintf("The override ends in %s; lifting it is at once.", humanize.Duration(o.GetExpireTime().AsTime().Sub(v.now)))
}
