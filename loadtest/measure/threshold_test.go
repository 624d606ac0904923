package measure

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheExampleLoads(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "thresholds.yaml")
	if err := os.WriteFile(path, ExampleThresholds(), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := LoadThresholds(path)
	if err != nil || len(all) != 4 {
		t.Errorf("%d thresholds, %v", len(all), err)
	}
	if _, err := LoadThresholds(path + ".not"); err == nil {
		t.Error("a file that is not there was loaded")
	}
}

func TestFaultsNameTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"completed_share: \">= 99 %\"\nstort_p99: \"<= 1s\"\n": "f.yaml:2: threshold: there is no figure \"stort_p99\"",
		"start_p99: \"<= 250\"\n":                              "f.yaml:1: threshold: start_p99: \"250\" is no time",
		"start_p99: \"250ms\"\n":                               "begins with none of",
		"completed_share: \">= 101 %\"\n":                      "no share",
		"lost: 0\n":                                            "f.yaml:1: the bound of lost is a text",
		"- lost\n":                                             "f.yaml:1: a line is a figure",
		"lost: \"== 0\nx":                                      "f.yaml:",
		"":                                                     "no threshold in it",
		"# nothing\n":                                          "no threshold in it",
		"lost: \"== x\"\n":                                     "no count",
		"start_p99: \"<= 1s\"\nstart_p50: \"<= 1s\"\nstart_p99: \"<= 2s\"\n": "f.yaml:3:",
	} {
		if _, err := parse("f.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	arm := Arm{
		StoreSeen: true, People: 1000, Completed: 990, GaveUp: 10, WaitP99MS: 9000, EverybodyP50MS: 1000, EverybodyP99MS: -1,
		Ops: []Op{{Op: "start", Calls: 200, Refused: 50, Latency: Quantiles{P99: 250_000}}},
	}
	for text, ok := range map[string]bool{
		`completed_share: ">= 99 %"`:       true,
		`completed_share: "> 0.99"`:        false,
		`gave_up_share: "<= 1 %"`:          true,
		`wait_p99: "<= 9s"`:                true,
		`wait_p99: "< 9s"`:                 false,
		`everybody_wait_p50: "<= 1s"`:      true,
		`everybody_wait_p99: "<= 1000h"`:   false, // never
		`start_p99: "<= 250ms"`:            true,
		`start_refused_share: "<= 24.9 %"`: false,
		`start_refused_share: "<= 25 %"`:   true,
		`complete_p99: "<= 1h"`:            false, // none was made
		`store_crashes: "== 0"`:            true,
		`lost: "== 0"`:                     false, // nobody looked
	} {
		all, err := parse("f.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		verdicts := Judge(all, arm)
		if len(verdicts) != 1 || verdicts[0].OK != ok || Broken(verdicts) == ok {
			t.Errorf("%s: %+v, want %v", text, verdicts, ok)
		}
	}
}
