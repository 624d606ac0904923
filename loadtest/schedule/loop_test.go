package schedule_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/pkg/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2022, 8, 24, 3, 0, 0, 0, time.UTC)

// list is a Source of a slice.
type list struct {
	at []time.Duration
	do schedule.Func
	n  int
}

func (s *list) Next() (time.Duration, schedule.Event, bool) {
	if s.n == len(s.at) {
		return 0, nil, false
	}
	s.n++
	return s.at[s.n-1], s.do, true
}

func ExampleLoop() {
	loop, err := schedule.New(schedule.Config{}, schedule.Deps{})
	if err != nil {
		fmt.Println(err)
		return
	}
	source := &list{at: []time.Duration{0, 2 * time.Millisecond}, do: func(l *schedule.Loop, at time.Duration) {
		fmt.Println("planned for", at)
		l.Hold() // an answer is to come
		go l.Post(schedule.Func(func(l *schedule.Loop, _ time.Duration) {
			l.Release()
			if at > 0 {
				fmt.Println("answered")
			}
		}))
	}}
	report, err := loop.Run(context.Background(), source)
	fmt.Println(report.Sent, report.Dropped, err)
	// Output:
	// planned for 0s
	// planned for 2ms
	// answered
	// 2 0 <nil>
}

// run runs a loop on a manual clock, which goes to the next timer whenever the loop sleeps.
func run(
	ctx context.Context, t *testing.T, loop *schedule.Loop, clk *clock.Manual, step time.Duration, source schedule.Source,
) (schedule.Report, error) {
	t.Helper()
	type result struct {
		report schedule.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := loop.Run(ctx, source)
		done <- result{report, err}
	}()
	for {
		asleep := make(chan struct{})
		go func() {
			clk.BlockUntil(1)
			close(asleep)
		}()
		select {
		case r := <-done:
			timer := clk.NewTimer(time.Hour) // lets BlockUntil go
			<-asleep
			timer.Stop()
			return r.report, r.err
		case <-asleep:
			clk.Advance(step)
		}
	}
}

func TestEventsRunInOrderOfTimeAndArrival(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	loop, err := schedule.New(schedule.Config{Start: epoch}, schedule.Deps{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	type ran struct {
		at    time.Duration
		order int
	}
	var got, want []ran
	random := rand.New(rand.NewPCG(7, 7))
	for i := range 2000 {
		at := time.Duration(random.IntN(300)) * time.Millisecond
		want = append(want, ran{at, i})
		loop.At(at, schedule.Func(func(l *schedule.Loop, at time.Duration) {
			if l.Now() < at {
				t.Errorf("the event of %v ran at %v", at, l.Now())
			}
			got = append(got, ran{at, i})
		}))
	}
	slices.SortStableFunc(want, func(a, b ran) int { return int(a.at - b.at) })
	if _, err := run(t.Context(), t, loop, clk, 7*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("2000 events ran in another order than that of their times")
	}
}

func TestLagIsMeasuredFromThePlan(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	loop, err := schedule.New(schedule.Config{Start: epoch}, schedule.Deps{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	// The clock jumps 100 ms whenever the loop sleeps: what was planned for 1 ms runs 99 ms late.
	source := &list{at: []time.Duration{0, time.Millisecond, 100 * time.Millisecond}, do: func(*schedule.Loop, time.Duration) {}}
	report, err := run(t.Context(), t, loop, clk, 100*time.Millisecond, source)
	if err != nil {
		t.Fatal(err)
	}
	if report.LagMax.Round(time.Millisecond) != 99*time.Millisecond || report.Sent != 3 {
		t.Errorf("report: %+v", report)
	}
	if report.Valid() == nil {
		t.Error("a lag of 99 ms is within a bound of 5 ms")
	}
}

func TestEndOfTheContextDropsTheRest(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	ctx, cancel := context.WithCancel(t.Context())
	loop, err := schedule.New(schedule.Config{Start: epoch}, schedule.Deps{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	source := &list{at: []time.Duration{0, 1, 2, time.Hour, 2 * time.Hour}, do: func(_ *schedule.Loop, at time.Duration) {
		if at == 2 {
			cancel()
		}
	}}
	report, err := run(ctx, t, loop, clk, time.Millisecond, source)
	if err != nil || report.Sent != 3 || report.Dropped != 2 || report.Intended != 5 {
		t.Errorf("report %+v, %v", report, err)
	}
	if loop.Post(schedule.Func(nil)) {
		t.Error("a post after the end was taken")
	}
}

func TestPostsFromManyGoroutinesAllRun(t *testing.T) {
	t.Parallel()
	loop, err := schedule.New(schedule.Config{}, schedule.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	const posters, each = 8, 5000
	ran := 0 // by the loop's goroutine only
	var posting sync.WaitGroup
	loop.At(0, schedule.Func(func(l *schedule.Loop, _ time.Duration) {
		for range posters {
			l.Hold()
			posting.Go(func() {
				for range each {
					l.Post(schedule.Func(func(*schedule.Loop, time.Duration) { ran++ }))
				}
				l.Post(schedule.Func(func(l *schedule.Loop, _ time.Duration) { l.Release() }))
			})
		}
	}))
	if _, err := loop.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	posting.Wait()
	if ran != posters*each {
		t.Errorf("%d of %d posts ran", ran, posters*each)
	}
}

func TestSourceThatGoesBackIsAnError(t *testing.T) {
	t.Parallel()
	loop, err := schedule.New(schedule.Config{}, schedule.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	source := &list{at: []time.Duration{2, 1}, do: func(*schedule.Loop, time.Duration) {}}
	if _, err := loop.Run(t.Context(), source); err == nil {
		t.Error("no error")
	}
}

// again is an event that puts itself back n times.
type again struct{ n int }

func (a *again) Fire(l *schedule.Loop, at time.Duration) {
	if a.n--; a.n > 0 {
		l.At(at+time.Duration(a.n%7)*time.Microsecond, a)
	}
}

// due is a Source of n events that are due already.
type due struct{ n int }

func (*due) Fire(*schedule.Loop, time.Duration) {}

func (d *due) Next() (time.Duration, schedule.Event, bool) {
	d.n--
	return 0, d, d.n >= 0
}

type posted struct{ left int }

func (p *posted) Fire(l *schedule.Loop, _ time.Duration) {
	if p.left--; p.left == 0 {
		l.Release()
	}
}

func BenchmarkLoop(b *testing.B) {
	past := time.Now().Add(-time.Hour)
	loop := func(b *testing.B) *schedule.Loop {
		l, err := schedule.New(schedule.Config{Start: past}, schedule.Deps{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		return l
	}
	for _, waiting := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("timed/%d waiting", waiting), func(b *testing.B) {
			l := loop(b)
			for i := range waiting {
				l.At(time.Duration(i), &again{n: b.N/waiting + 1})
			}
			b.ResetTimer()
			_, _ = l.Run(b.Context(), nil)
		})
	}
	b.Run("planned", func(b *testing.B) {
		l := loop(b)
		_, _ = l.Run(b.Context(), &due{n: b.N})
	})
	b.Run("posted", func(b *testing.B) {
		l := loop(b)
		p := &posted{left: b.N}
		l.Hold()
		go func() {
			for range b.N {
				l.Post(p)
			}
		}()
		_, _ = l.Run(b.Context(), nil)
	})
}

// Where much happens, what is due and what was posted runs in batches, a Quantum apart; where little does, each at its time.
func TestQuantumGathersWhereMuchHappens(t *testing.T) {
	t.Parallel()
	const quantum = 10 * time.Millisecond
	for _, gap := range []time.Duration{time.Second / (4 * schedule.BusyRate), time.Second / (schedule.BusyRate / 40)} {
		clk := clock.NewManual(epoch)
		loop, err := schedule.New(schedule.Config{Start: epoch, Quantum: quantum}, schedule.Deps{Clock: clk})
		if err != nil {
			t.Fatal(err)
		}
		rounds, late, last := 0, 0, time.Duration(-1)
		source := &list{do: func(l *schedule.Loop, at time.Duration) {
			if l.Now() != last {
				rounds, last = rounds+1, l.Now()
			}
			if l.Now() > at+time.Millisecond {
				late++
			}
		}}
		const n = 4000
		for i := range n {
			source.at = append(source.at, time.Duration(i)*gap)
		}
		if _, err := run(t.Context(), t, loop, clk, time.Millisecond, source); err != nil {
			t.Fatal(err)
		}
		busy := gap < time.Second/schedule.BusyRate
		if busy && rounds > int(n*gap/quantum)+25 {
			t.Errorf("%d events %v apart ran in %d rounds, want one in %v", n, gap, rounds, quantum)
		}
		if !busy && late > 0 {
			t.Errorf("%d of %d events %v apart were gathered", late, n, gap)
		}
	}
}
