package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/loadtest/measure"
)

func example() Result {
	return Result{
		Storm: Storm{Scenario: "plex-2022", Seconds: 30, Thin: 16, People: 10_565, Capacity: 190, InsideBound: 4096},
		Arms: []measure.Arm{
			{Name: "direct", People: 10_565, Completed: 6526, FailedCalls: 60_417, StoreCrashes: 3, WaitP50MS: 36_300, Broken: []string{},
				Samples: []measure.Sample{{Seconds: 0.5, Up: true}, {Seconds: 1, Came: 100, Inside: 50}}},
			{Name: "surgegate", People: 10_565, Completed: 10_565, Broken: []string{"</script><script>alert(1)</script>"},
				Samples: []measure.Sample{{Seconds: 0.5, Up: true}}},
		},
	}
}

func TestThePageStandsAlone(t *testing.T) {
	t.Parallel()
	page, err := HTML(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10,565", "6,526", "60,417", "36.3 s", `"applied_rate"`, "prefers-color-scheme", "width=device-width"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page has no %q", want)
		}
	}
	text := strings.ReplaceAll(string(page), "http://www.w3.org/2000/svg", "") // a name, not an address
	for _, network := range []string{"http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(text, network) {
			t.Errorf("the page reaches out: it has %q", network)
		}
	}
	if strings.Contains(text, "<script>alert") {
		t.Error("data ended the script")
	}
}

func TestResultKeepsItsContract(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	var result struct{ Arms []map[string]json.RawMessage }
	if err := json.Unmarshal(data, &result); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"name", "people", "completed", "failed_calls", "store_crashes", "accepted", "lost", "applied_twice", "wait_p50_ms", "wait_p99_ms", "peak_backlog",
	} {
		if _, ok := result.Arms[0][key]; !ok {
			t.Errorf("an arm has no %q", key)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
