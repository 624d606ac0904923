package embedded

import (
	"runtime"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// A disk that hangs is seen while it hangs, and one that is fast again a few changes later.
func TestCommitTime(t *testing.T) {
	t.Parallel()
	e, disk, clk := openSlow(t)
	ctx := t.Context()
	commitTime := func() time.Duration {
		s, err := e.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.CommitTime
	}
	enqueue := func() <-chan queue.Verdict {
		return background(func() queue.Verdict {
			return e.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneApply}}})[0]
		})
	}
	if d := commitTime(); d != 0 {
		t.Errorf("%v before the first change", d)
	}
	v := enqueue()
	<-disk.began
	clk.Advance(3 * time.Second)
	for commitTime() == 0 { // the engine's goroutine that waits for the fsync has not begun to
		runtime.Gosched()
	}
	if d := commitTime(); d != 3*time.Second {
		t.Errorf("%v while an fsync has hung for 3s", d)
	}
	clk.Advance(time.Second)
	disk.let <- struct{}{}
	if v := soon(t, "an enqueue", v); v.Err != nil {
		t.Fatal(v.Err)
	}
	if d := commitTime(); d != 4*time.Second {
		t.Errorf("%v after an fsync of 4s", d)
	}
	for range 16 {
		clk.Advance(time.Second)
		v := enqueue()
		disk.fsync()
		if v := soon(t, "an enqueue", v); v.Err != nil {
			t.Fatal(v.Err)
		}
	}
	if d := commitTime(); d > 500*time.Millisecond {
		t.Errorf("%v after 16 s of changes that took no time", d)
	}
	disk.holds.Store(false)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
