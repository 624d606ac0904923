package embedded_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/queue/queuetest"
)

// memHarness runs the engine on Pebble's crashable file system. A power cut keeps what was synced and, at random,
// some of what was not.
func memHarness(t *testing.T, change func(embedded.Config) embedded.Config) queuetest.Harness {
	var mu sync.Mutex
	fs := vfs.NewCrashableMem()
	seed := rand.Uint64()
	t.Logf("power cuts with seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	clk := clock.NewManual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	return queuetest.Harness{
		Clock: clk,
		Open: func(tb testing.TB, l queuetest.Limits) queue.Queue {
			tb.Helper()
			mu.Lock()
			defer mu.Unlock()
			e, err := embedded.Open(change(embedded.Config{
				Dir: "queue", MaxBytes: l.MaxBytes, MaxJobs: l.MaxJobs, Retention: l.Retention,
				CacheBytes: 1 << 20, MemTableBytes: 1 << 20, DiskPoll: time.Hour,
			}), embedded.Deps{Clock: clk, FS: fs, Fatal: func(err error) { tb.Errorf("fatal: %v", err) }})
			if err != nil {
				tb.Fatal(err)
			}
			return e
		},
		Crash: func(testing.TB) {
			mu.Lock()
			defer mu.Unlock()
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(embedded.Config) embedded.Config{
		"as it is":     func(c embedded.Config) embedded.Config { return c },
		"short memory": embedded.Config.ShortMemory,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queuetest.Run(t, func(t *testing.T) queuetest.Harness { return memHarness(t, change) })
		})
	}
}
