package operator_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/pkg/diagnosis"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/pace"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// busy is a store whose 8 calls at once are always out.
func busy(store *downstream) func(*operator.Deps) {
	return func(d *operator.Deps) {
		d.Work.(*board).store = func() dispatch.Downstream {
			return dispatch.Downstream{Name: "store", Limits: pace.Limits{Concurrency: 8, InFlight: 8, Ramp: 1, Batch: 1}, Breaker: "closed",
				Mode: pace.ModeAuto, Counts: store.now()}
		}
	}
}

func statusOf(t *testing.T, w *world) *operatorv1.GetStatusResponse {
	t.Helper()
	s, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The best of the last hour is of the same kind of calls: writes after look-ups are no slowness, slower writes are.
func TestStatusComparesWithTheBestOfTheLastHour(t *testing.T) {
	t.Parallel()
	var store downstream
	w := newWorld(t, busy(&store))
	work := func(seconds int, kind string, perSecond uint64) {
		for range seconds {
			store.work(w.clock.Now(), kind, perSecond, perSecond, 8*time.Second/time.Duration(perSecond))
			w.pass(time.Second)
		}
	}
	ratio := func() float64 { return statusOf(t, w).GetDownstreams()[0].GetSpeedRatio() }
	work(30, "lookup", 8000)
	if r := ratio(); !near(r, 1) {
		t.Errorf("at its best: %v", r)
	}
	work(30, "write", 400)
	if r := ratio(); !near(r, 1) {
		t.Errorf("other work: %v", r)
	}
	work(15, "write", 160)
	d := statusOf(t, w).GetDownstreams()[0]
	if !near(d.GetSpeedRatio(), .4) || !near(d.GetBestItemRate(), 400) || d.GetBestTime().AsTime().After(begin().Add(61*time.Second)) {
		t.Errorf("slower: %v", d)
	}
	if got := gauge(t, w, "surgegate_downstream_speed_ratio"); !near(got, .4) {
		t.Errorf("the metric says %v", got)
	}
}

// gauge is the metric of the store.
func gauge(t *testing.T, w *world, name string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "downstream" && l.GetValue() == "store" {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("there is no %s of the store", name)
	return 0
}

// Whoever asks is told the same: GetStatus, WatchStatus and the metric; and a change of an operator's is in it at once.
func TestOneDiagnosisForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if n := testutil.CollectAndCount(w.reg, "surgegate_diagnosis"); n != len(diagnosis.Causes()) || n > 60 {
		t.Errorf("%d series of surgegate_diagnosis, want %d", n, len(diagnosis.Causes()))
	}
	w.park(3)
	if _, err := w.client.ForceBrownout(w.ctx(), &operatorv1.ForceBrownoutRequest{Level: 3}); err != nil {
		t.Fatal(err)
	}
	watch, err := w.client.WatchStatus(w.ctx(), &operatorv1.WatchStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	watched, err := watch.Recv()
	if err != nil {
		t.Fatal(err)
	}
	asked := statusOf(t, w)
	if !proto.Equal(asked.GetDiagnosis(), watched.GetStatus().GetDiagnosis()) {
		t.Errorf("status: %v\nwatch: %v", asked.GetDiagnosis(), watched.GetStatus().GetDiagnosis())
	}
	found := map[string]float64{}
	for _, f := range asked.GetDiagnosis().GetFindings() {
		found[f.GetId()+"/"+f.GetDownstream()] = 1
	}
	if found["level_forced/"] == 0 || found["parked/"] == 0 {
		t.Errorf("%v", asked.GetDiagnosis())
	}
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "surgegate_diagnosis" {
			continue
		}
		for _, m := range f.GetMetric() {
			cause := m.GetLabel()[0].GetValue() + "/" + m.GetLabel()[1].GetValue()
			if m.GetGauge().GetValue() != found[cause] {
				t.Errorf("%s is %v in the metric and %v in the status", cause, m.GetGauge().GetValue(), found[cause])
			}
		}
	}
}
