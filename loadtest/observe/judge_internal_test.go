package observe

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/surgegate/surgegate/loadtest/crowd"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/diagnosis"
)

func TestWavesAreMerged(t *testing.T) {
	t.Parallel()
	l := newLoad(
		wave{length: time.Second, rate: 10}, wave{from: time.Second / 2, length: time.Second, rate: 20, who: crowd.Attacker},
	)
	count, numbers := map[crowd.Who]int{}, map[uint64]bool{}
	last := time.Duration(0)
	for {
		a, err := l.Next()
		if err != nil {
			break
		}
		if a.At < last || a.Who == crowd.Attacker && a.At < time.Second/2 {
			t.Errorf("%+v after %v", a, last)
		}
		last = a.At
		count[a.Who]++
		numbers[a.Number] = true
	}
	if count[crowd.Human] != 10 || count[crowd.Attacker] != 20 || len(numbers) != 30 {
		t.Errorf("%v with %d numbers", count, len(numbers))
	}
}

func TestCountsAgreeWithinTwoInAHundred(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prometheus, known float64
		agrees            bool
	}{
		{0, 0, true}, {1000, 1000, true}, {985, 1000, true}, {1000, 985, true},
		{979, 1000, false}, {1000, 979, false}, {0, 1, false}, {1, 0, false},
	} {
		if got := (Count{Prometheus: c.prometheus, Known: c.known}).Agrees(); got != c.agrees {
			t.Errorf("%v and %v agree: %v", c.prometheus, c.known, got)
		}
	}
}

func TestWhenAnAlertTellsOfAFault(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	points := func(seconds ...int64) (list []model.SamplePair) {
		for _, s := range seconds {
			list = append(list, model.SamplePair{Timestamp: model.TimeFromUnix(s), Value: 1})
		}
		return list
	}
	for name, c := range map[string]struct {
		points []model.SamplePair
		after  time.Duration
	}{
		"never":                   {nil, Never},
		"after it":                {points(1025, 1030), 25 * time.Second},
		"before it, and over":     {points(900, 905), Never},
		"before it, and again":    {points(900, 1015), 15 * time.Second},
		"since before it":         {points(990, 995, 1000, 1005), Never},
		"before it, just in time": {points(995, 1010), Never},
	} {
		if after := crossing(c.points, begin, 10*time.Second); after != c.after {
			t.Errorf("%s: %v", name, after)
		}
	}
}

// says is a sample each second from the fault's beginning on; what begins with "~" is a note.
func says(begin time.Time, seconds ...[]string) (samples []sample) {
	for i, causes := range seconds {
		s := sample{at: begin.Add(time.Duration(i) * time.Second)}
		for _, c := range causes {
			name, isNote := strings.CutPrefix(c, "~")
			s.causes = append(s.causes, name)
			if !isNote {
				s.blamed = append(s.blamed, name)
			}
		}
		samples = append(samples, s)
	}
	return samples
}

func TestJudge(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	dark, slow, flood := "downstream_dark/store", "downstream_slow/store", "client_flooding"
	times := func(n int, causes ...string) (list [][]string) { return slices.Repeat([][]string{causes}, n) }
	cat := func(parts ...[][]string) [][]string { return slices.Concat(parts...) }
	one := [][]string{{dark, "downstream_failing/store"}}
	for name, c := range map[string]struct {
		causes  [][]string
		allowed []string
		says    [][]string
		want    judged
		ok      bool
	}{
		"named from the tenth second on": {
			one, nil, cat(times(10), times(20, dark, "~level")), judged{Samples: 20, True: 1, All: 1, First: dark}, true,
		},
		"named behind another cause": {
			one, []string{slow}, cat(times(10, dark), times(18, dark), times(2, slow, dark)),
			judged{Samples: 20, True: .9, All: 1, First: dark, False: slow}, false,
		},
		"a wrong culprit for five seconds": {
			one, nil, cat(times(5, "downstream_slow/mail"), times(25, dark)), judged{Samples: 20, True: 1, All: 1, First: dark, Wrong: "downstream_slow/mail", WrongFor: 5e9}, true,
		},
		"a wrong culprit behind the true one, to the end": {
			one, nil, cat(times(24, dark), times(6, dark, "downstream_slow/mail")),
			judged{Samples: 20, True: 1, All: 1, First: dark, Wrong: "downstream_slow/mail", WrongFor: 6e9}, false,
		},
		"a wrong culprit as a note": {one, nil, times(30, dark, "~downstream_limit/mail"), judged{Samples: 20, True: 1, All: 1, First: dark}, true},
		"two at once, of which one is not named": {
			[][]string{{dark}, {flood}}, nil, cat(times(10), times(10, dark, flood), times(10, dark)), judged{Samples: 20, True: 1, All: .5, First: dark}, false,
		},
		"no fault, and a note":   {nil, nil, times(30, "~downstream_limit/store"), judged{Samples: 20, True: 1, All: 1, First: "downstream_limit/store"}, true},
		"no fault, and an alarm": {nil, nil, cat(times(28), times(2, slow)), judged{Samples: 20, True: .9, All: 1, False: slow, Wrong: slow, WrongFor: 2e9}, false},
		"no fault on a busy machine": {
			nil, []string{"gateway_starved"}, times(30, "gateway_starved"), judged{Samples: 20, True: 1, All: 1}, true,
		},
		"no answers": {one, nil, cat(times(10), times(9, dark)), judged{Samples: 9, True: 1, All: 1, First: dark}, false},
	} {
		c.want.Expected = 20
		got := judge(says(begin, c.says...), begin, begin.Add(30*time.Second), c.causes, c.allowed)
		if got != c.want || got.OK() != c.ok {
			t.Errorf("%s: %+v (ok: %v), want %+v", name, got, got.OK(), c.want)
		}
	}
}

func TestFirstNamed(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	samples := says(begin, []string{"a"}, nil, nil, []string{"b", "a"})
	for _, c := range []struct {
		at     int
		cause  string
		after  time.Duration
		before bool
	}{{0, "a", 0, false}, {1, "a", 2 * time.Second, true}, {2, "a", time.Second, false}, {0, "c", Never, false}} {
		after, before := firstNamed(samples, begin.Add(time.Duration(c.at)*time.Second), []string{c.cause})
		if after != c.after || before != c.before {
			t.Errorf("%+v: %v, %v", c, after, before)
		}
	}
}

func TestCausesOfAStatus(t *testing.T) {
	t.Parallel()
	causes, blamed, err := causesOf([]byte(`{"diagnosis": {"findings": [
		{"id": "downstream_dark", "severity": "SEVERITY_URGENT", "downstream": "mail"},
		{"id": "recovering", "severity": "SEVERITY_NOTE", "downstream": "store"}, {"id": "lane_paused", "severity": "SEVERITY_LOOK"}]}}`))
	want := []string{"downstream_dark/mail", "recovering/store", "lane_paused"}
	if err != nil || !slices.Equal(causes, want) || !slices.Equal(blamed, []string{want[0], want[2]}) {
		t.Errorf("%v, %v, %v", causes, blamed, err)
	}
}

// Every cause of a fault is one that status can name: a misspelt one would make its row unfair.
func TestTheRowsAreWhole(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, c := range diagnosis.Causes() {
		if known[c.ID] = true; c.Downstream != "" {
			known[c.ID+"/"+c.Downstream] = true
		}
	}
	for _, r := range rows() {
		if len(r.begin) == 0 && r.flood == 0 && r.more == 0 && r.name != "none" {
			t.Errorf("%s: nothing happens", r.name)
		}
		for _, set := range append(slices.Clone(r.causes), r.also) {
			for _, cause := range set {
				if !known[cause] {
					t.Errorf("%s: status never names %s", r.name, cause)
				}
			}
		}
	}
}

func TestFiguresJudge(t *testing.T) {
	t.Parallel()
	good := judged{Samples: 20, Expected: 20, True: 1, All: 1}
	late := good
	late.True, late.WrongFor = .5, time.Minute
	figures := Figures([]Observed{
		{Fault: "in-time", judged: good, Alert: "A", Crossed: time.Minute, Fired: 2 * time.Minute},
		{Fault: "unseen", judged: late, Alert: "A", Crossed: Never, Fired: Never},
		{Fault: "none", judged: good, Others: []Alert{{Name: "SurgegateBrownoutHigh"}}},
		{Fault: "none", judged: good, Others: []Alert{{Name: "SurgegateDown"}}},
		{Fault: "both", judged: good, Pair: true},
		{Fault: "no-root", Alert: "A", Skipped: "a mount takes root"},
	})
	var missed []int
	for i, f := range figures {
		if !f.OK {
			missed = append(missed, i)
		}
	}
	if len(figures) != 3*5+2*2+2+1+1 || !slices.Equal(missed, []int{6, 7, 8, 17}) {
		t.Errorf("%v of %+v", missed, figures)
	}
	if last := figures[len(figures)-1]; !strings.Contains(last.Name, "a mount takes root") {
		t.Errorf("what was left out says %q", last.Name)
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	good := Config{Programs: Programs{"surgegate", "surgectl", "storm", "prometheus"}, Dashboards: "d", Dir: "d"}
	for name, change := range map[string]func(*Config){
		"Programs.Surgegate":  func(c *Config) { c.Programs.Surgegate = "" },
		"Programs.Surgectl":   func(c *Config) { c.Programs.Surgectl = "" },
		"Programs.Storm":      func(c *Config) { c.Programs.Storm = "" },
		"Programs.Prometheus": func(c *Config) { c.Programs.Prometheus = "" }, "Dashboards": func(c *Config) { c.Dashboards = "" },
		"Dir": func(c *Config) { c.Dir = "" },
	} {
		cfg := good
		change(&cfg)
		if _, err := Storm(t.Context(), cfg, clock.System{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
