package audit_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/dashboards/gen/internal/audit"
)

const exposition = `
# TYPE shop_orders_total counter
shop_orders_total{kind="gift",result="ok"} 1
shop_orders_total{kind="own",result="ok"} 2
# TYPE shop_open gauge
shop_open{door="front"} 1
# TYPE shop_wait_seconds histogram
shop_wait_seconds_bucket{desk="a",le="1"} 1
shop_wait_seconds_bucket{desk="a",le="+Inf"} 1
shop_wait_seconds_sum{desk="a"} 1
shop_wait_seconds_count{desk="a"} 1
# TYPE surgegate_seen_total counter
surgegate_seen_total 0
# TYPE surgegate_seen_total_more gauge
surgegate_seen_total_more 0
# TYPE surgegate_hidden_seconds histogram
surgegate_hidden_seconds_bucket{le="+Inf"} 0
surgegate_hidden_seconds_sum 0
surgegate_hidden_seconds_count 0
`

func shop(t *testing.T) audit.World {
	t.Helper()
	metrics, err := audit.ReadMetrics(strings.NewReader(exposition))
	if err != nil {
		t.Fatal(err)
	}
	return audit.World{Metrics: metrics, Recorded: map[string]bool{"shop:busy": true}, Runbooks: map[string]bool{"ShopShut": true}}
}

// board is a dashboard of one good panel; change makes it worse.
func board(t *testing.T, change func(b, panel map[string]any)) audit.Board {
	t.Helper()
	panel := map[string]any{
		"type": "timeseries", "title": "Orders", "description": "Orders a second.", "gridPos": map[string]any{"x": 0, "y": 0, "w": 12, "h": 8},
		"datasource":  map[string]any{"uid": "${datasource}"},
		"links":       []any{map[string]any{"url": "${runbook_base}/ShopShut.md"}},
		"fieldConfig": map[string]any{"defaults": map[string]any{"unit": "si:/s"}},
		"targets": []any{map[string]any{"legendFormat": "{{kind}}",
			"expr": `sum by (kind) (rate(shop_orders_total{job=~"$job",instance=~"$instance",result="ok"}[$__rate_interval]))`}},
	}
	b := map[string]any{"title": "Shop", "uid": "shop", "panels": []any{panel}, "templating": map[string]any{"list": []any{
		map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus"}, map[string]any{"name": "job", "type": "query"},
		map[string]any{"name": "instance", "type": "query"}, map[string]any{"name": "runbook_base", "type": "constant"}}}}
	change(b, panel)
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	read, err := audit.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestAGoodBoardHasNoFindings(t *testing.T) {
	t.Parallel()
	if found := shop(t).Findings(board(t, func(_, _ map[string]any) {})); found != nil {
		t.Errorf("found %q", found)
	}
}

// ask makes the panel ask something else.
func ask(expr, legend string) func(b, panel map[string]any) {
	return func(_, panel map[string]any) {
		chosen := strings.ReplaceAll(expr, "{", `{job=~"$job",instance=~"$instance",`)
		panel["targets"] = []any{map[string]any{"expr": chosen, "legendFormat": legend}}
	}
}

// lead makes the panel's link lead elsewhere.
func lead(url string) func(b, panel map[string]any) {
	return func(_, panel map[string]any) { panel["links"] = []any{map[string]any{"url": url}} }
}

func TestEachFaultIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(b, panel map[string]any)
		want   string
	}{
		"no parse":          {ask(`sum(shop_open{}`, ""), "does not parse"},
		"no metric":         {ask(`shop_closed{}`, ""), "shop_closed, which does not exist"},
		"no label":          {ask(`shop_open{window="a"}`, ""), "has no label window"},
		"no value":          {ask(`shop_open{door="back"}`, ""), `never has door="back"`},
		"one value of two":  {ask(`shop_open{door=~"front|back"}`, ""), `never has door="back"`},
		"bare counter":      {ask(`shop_orders_total{}`, ""), "read through rate"},
		"bare histogram":    {ask(`histogram_quantile(0.9, shop_wait_seconds{})`, ""), "read through rate"},
		"rate of a gauge":   {ask(`rate(shop_open{}[$__rate_interval])`, ""), "it has no rate"},
		"fixed window":      {ask(`rate(shop_orders_total{}[5m])`, ""), "fixed [5m]"},
		"bare division":     {ask(`shop_open{} / sum(shop_open{})`, ""), "may be 0"},
		"weak guard":        {ask(`shop_open{} / (shop_open{} > -1)`, ""), "may be 0"},
		"grouping":          {ask(`sum by (window) (shop_open{})`, ""), "groups by window"},
		"legend":            {ask(`sum by (kind) (rate(shop_orders_total{}[$__rate_interval]))`, "{{result}}"), "legend names result"},
		"no rule":           {ask(`shop:idle{job=~"$job"}`, ""), "no rule records"},
		"recorded, any job": {func(_, p map[string]any) { p["targets"] = []any{map[string]any{"expr": "shop:busy"}} }, "chosen job"},
		"any instance":      {func(_, p map[string]any) { p["targets"] = []any{map[string]any{"expr": "shop_open"}} }, "chosen job and instance"},
		"no description":    {func(_, p map[string]any) { p["description"] = " " }, "no description"},
		"removed type":      {func(_, p map[string]any) { p["type"] = "graph" }, `type "graph"`},
		"bad unit": {func(_, p map[string]any) {
			p["fieldConfig"] = map[string]any{"defaults": map[string]any{"unit": "secs"}}
		}, `unit "secs"`},
		"asks nothing": {func(_, p map[string]any) { p["targets"] = nil }, "asks nothing"},
		"no runbook":   {func(_, p map[string]any) { p["links"] = nil }, "no link to a runbook"},
		"lost runbook": {lead("${runbook_base}/ShopOpen.md"), "ShopOpen.md, which is not there"},
		"link off":     {lead("https://example.com"), "not to a runbook"},
		"tile of old":  {func(_, p map[string]any) { p["type"] = "stat" }, "a tile asks for now"},
		"off the page": {func(_, p map[string]any) { p["gridPos"] = map[string]any{"x": 20, "w": 8, "h": 1} }, "does not fit"},
		"overlap":      {func(b, p map[string]any) { b["panels"] = []any{p, p} }, "lies over"},
		"in a fold": {func(b, p map[string]any) {
			p["description"] = ""
			b["panels"] = []any{map[string]any{"type": "row", "panels": []any{p}}}
		}, "no description"},
		"unknown var":   {func(b, _ map[string]any) { b["description"] = "$region" }, "variable region, which it does not have"},
		"unused var":    {func(_, p map[string]any) { delete(p, "datasource") }, "does not use its variable datasource"},
		"no var at all": {func(b, _ map[string]any) { b["templating"] = nil }, "has no variable runbook_base"},
		"no uid":        {func(b, _ map[string]any) { b["uid"] = "" }, "no uid"},
		"annotation": {func(b, _ map[string]any) {
			b["annotations"] = map[string]any{"list": []any{map[string]any{"name": "x", "target": map[string]any{"expr": "shop_shut"}}}}
		}, "shop_shut, which does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := shop(t).Findings(board(t, c.change))
			if !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, c.want) }) {
				t.Errorf("found %q, want one with %q", found, c.want)
			}
		})
	}
}

func TestWhatIsGuardedMayDivide(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{`shop_open{} / (sum(shop_open{}) > 0)`, `shop_open{} / clamp_min(shop_open{}, 0.1)`, `shop_open{} / 0.01`,
		`histogram_quantile(0.9, sum by (le) (rate(shop_wait_seconds_bucket{}[$__rate_interval])))`} {
		if found := shop(t).Findings(board(t, ask(expr, ""))); found != nil {
			t.Errorf("%s: found %q", expr, found)
		}
	}
}

// A longer name that begins the same is another metric; a histogram is mentioned by any of its parts.
func TestUnshownAreThoseThatNoTextMentions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                               {"surgegate_hidden_seconds", "surgegate_seen_total", "surgegate_seen_total_more"},
		"rate(surgegate_seen_total[1m])": {"surgegate_hidden_seconds", "surgegate_seen_total_more"},
		"surgegate_seen_total_more surgegate_hidden_seconds_bucket{}": {"surgegate_seen_total"},
	} {
		if got := shop(t).Unshown(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
