package embedded

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// A machine whose clock was a year ahead for a moment must not live with that for a year: what callers give a time is
// judged by the clock as it is now, and what the queue times itself goes on.
func TestAYearAheadForAMoment(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs, begin := vfs.NewMem(), time.Unix(1_700_000_000, 0)
	e := openMem(t, fs, clock.NewManual(begin.AddDate(1, 0, 0)))
	if v := e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneRevoke, Unique: true}}})[0]; v.Err != nil {
		t.Fatal(v.Err) // writes the time down
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	clk := clock.NewManual(begin)
	e = openMem(t, fs, clk)
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	advance := func(d time.Duration) {
		t.Helper()
		clk.BlockUntil(3) // disk, sweep and alarm wait
		clk.Advance(d)
	}
	lane := func(lane reset.Lane, n int, expired bool) []queue.Lease {
		t.Helper()
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: lane, Max: 10, Visibility: time.Minute, DoneAfter: time.Second, Expired: expired})
		if err != nil || len(l) != n {
			t.Fatalf("%d leases, want %d; %v", len(l), n, err)
		}
		return l
	}

	account := reset.Key{7}
	completion := func() queue.Verdict {
		return e.Enqueue(ctx, []queue.Item{{
			Job: reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneHash, Key: account, Account: account,
				AcceptTime: clk.Now(), ExpireTime: clk.Now().Add(24 * time.Hour)},
			Mark: &queue.MarkRaise{Account: account, ExpireTime: clk.Now().Add(73 * time.Hour)},
		}})[0]
	}
	if v := completion(); v.Err != nil {
		t.Fatal(v.Err)
	}
	if mark, err := e.Mark(ctx, account); err != nil || mark == 0 {
		t.Errorf("the mark is %d, %v: its link would be good again", mark, err)
	}
	if v := completion(); !errors.Is(v.Err, queue.ErrMarkSpent) {
		t.Errorf("the same token once more: %+v, want ErrMarkSpent", v)
	}
	lane(reset.LaneHash, 0, true) // the password may wait for a day

	start := e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: reset.Key{1}, AcceptTime: clk.Now()}}})[0]
	l := lane(reset.LaneStart, 1, false)
	if s, err := e.Ticket(ctx, start.Ref); err != nil || !s.DoneTime.Equal(begin.Add(time.Second)) {
		t.Errorf("done at %v, want in a second; %v", s.DoneTime, err)
	}
	changed, stop := e.Watch(start.Ref)
	defer stop()
	if err := e.Retry(ctx, []queue.Retry{{Lease: l[0], NotBefore: clk.Now().Add(10 * time.Second)}})[0]; err != nil {
		t.Fatal(err)
	}
	lane(reset.LaneStart, 0, false) // not before its time
	advance(time.Second)
	<-changed
	if s, err := e.Ticket(ctx, start.Ref); err != nil || s.State != reset.StateDone {
		t.Errorf("%+v, %v after its second", s, err)
	}
	advance(9 * time.Second)
	if err := e.Wait(ctx, reset.LaneStart, reset.ClassDeferrable); err != nil { // the alarm comes
		t.Fatal(err)
	}
	lane(reset.LaneStart, 1, false)
	advance(time.Minute) // the lease's
	if err := e.Wait(ctx, reset.LaneStart, reset.ClassDeferrable); err != nil {
		t.Fatal(err)
	}
	lane(reset.LaneStart, 1, false)
	advance(24 * time.Hour)
	lane(reset.LaneHash, 1, true)
	if mark, err := e.Mark(ctx, account); err != nil || mark == 0 {
		t.Errorf("after a day and some sweeps the mark is %d, %v", mark, err)
	}
	advance(50 * time.Hour)
	if mark, err := e.Mark(ctx, account); err != nil || mark != 0 {
		t.Errorf("after its time the mark is %d, %v", mark, err)
	}
}
