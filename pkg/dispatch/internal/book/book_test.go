package book_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/book"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/downstream"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
)

// describer answers Describe as a test says.
type describer struct{ err atomic.Pointer[failure.Error] }

func (d *describer) Describe(context.Context) (credstore.Description, error) {
	if err := d.err.Load(); err != nil {
		return credstore.Description{}, err
	}
	return credstore.Description{Form: credstore.FormPlaintext, MaxLookupBatch: 1, MaxSetBatch: 1}, nil
}

// noRecords is a queue that has recorded nothing.
type noRecords struct{}

func (noRecords) Get(context.Context, queue.RecordKind, string) (queue.Record, error) {
	return queue.Record{}, queue.ErrNotFound
}
func (noRecords) Put(context.Context, queue.RecordWrite) error { return nil }

// lines is a log that is read while it is written.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// What is wrong with the description is said once, once a minute while it lasts, at once when it is something else, and
// when it is over.
func TestBook_RepeatsWhatIsWrongOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log lines
		store := &describer{}
		store.err.Store(&failure.Error{Class: failure.Config, Code: failure.NoSchemes, Text: "ada@example.com", Err: errors.New("no schemes")})
		b := book.New(book.Config{Timeout: time.Second, Every: time.Minute}, book.Deps{
			Store: store, Queue: noRecords{}, Meets: func(credstore.Description) error { return nil }, Changed: func() {},
			Described: prometheus.NewGauge(prometheus.GaugeOpts{Name: "described", Help: "x"}), Clock: clock.System{},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		said := func(what string) int { return strings.Count(log.String(), what) }
		b.Prepare(t.Context())
		if said("its lanes rest") != 1 || said("code=NO_HASH_SCHEMES") != 1 {
			t.Fatalf("at the start:\n%s", &log)
		}
		registry := prometheus.NewRegistry()
		metrics, err := downstream.NewMetrics(registry)
		if err != nil {
			t.Fatal(err)
		}
		pacer, err := pace.NewFixed(pace.Config{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := downstream.New(downstream.Spec{Name: "store", Timeout: time.Second, Pacer: pacer}, downstream.Deps{
			Clock: clock.System{}, Metrics: metrics, Register: registry, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx, d) }()
		pass := func(d time.Duration) {
			_ = clock.System{}.Sleep(ctx, d)
			synctest.Wait()
		}
		pass(50 * time.Second)
		if n := said("code=NO_HASH_SCHEMES"); n != 1 {
			t.Errorf("%d lines within the first minute", n)
		}
		pass(10 * time.Minute)
		if n := said("code=NO_HASH_SCHEMES"); n < 7 || n > 11 {
			t.Errorf("%d lines in ten minutes", n)
		}
		store.err.Store(&failure.Error{Class: failure.Overload, Code: "UNAVAILABLE", Err: credstore.ErrOverloaded})
		pass(time.Minute)
		if said("code=UNAVAILABLE") == 0 || b.Misconfiguration() != "" {
			t.Errorf("another fault is not told, or is one of the configuration (%q)\n%s", b.Misconfiguration(), &log)
		}
		store.err.Store(nil)
		pass(time.Minute)
		if said("describes itself again") != 1 || !b.UnknownSince().IsZero() {
			t.Errorf("out since %v\n%s", b.UnknownSince(), &log)
		}
		if said("ada@") != 0 {
			t.Error("foreign text in the log")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
