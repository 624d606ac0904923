package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

func BenchmarkEnqueueStart(b *testing.B) {
	benchEnqueue(b, func(r *rand.Rand) queue.Item { return queue.Item{Job: startJob(r.Uint64())} })
}

func BenchmarkEnqueueComplete(b *testing.B) {
	expire := clock.System{}.Now().Add(time.Hour)
	benchEnqueue(b, func(r *rand.Rand) queue.Item { return completion(r, expire) })
}

func completion(r *rand.Rand, expire time.Time) queue.Item {
	j := startJob(r.Uint64())
	j.Lane, j.Account, j.ExpireTime, j.Payload = reset.LaneHash, j.Key, expire, make([]byte, 400)
	return queue.Item{Job: j, Mark: &queue.MarkRaise{Account: j.Key, Request: j.Key, ExpireTime: expire}}
}

func benchEnqueue(b *testing.B, item func(*rand.Rand) queue.Item) {
	for _, callers := range []int{16, 64, 256} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			e := open(b, b.TempDir(), clock.System{})
			b.ResetTimer()
			enqueueMany(b, e, callers, b.N, 0, "", item)
			b.StopTimer()
			if err := e.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// enqueueMany enqueues n items from so many callers; with perSecond > 0 at that rate, latency counted from when each
// was due, so that a stall is not hidden by the callers that it stalls.
func enqueueMany(b *testing.B, e *embedded.Engine, callers, n int, perSecond float64, name string, item func(*rand.Rand) queue.Item) float64 {
	b.Helper()
	clk := clock.System{}
	var next atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	begin := clk.Now()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			var took []time.Duration
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				due := clk.Now()
				if perSecond > 0 {
					due = begin.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
					_ = clk.Sleep(context.Background(), due.Sub(clk.Now())) // Background never ends
				}
				if v := e.Enqueue(context.Background(), []queue.Item{item(r)})[0]; v.Err != nil {
					b.Error(v.Err)
					return
				}
				took = append(took, clk.Now().Sub(due))
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := clk.Now().Sub(begin)
	slices.Sort(all)
	rate := float64(n) / elapsed.Seconds()
	b.ReportMetric(rate, name+"jobs/s")
	if len(all) > 0 {
		b.ReportMetric(all[len(all)/2].Seconds()*1e3, name+"p50-ms")
		b.ReportMetric(all[len(all)*99/100].Seconds()*1e3, name+"p99-ms")
	}
	return rate
}

// BenchmarkStorm fills the queue with SURGEGATE_BENCH_JOBS jobs (200,000 when unset; a storm has 15 million), half as
// many completions as starts, and reports what that costs: memory, disk, time to reopen, and the rate and latency of
// enqueues on top.
//
//	SURGEGATE_BENCH_JOBS=15000000 go test -run '^$' -bench Storm -benchtime 1x -timeout 30m ./pkg/queue/embedded
//
// With 5 million jobs on 2 cores that others used as well (load 4) it showed 243 MiB resident after the load, 0.75 GB of
// disk, and 0.36 s to reopen; at 256 callers 85,000 starts/s (p50 2.5 ms) and 23,000 completions/s, which write a mark, a
// ticket and two indexes more.
func BenchmarkStorm(b *testing.B) {
	jobs := 200_000
	if n, err := strconv.Atoi(os.Getenv("SURGEGATE_BENCH_JOBS")); err == nil && n > 0 {
		jobs = n
	}
	for b.Loop() {
		dir := b.TempDir()
		clk := clock.System{}
		e := open(b, dir, clk)
		begin := clk.Now()
		fill(b, e, jobs)
		b.ReportMetric(float64(jobs)/clk.Now().Sub(begin).Seconds(), "fill-jobs/s")
		b.ReportMetric(rss(b), "filled-MiB")
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		begin = clk.Now()
		e = open(b, dir, clk)
		s, err := e.Stats(context.Background())
		b.ReportMetric(clk.Now().Sub(begin).Seconds(), "reopen-s")
		if err != nil || s.Held != uint64(jobs) || s.Conservation() != 0 {
			b.Fatalf("%+v, %v", s, err)
		}
		b.ReportMetric(folder(b, dir), "disk-MiB")
		start := func(r *rand.Rand) queue.Item { return queue.Item{Job: startJob(r.Uint64())} }
		expire := clk.Now().Add(time.Hour)
		complete := func(r *rand.Rand) queue.Item { return completion(r, expire) }
		n := min(jobs, 300_000)
		full := enqueueMany(b, e, 256, n, 0, "start-", start)
		enqueueMany(b, e, 256, n, full/2, "start-half-", start)
		full = enqueueMany(b, e, 256, n, 0, "complete-", complete)
		enqueueMany(b, e, 256, n, full/2, "complete-half-", complete)
		b.ReportMetric(rss(b), "worked-MiB")
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// fill enqueues in slices, as a gate under load does.
func fill(b *testing.B, e *embedded.Engine, jobs int) {
	b.Helper()
	const slice = 100
	expire := clock.System{}.Now().Add(time.Hour)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			for {
				from := int(next.Add(slice)) - slice
				if from >= jobs {
					return
				}
				items := make([]queue.Item, min(slice, jobs-from))
				for i := range items {
					if i%3 == 2 {
						items[i] = completion(r, expire)
					} else {
						items[i] = queue.Item{Job: startJob(r.Uint64())}
					}
				}
				for _, v := range e.Enqueue(context.Background(), items) {
					if v.Err != nil {
						b.Error(v.Err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// rss is the process's resident memory in MiB; 0 where /proc is not.
func rss(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}

func folder(b *testing.B, dir string) (mib float64) {
	b.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := os.Stat(filepath.Join(dir, entry.Name())); err == nil && entry.Name() != "BALLAST" {
			mib += float64(info.Size()) / (1 << 20)
		}
	}
	return mib
}
