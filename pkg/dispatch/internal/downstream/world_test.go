package downstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted is a pacer that counts how often it is asked.
type counted struct {
	pace.Pacer
	asks, canceled int
}

func (c *counted) Ask(now time.Time, k pace.Kind, items int) pace.Verdict {
	c.asks++
	return c.Pacer.Ask(now, k, items)
}

func (c *counted) Done(now time.Time, call pace.Call) {
	if call.Outcome == pace.OutcomeCanceled && call.Items > 0 {
		c.canceled++
	}
	c.Pacer.Done(now, call)
}

func fixed(t testing.TB, c pace.Config) *counted {
	t.Helper()
	p, err := pace.NewFixed(c)
	if err != nil {
		t.Fatal(err)
	}
	return &counted{Pacer: p}
}

// registry is shared by the downstreams of one test.
type registry struct {
	metrics  *Metrics
	register *prometheus.Registry
}

func newRegistry(t testing.TB) registry {
	t.Helper()
	r := prometheus.NewRegistry()
	m, err := NewMetrics(r)
	if err != nil {
		t.Fatal(err)
	}
	return registry{m, r}
}

func (r registry) make(t testing.TB, s Spec) *Downstream {
	t.Helper()
	if s.Timeout == 0 {
		s.Timeout = 5 * time.Second
	}
	d, err := New(s, Deps{Clock: clock.System{}, Metrics: r.metrics, Register: r.register, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// inBubble runs f with a clock that moves only while everybody waits.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// pass lets so much of the bubble's time go by; it takes none of ours.
func pass(d time.Duration) { _ = clock.System{}.Sleep(context.Background(), d) }

func mustAcquire(t *testing.T, d *Downstream, a Ask) *Permit {
	t.Helper()
	p, err := d.Acquire(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var errBusy = credstore.ErrOverloaded

func answers(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// queue makes goroutines that wait for a permit each, in this order, and notes the order in which they get it.
type queue struct {
	t     *testing.T
	d     *Downstream
	mu    sync.Mutex
	order []reset.Lane
	took  []*Permit
	done  sync.WaitGroup
}

func (q *queue) join(ctx context.Context, a Ask) {
	q.done.Go(func() {
		p, err := q.d.Acquire(ctx, a)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				q.t.Error(err)
			}
			return
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.order, q.took = append(q.order, a.Lane), append(q.took, p)
	})
	synctest.Wait()
}

// holds is what has been handed out and not ended.
func (q *queue) holds() []*Permit {
	synctest.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*Permit(nil), q.took...)
}

// pop ends the oldest permit that was got.
func (q *queue) pop() {
	q.t.Helper()
	synctest.Wait()
	q.mu.Lock()
	if len(q.took) == 0 {
		q.mu.Unlock()
		q.t.Fatal("nobody has a permit")
	}
	p := q.took[0]
	q.took = q.took[1:]
	q.mu.Unlock()
	p.Do(q.t.Context(), 1, answers(nil))
	synctest.Wait()
}

func once(name string) *breaker.Config {
	return &breaker.Config{Name: name, Consecutive: 2, OpenWait: time.Second, Probes: 1}
}
