package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

func lease10() queue.LeaseRequest {
	return queue.LeaseRequest{Lane: reset.LaneStart, Max: 10, Visibility: time.Minute}
}

func TestDiskReserve(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewMem()
	clk := clock.NewManual(time.Unix(1_700_000_000, 0))
	reg := prometheus.NewRegistry()
	free := func(n uint64) { fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: n, TotalBytes: 1 << 40}) }
	free(1000)
	e, err := embedded.Open(embedded.Config{Dir: "q", DiskReserve: 100, DiskHysteresis: 50, Ballast: 10},
		embedded.Deps{Clock: clk, FS: fs, Registerer: reg, Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine(t, e)
	accepting := func(want bool) {
		t.Helper()
		clk.BlockUntil(3) // disk, sweep and alarm wait
		clk.Advance(time.Second)
		// The poll runs on the engine's goroutine: it has run once its timer waits again.
		clk.BlockUntil(3)
		s, err := e.Stats(ctx)
		if err != nil || (s.NotAccepting == nil) != want {
			t.Fatalf("accepting should be %v: %v, %v", want, s.NotAccepting, err)
		}
		v := e.Enqueue(ctx, []queue.Item{{Job: startJob(uint64(clk.Now().UnixNano()))}})[0]
		if want != (v.Err == nil) || !want && !errors.Is(v.Err, queue.ErrNotDurable) {
			t.Fatalf("enqueue: %v", v.Err)
		}
	}
	accepting(true)
	if _, err := fs.Stat("q/BALLAST"); err != nil {
		t.Fatal(err)
	}
	free(99)
	accepting(false)
	// What ends jobs goes on.
	l, err := e.Lease(ctx, lease10())
	if err != nil || len(l) != 1 {
		t.Fatalf("%d leases, %v", len(l), err)
	}
	if err := e.Finish(ctx, []queue.Finish{{Lease: l[0]}})[0]; err != nil {
		t.Fatal(err)
	}
	if err := e.Put(ctx, queue.RecordWrite{Kind: queue.RecordAudit, Key: "a", Value: []byte("b")}); err != nil {
		t.Fatal(err)
	}
	free(149)
	accepting(false)
	free(150)
	accepting(true)
	if n := testutil.CollectAndCount(reg); n < 40 {
		t.Errorf("%d series", n)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader("# HELP surgegate_queue_conservation Jobs enqueued less ended less held: 0, or the engine is at fault.\n# TYPE surgegate_queue_conservation gauge\nsurgegate_queue_conservation 0\n"), "surgegate_queue_conservation"); err != nil {
		t.Error(err)
	}
}

func TestDiskFullFreesTheBallast(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40})
	full := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
			if _, err := mem.Stat("q/BALLAST"); err == nil {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	e, err := embedded.Open(embedded.Config{Dir: "q"}, embedded.Deps{FS: errorfs.Wrap(mem, full), Clock: clock.NewManual(time.Unix(1e9, 0)),
		Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine(t, e)
	if v := e.Enqueue(ctx, []queue.Item{{Job: startJob(1)}})[0]; v.Err != nil {
		t.Fatalf("the write under way lives from the ballast: %v", v.Err)
	}
	if v := e.Enqueue(ctx, []queue.Item{{Job: startJob(2)}})[0]; !errors.Is(v.Err, queue.ErrNotDurable) {
		t.Fatalf("accepted on a full disk: %v", v.Err)
	}
	if l, err := e.Lease(ctx, lease10()); err != nil || len(l) != 1 {
		t.Fatalf("%d leases, %v", len(l), err)
	}
}

// A flush that fails is tried again at once, for as long as it takes: the log must not fill what is left of the disk.
func TestFailingFlushDoesNotFloodTheLog(t *testing.T) {
	t.Parallel()
	failed := make(chan struct{}, 1000)
	bad := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			select {
			case failed <- struct{}{}:
			default:
			}
			return syscall.EMFILE
		}
		return nil
	})}
	var mu sync.Mutex
	var log bytes.Buffer
	write := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	})
	e, err := embedded.Open(embedded.Config{Dir: "q", MemTableBytes: 1 << 20}, embedded.Deps{
		FS: errorfs.Wrap(vfs.NewMem(), bad), Clock: clock.NewManual(time.Unix(1e9, 0)),
		Logger: slog.New(slog.NewTextHandler(write, nil)), Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine(t, e)
	bad.On()
	defer bad.Off()
	for n, failures := uint64(0), 0; failures < 20; n++ {
		if v := e.Enqueue(t.Context(), []queue.Item{{Job: startJob(n)}})[0]; v.Err != nil {
			t.Fatal(v.Err)
		}
		for len(failed) > 0 {
			<-failed
			failures++
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "pebble background"); n > 1 {
		t.Errorf("%d lines within one second", n)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFsyncErrorIsFatal(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]errorfs.OpKind{"fsync": errorfs.OpFileSync, "fdatasync": errorfs.OpFileSyncData, "write": errorfs.OpFileWrite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			bad := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if strings.HasSuffix(op.Path, ".log") && (op.Kind == kind || kind == errorfs.OpFileSync && op.Kind == errorfs.OpFileSyncData) {
					return syscall.EIO
				}
				return nil
			})}
			fatal := make(chan error, 1)
			clk := clock.NewManual(time.Unix(1e9, 0))
			e, err := embedded.Open(embedded.Config{Dir: "q"}, embedded.Deps{FS: errorfs.Wrap(mem, bad), Clock: clk, Fatal: func(err error) { fatal <- err }})
			if err != nil {
				t.Fatal(err)
			}
			acked := e.Enqueue(t.Context(), []queue.Item{{Job: startJob(1)}})[0]
			if acked.Err != nil {
				t.Fatal(acked.Err)
			}
			bad.On()
			var wg sync.WaitGroup
			for n := range uint64(8) {
				wg.Go(func() {
					if v := e.Enqueue(t.Context(), []queue.Item{{Job: startJob(2 + n)}})[0]; !errors.Is(v.Err, queue.ErrNotDurable) {
						t.Errorf("acknowledged after a failed %s: %v", name, v.Err)
					}
				})
			}
			wg.Wait()
			if err := <-fatal; !errors.Is(err, syscall.EIO) && !strings.Contains(err.Error(), syscall.EIO.Error()) {
				t.Errorf("fatal: %v", err)
			}
			bad.Off()
			if _, err := e.Ticket(t.Context(), acked.Ref); !errors.Is(err, queue.ErrNotDurable) {
				t.Errorf("ticket answered after a failed %s: %v", name, err)
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			_ = e.Close()
			e, err = embedded.Open(embedded.Config{Dir: "q"}, embedded.Deps{FS: crashed, Clock: clk, Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
			if err != nil {
				t.Fatal(err)
			}
			defer closeEngine(t, e)
			if s, err := e.Ticket(t.Context(), acked.Ref); err != nil || s.State != reset.StateAccepted {
				t.Errorf("acknowledged before the fault, now %+v, %v", s, err)
			}
		})
	}
}

func closeEngine(t *testing.T, e *embedded.Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseDuringCalls(t *testing.T) {
	t.Parallel()
	e := open(t, t.TempDir(), clock.System{})
	var wg sync.WaitGroup
	for i := range uint64(16) {
		wg.Go(func() {
			for n := i << 32; ; n++ {
				v := e.Enqueue(context.Background(), []queue.Item{{Job: startJob(n)}})[0]
				if errors.Is(v.Err, queue.ErrClosed) {
					return
				}
				if v.Err != nil {
					t.Error(v.Err)
					return
				}
			}
		})
	}
	if err := e.Wait(t.Context(), reset.LaneStart, 0); err != nil {
		t.Error(err)
	}
	closeEngine(t, e)
	wg.Wait()
	closeEngine(t, e)
}
