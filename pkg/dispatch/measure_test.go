package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsAreWellNamedAndThereFromTheStart(t *testing.T) {
	t.Parallel()
	r := prometheus.NewPedanticRegistry()
	_, err := newMetrics(r, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for name, want := range map[string]int{
		"surgegate_ticket_age_seconds": 8, "surgegate_jobs_retried_total": 10, "surgegate_jobs_parked_total": 5,
		"surgegate_jobs_expired_total": 5, "surgegate_mails_total": 9, "surgegate_store_described": 1,
	} {
		if n, err := testutil.GatherAndCount(r, name); err != nil || n != want {
			t.Errorf("%s has %d series, not %d (%v)", name, n, want, err)
		}
	}
	if _, err := newMetrics(r, 5*time.Minute); err == nil {
		t.Error("registered twice")
	}
}

// Whatever is promised: the promise is a bound, no bound nearby is more than half as far again as the one before, and the
// rest reaches from 10 ms to a day.
func TestBoundsOfAgesAreDenseAroundThePromise(t *testing.T) {
	t.Parallel()
	for _, promise := range []time.Duration{time.Second, 5 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		bounds, p := ageBounds(promise), promise.Seconds()
		if !slices.IsSorted(bounds) || len(slices.Compact(slices.Clone(bounds))) != len(bounds) || len(bounds) > 30 {
			t.Errorf("%v: %v", promise, bounds)
		}
		if !slices.Contains(bounds, p) || bounds[0] != .01 || bounds[len(bounds)-1] < 24*3600 {
			t.Errorf("%v: %v", promise, bounds)
		}
		for i, b := range bounds[1:] {
			if before := bounds[i]; b > .5*p && b <= 1.5*p && b > 1.5*before {
				t.Errorf("%v: nothing between %v and %v", promise, before, b)
			}
		}
	}
}
