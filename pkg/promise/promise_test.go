package promise_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/surgegate/surgegate/pkg/promise"
	"github.com/surgegate/surgegate/pkg/reset"
)

func expect(t *testing.T, r prometheus.Gatherer, linkKept, linkBroken, passwordKept, passwordBroken int) {
	t.Helper()
	want := fmt.Sprintf(`
# HELP surgegate_promise_resets_total Accepted resets that ended (link: its mail was handed off; password: its ticket is final), by whether within the promise.
# TYPE surgegate_promise_resets_total counter
surgegate_promise_resets_total{outcome="broken",part="link"} %d
surgegate_promise_resets_total{outcome="broken",part="password"} %d
surgegate_promise_resets_total{outcome="kept",part="link"} %d
surgegate_promise_resets_total{outcome="kept",part="password"} %d
# HELP surgegate_promise_seconds Seconds within which an accepted reset is to be done, as configured (reset.promise).
# TYPE surgegate_promise_seconds gauge
surgegate_promise_seconds 60
`, linkBroken, passwordBroken, linkKept, passwordKept)
	if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestEachResetCountsOnceByHowItEnded(t *testing.T) {
	t.Parallel()
	const inTime, late = time.Minute, time.Minute + time.Millisecond
	for _, c := range []struct {
		name string
		do   func(*promise.Promise)
		want [4]int // link kept, broken, password kept, broken
	}{
		{"nothing has ended", func(*promise.Promise) {}, [4]int{}},
		{"a link in time", func(p *promise.Promise) { p.Link(inTime, true) }, [4]int{1, 0, 0, 0}},
		{"a link late", func(p *promise.Promise) { p.Link(late, true) }, [4]int{0, 1, 0, 0}},
		{"a mail refused", func(p *promise.Promise) { p.Link(inTime, false) }, [4]int{0, 1, 0, 0}},
		{"an ask and its mail end in the queue", func(p *promise.Promise) {
			p.Ended(reset.LaneStart, false, reset.StateDone, inTime)
			p.Ended(reset.LaneMail, false, reset.StateDone, inTime)
		}, [4]int{}},
		{"an ask given up", func(p *promise.Promise) { p.Ended(reset.LaneStart, false, reset.StateFailed, inTime) }, [4]int{0, 1, 0, 0}},
		{"a link mail given up", func(p *promise.Promise) { p.Ended(reset.LaneMail, false, reset.StateFailed, inTime) }, [4]int{0, 1, 0, 0}},
		{"a confirmation given up", func(p *promise.Promise) { p.Ended(reset.LaneMail, true, reset.StateFailed, inTime) }, [4]int{}},
		{"a password set in time", func(p *promise.Promise) { p.Ended(reset.LaneApply, false, reset.StateDone, inTime) }, [4]int{0, 0, 1, 0}},
		{"a password set late", func(p *promise.Promise) { p.Ended(reset.LaneApply, false, reset.StateDone, late) }, [4]int{0, 0, 0, 1}},
		{"rejected in time", func(p *promise.Promise) { p.Ended(reset.LaneHash, false, reset.StateRejected, inTime) }, [4]int{0, 0, 1, 0}},
		{"rejected late", func(p *promise.Promise) { p.Ended(reset.LaneApply, false, reset.StateRejected, late) }, [4]int{0, 0, 0, 1}},
		{"expired", func(p *promise.Promise) { p.Ended(reset.LaneHash, false, reset.StateFailed, inTime) }, [4]int{0, 0, 0, 1}},
		{"a revocation", func(p *promise.Promise) { p.Ended(reset.LaneRevoke, true, reset.StateDone, late) }, [4]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := prometheus.NewPedanticRegistry()
			p, err := promise.New(promise.Config{Within: time.Minute}, promise.Deps{Registerer: r})
			if err != nil {
				t.Fatal(err)
			}
			c.do(p)
			expect(t, r, c.want[0], c.want[1], c.want[2], c.want[3])
			if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
				t.Errorf("lint: %v, %v", problems, err)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	for within, good := range map[time.Duration]bool{
		0: true, time.Second: true, 24 * time.Hour: true,
		time.Second - 1: false, 24*time.Hour + 1: false, -time.Minute: false,
	} {
		_, err := promise.New(promise.Config{Within: within}, promise.Deps{})
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "within: ") {
			t.Errorf("%v: %v", within, err)
		}
	}
}

func ExampleNew() {
	p, err := promise.New(promise.Config{Within: 5 * time.Minute}, promise.Deps{Registerer: prometheus.NewRegistry()})
	if err != nil {
		panic(err)
	}
	p.Link(40*time.Second, true)
	p.Ended(reset.LaneApply, false, reset.StateDone, 7*time.Minute)
	// Output:
}
