package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Findings of all that is wrong with a dashboard.
func (w World) Findings(b Board) []string {
	var found []string
	say := func(where, format string, args ...any) {
		found = append(found, where+": "+fmt.Sprintf(format, args...))
	}
	if b.UID == "" {
		say(b.Title, "has no uid, so links to it break with each import")
	}
	w.variables(b, say)
	panels := b.All()
	for _, p := range panels {
		where := p.Title
		if strings.TrimSpace(p.Description) == "" {
			say(where, "has no description")
		}
		switch p.Type {
		case "stat", "timeseries":
		default:
			say(where, "is of type %q: stat, timeseries and row are used here", p.Type)
			continue
		}
		if !slices.Contains(units(), p.FieldConfig.Defaults.Unit) {
			say(where, "has unit %q", p.FieldConfig.Defaults.Unit)
		}
		if p.Type == "stat" && len(p.FieldConfig.Defaults.Thresholds.Steps) < 2 {
			say(where, "is a tile of one colour")
		}
		if len(p.Targets) == 0 {
			say(where, "asks nothing")
		}
		w.links(p, func(format string, args ...any) { say(where, format, args...) })
		for _, t := range p.Targets {
			if t.Instant != (p.Type == "stat") {
				say(where, "a tile asks for now, a chart for a span of time")
			}
			for _, f := range w.query(t.Expr, t.Legend) {
				say(where, "%s\n\t%s", f, t.Expr)
			}
		}
	}
	for _, a := range b.Annotations.List {
		for _, f := range w.query(a.Target.Expr, "") {
			say("annotation "+a.Name, "%s\n\t%s", f, a.Target.Expr)
		}
	}
	layout(panels, say)
	return found
}

// units that Grafana knows, of those that make sense here.
func units() []string {
	return []string{"none", "short", "percentunit", "s", "bytes", "Bps", "si:/s"}
}

// links: each panel leads to a runbook that is there.
func (w World) links(p Panel, say func(string, ...any)) {
	if len(p.Links) == 0 {
		say("has no link to a runbook")
	}
	for _, l := range p.Links {
		name, ok := strings.CutPrefix(l.URL, "${runbook_base}/")
		if !ok {
			say("leads to %q, not to a runbook", l.URL)
			continue
		}
		if !w.Runbooks[strings.TrimSuffix(name, ".md")] {
			say("leads to the runbook %s, which is not there", name)
		}
	}
}

// variables: all that are used are there, all that are there are used.
func (w World) variables(b Board, say func(string, string, ...any)) {
	own := map[string]bool{}
	for _, v := range b.Templating.List {
		own[v.Name] = true
		if !regexp.MustCompile(`\$\{?` + v.Name + `\b`).MatchString(b.text) {
			say(b.Title, "does not use its variable %s", v.Name)
		}
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(b.text, -1) {
		if name := m[1]; !own[name] && !strings.HasPrefix(name, "__") {
			say(b.Title, "uses the variable %s, which it does not have", name)
		}
	}
	for _, name := range []string{"datasource", "job", "instance", "runbook_base"} {
		if !own[name] {
			say(b.Title, "has no variable %s", name)
		}
	}
}

// layout: nothing lies over something else or beside the page.
func layout(panels []Panel, say func(string, string, ...any)) {
	for i, p := range panels {
		a := p.GridPos
		if a.W <= 0 || a.H <= 0 || a.X < 0 || a.X+a.W > 24 {
			say(p.Title, "does not fit on the page: %+v", a)
		}
		for _, q := range panels[:i] {
			b := q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				say(p.Title, "lies over %q", q.Title)
			}
		}
	}
}
