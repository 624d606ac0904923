package page_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/cmd/surgectl/internal/page"
	"github.com/surgegate/surgegate/internal/screen"
	"github.com/surgegate/surgegate/pkg/diagnosis/scene"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func widest(lines []string) int {
	n := 0
	for _, line := range lines {
		n = max(n, screen.Visible(line))
	}
	return n
}

func TestEveryStatusFitsItsTerminal(t *testing.T) {
	t.Parallel()
	for name, s := range scene.All() {
		for _, width := range []int{80, 120, 200} {
			for _, colour := range []bool{false, true} {
				st := page.Style{Width: width, Colour: colour}
				lines := append(st.Answers(scene.Diagnosed(s).GetDiagnosis(), 0), st.Tables(s)...)
				lines = append(lines, page.Title(s, "surgegate-3.eu-west-1.internal:7601"))
				if got := widest(lines); got > width {
					t.Errorf("%s at %d columns is %d wide:\n%s", name, width, got, strings.Join(lines, "\n"))
				}
				if got := strings.Contains(strings.Join(lines, ""), "\x1b"); got != colour {
					t.Errorf("%s: colours %v, want %v", name, got, colour)
				}
			}
		}
	}
}

// The largest figures that there can be still fit 80 columns.
func TestTablesOfAHugeStormFit(t *testing.T) {
	t.Parallel()
	s := scene.StoreDark()
	for _, l := range s.GetLanes() {
		l.Waiting, l.Leased, l.Retrying, l.Parked, l.Rate, l.ArrivalRate = 15_400_000, 10_000, 99_400, 99_400, 12_345, 23_456
	}
	for _, d := range s.GetDownstreams() {
		d.InFlight, d.ConcurrencyLimit, d.Batch, d.PaceMode = 9_999, 10_000, 256, "bounded"
		d.ItemRate, d.RateLimit, d.FailureRate = 23_456, 23_456, 999
		d.CallTime, d.Ramp = durationpb.New(65*time.Second), .25
	}
	st := page.Style{Width: 80}
	if got := widest(slices.Concat(st.Lanes(s.GetLanes()), st.Downstreams(s.GetDownstreams()))); got > 80 {
		t.Errorf("%d columns:\n%s", got, strings.Join(st.Tables(s), "\n"))
	}
}

// In little room the four words stay, and then what to do goes before what explains.
func TestAnswersGiveWay(t *testing.T) {
	t.Parallel()
	st := page.Style{Width: 79}
	r := scene.Diagnosed(scene.StoreSlow()).GetDiagnosis()
	all := st.Answers(r, 0)
	before := 0
	for most := 4; most <= len(all)+3; most++ {
		lines := st.Answers(r, most)
		text := strings.Join(lines, "\n")
		if len(lines) > most || len(lines) < before {
			t.Errorf("%d lines where %d may be and %d were before:\n%s", len(lines), most, before, text)
		}
		before = len(lines)
		for _, word := range []string{"helped? SLOWLY", "limit? the store", "over? IN ABOUT", "What can I do?"} {
			if !strings.Contains(text, word) {
				t.Errorf("in %d lines there is no %q", most, word)
			}
		}
		if most >= 7 && !strings.Contains(text, "surgectl pace list") {
			t.Errorf("in %d lines nothing to do:\n%s", most, text)
		}
	}
	if before != len(all) {
		t.Errorf("all are %d, with room for all there were %d", len(all), before)
	}
}

func TestWhatIsOutOfTheOrdinaryIsSeen(t *testing.T) {
	t.Parallel()
	st := page.Style{Width: 120}
	full := scene.DiskFull()
	full.Queue.Conservation, full.Draining = -3, true
	forced := scene.Paused()
	forced.BrownoutLevel = 3
	d := scene.Downstream(forced, "store")
	d.Breaker, d.BreakerForced = "open", true
	scene.Downstream(forced, "mail").Ramp = .25
	scene.Downstream(forced, "revoker").Breaker = "half_open"
	for _, c := range []struct {
		status *operatorv1.GetStatusResponse
		want   []string
	}{
		{full, []string{
			"NOT ACCEPTING: queue: not durable", "conservation -3", "nothing left above its reserve of 2.0 GiB", "draining  refuses",
		}},
		{forced, []string{
			"PAUSED", "OPEN (held)", "ramp 25 %", "half open", "level     3 completions only; the signals ask for 0", "lane/apply/paused",
			"store maintenance",
		}},
		{scene.StoreDark(), []string{"OPEN"}},
	} {
		text := strings.Join(st.Tables(c.status), "\n")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
	}
	outages := st.Outages(scene.StoreDark().GetDownstreams(), scene.Now())
	if len(outages) != 1 || outages[0] != "store has not been working for 4m10s, since 03:08:34 UTC" {
		t.Errorf("%q", outages)
	}
}

// Whoever counts the calls in the store's own log finds the same numbers: plain items of every kind, revocations too.
func TestDownstreamsShowPlainItems(t *testing.T) {
	t.Parallel()
	st := page.Style{Width: 80}
	status := scene.StoreSlow()
	d := scene.Downstream(status, "store")
	d.ItemRate = 131
	d.Kinds = []*operatorv1.CallKindStatus{{Kind: "lookup", ItemRate: 109}, {Kind: "write", ItemRate: 22}, {Kind: "revoke", ItemRate: 9}}
	if got := st.Kinds(status.GetDownstreams()); len(got) != 1 || got[0] != "store does lookup 109/s, write 22/s, revoke 9/s" {
		t.Errorf("%q", got)
	}
	for _, line := range st.Downstreams(status.GetDownstreams()) {
		if strings.HasPrefix(line, "store") && strings.Fields(line)[4] != "140" {
			t.Errorf("DONE/s in %q", line)
		}
	}
}

func TestAChangeTellsWhatItDid(t *testing.T) {
	t.Parallel()
	change := &operatorv1.Change{
		Target: "pace/store", Before: "auto (24 calls)", After: "fixed at 8 calls", ExpireTime: timestamppb.New(scene.Now().Add(time.Hour)),
		Notes: []string{"Nothing is measured until then."},
	}
	st := page.Style{Width: 120}
	want := []string{"pace/store: auto (24 calls) → fixed at 8 calls, until 04:12:44 UTC (1h)", "  Nothing is measured until then."}
	if got := st.Change(change, scene.Now()); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	change.DryRun, change.After, change.ExpireTime = true, "", nil
	if got := st.Change(change, scene.Now()); got[0] != "dry run, nothing is changed: pace/store: auto (24 calls) → -" {
		t.Errorf("%q", got)
	}
}

func TestSummaryTellsOfTheProcessor(t *testing.T) {
	t.Parallel()
	s := scene.Calm()
	line := func() (found string) {
		lines := page.Style{Width: 200}.Summary(s)
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "processor ") }); i >= 0 {
			found = lines[i]
		}
		return found
	}
	if got := line(); got != "" {
		t.Errorf("a surgegate that does not tell: %q", got)
	}
	s.Process = &operatorv1.ProcessStatus{CpuUsed: .8, CpuLimit: 2, SchedulingDelay: durationpb.New(600 * time.Microsecond)}
	if got := line(); got != "processor 0.8 of 2 used, waits <1ms for one" {
		t.Errorf("a calm day: %q", got)
	}
	s.Process = &operatorv1.ProcessStatus{CpuUsed: .3, CpuLimit: .3, SchedulingDelay: durationpb.New(40 * time.Millisecond), ThrottledShare: .7,
		CpuStarved: true, CpuStarvedSince: timestamppb.New(scene.Now().Add(-12 * time.Second))}
	if got := line(); got != "processor 0.3 of 0.3 used, held back by its quota 70 % of the time, waits 40ms for one, "+
		"SHORT OF PROCESSOR TIME for 12s: do not trust its times of others" {
		t.Errorf("a small quota: %q", got)
	}
}
