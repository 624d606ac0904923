package gate

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func paced(lane reset.Lane, rate float64, service time.Duration) reset.Pace {
	return reset.Pace{Lane: lane, Rate: rate, Service: service}
}

func TestEta(t *testing.T) {
	t.Parallel()
	steady := map[reset.Lane]reset.Pace{
		reset.LaneStart: paced(reset.LaneStart, 1000, 10*time.Millisecond),
		reset.LaneMail:  paced(reset.LaneMail, 500, 100*time.Millisecond),
		reset.LaneHash:  paced(reset.LaneHash, 50, 40*time.Millisecond),
		reset.LaneApply: paced(reset.LaneApply, 200, 20*time.Millisecond),
	}
	dark := func(lane reset.Lane, since time.Duration) map[reset.Lane]reset.Pace {
		m := make(map[reset.Lane]reset.Pace)
		for l, p := range steady {
			m[l] = p
		}
		p := m[lane]
		p.OutageSince = noon.Add(-since)
		m[lane] = p
		return m
	}
	lanes := func(lane reset.Lane, s queue.LaneStats) queue.Stats {
		return queue.Stats{Lanes: map[reset.Lane]queue.LaneStats{lane: s}}
	}
	start := reset.Ref{Lane: reset.LaneStart}
	hash := reset.Ref{Lane: reset.LaneHash}
	for _, c := range []struct {
		name string
		view View
		ref  reset.Ref
		st   queue.Status
		want time.Duration // the point estimate
	}{
		{"idle start", View{pace: steady}, start, queue.Status{}, 250 * time.Millisecond},
		{"start in line", View{pace: steady}, start, queue.Status{Ahead: 60_000}, 60*time.Second + 250*time.Millisecond},
		{"start, lookup dark", View{pace: dark(reset.LaneStart, time.Hour)}, start, queue.Status{Ahead: 1000}, time.Hour + time.Second + 250*time.Millisecond},
		{"start, mail dark", View{pace: dark(reset.LaneMail, time.Hour), stats: lanes(reset.LaneMail, queue.LaneStats{Retrying: 128})},
			start, queue.Status{}, time.Hour},
		{"start, mail dark for a few", View{pace: dark(reset.LaneMail, time.Hour), stats: lanes(reset.LaneMail, queue.LaneStats{
			Waiting: [3]uint64{100, 20, 1 << 40}, Leased: 4, Retrying: 3,
		})}, start, queue.Status{}, 250 * time.Millisecond},
		{"start, outage in the future", View{pace: dark(reset.LaneStart, -time.Hour)}, start, queue.Status{}, 250 * time.Millisecond},
		{"start behind a mail line", View{pace: steady, stats: lanes(reset.LaneMail, queue.LaneStats{Waiting: [3]uint64{5000}})}, start, // told as 8192
			queue.Status{}, 16500 * time.Millisecond},
		{"the mail line grows meanwhile", View{pace: steady, stats: lanes(reset.LaneMail, queue.LaneStats{Waiting: [3]uint64{5000}})}, start,
			queue.Status{Ahead: 10_000}, 10*time.Second + 26500*time.Millisecond},
		{"suspect start stands behind", View{pace: steady, stats: lanes(reset.LaneStart, queue.LaneStats{Waiting: [3]uint64{9000, 1, 50}, Retrying: 1000})},
			reset.Ref{Lane: reset.LaneStart, Class: reset.ClassSuspect}, queue.Status{}, 10*time.Second + 250*time.Millisecond},
		{"completion in the hash lane", View{pace: steady}, hash, queue.Status{Lane: reset.LaneHash, Ahead: 500}, 10*time.Second + 60*time.Millisecond},
		{"completion in the apply lane", View{pace: steady}, hash, queue.Status{Lane: reset.LaneApply, Ahead: 500}, 2500*time.Millisecond + 20*time.Millisecond},
		{"completion, store dark", View{pace: dark(reset.LaneApply, time.Hour)}, hash, queue.Status{Lane: reset.LaneHash}, time.Hour + 60*time.Millisecond},
		{"running", View{pace: steady}, hash, queue.Status{Lane: reset.LaneApply, State: reset.StateRunning, UpdateTime: noon}, 20 * time.Millisecond},
		{"running for long", View{pace: steady}, hash, queue.Status{Lane: reset.LaneApply, State: reset.StateRunning, UpdateTime: noon.Add(-time.Minute)}, time.Minute},
		{"parked", View{pace: steady}, hash, queue.Status{Lane: reset.LaneApply, Retrying: true, UpdateTime: noon.Add(-time.Hour)}, time.Hour},
		{"nothing published", View{}, hash, queue.Status{Lane: reset.LaneHash, Ahead: 100}, 2500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.view.mean(c.ref, c.st, noon); (got - c.want).Abs() > time.Microsecond {
				t.Errorf("mean %v, want %v", got, c.want)
			}
		})
	}
}

func TestEtaOfPassedStartIsExact(t *testing.T) {
	t.Parallel()
	v := &View{}
	st := queue.Status{DoneTime: noon.Add(750 * time.Millisecond)}
	want := reset.ETA{Low: 750 * time.Millisecond, High: 750 * time.Millisecond}
	if got := v.ETA(reset.Ref{Lane: reset.LaneStart}, st, noon); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whatever the records say, an ETA is ordered, not negative, at most 2 wide, and grows with the position.
func TestEtaProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := &View{pace: make(map[reset.Lane]reset.Pace), stats: queue.Stats{Lanes: make(map[reset.Lane]queue.LaneStats)}}
		for _, lane := range reset.Lanes() {
			if !rapid.Bool().Draw(t, "published") {
				continue
			}
			p := reset.Pace{Lane: lane, Rate: rapid.Float64().Draw(t, "rate"), Service: time.Duration(rapid.Int64().Draw(t, "service"))}
			if rapid.Bool().Draw(t, "dark") {
				p.OutageSince = noon.Add(time.Duration(rapid.Int64().Draw(t, "since")))
			}
			v.pace[lane] = p
			v.stats.Lanes[lane] = queue.LaneStats{Waiting: [3]uint64{rapid.Uint64Max(1<<40).Draw(t, "waiting"), 3, 1}, Retrying: 2}
		}
		ref := reset.Ref{Lane: rapid.SampledFrom([]reset.Lane{reset.LaneStart, reset.LaneHash, reset.LaneApply}).Draw(t, "lane"),
			Class: rapid.SampledFrom([]reset.Class{reset.ClassInteractive, reset.ClassSuspect}).Draw(t, "class")}
		st := queue.Status{State: reset.StateAccepted, Lane: ref.Lane, Ahead: rapid.Uint64Max(1<<40).Draw(t, "ahead")}
		eta := v.ETA(ref, st, noon)
		if eta.Low < 0 || eta.High < eta.Low || eta.High > 2*eta.Low+2 {
			t.Fatalf("not an interval of ratio 2: %v", eta)
		}
		st.Ahead += rapid.Uint64Max(1<<20).Draw(t, "more")
		if more := v.ETA(ref, st, noon); more.High < eta.High {
			t.Fatalf("%v with more ahead, %v before", more, eta)
		}
		if poll := PollAfter(eta, rapid.Float64Range(0, 0.999).Draw(t, "random")); poll < 800*time.Millisecond || poll > 18*time.Minute {
			t.Fatalf("poll after %v for %v", poll, eta)
		}
	})
}
