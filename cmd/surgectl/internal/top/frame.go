package top

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/figures"
	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/humanize"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// section is what is shown.
type section int

const (
	everything section = iota
	histories
	overrides
	sections
)

const (
	// leastAnswers are the four words; fewer would hide what the view is for.
	leastAnswers = 4
	// leastLine is the narrowest history that is worth drawing beside a table.
	leastLine = 20
	gap       = "  "
)

// frame is what a terminal shows: no line wider than columns, no more lines than rows.
func (t *Top) frame(columns, rows int) []string {
	st := page.Style{Width: columns, Colour: !t.cfg.NoColor}
	head := []string{t.title()}
	if t.lost != nil {
		head = append(head, t.banner(columns)...)
	}
	foot := t.foot()
	room := rows - len(head) - 1 // the foot
	var body []string
	switch t.section {
	case histories:
		body = t.histories(st, columns)
	case overrides:
		body = t.overrides(st)
	default:
		body = t.everything(st, columns, room)
	}
	if len(body) > room {
		body = body[:max(0, room)]
	}
	lines := append(head, body...)
	for len(lines) < rows-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, min(len(lines), rows-1))], foot)
	for i := range lines {
		lines[i] = screen.Fit(lines[i], columns)
	}
	return lines
}

func (t *Top) bold(text string) string { return t.colour(screen.Bold, text) }

func (t *Top) colour(c screen.Colour, text string) string {
	if t.cfg.NoColor {
		return text
	}
	return c.Of(text)
}

func (t *Top) title() string {
	title := t.bold(page.Title(t.shown, t.cfg.Address))
	if t.frozen {
		title += "  " + t.colour(screen.Yellow, "FROZEN (p goes on)")
	}
	return title
}

// banner is on top of what was last known.
func (t *Top) banner(columns int) []string {
	ago := humanize.Duration(t.deps.Clock.Now().Sub(t.heard))
	lines := figures.Wrap(fmt.Sprintf("NO ANSWER for %s, trying again each second: %v", ago, t.lost), max(20, columns))
	if len(lines) > 2 {
		lines = lines[:2]
	}
	for i := range lines {
		lines[i] = t.colour(screen.Red, lines[i])
	}
	return lines
}

func (t *Top) foot() string {
	names := [...]string{"everything", "history", "overrides"}
	for i := range names {
		if section(i) == t.section {
			names[i] = "[" + names[i] + "]"
		}
	}
	return "q quit   p freeze   tab " + strings.Join(names[:], " ")
}

// everything is the answers, and the tables in the room that is left: what is told in words is in them, so the words give way
// down to their first lines.
func (t *Top) everything(st page.Style, columns, room int) []string {
	lanes := beside(st.Lanes(t.shown.GetLanes()), columns, t.history.lanes(t.shown.GetLanes()))
	downstreams := beside(st.Downstreams(t.shown.GetDownstreams()), columns, t.history.downstreams(t.shown.GetDownstreams()))
	summary := st.Summary(t.shown)
	var tables []string
	for _, table := range [][]string{summary, lanes, downstreams} {
		tables = append(append(tables, ""), table...)
	}
	needed := len(lanes) + len(downstreams) + 2
	answers := st.Answers(t.shown.GetDiagnosis(), max(leastAnswers, room-needed))
	for _, lines := range [][]string{
		tables, // as much as fits, in this order of what is left out
		append(append([]string{""}, lanes...), append([]string{""}, downstreams...)...),
		append(append([]string{}, lanes...), downstreams...),
		append([]string{""}, lanes...),
	} {
		if len(answers)+len(lines) <= room {
			return append(answers, lines...)
		}
	}
	return answers
}

// beside draws a history to the right of each of a table's rows, where there is room.
func beside(table []string, columns int, lines [][]float64) []string {
	widest := 0
	for _, row := range table {
		widest = max(widest, screen.Visible(row))
	}
	width := columns - widest - 2*len(gap)
	if width < leastLine {
		return table
	}
	for i := range table {
		pad := strings.Repeat(" ", widest-screen.Visible(table[i]))
		switch {
		case i == 0:
			table[i] += pad + gap + "HISTORY"
		case i-1 < len(lines):
			table[i] += pad + gap + screen.Sparkline(lines[i-1], width)
		}
	}
	return table
}

// histories are a line each over the time that this view has been open.
func (t *Top) histories(st page.Style, columns int) []string {
	table := figures.NewTable("SINCE "+t.history.since().UTC().Format(time.TimeOnly)+" UTC", ">NOW", ">LEAST", ">MOST")
	var lines [][]float64
	for _, s := range t.history.all(t.shown) {
		least, most := s.bounds()
		table.Add(s.name, s.text(s.values[len(s.values)-1]), s.text(least), s.text(most))
		lines = append(lines, s.values)
	}
	return append([]string{""}, beside(st.Clip(table.Lines()), columns, lines)...)
}

func (t *Top) overrides(st page.Style) []string {
	lines := []string{""}
	if len(t.shown.GetOverrides()) == 0 {
		lines = append(lines, "No override stands: everything is as configured.")
	} else {
		lines = append(lines, st.Overrides(t.shown.GetOverrides(), t.shown.GetTime().AsTime())...)
	}
	lines = append(lines, "", t.bold("Refused, a second"))
	if len(t.shown.GetAdmission().GetReasons()) == 0 {
		lines = append(lines, "Nobody.")
	}
	table := figures.NewTable("REASON", ">CALLS/s")
	for _, r := range t.shown.GetAdmission().GetReasons() {
		table.Add(diagnosis.ReasonWords(r.GetReason()), humanize.Number(r.GetRate()))
	}
	if table.Len() > 0 {
		lines = append(lines, table.Lines()...)
	}
	return lines
}

// plainLine is a status for a file or a pipe.
func plainLine(w io.Writer, s *operatorv1.GetStatusResponse) error {
	var waiting, parked uint64
	var oldest time.Duration
	done := map[string]float64{}
	for _, l := range s.GetLanes() {
		waiting, parked = waiting+l.GetWaiting(), parked+l.GetParked()
		if l.GetWaiting() > 0 {
			oldest = max(oldest, l.GetOldestWait().AsDuration())
		}
		done[l.GetLane()] = l.GetRate()
	}
	a, d := s.GetAdmission(), s.GetDiagnosis()
	_, err := fmt.Fprintf(w, "%s  helped: %s  limit: %s  over: %s  level %d  offered %s  refused %s"+
		"  set %s  mails %s  waiting %s  oldest %s  parked %s\n",
		s.GetTime().AsTime().UTC().Format(time.TimeOnly), d.GetHelped().GetWord(), d.GetLimit().GetWord(), d.GetOver().GetWord(), s.GetBrownoutLevel(),
		humanize.Rate(a.GetOffered()), humanize.Rate(a.GetLimited()+a.GetShed()+a.GetRefused()),
		humanize.Rate(done["apply"]), humanize.Rate(done["mail"]), humanize.Count(waiting),
		humanize.Duration(oldest), humanize.Count(parked))
	return err
}
