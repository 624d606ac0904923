package embedded_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

type end struct {
	lane   reset.Lane
	unique bool
	state  reset.State
	age    time.Duration
}

// observed is an engine whose series and ends are looked at.
type observed struct {
	*embedded.Engine
	t     *testing.T
	clock *clock.Manual
	reg   *prometheus.Registry
	ends  []end
}

func newObserved(t *testing.T, fs *vfs.MemFS) *observed {
	t.Helper()
	o := &observed{t: t, clock: clock.NewManual(time.Unix(1_700_000_000, 0)), reg: prometheus.NewPedanticRegistry()}
	var err error
	o.Engine, err = embedded.Open(embedded.Config{Dir: "q", DiskReserve: 100}, embedded.Deps{
		Clock: o.clock, FS: fs, Registerer: o.reg, Fatal: func(err error) { t.Errorf("fatal: %v", err) },
		OnJobEnd: func(lane reset.Lane, unique bool, state reset.State, age time.Duration) {
			o.ends = append(o.ends, end{lane, unique, state, age}) // read after the answer, which comes after this
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeEngine(t, o.Engine) })
	return o
}

// value sums what a series shows for a lane; an empty lane is the series without one.
func (o *observed) value(name, lane string) (sum float64) {
	o.t.Helper()
	families, err := o.reg.Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	there := false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if lane == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "lane" && l.GetValue() == lane }) {
				there = true
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	if !there {
		o.t.Fatalf("no series %s of lane %q", name, lane)
	}
	return sum
}

func (o *observed) balanced(when string, heldBefore float64) {
	o.t.Helper()
	in, out, held := 0., 0., 0.
	for _, lane := range reset.Lanes() {
		i, u, h := o.value("surgegate_queue_in_total", lane.String()), o.value("surgegate_queue_out_total", lane.String()), o.value("surgegate_queue_jobs", lane.String())
		in, out, held = in+i, out+u, held+h
		if heldBefore == 0 && h != i-u {
			o.t.Errorf("%s: %s holds %v, with %v in and %v out", when, lane, h, i, u)
		}
	}
	if held != heldBefore+in-out {
		o.t.Errorf("%s: %v held, with %v before, %v in and %v out", when, held, heldBefore, in, out)
	}
}

func (o *observed) enqueue(j reset.Job) {
	o.t.Helper()
	if v := o.Enqueue(o.t.Context(), []queue.Item{{Job: j}}); v[0].Err != nil {
		o.t.Fatal(v[0].Err)
	}
}

func (o *observed) lease(lane reset.Lane) queue.Lease {
	o.t.Helper()
	l, err := o.Lease(o.t.Context(), queue.LeaseRequest{Lane: lane, UpTo: reset.ClassDeferrable, Max: 1, Visibility: time.Minute})
	if err != nil || len(l) != 1 {
		o.t.Fatalf("%d leases, %v", len(l), err)
	}
	return l[0]
}

func (o *observed) ok(errs ...error) {
	o.t.Helper()
	if err := errors.Join(errs...); err != nil {
		o.t.Fatal(err)
	}
}

func completionJob(n, sequence uint64, lane reset.Lane, at time.Time) reset.Job {
	return reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: lane, Key: key(n), Account: key(n), Sequence: sequence,
		AcceptTime: at, Payload: []byte("sealed")}
}

// heir is the apply job that carries on the ticket of a hash job.
func heir(l queue.Lease, n, sequence uint64, at time.Time) reset.Job {
	j := completionJob(n, sequence, reset.LaneApply, at)
	j.Ticket = l.Job.Ticket
	return j
}

// Whatever way a job ends, and wherever, it is told of once, with its age, and what came into a lane less what left it is
// what the lane holds.
func TestEveryEndIsToldOnceAndLanesBalance(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	o := newObserved(t, fs)
	began := o.clock.Now()

	o.enqueue(completionJob(1, 1, reset.LaneHash, began)) // handed on, then done
	o.clock.Advance(time.Second)
	l := o.lease(reset.LaneHash)
	o.ok(o.Finish(t.Context(), []queue.Finish{{Lease: l, FollowUps: []reset.Job{heir(l, 1, 1, began)}}})...)
	if len(o.ends) != 0 {
		t.Errorf("handed on, it is told to have ended: %v", o.ends)
	}
	o.balanced("after the hand-on", 0)
	o.clock.Advance(time.Second)
	o.ok(o.Finish(t.Context(), []queue.Finish{{Lease: o.lease(reset.LaneApply), State: reset.StateDone}})...)

	o.enqueue(completionJob(2, 1, reset.LaneApply, began)) // superseded while it waits
	o.enqueue(completionJob(2, 2, reset.LaneApply, o.clock.Now()))
	l = o.lease(reset.LaneApply)
	o.ok(o.Park(t.Context(), []queue.Park{{Lease: l, Cause: "a test"}})...) // the newer is given up
	o.balanced("while one is parked", 0)
	o.clock.Advance(time.Second)
	o.ok(o.GiveUp(t.Context(), []reset.ID{l.Job.ID})...)

	o.enqueue(completionJob(3, 5, reset.LaneApply, o.clock.Now())) // a follow-up comes too late
	late := completionJob(3, 4, reset.LaneHash, began)
	late.Unique = true // or it would not come so far
	o.enqueue(late)
	l = o.lease(reset.LaneHash)
	o.ok(o.Finish(t.Context(), []queue.Finish{{Lease: l, FollowUps: []reset.Job{heir(l, 3, 4, began)}}})...)

	want := []end{
		{reset.LaneApply, false, reset.StateDone, 2 * time.Second},
		{reset.LaneApply, false, reset.StateRejected, 2 * time.Second},
		{reset.LaneApply, false, reset.StateFailed, time.Second},
		{reset.LaneApply, false, reset.StateRejected, 3 * time.Second},
	}
	if !slices.Equal(o.ends, want) {
		t.Errorf("told of %v, not of %v", o.ends, want)
	}
	o.balanced("at last", 0)
	if held := o.value("surgegate_queue_jobs", "apply"); held != 1 {
		t.Errorf("%v held", held)
	}
	closeEngine(t, o.Engine)
	again := newObserved(t, fs)
	again.balanced("reopened", 1)
	if in := again.value("surgegate_queue_in_total", ""); in != 0 {
		t.Errorf("%v came in before anything did", in)
	}
}

func TestTheDiskIsShown(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	o := newObserved(t, fs)
	if free := o.value("surgegate_disk_available_bytes", ""); !math.IsNaN(free) {
		t.Errorf("a disk that tells nothing has %v free", free)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 40})
	o.clock.BlockUntil(3) // disk, sweep and alarm wait
	o.clock.Advance(time.Second)
	o.clock.BlockUntil(3)
	if free, reserve := o.value("surgegate_disk_available_bytes", ""), o.value("surgegate_disk_reserve_bytes", ""); free != 1<<30 || reserve != 100 {
		t.Errorf("%v free, reserve %v", free, reserve)
	}
	if problems, err := testutil.GatherAndLint(o.reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// The queue's times have native histograms beside the classic ones.
func TestTimesOfTheQueueAreNativeToo(t *testing.T) {
	t.Parallel()
	o := newObserved(t, vfs.NewMem())
	o.enqueue(startJob(1))
	families, err := o.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range families {
		if f.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		seen++
		h := f.GetMetric()[0].GetHistogram()
		if h.Schema == nil || len(h.GetPositiveSpan()) == 0 && h.GetZeroCount() == 0 || len(h.GetBucket()) < 10 {
			t.Errorf("%s: schema %v, %d spans, %d classic bounds", f.GetName(), h.Schema, len(h.GetPositiveSpan()), len(h.GetBucket()))
		}
	}
	if seen != 3 {
		t.Errorf("%d histograms", seen)
	}
}
