package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/loadtest/measure"
)

func TestWhatIsNotKnownOfAStoreIsNotSaid(t *testing.T) {
	t.Parallel()
	arms := []measure.Arm{{Name: "run", People: 236}}
	r := Result{Kind: "run", Storm: Storm{Scenario: "blast-1h", Seconds: 44, Thin: 1, People: 236}, Arms: arms}
	want := "236 people reset their passwords through a system that was up: blast-1h, in 44 seconds."
	if got := r.Intro(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, not := range []string{"workers, each held", "the store crashed", "a time-out of 10 s", "Thresholds", "Interrupted"} {
		if strings.Contains(string(page), not) {
			t.Errorf("the page of a run that saw no store says %q", not)
		}
	}
}

func TestThePageTellsWhatAReaderMustKnow(t *testing.T) {
	t.Parallel()
	r := crowded()
	r.Interrupted = true
	r.Arms[1].Invalid = "arrivals were late by 80 ms"
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A reset storm, 3 ways", "INVALID", "surgegate: arrivals were late by 80 ms", "Interrupted", "a note for readers", "BROKEN", "61 %",
		"38.2 percentage points more", "SHED_LEVEL_2", "12.3 ms", "2.50 s", "900 µs", "store-slow 0.5 at 10s for 15s", "the store crashed",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

func TestWordsOfADifference(t *testing.T) {
	t.Parallel()
	d := Difference{Figure: "wait", Arm: "b", Against: "a", Unit: "s", N: 1234}
	for _, c := range []struct {
		difference, low, high float64
		want                  string
	}{
		{2, 1.5, 2.5, "2 s more (CONF +1.5 and +2.5 s"},
		{-2, -2.5, -1.5, "2 s less (CONF −2.5 and −1.5 s"},
		{1, -.5, 2.5, "no difference that can be told from chance (+1 s; CONF −0.5 and +2.5 s"},
		{0, 0, 0, "no difference that can be told from chance (0 s; CONF 0 and 0 s"},
		{-1, -2.01, 0, "no difference that can be told from chance (−1 s; CONF −2.01 and 0 s"},
		{120, 119, 121, "120 s more (CONF +119 and +121 s"},
		{-.00123, -.00124, -.00122, "0.00123 s less (CONF −0.00124 and −0.00122 s"},
		{-98765, -98766, -98764, "98765 s less (CONF −98766 and −98764 s"},
	} {
		d.Difference, d.Low, d.High = c.difference, c.low, c.high
		want := "wait, b against a: " + strings.Replace(c.want, "CONF", "with 95 % confidence between", 1) + "; n = 1,234)."
		if got := d.Words(); got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
}

func TestArmsAreTold(t *testing.T) {
	t.Parallel()
	var arms []measure.Arm
	for _, name := range []string{"direct", "b", "surgegate", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"} {
		arms = append(arms, measure.Arm{Name: name})
	}
	got := tones(arms)
	if got[0] != "direct" || got[2] != "surgegate" {
		t.Errorf("direct is %q and surgegate %q", got[0], got[2])
	}
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != len(arms) {
		t.Errorf("%d ways to draw %d arms: %q", n, len(arms), got)
	}
	if got := tones(arms[3:4]); got[0] != "surgegate" {
		t.Errorf("an arm alone is %q", got[0])
	}
}

func TestTheTableKeepsMeansOfRates(t *testing.T) {
	t.Parallel()
	var all []measure.Sample
	for n := range 150 {
		all = append(all, measure.Sample{Seconds: float64(n), Came: n, OfferedRate: float64(n % 3), Backlog: n})
	}
	rows := rates(all)
	if len(rows) != 50 {
		t.Fatalf("%d rows, want 50", len(rows))
	}
	if last := rows[49]; last.Came != 149 || last.Seconds != 149 || last.OfferedRate < .999 || last.OfferedRate > 1.001 {
		t.Errorf("the last row is %+v, want 149 who came and a rate of 1", last)
	}
	if rows := rates(nil); rows != nil {
		t.Errorf("no samples make %d rows", len(rows))
	}
}
