package config_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/reset"
)

func load(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Load(write(t, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestADiffNamesWhatChangedAndWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	before := load(t, good)
	if d := config.Diff(before, load(t, good)); len(d) != 0 {
		t.Fatalf("the same file differs by %+v", d)
	}
	after := load(t, strings.NewReplacer("20/m, burst: 20", "40/m, burst: 50", "headroom: 0.2", "headroom: 0.3, timeout: 6s").Replace(good)+`
lanes: {start: {weight: 2.5}}
brownout: {hold: 20s, queue_fill: [0.5, 0.6, 0.7, 0.8]}
log: {level: debug, downstream_text: true}
`)
	want := []config.Change{
		{"store.headroom", "0.2", "0.3", true},
		{"store.timeout", "5s", "6s", false},
		{"lanes.start.weight", "8", "2.5", true},
		{"admission.client.rate", "20/m", "40/m", true},
		{"admission.client.burst", "20", "50", true},
		{"brownout.queue_fill", "[0.6, 0.75, 0.85, 0.95]", "[0.5, 0.6, 0.7, 0.8]", true},
		{"brownout.hold", "10s", "20s", true},
		{"log.level", "info", "debug", true},
		{"log.downstream_text", "false", "true", true},
	}
	got := config.Diff(before, after)
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestADiffSeesASectionComeAndGoAndHidesURLs(t *testing.T) {
	t.Parallel()
	before := load(t, good)
	after := load(t, strings.Replace(good, "{"+grpcSection+", headroom: 0.2}",
		`{postgres: {url: "postgres://role@127.0.0.1/site?sslmode=disable&application_name=hidden", accounts: {table: people}}, headroom: 0.2}`, 1))
	found := map[string]config.Change{}
	for _, c := range config.Diff(before, after) {
		found[c.Key] = c
		if strings.Contains(c.Before+c.After, "hidden") {
			t.Errorf("shown: %+v", c)
		}
	}
	if c := found["store.grpc.address"]; c.Before != "127.0.0.1:7700" || c.After != "none" || c.Hot {
		t.Errorf("the store that went: %+v", c)
	}
	if c := found["store.postgres.url"]; c.Hot || c.Before != "(not shown)" {
		t.Errorf("the store that came: %+v", c)
	}
}

func TestStepsAndWeightsReachTheirPackages(t *testing.T) {
	t.Parallel()
	c := load(t, good+"lanes: {apply: {weight: 64}}\nbrownout: {wait: 7s, cpu_delay: [20ms, 0s, 1s, 0s]}\n")
	want := admission.LadderConfig{Wait: 7 * time.Second, CPUDelay: admission.Steps{.02, 0, 1, 0}}.WithDefaults()
	if got := c.Ladder(); got != want {
		t.Errorf("ladder %+v, want %+v", got, want)
	}
	if w := c.Work().Weights; w[reset.LaneApply] != 64 || w[reset.LaneStart] != 8 {
		t.Errorf("weights %v", w)
	}
	if got := config.Default().Ladder(); got != (admission.LadderConfig{}).WithDefaults() {
		t.Errorf("the default of the file, %+v, is not the library's", got)
	}
}

func TestWrongStepsAndWeightsAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"lanes: {mail: {weight: 0}}":                 ":11: lanes.mail.weight: 0 is out of bounds",
		"brownout: {queue_fill: [0.5]}":              ":11: brownout.queue_fill: has 1 values",
		"brownout: {disk_fill: [0.9, 0.8, 0.95, 1]}": ":11: brownout.disk_fill: 0.8 for level 2 is not over the 0.9 before it",
		"brownout: {heap_fill: [0, 0, 0, 0]}":        "brownout.heap_fill: never asks for a level",
		"brownout: {cpu_delay: [5ms, 1ms, 0s, 0s]}":  "brownout.cpu_delay: 1ms for level 2 is not over the 5ms before it",
		"brownout: {cpu_delay: [5ms]}":               "such as [5ms, 50ms, 250ms, 0s]",
		"brownout: {cpu_delay: [5, 0, 0, 0]}":        "is not a time span",
		"brownout: {release: 0}":                     "brownout.release: 0 is out of bounds",
		"brownout: {hold: 1ms}":                      "brownout.hold",
		"lanes: {campaign: {weight: 1}}":             `unknown key "campaign"`,
	} {
		if _, err := config.Load(write(t, good+text+"\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestExplainSaysWhatIsHot(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := config.Explain(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"admission.client.rate\n    default 20/m, environment SURGEGATE_ADMISSION_CLIENT_RATE, hot: surgectl reload or SIGHUP\n",
		"admission.max_keys\n    default 524288, environment SURGEGATE_ADMISSION_MAX_KEYS, needs a restart\n",
		"store.pace.max_concurrency\n    default 0, environment SURGEGATE_STORE_PACE_MAX_CONCURRENCY, hot: surgectl reload or SIGHUP\n",
		"log.format\n    default text, environment SURGEGATE_LOG_FORMAT, needs a restart\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in it", want)
		}
	}
}
