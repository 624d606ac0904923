package clock_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

func ExampleNewLimiter() {
	limiter := clock.NewLimiter(10, 2)
	now := time.Unix(0, 0)
	fmt.Println(limiter.AllowN(now, 2), limiter.AllowN(now, 1), limiter.WaitFor(now, 1).Round(time.Millisecond))
	limiter.GiveBack(now, 1)
	fmt.Println(limiter.AllowN(now, 1))
	// Output:
	// true false 100ms
	// true
}

// shuffled returns n times spread evenly over the span, each displaced among its neighbours, as goroutines do that
// read the clock and then race for a lock.
func shuffled(n int, span time.Duration, seed uint64) []time.Time {
	random := rand.New(rand.NewPCG(seed, 1))
	times := make([]time.Time, n)
	for i := range times {
		times[i] = epoch.Add(span * time.Duration(i) / time.Duration(n))
	}
	for i := range times {
		j := min(i+random.IntN(200), n-1)
		times[i], times[j] = times[j], times[i]
	}
	return times
}

// admit feeds the times to allow from many goroutines and counts what passes.
func admit(times []time.Time, allow func(time.Time, int) bool) int {
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		passed atomic.Int64
	)
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(times)); i = next.Add(1) - 1 {
				if allow(times[i], 1) {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(passed.Load())
}

func TestLimiterWithShuffledTimes(t *testing.T) {
	t.Parallel()
	const (
		calls = 200_000
		span  = 20 * time.Second
		limit = 1000 // a tenth of what is offered
		burst = 50
		bound = limit*20 + burst
	)
	for seed := range uint64(3) {
		times := shuffled(calls, span, seed)
		bare := admit(times, rate.NewLimiter(limit, burst).AllowN)
		ours := admit(times, clock.NewLimiter(limit, burst).AllowN)
		t.Logf("allowed by the rate: %d; rate.Limiter: %d (%+.1f %%); clock.Limiter: %d (%+.1f %%)",
			bound, bare, 100*float64(bare-bound)/bound, ours, 100*float64(ours-bound)/bound)
		if ours > bound+bound/100 {
			t.Errorf("%d passed, %d allowed: more than 1 %% over", ours, bound)
		}
		if ours < bound*95/100 {
			t.Errorf("%d passed, %d allowed: the clamp starves the bucket", ours, bound)
		}
		if bare <= bound+bound/100 {
			t.Logf("rate.Limiter held its rate: is the clamp still needed?")
		}
	}
}

func TestClampNeverGoesBack(t *testing.T) {
	t.Parallel()
	var (
		clamp clock.Clamp
		wg    sync.WaitGroup
	)
	times := shuffled(20_000, time.Second, 7)
	for part := range 8 {
		wg.Go(func() {
			last := time.Time{}
			for i := part; i < len(times); i += 8 {
				got := clamp.Now(times[i])
				if got.Before(last) || got.Before(times[i]) {
					t.Errorf("%v became %v after %v", times[i], got, last)
					return
				}
				last = got
			}
		})
	}
	wg.Wait()
}

func TestLimiterGivesBackUpToItsBurst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		burst := rapid.IntRange(1, 20).Draw(t, "burst")
		limiter := clock.NewLimiter(1e-9, burst) // refills nothing in the test's time
		held, now := burst, epoch
		for range 50 {
			now = now.Add(time.Duration(rapid.Int64Range(-1000, 1000).Draw(t, "pass")))
			n := rapid.IntRange(1, 5).Draw(t, "n")
			if rapid.Bool().Draw(t, "give back") {
				limiter.GiveBack(now, n)
				held = min(held+n, burst)
				continue
			}
			ok := limiter.AllowN(now, n)
			if ok != (n <= held) {
				t.Fatalf("AllowN(%d) = %v with %d tokens", n, ok, held)
			}
			if ok {
				held -= n
			}
			if got := limiter.TokensAt(now); got < float64(held)-1e-6 || got > float64(held)+1e-6 {
				t.Fatalf("TokensAt = %v, want %d", got, held)
			}
		}
	})
}

func TestLimiterReadingDoesNotMoveTheClamp(t *testing.T) {
	t.Parallel()
	limiter := clock.NewLimiter(1, 1)
	limiter.AllowN(epoch, 1)
	limiter.TokensAt(epoch.Add(time.Hour))
	limiter.WaitFor(epoch.Add(time.Hour), 1)
	if limiter.AllowN(epoch.Add(time.Second/2), 1) {
		t.Fatal("a look into the future refilled the bucket")
	}
	if !limiter.AllowN(epoch.Add(time.Second), 1) {
		t.Fatal("a look into the future stopped the refill")
	}
}

func TestLimiterWaitFor(t *testing.T) {
	t.Parallel()
	limiter := clock.NewLimiter(4, 2)
	if wait := limiter.WaitFor(epoch, 2); wait != 0 {
		t.Fatalf("full bucket: wait %v", wait)
	}
	limiter.AllowN(epoch, 2)
	if wait := limiter.WaitFor(epoch, 1); wait < time.Second/4 || wait > time.Second/4+time.Microsecond {
		t.Fatalf("empty bucket: wait %v", wait)
	}
	if wait := limiter.WaitFor(epoch.Add(-time.Second), 1); wait < 5*time.Second/4 {
		t.Fatalf("asked with an older time: wait %v", wait)
	}
	if wait := limiter.WaitFor(epoch, 3); wait != rate.InfDuration {
		t.Fatalf("more than the burst: wait %v", wait)
	}
	if wait := clock.NewLimiter(0, 1).WaitFor(epoch, 1); wait != 0 {
		t.Fatalf("full bucket that never refills: wait %v", wait)
	}
	never := clock.NewLimiter(0, 1)
	never.AllowN(epoch, 1)
	if wait := never.WaitFor(epoch, 1); wait != rate.InfDuration {
		t.Fatalf("empty bucket that never refills: wait %v", wait)
	}
	if wait := clock.NewLimiter(rate.Inf, 0).WaitFor(epoch, 1e9); wait != 0 {
		t.Fatalf("no limit: wait %v", wait)
	}
}

func BenchmarkLimiter(b *testing.B) {
	times := func(allow func(time.Time, int) bool) func(*testing.B) {
		return func(b *testing.B) {
			now := epoch
			for b.Loop() {
				now = now.Add(time.Microsecond)
				allow(now, 1)
			}
		}
	}
	b.Run("rate.Limiter", times(rate.NewLimiter(1e5, 100).AllowN))
	b.Run("clock.Limiter", times(clock.NewLimiter(1e5, 100).AllowN))
}

// Rate and burst change as if the bucket had had each for its own time, and what it holds is neither filled nor emptied.
func TestLimiterSetKeepsWhatItHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		perSecond, burst := 10., 20
		limiter := clock.NewLimiter(rate.Limit(perSecond), burst)
		held, now := float64(burst), epoch
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			d := time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
			now = now.Add(d)
			held = min(held+perSecond*d.Seconds(), float64(burst))
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				perSecond = float64(rapid.IntRange(1, 100).Draw(t, "rate"))
				burst = rapid.IntRange(1, 40).Draw(t, "burst")
				// Also where another goroutine's clock is behind: the time of the change is the latest seen.
				limiter.AllowN(now, 0)
				behind := time.Duration(rapid.IntRange(0, 500).Draw(t, "behind")) * time.Millisecond
				limiter.Set(now.Add(-behind), rate.Limit(perSecond), burst)
				held = min(held, float64(burst))
			case 1:
				n := rapid.IntRange(1, 10).Draw(t, "n")
				if ok := limiter.AllowN(now, n); ok {
					held -= float64(n)
				}
			default:
				limiter.AllowN(now, 0)
			}
			if got := limiter.TokensAt(now); got < held-1e-6 || got > held+1e-6 {
				t.Fatalf("it holds %v, want %v", got, held)
			}
		}
	})
}
