package embedded

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func openMem(t *testing.T, fs vfs.FS, clk clock.Clock) *Engine {
	t.Helper()
	e, err := Open(Config{Dir: "q", CacheBytes: 1 << 20, Retention: 2 * time.Hour}, Deps{FS: fs, Clock: clk, Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *Engine) countKeys(t *testing.T, prefix byte) (n int) {
	t.Helper()
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// A line many windows long, with every seventh ask coalesced, worked across a restart: in order, each once, and
// nothing left behind.
func TestLongLine(t *testing.T) {
	t.Parallel()
	const total = 3 * floorStep / 2
	ctx := t.Context()
	fs, clk := vfs.NewMem(), clock.NewManual(time.Unix(1_700_000_000, 0))
	e := openMem(t, fs, clk)
	var n, jobs uint64
	for n < total {
		items := make([]queue.Item, 500)
		for i := range items {
			n++
			k := n
			if n%7 == 0 {
				k = n - 1
			}
			items[i].Job = reset.Job{ID: reset.NewID(), Lane: reset.LaneStart, Payload: binary.BigEndian.AppendUint64(nil, n)}
			binary.BigEndian.PutUint64(items[i].Job.Key[:], k)
		}
		for _, v := range e.Enqueue(ctx, items) {
			if v.Err != nil {
				t.Fatal(v.Err)
			}
			if !v.Joined {
				jobs++
			}
		}
	}
	var last, worked uint64
	restarted := false
	for worked < jobs {
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneStart, Max: 300, Visibility: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		ends := make([]queue.Finish, len(l))
		for i := range l {
			at := binary.BigEndian.Uint64(l[i].Job.Payload)
			if at <= last {
				t.Fatalf("job %d after %d", at, last)
			}
			last = at
			ends[i].Lease = l[i]
		}
		worked += uint64(len(l))
		for _, err := range e.Finish(ctx, ends) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if worked > jobs*5/6 && !restarted {
			restarted = true
			if floor := e.mem.Queues[reset.LaneStart][0].Floor; floor < floorStep {
				t.Errorf("the floor is still at %d", floor)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			e = openMem(t, fs, clk)
		}
	}
	if _, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneStart, Max: 300, Visibility: time.Minute}); err != nil {
		t.Fatal(err) // passes a place at the end
	}
	if s, err := e.Stats(ctx); err != nil || s.Held != 0 || s.Bytes != 0 || s.Conservation() != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, prefix := range []byte{prefixJob, prefixOpen, prefixSetAside, prefixRetry} {
		if n := e.countKeys(t, prefix); n != 0 {
			t.Errorf("%d keys %c are left", n, prefix)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestSweepDropsWhatIsPastItsTime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs, clk := vfs.NewMem(), clock.NewManual(time.Unix(1_700_000_000, 0))
	e := openMem(t, fs, clk)
	now := clk.Now()
	mark := func(k byte, token uint64, ttl time.Duration) queue.Item {
		return queue.Item{
			Job:  reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneApply, Key: reset.Key{k}, AcceptTime: clk.Now()},
			Mark: &queue.MarkRaise{Account: reset.Key{k}, TokenMark: token, ExpireTime: now.Add(ttl)},
		}
	}
	start := queue.Item{Job: reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: reset.Key{9}}}
	v := e.Enqueue(ctx, []queue.Item{mark(1, 0, time.Hour), mark(2, 0, time.Hour), mark(3, 0, 100*time.Hour), start})
	m, err := e.Mark(ctx, reset.Key{2})
	if err != nil {
		t.Fatal(err)
	}
	v = append(v, e.Enqueue(ctx, []queue.Item{mark(2, m, 100*time.Hour)})...) // raised again: kept longer
	for _, v := range v {
		if v.Err != nil {
			t.Fatal(v.Err)
		}
	}
	for _, lane := range []reset.Lane{reset.LaneApply, reset.LaneStart} {
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: lane, Max: 10, Visibility: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range l[min(1, len(l)-1):] { // one completion stays open
			if err := e.Finish(ctx, []queue.Finish{{Lease: l, State: reset.StateDone}})[0]; err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, w := range []queue.RecordWrite{{ExpireTime: now.Add(time.Hour)}, {ExpireTime: now.Add(100 * time.Hour)}, {}} {
		w.Kind, w.Key, w.Value = queue.RecordBudget, string(rune('a'+i)), []byte("v")
		if err := e.Put(ctx, w); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	count := func(prefix byte, want int) {
		t.Helper()
		if n := e.countKeys(t, prefix); n != want {
			t.Errorf("%d keys %c, want %d", n, prefix, want)
		}
	}
	count(prefixTicket, 4)
	count(prefixMark, 3)
	count(prefixRecord, 3)
	count(prefixPassage, 1)
	clk.Advance(4 * time.Hour)
	if err := e.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	count(prefixTicket, 1) // the open one
	count(prefixMark, 2)
	count(prefixRecord, 2)
	count(prefixPassage, 0)
	count(prefixRetention, 3)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Every lease of a start leaves a passage: a sweep drops all that are past their time, however many there are.
func TestSweepKeepsUpWithPassages(t *testing.T) {
	t.Parallel()
	const total = 11*sweepBatch + 1
	ctx := t.Context()
	clk := clock.NewManual(time.Unix(1_700_000_000, 0))
	e := openMem(t, vfs.NewMem(), clk)
	for range total {
		if v := e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneStart}}})[0]; v.Err != nil {
			t.Fatal(v.Err)
		}
		l, err := e.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneStart, Max: 1, Visibility: time.Minute})
		if err != nil || len(l) != 1 {
			t.Fatalf("%d leases, %v", len(l), err)
		}
		if err := e.Finish(ctx, []queue.Finish{{Lease: l[0], State: reset.StateDone}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	if n := e.countKeys(t, prefixPassage); n != total {
		t.Fatalf("%d passages", n)
	}
	clk.Advance(4 * time.Hour)
	if err := e.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := e.countKeys(t, prefixPassage); n != 0 {
		t.Errorf("%d passages are left", n)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// The ballast is made again only where there is room for it above the reserve.
func TestBallastKeepsOutOfTheReserve(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	free := func(n uint64) { fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: n, TotalBytes: 1 << 40}) }
	free(99)
	e, err := Open(Config{Dir: "q", DiskReserve: 100, DiskHysteresis: 50, Ballast: 1000},
		Deps{FS: fs, Clock: clock.NewManual(time.Unix(1e9, 0)), Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		free    uint64
		ballast bool
	}{{150, false}, {1149, false}, {1150, true}} {
		free(step.free)
		e.checkDisk()
		if _, err := fs.Stat("q/BALLAST"); (err == nil) != step.ballast {
			t.Errorf("%d free, ballast should be there: %v; %v", step.free, step.ballast, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A sweep begins where the last one found nothing, and finds what comes to lie before that all the same.
func TestExpiredJobsAreFoundHoweverLateTheyCome(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clk := clock.NewManual(time.Unix(1_700_000_000, 0))
	e := openMem(t, vfs.NewMem(), clk)
	item := func(in time.Duration) queue.Item {
		return queue.Item{Job: reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneApply, Key: reset.Key(reset.NewID()), ExpireTime: clk.Now().Add(in)}}
	}
	request := queue.LeaseRequest{Lane: reset.LaneApply, UpTo: reset.ClassDeferrable, Max: 10, Visibility: time.Minute, Expired: true}
	sweep := func(want int) {
		t.Helper()
		l, err := e.Lease(ctx, request)
		if err != nil || len(l) != want {
			t.Fatalf("%d expired, want %d, %v", len(l), want, err)
		}
		for _, l := range l {
			if err := e.Finish(ctx, []queue.Finish{{Lease: l, State: reset.StateFailed}})[0]; err != nil {
				t.Fatal(err)
			}
		}
	}
	enqueue := func(in time.Duration) {
		t.Helper()
		if v := e.Enqueue(ctx, []queue.Item{item(in)})[0]; v.Err != nil {
			t.Fatal(v.Err)
		}
	}
	enqueue(time.Hour)
	enqueue(3 * time.Hour)
	clk.Advance(2 * time.Hour)
	sweep(1)
	sweep(0)
	if first, now := e.mem.firstExpiry[reset.LaneApply], clk.Now().UnixMicro(); first <= now {
		t.Errorf("the next sweep begins at %d, %d µs back", first, now-first)
	}
	enqueue(-time.Hour)
	sweep(1)
	// One group writes a job whose time is over and sweeps.
	sweep(0)
	if err := e.submit(ctx, func(t *tx) {
		it := item(-time.Hour)
		t.enqueue(&it)
		t.leaseExpired(request)
	}); err != nil {
		t.Fatal(err)
	}
	sweep(1)
	clk.Advance(2 * time.Hour)
	sweep(1)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// The clock is set back over a restart: what was due and done stays so.
func TestTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs, begin := vfs.NewMem(), time.Unix(1_700_000_000, 0)
	clk := clock.NewManual(begin)
	e := openMem(t, fs, clk)
	v := e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: reset.Key{1}}}})[0]
	lease := queue.LeaseRequest{Lane: reset.LaneStart, Max: 1, Visibility: time.Minute, DoneAfter: time.Second}
	l, err := e.Lease(ctx, lease)
	if err != nil || len(l) != 1 {
		t.Fatalf("%d, %v", len(l), err)
	}
	if err := e.Retry(ctx, []queue.Retry{{Lease: l[0], NotBefore: begin.Add(2 * time.Second)}})[0]; err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Minute)
	if err := e.Put(ctx, queue.RecordWrite{Kind: queue.RecordAudit, Key: "a", Value: bytes.Repeat([]byte("x"), 9)}); err != nil {
		t.Fatal(err)
	}
	if l, err = e.Lease(ctx, lease); err != nil || len(l) != 1 {
		t.Fatalf("%d, %v", len(l), err)
	}
	if err := e.Finish(ctx, []queue.Finish{{Lease: l[0]}})[0]; err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openMem(t, fs, clock.NewManual(begin.Add(-time.Hour)))
	if s, err := e.Ticket(ctx, v.Ref); err != nil || s.State != reset.StateDone {
		t.Errorf("%+v, %v", s, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
