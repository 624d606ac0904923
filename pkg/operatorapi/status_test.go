package operatorapi_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/operatorapi"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func counters(t *testing.T, r prometheus.Registerer, name string, labels ...string) *prometheus.CounterVec {
	t.Helper()
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: name}, labels)
	if err := r.Register(v); err != nil {
		t.Fatal(err)
	}
	return v
}

func near(a, b float64) bool { return math.Abs(a-b) < .01*math.Max(1, math.Abs(b)) }

func TestStatusTellsWhatGoesOn(t *testing.T) {
	t.Parallel()
	out := begin().Add(-time.Minute)
	w := newWorld(t, func(d *operatorapi.Deps) {
		d.Downstreams = func() []operatorapi.Downstream {
			return []operatorapi.Downstream{{Name: "store", Concurrency: 8, InFlight: 3, Rate: 120, Breaker: "half_open", Ramp: .5,
				Mode: "bounded", Batch: 64, Forced: true, OutageSince: out, Misconfiguration: "grant it",
				Failures: []operatorapi.Failure{{Outcome: "error", Code: "UNKNOWN", Items: 7, Last: out, Meaning: "look"}}}}
		}
		d.Disk = func() operatorapi.Disk { return operatorapi.Disk{Available: 7, Reserve: 5} }
		d.Draining = func() bool { return true }
	})
	decisions := counters(t, w.reg, "surgegate_admission_decisions_total", "decision", "reason")
	dry := counters(t, w.reg, "surgegate_admission_dry_run_total", "reason")
	requests := counters(t, w.reg, "surgegate_gate_requests_total", "call", "verdict")
	called := counters(t, w.reg, "surgegate_downstream_calls_total", "downstream", "outcome")
	items := counters(t, w.reg, "surgegate_downstream_items_total", "downstream", "outcome")
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "surgegate_downstream_call_seconds", Help: "x"},
		[]string{"downstream"})
	tokens := prometheus.NewGauge(prometheus.GaugeOpts{Name: "surgegate_admission_tokens", Help: "x"})
	w.reg.MustRegister(seconds, tokens)
	tokens.Set(123)
	w.park(40)
	for range 15 { // longer than the window: what was before it does not count
		decisions.WithLabelValues("admitted", "none").Add(100)
		decisions.WithLabelValues("limited", "limit_client_ip").Add(60)
		decisions.WithLabelValues("shed", "shed_level_3").Add(30)
		dry.WithLabelValues("limit_global").Add(5)
		requests.WithLabelValues("start", "queue_full").Add(10)
		requests.WithLabelValues("start", "accepted").Add(90)
		called.WithLabelValues("store", "ok").Add(20)
		called.WithLabelValues("store", "timeout").Add(2)
		called.WithLabelValues("store", "canceled").Add(9)
		items.WithLabelValues("store", "ok").Add(500)
		for range 22 {
			seconds.WithLabelValues("store").Observe(.25)
		}
		w.pass(time.Second)
	}
	s, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.GetTime().AsTime().Equal(begin().Add(15*time.Second)) || !s.GetStartTime().AsTime().Equal(begin()) || s.GetVersion() != "v0" ||
		!s.GetDraining() ||
		s.GetBrownoutLevelAsked() != 1 || s.GetBrownoutCause() == "" || s.GetDisk().GetAvailableBytes() != 7 ||
		s.GetDisk().GetReserveBytes() != 5 {
		t.Errorf("%v", s)
	}
	a := s.GetAdmission()
	if !near(a.GetOffered(), 190) || !near(a.GetAdmitted(), 100) || !near(a.GetLimited(), 60) || !near(a.GetShed(), 30) ||
		!near(a.GetRefused(), 10) ||
		a.GetGlobalTokens() != 123 {
		t.Errorf("admission %v", a)
	}
	if r := a.GetReasons(); len(r) != 3 || r[0].GetReason() != "limit_client_ip" || r[1].GetReason() != "shed_level_3" ||
		r[2].GetReason() != "queue_full" || !near(r[2].GetRate(), 10) {
		t.Errorf("reasons %v", r)
	}
	d := s.GetDownstreams()[0]
	if f := d.GetFailures(); len(f) != 1 || f[0].GetOutcome() != "error" || f[0].GetCode() != "UNKNOWN" || f[0].GetCount() != 7 ||
		!f[0].GetLastTime().AsTime().Equal(out) || f[0].GetMeaning() != "look" || d.GetMisconfiguration() != "grant it" {
		t.Errorf("failures %v, misconfiguration %q", f, d.GetMisconfiguration())
	}
	if d.GetDownstream() != "store" || d.GetConcurrencyLimit() != 8 || d.GetInFlight() != 3 || d.GetRateLimit() != 120 ||
		d.GetBreaker() != "half_open" ||
		d.GetRamp() != .5 || d.GetPaceMode() != "bounded" || d.GetBatch() != 64 || !d.GetBreakerForced() ||
		!d.GetOutageStartTime().AsTime().Equal(out) ||
		!near(d.GetCallRate(), 20) || !near(d.GetFailureRate(), 2) || !near(d.GetItemRate(), 500) ||
		!near(d.GetCallTime().AsDuration().Seconds(), .25) {
		t.Errorf("downstream %v", d)
	}
	limits, err := w.client.GetLimits(w.ctx(), &operatorv1.GetLimitsRequest{})
	if err != nil || len(limits.GetLimits()) != 4 {
		t.Fatalf("%v, %v", limits, err)
	}
	for i, want := range []struct {
		name, rate string
		refused    float64
	}{{"global", "20000/s", 5}, {"client", "20/m", 60}, {"identifier", "5/h", 0}, {"level", "", 30}} {
		if l := limits.GetLimits()[i]; l.GetName() != want.name || l.GetRate() != want.rate || !near(l.GetRefusedRate(), want.refused) {
			t.Errorf("limit %v, want %+v", l, want)
		}
	}
}

// Who is woken wants to know whether the store is slower than it was, or the storm is bigger: the status remembers an hour.
func TestStatusComparesWithTheBestOfTheLastHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(d *operatorapi.Deps) {
		d.Downstreams = func() []operatorapi.Downstream { return []operatorapi.Downstream{{Name: "store"}, {Name: "mail"}} }
	})
	items := counters(t, w.reg, "surgegate_downstream_items_total", "downstream", "outcome")
	work := func(seconds int, perSecond float64) {
		for range seconds {
			items.WithLabelValues("store", "ok").Add(perSecond)
			items.WithLabelValues("store", "error").Add(1000)
			w.pass(time.Second)
		}
	}
	store := func() *operatorv1.DownstreamStatus {
		s, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if m := s.GetDownstreams()[1]; m.GetSpeedRatio() != 0 || m.GetBestTime() != nil {
			t.Errorf("mail did nothing: %v", m)
		}
		return s.GetDownstreams()[0]
	}
	work(5, 200)
	if d := store(); d.GetSpeedRatio() != 0 || d.GetBestTime() != nil {
		t.Errorf("after seconds there is nothing to compare with: %v", d)
	}
	work(15, 200)
	best := begin().Add(20 * time.Second)
	if d := store(); !near(d.GetSpeedRatio(), 1) || !near(d.GetBestItemRate(), 200) || d.GetBestTime().AsTime().After(best) {
		t.Errorf("at its best: %v", d)
	}
	work(15, 80)
	if d := store(); !near(d.GetSpeedRatio(), .4) || !near(d.GetBestItemRate(), 200) || d.GetBestTime().AsTime().After(best) {
		t.Errorf("slower: %v", d)
	}
	w.pass(61 * time.Minute)
	work(15, 80)
	if d := store(); !near(d.GetSpeedRatio(), 1) || !near(d.GetBestItemRate(), 80) {
		t.Errorf("after an hour that is what it is measured by: %v", d)
	}
}

func TestStatusTellsHowLongALineTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := w.ctx()
	ids := w.park(400)
	// Requeued at once, and worked ten a second.
	if _, err := w.client.RequeueParked(ctx, &operatorv1.RequeueParkedRequest{JobIds: ids}); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		leases, err := w.queue.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneApply, UpTo: reset.ClassDeferrable, Max: 10,
			Visibility: time.Minute})
		if err != nil || len(leases) != 10 {
			t.Fatalf("%d leased, %v", len(leases), err)
		}
		var ends []queue.Finish
		for _, l := range leases {
			ends = append(ends, queue.Finish{Lease: l, State: reset.StateDone})
		}
		for _, err := range w.queue.Finish(ctx, ends) {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.pass(time.Second)
	}
	s, err := w.client.GetStatus(ctx, &operatorv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	apply, start := s.GetLanes()[3], s.GetLanes()[0]
	if apply.GetLane() != "apply" || apply.GetWaiting()+apply.GetRetrying() != 280 || !near(apply.GetRate(), 10) ||
		!near(apply.GetArrivalRate(), 0) || apply.GetWeight() != 8 ||
		!near(apply.GetDrainTime().AsDuration().Seconds(), 28) || apply.GetOldestWait() == nil {
		t.Errorf("apply %v", apply)
	}
	if start.GetWaiting() != 0 || start.GetDrainTime() == nil || start.GetDrainTime().AsDuration() != 0 || start.GetOldestWait() != nil {
		t.Errorf("start %v", start)
	}
	w.pass(12 * time.Second)
	if s, err = w.client.GetStatus(ctx, &operatorv1.GetStatusRequest{}); err != nil || s.GetLanes()[3].GetDrainTime() != nil ||
		s.GetLanes()[3].GetRate() != 0 {
		t.Errorf("a lane that does not move: %v, %v", s.GetLanes()[3], err)
	}
	if q := s.GetQueue(); q.GetHeld() != 280 || q.GetConservation() != 0 || !q.GetAccepting() || q.GetEnqueued() != 400 ||
		q.GetEnded() != 120 {
		t.Errorf("queue %v", q)
	}
}

// stalled is a queue whose committer holds its lock for as long as the test likes.
type stalled struct {
	operatorapi.Queue
	lock sync.Mutex
}

func (s *stalled) Stats(ctx context.Context) (queue.Stats, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.Queue.Stats(ctx)
}

func TestStatusDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	disk := &stalled{}
	w := newWorld(t, func(d *operatorapi.Deps) { disk.Queue, d.Queue = d.Queue, disk })
	w.park(7)
	w.pass(time.Second) // it was read once
	disk.lock.Lock()
	defer disk.lock.Unlock()
	for range 3 {
		s, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
		if err != nil || s.GetLanes()[3].GetParked() != 7 {
			t.Fatalf("%v, %v", s.GetLanes(), err)
		}
	}
}

// hung is a gatherer that somebody can stop.
type hung struct {
	prometheus.Gatherer
	lock sync.Mutex
}

func (h *hung) Gather() ([]*dto.MetricFamily, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	return h.Gatherer.Gather()
}

func TestOldRatesAreNotTold(t *testing.T) {
	t.Parallel()
	counters := &hung{}
	w := newWorld(t, func(d *operatorapi.Deps) { counters.Gatherer, d.Gatherer = d.Gatherer, counters })
	w.pass(2 * time.Second)
	w.park(7)
	w.pass(2 * time.Second)
	arriving := func() float64 {
		s, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return s.GetLanes()[3].GetArrivalRate()
	}
	if arriving() == 0 {
		t.Fatal("7 jobs came, and no rate tells of them")
	}
	counters.lock.Lock()
	defer counters.lock.Unlock()
	w.clock.Advance(30 * time.Second)
	if got := arriving(); got != 0 {
		t.Errorf("%v jobs a second came half a minute ago; nothing is known of now", got)
	}
}

func TestWatchStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx())
	st, err := w.client.WatchStatus(ctx, &operatorv1.WatchStatusRequest{Interval: durationpb.New(5 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r, err := st.Recv()
		if err != nil || !r.GetStatus().GetTime().AsTime().Equal(begin().Add(time.Duration(i)*5*time.Second)) {
			t.Fatalf("%d: %v, %v", i, r.GetStatus().GetTime().AsTime(), err)
		}
		for range 5 {
			w.clock.BlockUntil(3) // the two that look, and the watch
			w.clock.Advance(time.Second)
		}
	}
	cancel()
	for err == nil {
		_, err = st.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	for _, d := range []time.Duration{time.Millisecond, 2 * time.Minute} {
		st, err := w.client.WatchStatus(w.ctx(), &operatorv1.WatchStatusRequest{Interval: durationpb.New(d)})
		if err == nil {
			_, err = st.Recv()
		}
		wantField(t, err, "interval")
	}
}

func TestATicketIsToldAsItsHolderSeesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(d *operatorapi.Deps) {
		d.Inspect = func(_ context.Context, id string) (gate.Inspection, error) {
			switch id {
			case "waits":
				return gate.Inspection{Lane: reset.LaneHash, Retrying: true, Ticket: reset.Ticket{State: reset.StateAccepted, Position: 7,
					AcceptTime: begin(), UpdateTime: begin(), ETA: &reset.ETA{Low: time.Second, High: 3 * time.Second}}}, nil
			case "failed":
				return gate.Inspection{Ticket: reset.Ticket{State: reset.StateFailed, Reason: reset.ReasonExpired, AcceptTime: begin()}}, nil
			default:
				return gate.Inspection{}, &reset.Error{Kind: reset.KindNotFound}
			}
		}
	})
	r, err := w.client.GetTicket(w.ctx(), &operatorv1.GetTicketRequest{TicketId: "waits"})
	if err != nil || r.GetState() != "ACCEPTED" || r.GetLane() != "hash" || r.GetPosition() != 7 || !r.GetRetrying() ||
		r.GetEtaHigh().AsDuration() != 3*time.Second {
		t.Errorf("%v, %v", r, err)
	}
	r, err = w.client.GetTicket(w.ctx(), &operatorv1.GetTicketRequest{TicketId: "failed"})
	if err != nil || r.GetState() != "FAILED" || r.GetReason() != "EXPIRED" || r.GetLane() != "" || r.GetEtaLow() != nil ||
		r.GetUpdateTime() != nil {
		t.Errorf("%v, %v", r, err)
	}
	if _, err = w.client.GetTicket(w.ctx(), &operatorv1.GetTicketRequest{TicketId: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("%v", err)
	}
}

func TestLimitedClientsAreTwentyAtMost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(d *operatorapi.Deps) {
		d.LimitedClients = func() (all []operatorapi.LimitedClient) {
			for i := range 30 {
				all = append(all, operatorapi.LimitedClient{Kind: "ip", Client: "192.0.2.1", Refused: uint64(100 - i)}) //nolint:gosec // positive
			}
			return all
		}
	})
	r, err := w.client.ListLimitedClients(w.ctx(), &operatorv1.ListLimitedClientsRequest{})
	if err != nil || len(r.GetClients()) != 20 || r.GetClients()[0].GetRefused() != 100 || r.GetClients()[0].GetClient() != "192.0.2.1" {
		t.Errorf("%v, %v", r, err)
	}
	if strings.Contains(w.log.String(), "192.0.2.1") {
		t.Error("a client is in the log")
	}
}
