package observe

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const aBoard = `{
  "title": "Storm",
  "templating": {"list": [
    {"name": "datasource", "type": "datasource", "query": "prometheus"},
    {"name": "job", "type": "query", "query": {"query": "label_values(up, job)"}},
    {"name": "instance", "type": "query", "query": "label_values(up, instance)"},
    {"name": "lane", "type": "custom", "query": "start,mail"},
    {"name": "goal", "type": "constant", "query": "0.99"},
    {"name": "window", "type": "interval", "query": "30s,1m"}
  ]},
  "annotations": {"list": [
    {"name": "Annotations & Alerts", "datasource": {"uid": "-- Grafana --"}},
    {"name": "Level", "expr": "changes(level[$__interval])"},
    {"name": "Breaker", "expr": "old", "target": {"expr": "changes(open{job=\"$job\"}[$window])"}}
  ]},
  "panels": [
    {"type": "stat", "title": "Shed", "targets": [
      {"refId": "A", "expr": "rate(a{job=~\"$job\",instance=~\"${instance}\"}[$__rate_interval])"},
      {"refId": "B", "expr": "increase(b{lane=~\"${lane:regex}\"}[$__range]) / $__range_s > $goal"}]},
    {"type": "text", "title": "Words"},
    {"type": "row", "title": "Folded", "collapsed": true, "panels": [
      {"type": "timeseries", "title": "Inside", "targets": [{"refId": "A", "expr": "c[[lane]]"}]}]}
  ]}`

func TestAllThatABoardAsks(t *testing.T) {
	t.Parallel()
	view := View{Job: "surgegate", Instance: "127.0.0.1:1", Interval: time.Second, Span: 90 * time.Second}
	queries, err := Boards(write(t, "storm.json", aBoard), view)
	if err != nil {
		t.Fatal(err)
	}
	want := []Query{
		{Where: "storm.json: Shed, A", Expr: `rate(a{job=~"surgegate",instance=~"127.0.0.1:1"}[4s])`},
		{Where: "storm.json: Shed, B", Expr: `increase(b{lane=~".+"}[90s]) / 90 > 0.99`},
		{Where: "storm.json: Inside, A", Expr: `c.+`},
		{Where: "storm.json: annotation Level", Expr: `changes(level[1s])`},
		{Where: "storm.json: annotation Breaker", Expr: `changes(open{job="surgegate"}[30s])`},
	}
	if !slices.Equal(queries, want) {
		t.Errorf("got  %+v\nwant %+v", queries, want)
	}
}

func TestBoardsThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for want, dir := range map[string]string{
		"no variable nobody": write(t, "a.json", `{"panels": [{"title": "P", "targets": [{"refId": "A", "expr": "x[$nobody]"}]}]}`),
		"a.json":             write(t, "a.json", `{"panels": 1}`),
		"no queries":         write(t, "a.json", `{"panels": [{"type": "text"}]}`),
	} {
		if _, err := Boards(dir, View{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Boards(t.TempDir(), View{}); !errors.Is(err, ErrNone) {
		t.Errorf("an empty folder: %v", err)
	}
}

const someRules = `# Why.
groups:
  - name: slow
    interval: 30s
    rules:
      - record: surgegate:a
        expr: sum(rate(a[1m]))
      - alert: SurgegateA
        expr: |
          surgegate:a
            > 1
        for: 2m
        labels: {severity: page}
`

func TestRulesAreEvaluatedAtTheTestsPace(t *testing.T) {
	t.Parallel()
	dir := write(t, "rules.yml", someRules)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte("global: {scrape_interval: 5s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	copies, queries, err := Rules(dir, filepath.Join(t.TempDir(), "rules"), true)
	if err != nil {
		t.Fatal(err)
	}
	want := []Query{
		{Where: "rules.yml: slow, surgegate:a", Expr: "sum(rate(a[1m]))", Name: "surgegate:a"},
		{Where: "rules.yml: slow, SurgegateA", Expr: "surgegate:a\n  > 1\n", Name: "SurgegateA", Alert: true},
	}
	if !slices.Equal(queries, want) {
		t.Errorf("got  %+v\nwant %+v", queries, want)
	}
	if len(copies) != 1 {
		t.Fatalf("copies are %q", copies)
	}
	text, err := os.ReadFile(copies[0])
	if err != nil {
		t.Fatal(err)
	}
	said := func(part string) bool { return strings.Contains(string(text), part) }
	if said("interval") || !said("for: 2m") || !said("severity: page") {
		t.Errorf("the copy is\n%s", text)
	}
}

func TestRulesThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for want, dir := range map[string]string{
		"without expr": write(t, "a.yml", "groups: [{name: g, rules: [{alert: A}]}]"),
		"a.yml":        write(t, "a.yml", "groups: {"),
		"no queries":   write(t, "a.yml", "global: {}"),
	} {
		if _, _, err := Rules(dir, t.TempDir(), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
