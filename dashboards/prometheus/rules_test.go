package prometheus

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// alert is a rule that alerts.
type alert struct {
	Alert       string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var all []alert
	for _, path := range files(t, "surgegate.*.yml") {
		var rules struct{ Groups []struct{ Rules []alert } }
		if err := yaml.Unmarshal(read(t, path), &rules); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, g := range rules.Groups {
			all = append(all, slices.DeleteFunc(g.Rules, func(a alert) bool { return a.Alert == "" })...)
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no alerts")
	}
	return all
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s (%v)", pattern, err)
	}
	return paths
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func runbooks(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, path := range files(t, "../runbooks/*.md") {
		pages[strings.TrimSuffix(filepath.Base(path), ".md")] = string(read(t, path))
	}
	return pages
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	pages := runbooks(t)
	for _, a := range alerts(t) {
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q is neither page nor ticket", a.Alert, s)
		}
		for _, text := range []string{"summary", "description"} {
			if !strings.HasSuffix(strings.TrimSpace(strings.ReplaceAll(a.Annotations[text], "{{ end }}", "")), ".") {
				t.Errorf("%s: its %s is no sentence: %q", a.Alert, text, a.Annotations[text])
			}
		}
		want := "https://github.com/surgegate/surgegate/blob/main/dashboards/runbooks/" + a.Alert + ".md"
		if got := a.Annotations["runbook_url"]; got != want {
			t.Errorf("%s: runbook_url %q, want %q", a.Alert, got, want)
		}
		page := pages[a.Alert]
		if !strings.HasPrefix(page, "# "+a.Alert+"\n") {
			t.Errorf("%s has no runbook under its name", a.Alert)
		}
		at := 0
		for _, part := range []string{"**People feel:**", "## Look here", "## Tell the causes apart", "## Do this", "## Do not",
			"## It is over when"} {
			i := strings.Index(page[at:], "\n"+part)
			if i < 0 {
				t.Errorf("%s: its runbook lacks %q, or has it in another place", a.Alert, part)
				continue
			}
			at += i
		}
	}
}

func TestEveryRunbookIsReachedFromAnAlertAndFromTheIndex(t *testing.T) {
	t.Parallel()
	pages := runbooks(t)
	index := pages["README"]
	delete(pages, "README")
	known := map[string]bool{}
	for _, a := range alerts(t) {
		known[a.Alert] = true
	}
	for name := range pages {
		if !known[name] {
			t.Errorf("%s.md is the runbook of no alert", name)
		}
		if !strings.Contains(index, "("+name+".md)") {
			t.Errorf("README.md does not lead to %s.md", name)
		}
	}
	for name, page := range pages {
		for _, other := range regexp.MustCompile(`\bSurgegate[A-Z]\w+`).FindAllString(page+index, -1) {
			if !known[other] {
				t.Errorf("%s.md or the index sends to %s, which is no alert", name, other)
			}
		}
	}
}

// promtool proves what its tests say; that they say it of every alert and severity is proved here.
func TestEveryAlertIsShownToFireAndToEnd(t *testing.T) {
	t.Parallel()
	type expectation struct {
		EvalTime  string `yaml:"eval_time"`
		Alertname string
		ExpAlerts []struct {
			ExpLabels map[string]string `yaml:"exp_labels"`
		} `yaml:"exp_alerts"`
	}
	fires, ends := map[string]bool{}, map[string]bool{}
	for _, path := range files(t, "*_test.yml") {
		var file struct {
			Tests []struct {
				AlertRuleTest []expectation `yaml:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal(read(t, path), &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, test := range file.Tests {
			burning := map[string]bool{} // in this test, so far
			for _, e := range test.AlertRuleTest {
				for _, a := range e.ExpAlerts {
					fires[e.Alertname+" "+a.ExpLabels["severity"]], burning[e.Alertname] = true, true
				}
				if len(e.ExpAlerts) == 0 && burning[e.Alertname] {
					ends[e.Alertname] = true
				}
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert+" "+a.Labels["severity"]] {
			t.Errorf("no test shows that %s (%s) fires", a.Alert, a.Labels["severity"])
		}
		if !ends[a.Alert] {
			t.Errorf("no test shows that %s ends", a.Alert)
		}
	}
}

func TestWhatIsRecordedIsRecordedOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, path := range files(t, "surgegate.*.yml") {
		for _, m := range regexp.MustCompile(`(?m)^\s*- record: (\S+)$`).FindAllStringSubmatch(string(read(t, path)), -1) {
			if before := seen[m[1]]; before != "" {
				t.Errorf("%s is recorded in %s and in %s", m[1], before, path)
			}
			seen[m[1]] = path
		}
	}
	// An alert on a name that nothing records never fires, and no tool says so.
	var unknown []string
	for _, path := range files(t, "surgegate.*.yml") {
		for _, name := range regexp.MustCompile(`surgegate:[a-z0-9_:]+`).FindAllString(string(read(t, path)), -1) {
			if seen[name] == "" {
				unknown = append(unknown, fmt.Sprintf("%s in %s", name, path))
			}
		}
	}
	if len(unknown) > 0 {
		t.Errorf("used and not recorded: %v; recorded: %v", unknown, slices.Sorted(maps.Keys(seen)))
	}
}
