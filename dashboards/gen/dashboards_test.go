package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/surgegate/surgegate/dashboards/gen/internal/audit"
	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/config"
)

// theWorld boots the real program once, with all that it can export switched on, and reads what it exports.
func theWorld(t *testing.T) audit.World {
	t.Helper()
	w, err := world()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var world = sync.OnceValues(func() (w audit.World, err error) {
	dir, err := os.MkdirTemp("", "dashboards")
	if err != nil {
		return w, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c, err := config.Load("", []string{
		"SURGEGATE_DATA_DIR=" + filepath.Join(dir, "data"), "SURGEGATE_KEYS_DIR=" + filepath.Join(dir, "keys"),
		"SURGEGATE_LISTEN_GRPC=127.0.0.1:0", "SURGEGATE_LISTEN_OPERATOR=127.0.0.1:0", "SURGEGATE_LISTEN_HTTP=127.0.0.1:0",
		"SURGEGATE_QUEUE_DISK_RESERVE=1MiB", "SURGEGATE_MAIL_MAILDIR_PATH=" + filepath.Join(dir, "mail"),
	})
	if err != nil {
		return w, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := app.New(ctx, app.Options{Config: c, Record: filepath.Join(dir, "trace.zst")})
	if err != nil {
		return w, err
	}
	if err := a.Start(ctx); err != nil {
		return w, err
	}
	defer func() {
		if stopped := a.Stop(true); err == nil {
			err = stopped
		}
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Addrs().HTTP.String()+"/metrics", nil)
	if err != nil {
		return w, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return w, err
	}
	defer func() { _ = response.Body.Close() }()
	if w.Metrics, err = audit.ReadMetrics(response.Body); err != nil {
		return w, err
	}
	if w.Recorded, err = recordedNames(); err != nil {
		return w, err
	}
	w.Runbooks = map[string]bool{}
	for _, path := range files("../runbooks/*.md") {
		w.Runbooks[strings.TrimSuffix(filepath.Base(path), ".md")] = true
	}
	return w, nil
})

func files(pattern string) []string {
	paths, _ := filepath.Glob(pattern) // errs only for a bad pattern
	return paths
}

func recordedNames() (map[string]bool, error) {
	names := map[string]bool{}
	for _, path := range files("../prometheus/surgegate.*.yml") {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var rules struct {
			Groups []struct {
				Rules []struct{ Record string }
			}
		}
		if err := yaml.Unmarshal(text, &rules); err != nil {
			return nil, err
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Record != "" {
					names[r.Record] = true
				}
			}
		}
	}
	return names, nil
}

func committed(t *testing.T) []audit.Board {
	t.Helper()
	var boards []audit.Board
	for _, path := range files("../grafana/*.json") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := audit.Read(text)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		boards = append(boards, b)
	}
	if len(boards) != 2 {
		t.Fatalf("%d dashboards in ../grafana, want storm.json and internals.json", len(boards))
	}
	return boards
}

func TestTheCommittedDashboardsAskOnlyForWhatThereIs(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	for _, b := range committed(t) {
		for _, f := range w.Findings(b) {
			t.Errorf("%s: %s", b.Title, f)
		}
	}
}

func TestTheCommittedDashboardsAreAsGenerated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range files("../grafana/*.json") {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: make dashboards-json", path)
		}
	}
}

// What is exported is looked at somewhere, or somebody has said why not.
func TestNothingIsExportedForNobody(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	var texts []string
	for _, pattern := range []string{"../grafana/*.json", "../prometheus/surgegate.*.yml", "../runbooks/*.md"} {
		for _, path := range files(pattern) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
	unshown := w.Unshown(texts...)
	reasons := reasons(t)
	for _, name := range unshown {
		if reasons[name] == "" {
			t.Errorf("%s is on no dashboard, in no rule and in no runbook; show it, or say why not in testdata/unshown.txt", name)
		}
	}
	for name := range reasons {
		if !slices.Contains(unshown, name) {
			t.Errorf("testdata/unshown.txt excuses %s, which is shown or does not exist", name)
		}
	}
}

// reasons by metric: a line is a name, a colon and a reason.
func reasons(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/unshown.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, ":")
		all[name] = strings.TrimSpace(reason)
	}
	return all
}

// One colour means one thing on all panels of both dashboards.
func TestAColourMeansOneThing(t *testing.T) {
	t.Parallel()
	fixed := with(with(laneColours(), downstreamColours()), map[string]string{
		"accepted, done within 10 s": green, "accepted, waits in line": amber, "refused": red, "promise": red, "reserve": red,
	})
	seen := map[string]bool{}
	for _, b := range committed(t) {
		for _, p := range b.All() {
			for name, colour := range p.Colours() {
				if want, ok := fixed[name]; ok && colour != want && p.Title != "Held by hand" {
					t.Errorf("%s: %s is %s, elsewhere %s", p.Title, name, colour, want)
				}
				seen[name] = true
			}
		}
	}
	for name := range fixed {
		if !seen[name] {
			t.Errorf("no panel gives %s its colour", name)
		}
	}
}

// The four faults that nobody announces: each has a tile in the first row of Storm, by which it is known at a glance.
func TestTheFirstRowNamesEachFault(t *testing.T) {
	t.Parallel()
	boards := committed(t)
	storm := boards[slices.IndexFunc(boards, func(b audit.Board) bool { return b.UID == "surgegate-storm" })]
	for fault, evidence := range map[string]string{
		"store at half speed": `surgegate_diagnosis{job=~"$job",instance=~"$instance",downstream="store"`,
		"mail throttled":      `surgegate_diagnosis{job=~"$job",instance=~"$instance",downstream="mail"`,
		"one client flooding": `reason=~"limit_client_.+"`,
		"disk filling":        "surgegate_disk_reserve_bytes",
	} {
		shown := slices.ContainsFunc(storm.Panels, func(p audit.Panel) bool {
			return p.Type == "stat" && p.GridPos.Y < 12 &&
				slices.ContainsFunc(p.Targets, func(t audit.Target) bool { return strings.Contains(t.Expr, evidence) })
		})
		if !shown {
			t.Errorf("%s: no tile of the first screen asks for %s", fault, evidence)
		}
	}
}
