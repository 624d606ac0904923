package operator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func found(results []*operatorv1.ParkedResult) (f []bool) {
	for _, r := range results {
		f = append(f, r.GetFound())
	}
	return f
}

func TestRequeueLeavesAnAuditRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ids := w.park(3)
	unknown := reset.NewID().String()
	dry, err := w.client.RequeueParked(w.ctx(), &operatorv1.RequeueParkedRequest{JobIds: []string{ids[0], unknown}, DryRun: true})
	if err != nil || !slices.Equal(found(dry.GetResults()), []bool{true, false}) || len(w.audits()) != 0 {
		t.Fatalf("dry run: %v, %v, %v", dry, err, w.audits())
	}
	r, err := w.client.RequeueParked(w.ctx(), &operatorv1.RequeueParkedRequest{JobIds: []string{ids[0], unknown, ids[2], ids[0]}})
	if err != nil || !slices.Equal(found(r.GetResults()), []bool{true, false, true, true}) {
		t.Fatalf("%v, %v", r, err)
	}
	a := w.audits()
	if len(a) != 1 || a[0].GetWho() != "loopback" || a[0].GetAction() != "requeue_parked" || a[0].GetBefore() != "parked" ||
		a[0].GetAfter() != "waiting" ||
		!a[0].GetTime().AsTime().Equal(begin()) || !strings.HasPrefix(a[0].GetFrom(), "127.0.0.1:") ||
		!slices.Equal(a[0].GetTargets(), []string{ids[0], ids[2]}) {
		t.Errorf("audit %v", a)
	}
	left, err := w.client.ListParked(w.ctx(), &operatorv1.ListParkedRequest{})
	if err != nil || len(left.GetJobs()) != 1 || left.GetJobs()[0].GetJobId() != ids[1] {
		t.Errorf("still parked: %v, %v", left, err)
	}
}

func TestGiveUpOfAThousand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ids := w.park(1500)
	r, err := w.client.GiveUpParked(w.ctx(), &operatorv1.GiveUpParkedRequest{JobIds: ids[500:]})
	if err != nil || slices.Contains(found(r.GetResults()), false) {
		t.Fatalf("%v", err)
	}
	if a := w.audits(); len(a) != 1 || a[0].GetAction() != "give_up_parked" || a[0].GetAfter() != "failed" || len(a[0].GetTargets()) != 1000 {
		t.Errorf("audit of %d", len(a))
	}
	if s, err := w.queue.Stats(t.Context()); err != nil || s.Lanes[reset.LaneApply].Parked != 500 {
		t.Errorf("%+v, %v", s, err)
	}
}

// racing lets somebody else end jobs between the look and the change.
type racing struct {
	operator.Queue
	mu   sync.Mutex
	gone map[reset.ID]bool
}

func (r *racing) Requeue(ctx context.Context, ids []reset.ID) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []reset.ID
	for _, id := range ids {
		if r.gone[id] {
			gone = append(gone, id)
		}
	}
	_ = r.GiveUp(ctx, gone)
	return r.Queue.Requeue(ctx, ids)
}

func TestARaceIsAuditedAsSuch(t *testing.T) {
	t.Parallel()
	race := &racing{gone: map[reset.ID]bool{}}
	w := newWorld(t, func(d *operator.Deps) { race.Queue, d.Queue = d.Queue, race })
	ids := w.park(2)
	id, err := reset.ParseID(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	race.mu.Lock()
	race.gone[id] = true
	race.mu.Unlock()
	r, err := w.client.RequeueParked(w.ctx(), &operatorv1.RequeueParkedRequest{JobIds: ids})
	if err != nil || !slices.Equal(found(r.GetResults()), []bool{true, false}) {
		t.Fatalf("%v, %v", r, err)
	}
	a := w.audits()
	if len(a) != 2 || a[0].GetAction() != "requeue_parked_undone" || !slices.Equal(a[0].GetTargets(), ids[1:]) ||
		a[0].GetAfter() != "not changed" {
		t.Errorf("audit %v", a)
	}
}

func TestListParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ids := w.park(250)
	var got []string
	token, pages := "", 0
	for {
		page, err := w.client.ListParked(w.ctx(), &operatorv1.ListParkedRequest{Lane: "apply", PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, j := range page.GetJobs() {
			got = append(got, j.GetJobId())
			if j.GetLane() != "apply" || j.GetCause() == "" || j.GetExpireTime() == nil {
				t.Fatalf("job %v", j)
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(got, ids) || pages != 3 {
		t.Errorf("%d jobs on %d pages", len(got), pages)
	}
	for want, r := range map[string]*operatorv1.ListParkedRequest{
		"lane": {Lane: "nowhere"}, "page_size": {PageSize: 1001}, "page_token": {PageToken: "x"},
	} {
		_, err := w.client.ListParked(w.ctx(), r)
		wantField(t, err, want)
	}
	for _, bad := range [][]string{nil, {"x"}, make([]string, 1001)} {
		if _, err := w.client.GiveUpParked(w.ctx(), &operatorv1.GiveUpParkedRequest{JobIds: bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d bad ids: %v", len(bad), err)
		}
	}
}

// faulty is a queue that has a fault.
type faulty struct {
	operator.Queue
	err error
}

func (f faulty) Stats(context.Context) (queue.Stats, error) { return queue.Stats{}, f.err }

func TestACauseStaysInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(d *operator.Deps) {
		d.Queue = faulty{d.Queue, fmt.Errorf("pebble: /var/secret/000001.sst is corrupt")}
	})
	_, err := w.client.GetStatus(w.ctx(), &operatorv1.GetStatusRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("driver text: %v", err)
	}
}
