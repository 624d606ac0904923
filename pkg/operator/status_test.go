package operator_test

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/starvation"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// downstream counts what a test has done to one. It is safe for concurrent use.
type downstream struct {
	mu sync.Mutex
	c  dispatch.Counts
}

func (d *downstream) now() dispatch.Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.c
	c.Kinds = slices.Clone(c.Kinds)
	return c
}

// work adds calls that ended well, so many with so many items in all.
func (d *downstream) work(at time.Time, kind string, calls, items uint64, each time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.c.Kinds, func(k dispatch.KindCounts) bool { return k.Kind == kind })
	if i < 0 {
		i = len(d.c.Kinds)
		d.c.Kinds = append(d.c.Kinds, dispatch.KindCounts{Kind: kind})
	}
	took := time.Duration(calls) * each
	for _, c := range []*dispatch.Calls{&d.c.Calls, &d.c.Kinds[i].Calls} {
		c.Count, c.Items, c.Time = c.Count+calls, c.Items+items, c.Time+took
	}
	d.c.Ended, d.c.EndedTime = d.c.Ended+calls, d.c.EndedTime+took
	d.c.LastCall, d.c.LastSuccess = at, at
}

func (d *downstream) fail(calls uint64, each time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.c.Failed += calls
	d.c.Ended, d.c.EndedTime = d.c.Ended+calls, d.c.EndedTime+time.Duration(calls)*each
}

func near(a, b float64) bool { return math.Abs(a-b) < .01*math.Max(1, math.Abs(b)) }

// setRules has admission refuse what offer expects.
func setRules(t *testing.T, w *world) {
	t.Helper()
	w.level.Set(2, admission.Cause{Words: "the oldest job has waited"})
	if err := w.admission.SetRules(admission.Rules{
		Global: admission.Rule{Rate: admission.Rate{Count: 100, Per: time.Second}, Burst: 100, DryRun: true},
		Client: admission.Rule{Rate: admission.Rate{Count: 1, Per: 24 * time.Hour}, Burst: 1},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admission.Admit(w.clock.Now(), admission.Request{Op: admission.OpStart}); err != nil {
		t.Fatal(err) // the client's only token
	}
}

// offer offers 195 calls: 105 that are admitted, 5 of them over the global limit, which is in dry run; 60 over the client's limit;
// 30 that the level refuses.
func offer(t *testing.T, w *world) {
	t.Helper()
	for range 105 {
		if _, err := w.admission.Admit(w.clock.Now(), admission.Request{Op: admission.OpCheckToken}); err != nil {
			t.Error(err)
		}
	}
	for range 60 {
		_, _ = w.admission.Admit(w.clock.Now(), admission.Request{Op: admission.OpStart})
	}
	for range 30 {
		_, _ = w.admission.Admit(w.clock.Now(), admission.Request{Op: admission.OpStart, Suspect: true})
	}
}

func TestStatusTellsWhatGoesOn(t *testing.T) {
	t.Parallel()
	out := begin().Add(-time.Minute)
	var store downstream
	front := &requests{}
	w := newWorld(t, func(d *operator.Deps) {
		d.Gate = front
		w := d.Work.(*board)
		w.breakers["store"] = breaker.ForceOpen
		w.store = func() dispatch.Downstream {
			return dispatch.Downstream{Name: "store", Limits: pace.Limits{Concurrency: 8, InFlight: 3, Rate: 120, Ramp: .5, Batch: 64},
				Mode: pace.ModeBounded, OutageSince: out, Counts: store.now(), Misconfiguration: "grant it",
				Failures: []dispatch.Failure{{Outcome: "error", Code: "UNKNOWN", Items: 7, Last: out, Meaning: "look"}}}
		}
		d.Disk = func() operator.Disk { return operator.Disk{Available: 7, Reserve: 5} }
		d.Process = func() starvation.Status {
			return starvation.Status{Since: out, Delay: 7 * time.Millisecond, Throttled: .25, Limit: 1.5, Used: 1.25}
		}
		d.IsDraining = func() bool { return true }
	})
	setRules(t, w)
	w.park(40)
	for range 15 { // longer than the window: what was before it does not count
		offer(t, w)
		front.refuse(reset.KindQueueFull, 10)
		store.work(w.clock.Now(), "write", 15, 450, 250*time.Millisecond)
		store.work(w.clock.Now(), "lookup", 5, 50, 250*time.Millisecond)
		store.fail(2, 250*time.Millisecond)
		w.pass(time.Second)
	}
	s, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.GetTime().AsTime().Equal(begin().Add(15*time.Second)) || !s.GetStartTime().AsTime().Equal(begin()) || s.GetVersion() != "v0" ||
		!s.GetDraining() ||
		s.GetBrownoutLevelAsked() != 2 || s.GetBrownoutCause() == "" || s.GetDisk().GetAvailableBytes() != 7 ||
		s.GetDisk().GetReserveBytes() != 5 {
		t.Errorf("%v", s)
	}
	if p := s.GetProcess(); !p.GetCpuStarved() || !p.GetCpuStarvedSince().AsTime().Equal(out) || p.GetCpuLimit() != 1.5 ||
		p.GetSchedulingDelay().AsDuration() != 7*time.Millisecond || p.GetThrottledShare() != .25 || p.GetCpuUsed() != 1.25 {
		t.Errorf("process %v", p)
	}
	a := s.GetAdmission()
	if !near(a.GetOffered(), 195) || !near(a.GetAdmitted(), 105) || !near(a.GetLimited(), 60) || !near(a.GetShed(), 30) ||
		!near(a.GetRefused(), 10) ||
		!near(a.GetGlobalTokens(), 100) {
		t.Errorf("admission %v", a)
	}
	if r := a.GetReasons(); len(r) != 3 || r[0].GetReason() != "limit_client_ip" || r[1].GetReason() != "shed_level_2" ||
		r[2].GetReason() != "queue_full" || !near(r[2].GetRate(), 10) {
		t.Errorf("reasons %v", r)
	}
	d := s.GetDownstreams()[0]
	if f := d.GetFailures(); len(f) != 1 || f[0].GetOutcome() != "error" || f[0].GetCode() != "UNKNOWN" || f[0].GetCount() != 7 ||
		!f[0].GetLastTime().AsTime().Equal(out) || f[0].GetMeaning() != "look" || d.GetMisconfiguration() != "grant it" {
		t.Errorf("failures %v, misconfiguration %q", f, d.GetMisconfiguration())
	}
	if d.GetDownstream() != "store" || d.GetConcurrencyLimit() != 8 || d.GetInFlight() != 3 || d.GetRateLimit() != 120 ||
		d.GetBreaker() != "open" ||
		d.GetRamp() != .5 || d.GetPaceMode() != "bounded" || d.GetBatch() != 64 || !d.GetBreakerForced() ||
		!d.GetOutageStartTime().AsTime().Equal(out) ||
		!near(d.GetCallRate(), 20) || !near(d.GetFailureRate(), 2) || !near(d.GetItemRate(), 500) ||
		!near(d.GetCallTime().AsDuration().Seconds(), .25) {
		t.Errorf("downstream %v", d)
	}
	if k := d.GetKinds(); len(k) != 2 || k[0].GetKind() != "write" || !near(k[0].GetCallRate(), 15) || !near(k[0].GetItemRate(), 450) ||
		!near(k[0].GetCallTime().AsDuration().Seconds(), .25) || k[1].GetKind() != "lookup" || !near(k[1].GetItemRate(), 50) {
		t.Errorf("kinds %v", k)
	}
	if last := begin().Add(14 * time.Second); !d.GetLastCallTime().AsTime().Equal(last) || !d.GetLastSuccessTime().AsTime().Equal(last) {
		t.Errorf("last call %v, last success %v", d.GetLastCallTime().AsTime(), d.GetLastSuccessTime().AsTime())
	}
	limits, err := w.client.GetLimits(w.ctx(), &operatorv1.GetLimitsRequest{})
	if err != nil || len(limits.GetLimits()) != 4 {
		t.Fatalf("%v, %v", limits, err)
	}
	for i, want := range []struct {
		name, rate string
		refused    float64
	}{{"global", "100/s", 5}, {"client", "1/d", 60}, {"identifier", "5/h", 0}, {"level", "", 30}} {
		if l := limits.GetLimits()[i]; l.GetName() != want.name || l.GetRate() != want.rate || !near(l.GetRefusedRate(), want.refused) {
			t.Errorf("limit %v, want %+v", l, want)
		}
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
	operator.Queue
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
	w := newWorld(t, func(d *operator.Deps) { disk.Queue, d.Queue = d.Queue, disk })
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

func TestOldRatesAreNotTold(t *testing.T) {
	t.Parallel()
	counters := &requests{}
	w := newWorld(t, func(d *operator.Deps) { d.Gate = counters })
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
	counters.mu.Lock() // no sample can be taken
	defer counters.mu.Unlock()
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
	w := newWorld(t, func(d *operator.Deps) {
		d.Gate = &requests{tickets: map[string]gate.Inspection{
			"waits": {Lane: reset.LaneHash, Retrying: true, Ticket: reset.Ticket{State: reset.StateAccepted, Position: 7,
				AcceptTime: begin(), UpdateTime: begin(), ETA: &reset.ETA{Low: time.Second, High: 3 * time.Second}}},
			"failed": {Ticket: reset.Ticket{State: reset.StateFailed, Reason: reset.ReasonExpired, AcceptTime: begin()}},
		}}
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

func TestLimitedClientsAreListedAndNotLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 200 {
		_, _ = w.admission.Admit(w.clock.Now(), admission.Request{Op: admission.OpStart, IP: netip.MustParseAddr("192.0.2.1")})
	}
	r, err := w.client.ListLimitedClients(w.ctx(), &operatorv1.ListLimitedClientsRequest{})
	if err != nil || len(r.GetClients()) != 1 || r.GetClients()[0].GetRefused() != 180 || r.GetClients()[0].GetClient() != "192.0.2.1" ||
		r.GetClients()[0].GetKind() != "ip" {
		t.Errorf("%v, %v", r, err)
	}
	if strings.Contains(w.log.String(), "192.0.2.1") {
		t.Error("a client is in the log")
	}
}
