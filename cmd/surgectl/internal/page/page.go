// Package page lays a status out for a terminal: the four answers first, then the tables that they were drawn from. status
// prints it once, top again and again. No line is wider than the width that is given, but for a word or a cell that is.
package page

import (
	"fmt"
	"strings"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// Style is how it is written.
type Style struct {
	Width  int // columns
	Colour bool
}

func (s Style) of(c screen.Colour, text string) string {
	if !s.Colour {
		return text
	}
	return c.Of(text)
}

// bySeverity is green where all is well: the word beside it says the same.
func (s Style) bySeverity(v operatorv1.Severity, text string) string {
	switch v {
	case operatorv1.Severity_SEVERITY_URGENT:
		return s.of(screen.Red, text)
	case operatorv1.Severity_SEVERITY_LOOK:
		return s.of(screen.Yellow, text)
	default:
		return s.of(screen.Green, text)
	}
}

// Title is who speaks, when, and since when it runs.
func Title(s *operatorv1.GetStatusResponse, address string) string {
	t := "surgegate"
	if s.GetVersion() != "" {
		t += " " + s.GetVersion()
	}
	t += " at " + address + " · " + s.GetTime().AsTime().UTC().Format("15:04:05") + " UTC"
	if s.GetStartTime() != nil {
		t += " · up " + humanize.Duration(s.GetTime().AsTime().Sub(s.GetStartTime().AsTime()))
	}
	return t
}

// Line is a line of the answers and how much it matters: 0 is never left out, more is left out first.
type Line struct {
	Text string
	Rank int
}

const (
	rankWord   = 0
	rankDo     = 1 // what to do first, and where to read
	rankFirst  = 2 // the first sentence of an answer
	rankAction = 3
	rankRest   = 4
)

// Answers are the four questions, in at most so many lines; 0 means as many as they take.
func (s Style) Answers(r *operatorv1.Diagnosis, most int) []string {
	all := s.answerLines(r)
	rank := rankRest
	count := func() int {
		n := 0
		for _, l := range all {
			if l.Rank <= rank {
				n++
			}
		}
		return n
	}
	for most > 0 && rank > rankWord && count() > most {
		rank--
	}
	// What is left of the room goes to the next rank, from the top.
	room := 0
	if most > 0 {
		room = max(0, most-count())
	}
	var lines []string
	for _, l := range all {
		if l.Rank == rank+1 && room > 0 {
			lines, room = append(lines, l.Text), room-1
		} else if l.Rank <= rank {
			lines = append(lines, l.Text)
		}
	}
	return lines
}

func (s Style) answerLines(r *operatorv1.Diagnosis) []Line {
	if r == nil {
		return []Line{{"This surgegate is older than this surgectl and sends no diagnosis: read the tables.", rankWord}}
	}
	var lines []Line
	add := func(rank int, texts ...string) {
		for _, t := range texts {
			lines = append(lines, Line{t, rank})
		}
	}
	for _, q := range []struct {
		question string
		answer   *operatorv1.Answer
	}{{"Are people being helped?", r.GetHelped()}, {"What is the limit?", r.GetLimit()}, {"When is it over?", r.GetOver()}} {
		add(rankWord, s.answer(q.question, q.answer.GetWord(), q.answer.GetSeverity())...)
		for i, says := range q.answer.GetSays() {
			rank := rankFirst
			if i > 0 {
				rank = rankRest
			}
			add(rank, s.indented(says, "  ")...)
		}
	}
	if len(r.GetActions()) == 0 && len(r.GetRunbooks()) == 0 {
		add(rankWord, s.of(screen.Bold, "What can I do?")+" "+s.of(screen.Green, "Nothing is asked of you."))
		return lines
	}
	add(rankWord, s.of(screen.Bold, "What can I do?"))
	widest := 0
	for _, a := range r.GetActions() {
		if n := screen.Visible(a.GetCommand()); n <= s.Width*2/5 {
			widest = max(widest, n)
		}
	}
	for i, a := range r.GetActions() {
		rank := rankAction
		if i == 0 {
			rank = rankDo
		}
		add(rank, s.action(a, widest)...)
	}
	if len(r.GetRunbooks()) > 0 {
		add(rankDo, s.indented("Runbooks (dashboards/runbooks): "+strings.Join(r.GetRunbooks(), ", "), "  ")...)
	}
	return lines
}

// answer is the question and its word; a long word goes on under itself.
func (s Style) answer(question, word string, severity operatorv1.Severity) []string {
	lines := figures.Wrap(word, max(20, s.Width-len(question)-1))
	for i, line := range lines {
		if i == 0 {
			lines[i] = s.of(screen.Bold, question) + " " + s.bySeverity(severity, line)
		} else {
			lines[i] = strings.Repeat(" ", len(question)+1) + s.bySeverity(severity, line)
		}
	}
	return lines
}

// action has its reason beside it, or under it where the command is long.
func (s Style) action(a *operatorv1.Action, column int) []string {
	indent := strings.Repeat(" ", column+4)
	lines := s.indented(a.GetWhy(), indent)
	if len(lines) == 0 {
		return []string{"  " + s.of(screen.Cyan, a.GetCommand())}
	}
	if n := screen.Visible(a.GetCommand()); n <= column {
		lines[0] = "  " + s.of(screen.Cyan, a.GetCommand()) + strings.Repeat(" ", column-n+2) + lines[0][len(indent):]
		return lines
	}
	return append([]string{"  " + s.of(screen.Cyan, a.GetCommand())}, lines...)
}

func (s Style) indented(text, indent string) []string {
	lines := figures.Wrap(text, max(20, s.Width-len(indent)))
	for i := range lines {
		lines[i] = indent + lines[i]
	}
	return lines
}

// Tables are everything else of a status.
func (s Style) Tables(st *operatorv1.GetStatusResponse) []string {
	var lines []string
	lines = append(lines, s.Summary(st)...)
	lines = append(lines, "")
	lines = append(lines, s.Lanes(st.GetLanes())...)
	lines = append(lines, "")
	lines = append(lines, s.Downstreams(st.GetDownstreams())...)
	if len(st.GetOverrides()) > 0 {
		lines = append(lines, "")
		lines = append(lines, s.Overrides(st.GetOverrides(), st.GetTime().AsTime())...)
	}
	return lines
}

// Summary is level, admission, queue, disk and processor in a line each.
func (s Style) Summary(st *operatorv1.GetStatusResponse) []string {
	level := fmt.Sprintf("%d %s", st.GetBrownoutLevel(), diagnosis.LevelName(st.GetBrownoutLevel()))
	switch {
	case st.GetBrownoutLevel() != st.GetBrownoutLevelAsked():
		level += fmt.Sprintf("; the signals ask for %d", st.GetBrownoutLevelAsked())
	case st.GetBrownoutCause() != "":
		level += ": " + st.GetBrownoutCause()
	}
	lines := []string{"level     " + level}
	if a := st.GetAdmission(); a != nil {
		lines = append(lines, fmt.Sprintf("calls     %s offered, %s let in, %s limited, %s shed, %s refused later", humanize.Rate(a.GetOffered()),
			humanize.Rate(a.GetAdmitted()), humanize.Rate(a.GetLimited()), humanize.Rate(a.GetShed()), humanize.Rate(a.GetRefused())))
	}
	if q := st.GetQueue(); q != nil {
		text := fmt.Sprintf("queue     %s jobs, %s of %s (%s)", humanize.Count(q.GetHeld()), humanize.Bytes(q.GetBytes()),
			humanize.Bytes(q.GetMaxBytes()), humanize.Share(float64(q.GetBytes())/max(1, float64(q.GetMaxBytes()))))
		if took := q.GetCommitTime().AsDuration(); took > 0 {
			text += ", " + humanize.Duration(took) + " a commit"
		}
		if q.GetConservation() != 0 {
			text += ", " + s.of(screen.Red, fmt.Sprintf("conservation %d", q.GetConservation()))
		}
		if !q.GetAccepting() {
			text += ", " + s.of(screen.Red, "NOT ACCEPTING: "+q.GetNotAcceptingCause())
		}
		lines = append(lines, text)
	}
	if d := st.GetDisk(); d.GetReserveBytes() > 0 {
		left := "nothing"
		if d.GetAvailableBytes() > d.GetReserveBytes() {
			left = humanize.Bytes(d.GetAvailableBytes() - d.GetReserveBytes())
		}
		lines = append(lines, fmt.Sprintf("disk      %s left above its reserve of %s", left, humanize.Bytes(d.GetReserveBytes())))
	}
	if p := st.GetProcess(); p != nil {
		lines = append(lines, "processor "+s.processor(p, st.GetTime().AsTime()))
	}
	if st.GetDraining() {
		lines = append(lines, "draining  refuses what is new, finishes what it works on")
	}
	var wrapped []string
	for _, line := range lines {
		label, text := line[:10], line[10:]
		for i, part := range figures.Wrap(text, max(20, s.Width-10)) {
			if i > 0 {
				label = strings.Repeat(" ", 10)
			}
			wrapped = append(wrapped, label+part)
		}
	}
	return wrapped
}
