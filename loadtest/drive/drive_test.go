package drive

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/pace"
)

// recorder is a pacer of which the test sees what it is told.
type recorder struct {
	pace.Pacer
	mu    sync.Mutex
	calls []pace.Call
	lasts []time.Duration
}

func (r *recorder) Done(now time.Time, c pace.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.lasts = append(r.calls, c), append(r.lasts, now.Sub(c.Start))
	r.Pacer.Done(now, c)
}

func fixed(t *testing.T, c pace.Config) *recorder {
	t.Helper()
	p, err := pace.NewFixed(c)
	if err != nil {
		t.Fatal(err)
	}
	return &recorder{Pacer: p}
}

// The limit is always used and never passed, and a rate is kept.
func TestDrivesAtTheLimit(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]struct {
		config pace.Config
		calls  int64 // of 10 ms in 10 s
	}{
		"concurrency": {pace.Config{Concurrency: 3, Batch: 4}, 3 * 1000},
		"rate":        {pace.Config{Concurrency: 100, Rate: 400, Burst: 4, Batch: 4}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var inside, most, done atomic.Int64
				d, err := New(9, Deps{Pacer: fixed(t, step.config), Clock: clock.System{}, Call: func(_ context.Context, items int) error {
					if items != 4 {
						t.Errorf("a call of %d items", items)
					}
					most.Store(max(most.Load(), inside.Add(1)))
					<-time.After(10 * time.Millisecond)
					inside.Add(-1)
					done.Add(1)
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				d.Run(ctx)
				if got := done.Load(); got < step.calls*98/100 || got > step.calls*102/100 {
					t.Errorf("%d calls, want about %d", got, step.calls)
				}
				if inside.Load() != 0 || most.Load() > int64(step.config.Concurrency) || d.Limit() != step.config.Concurrency {
					t.Errorf("%d inside at the end, %d at the most", inside.Load(), most.Load())
				}
			})
		})
	}
}

// A call that hangs is told of at its deadline, as a time-out; the end of the drive is nobody's fault.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := fixed(t, pace.Config{Concurrency: 1})
		answers := []error{nil, status.Error(codes.Unavailable, ""), status.Error(codes.ResourceExhausted, ""), errors.New("x")}
		n := 0
		d, err := New(1, Deps{Pacer: r, Clock: clock.System{}, Call: func(ctx context.Context, _ int) error {
			if n++; n <= len(answers) {
				return answers[n-1]
			}
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), Timeout+time.Second)
		defer cancel()
		d.Run(ctx)
		want := []pace.Outcome{pace.OutcomeOK, pace.OutcomeOverload, pace.OutcomeOverload, pace.OutcomeError, pace.OutcomeTimeout, pace.OutcomeCanceled}
		if len(r.calls) != len(want) {
			t.Fatalf("%d calls, want %d", len(r.calls), len(want))
		}
		for i, o := range want {
			if r.calls[i].Outcome != o {
				t.Errorf("call %d: %v, want %v", i, r.calls[i].Outcome, o)
			}
		}
		if r.lasts[4] != Timeout {
			t.Errorf("the call that hung was told of after %v", r.lasts[4])
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := New(0, Deps{}); err == nil {
		t.Error("a drive without a pacer was made")
	}
}
