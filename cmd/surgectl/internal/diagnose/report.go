package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Severity is how much a finding matters.
type Severity int

// The severities.
const (
	Note   Severity = iota // good to know
	Look                   // it will get worse, or daylight is early enough
	Urgent                 // people are refused or get nothing
)

// String returns the word in JSON.
func (s Severity) String() string { return [...]string{"note", "look", "urgent"}[s] }

// Action is one thing to do.
type Action struct {
	Command string `json:"command"` // to be typed
	Why     string `json:"why"`     // what it shows or does
}

// Finding is one cause.
type Finding struct {
	ID       string   `json:"id"` // stable, for programs
	Severity Severity `json:"-"`
	Title    string   `json:"title"` // a few words
	Says     string   `json:"says"`  // sentences
	Actions  []Action `json:"actions,omitempty"`
	Runbook  string   `json:"runbook,omitempty"` // dashboards/runbooks/NAME.md
}

// Answer is a word and the sentences that explain it.
type Answer struct {
	Word     string   `json:"word"`
	Says     []string `json:"says"`
	Severity Severity `json:"-"`
}

// Report is the whole diagnosis.
type Report struct {
	Helped   Answer    // are people being helped?
	Limit    Answer    // what is the limit?
	Over     Answer    // when is it over?
	Findings []Finding // most urgent first; among equals the cause before what follows from it
	Actions  []Action  // what can I do? the findings' own, each once, the first ones first
	Runbooks []string  // of the findings, likewise
}

// JSON is the report for programs: the ids of findings are stable, the sentences are not.
func (r Report) JSON() any {
	type finding struct {
		Severity string `json:"severity"`
		Finding
	}
	findings := make([]finding, len(r.Findings))
	for i, f := range r.Findings {
		findings[i] = finding{f.Severity.String(), f}
	}
	return struct {
		Helped   Answer    `json:"helped"`
		Limit    Answer    `json:"limit"`
		Over     Answer    `json:"over"`
		Findings []finding `json:"findings"`
		Actions  []Action  `json:"actions"`
		Runbooks []string  `json:"runbooks"`
	}{r.Helped, r.Limit, r.Over, findings, append([]Action{}, r.Actions...), append([]string{}, r.Runbooks...)}
}

// maxActions keeps the answer readable.
const maxActions = 5

// Of diagnoses.
func Of(s *operatorv1.GetStatusResponse) Report {
	v := look(s)
	findings := v.findings()
	r := Report{Findings: findings}
	r.Helped = v.helped()
	r.Limit = limit(findings)
	r.Over = v.over()
	if len(findings) > 0 {
		r.ailing(v, findings[0])
	}
	// The first two findings with all they have, the others with their first: what else is wrong must not hide what to do.
	for n, f := range findings {
		for i, a := range f.Actions {
			known := slices.ContainsFunc(r.Actions, func(b Action) bool { return a.Command == b.Command })
			if !known && len(r.Actions) < maxActions && (n < 2 || i == 0) {
				r.Actions = append(r.Actions, a)
			}
		}
		if f.Runbook != "" && !slices.Contains(r.Runbooks, f.Runbook) && f.Severity > Note {
			r.Runbooks = append(r.Runbooks, f.Runbook)
		}
	}
	return r
}

// ailing keeps the answers from saying that all is well where nobody waits yet for what does not work: a line is seconds away.
func (r *Report) ailing(v *view, f Finding) {
	if v.held != nil {
		return
	}
	switch f.ID {
	case "downstream_dark":
		if !slices.ContainsFunc(v.s.GetDownstreams(), func(d *operatorv1.DownstreamStatus) bool {
			return d.GetDownstream() != "revoker" && dark(d) // sessions that end later keep nobody from anything
		}) {
			return
		}
	case "not_accepting", "disk_low":
	default:
		return
	}
	if r.Helped.Word == "YES" {
		r.Helped.Word, r.Helped.Severity = "NOT FOR LONG", f.Severity
	}
	r.Over = Answer{Word: "NOT BEFORE THAT IS MENDED", Severity: f.Severity, Says: []string{"Nobody waits in line yet: " + f.Title + "."}}
}

// helped tells of the people: what is done, who waits, who is refused.
func (v *view) helped() Answer {
	a := Answer{Word: "YES"}
	refused := v.refused()
	openFew := refused > minRate && refused > .1*v.s.GetAdmission().GetOffered()
	switch {
	case v.held != nil && v.held.stuck():
		a.Word, a.Severity = "NO", Urgent
	case v.s.GetQueue() != nil && !v.s.GetQueue().GetAccepting():
		a.Word, a.Severity = "ONLY WHO IS IN LINE ALREADY", Urgent
	case v.s.GetBrownoutLevel() >= 4:
		a.Word, a.Severity = "ONLY WHO IS IN LINE ALREADY", Urgent
	case v.held != nil && v.held.wait >= long:
		a.Word, a.Severity = "SLOWLY", Look
	case v.s.GetBrownoutLevel() == 3:
		a.Word, a.Severity = "WHO HAS A LINK; nobody gets a new one", Look
	case v.held != nil:
		a.Word, a.Severity = "YES, with a line", Note
	case openFew && v.s.GetBrownoutLevel() > 0, openFew && v.reason("limit_global") > 0:
		a.Word, a.Severity = "WHO IS LET IN; others are told when to come back", Look
	}
	if v.held != nil {
		a.Says = append(a.Says, fmt.Sprintf("%s passwords set, %s mails out; the oldest waits %s (%s, %s in line).",
			figures.Rate(v.lane("apply").GetRate()), figures.Rate(v.lane("mail").GetRate()), figures.Duration(v.held.wait),
			v.held.lane.GetLane(), figures.Count(v.held.lane.GetWaiting())))
	} else {
		a.Says = append(a.Says, fmt.Sprintf("%s passwords set, %s mails out; nobody waits long.",
			figures.Rate(v.lane("apply").GetRate()), figures.Rate(v.lane("mail").GetRate())))
	}
	if refused > minRate {
		ad := v.s.GetAdmission()
		a.Says = append(a.Says, fmt.Sprintf("Of %s calls %s are let in and %s refused with a time to come back (%s).",
			figures.Rate(ad.GetOffered()), figures.Rate(max(0, ad.GetAdmitted()-ad.GetRefused())), figures.Rate(refused), v.reasons()))
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
func limit(findings []Finding) Answer {
	if len(findings) == 0 {
		return Answer{Word: "NOTHING", Says: []string{"What comes is let in and done as it comes."}}
	}
	f := findings[0]
	a := Answer{Word: f.Title, Severity: f.Severity, Says: []string{f.Says}}
	if f.Severity == Note {
		a.Word = "NOTHING that needs you: " + f.Title
	}
	for _, f := range findings[1:] {
		a.Says = append(a.Says, "Also: "+f.Title+".")
	}
	return a
}

// over tells when.
func (v *view) over() Answer {
	h := v.held
	if h == nil {
		return Answer{Word: "NOW", Says: []string{"No line to be worked off."}}
	}
	a := Answer{Severity: Look}
	lane := h.lane.GetLane()
	switch {
	case h.by == byPaused:
		a.Word, a.Severity = "NOT BY ITSELF SOON: "+lane+" is paused", Urgent
		a.Says = append(a.Says, v.standing("lane/"+lane+"/paused"))
	case h.by == byForcedOpen:
		a.Word, a.Severity = "NOT BY ITSELF SOON: the breaker is held open", Urgent
		a.Says = append(a.Says, v.standing("breaker/"+h.name()))
	case h.by == byDark, h.by == byHanging:
		a.Word, a.Severity = "AFTER THE "+strings.ToUpper(words(h.name()))+" WORKS AGAIN", Urgent
		a.Says = append(a.Says, "Then the pace ramps up by itself, and what was accepted is done in order. Nothing is lost.")
	case h.stuck():
		a.Word, a.Severity = "CANNOT BE SAID", Urgent
		a.Says = append(a.Says, "Nothing of "+lane+" gets done at the moment.")
	case v.drain > 0:
		a.Word, a.Severity = "IN ABOUT "+figures.Duration(rounded(v.drain))+", if nothing more comes", Note
	default:
		a.Word = "CANNOT BE SAID YET"
	}
	in, out := h.lane.GetArrivalRate(), h.lane.GetRate()
	switch growth := in - out; {
	case in < minRate:
	case growth > .05*in:
		a.Severity = max(a.Severity, Look)
		a.Says = append(a.Says, fmt.Sprintf("But %s come and %s get done: the line of %s grows by %s.",
			figures.Rate(in), figures.Rate(out), lane, figures.Rate(growth)))
	case -growth > .05*in && h.drain > 0:
		through := time.Duration(float64(h.lane.GetWaiting()) / -growth * float64(time.Second))
		a.Says = append(a.Says, fmt.Sprintf("With what comes now (%s in, %s done) in about %s.", figures.Rate(in), figures.Rate(out),
			figures.Duration(through)))
	case h.drain > 0:
		a.Says = append(a.Says, fmt.Sprintf("As much comes as gets done (%s): the line keeps its length.", figures.Rate(in)))
	}
	if full, ok := v.fullIn(); ok {
		a.Severity = max(a.Severity, Look)
		a.Says = append(a.Says, "The queue is full in about "+figures.Duration(full)+" at this rate.")
	}
	return a
}

// rounded to what an estimate is worth.
func rounded(d time.Duration) time.Duration {
	if d >= 10*time.Minute {
		return d.Round(time.Minute)
	}
	return d
}

// NameClients adds who is refused most to what is said of a flood; without one it adds nothing.
func (r *Report) NameClients(clients []*operatorv1.LimitedClient) {
	if len(clients) == 0 {
		return
	}
	says := fmt.Sprintf("Most refused: %s %s, about %s in the last minute", clients[0].GetKind(), clients[0].GetClient(),
		figures.Count(clients[0].GetRefused()))
	if len(clients) > 1 {
		says += fmt.Sprintf("; then %s %s, %s", clients[1].GetKind(), clients[1].GetClient(), figures.Count(clients[1].GetRefused()))
	}
	for i, f := range r.Findings {
		if f.ID != idFlood {
			continue
		}
		r.Findings[i].Says += " " + says + "."
		if i == 0 {
			r.Limit.Says[0] = r.Findings[i].Says
		} else {
			r.Limit.Says = append(r.Limit.Says, says+".")
		}
	}
}

// Flooded tells whether it is worth asking for the clients.
func (r *Report) Flooded() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.ID == idFlood })
}

// standing tells how long an override stands.
func (v *view) standing(target string) string {
	o := v.override(target)
	if o == nil {
		return "It is not an override of this surgegate's list: look at its configuration."
	}
	return fmt.Sprintf("The override ends in %s; lifting it is at once.", figures.Duration(o.GetExpireTime().AsTime().Sub(v.now)))
}
