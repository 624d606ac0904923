package dispatch

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsAreWellNamedAndThereFromTheStart(t *testing.T) {
	t.Parallel()
	r := prometheus.NewPedanticRegistry()
	_, err := newMetrics(r)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for name, want := range map[string]int{
		"surgegate_ticket_age_seconds": 15, "surgegate_jobs_retried_total": 10, "surgegate_jobs_parked_total": 5,
		"surgegate_jobs_expired_total": 5, "surgegate_mails_total": 9, "surgegate_store_described": 1,
	} {
		if n, err := testutil.GatherAndCount(r, name); err != nil || n != want {
			t.Errorf("%s has %d series, not %d (%v)", name, n, want, err)
		}
	}
	if _, err := newMetrics(r); err == nil {
		t.Error("registered twice")
	}
}
