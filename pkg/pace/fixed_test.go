package pace_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ExampleNewFixed() {
	pacer, err := pace.NewFixed(pace.Config{Concurrency: 2, Rate: 100, Burst: 50, Batch: 50})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := epoch
	fmt.Println(pacer.Ask(now, 0, 50).Go)
	fmt.Println(pacer.Ask(now, 0, 25).RetryAt.Sub(now).Round(time.Millisecond))
	pacer.Done(now, pace.Call{Start: now, Items: 10, Unused: 40, Outcome: pace.OutcomeOK})
	fmt.Println(pacer.Ask(now, 0, 25).Go)
	// Output:
	// true
	// 250ms
	// true
}

func TestFixedNeverOverAdmits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		config := pace.Config{
			Concurrency: rapid.IntRange(0, 5).Draw(t, "concurrency"),
			Rate:        rapid.SampledFrom([]float64{0, .5, 3, 1000, 1e5}).Draw(t, "rate"),
			Batch:       rapid.IntRange(1, 20).Draw(t, "batch"),
		}
		if rapid.Bool().Draw(t, "own burst") {
			config.Burst = config.Batch + rapid.IntRange(0, 30).Draw(t, "burst over batch")
		}
		f, err := pace.NewFixed(config)
		if err != nil {
			t.Fatal(err)
		}
		config = config.WithDefaults()
		type passed struct {
			at    time.Time
			items int
			// What this call gave back, and how many calls had passed by then.
			unused, returned int
		}
		var (
			open []int    // indices into log
			log  []passed // what was really sent
			now  = epoch
		)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pass")))
			if len(open) > 0 && rapid.Bool().Draw(t, "end a call") {
				p := &log[open[0]]
				f.Done(now, pace.Call{Start: p.at, Items: p.items, Unused: p.unused})
				p.returned = len(log)
				open = open[1:]
				continue
			}
			items := rapid.IntRange(1, config.Batch).Draw(t, "items")
			// A caller's clock reading may be older than the last one; it must gain nothing by that.
			at := now.Add(-time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "late")))
			v := f.Ask(at, 0, items)
			switch {
			case v.Go:
				unused := rapid.IntRange(0, items).Draw(t, "unused")
				open = append(open, len(log))
				log = append(log, passed{at: now, items: items - unused, unused: unused})
			case v.RetryAt.IsZero():
				if config.Concurrency == 0 || len(open) < config.Concurrency {
					t.Fatalf("told to wait for a call's end with %d in flight of %d", len(open), config.Concurrency)
				}
			default:
				if config.Rate == 0 {
					t.Fatal("a time to come back without a rate")
				}
			}
			if config.Concurrency > 0 && len(open) > config.Concurrency {
				t.Fatalf("%d in flight, %d allowed", len(open), config.Concurrency)
			}
			if got := f.Limits().InFlight; got != len(open) {
				t.Fatalf("Limits say %d in flight, there are %d", got, len(open))
			}
		}
		if config.Rate == 0 {
			return
		}
		for i := range log {
			sum := 0
			for j, p := range log[i:] {
				sum += p.items
				// The times handed in may lag by up to a second, so the span seen by the bucket may begin that much
				// earlier.
				bound := config.Rate*(p.at.Sub(log[i].at)+time.Second).Seconds() + float64(config.Burst)
				for _, before := range log[:i] {
					if before.returned > i && before.returned <= i+j {
						bound += float64(before.unused)
					}
				}
				if float64(sum) > bound+1e-6 {
					t.Fatalf("%d items within %v, at most %.2f allowed", sum, p.at.Sub(log[i].at), bound)
				}
			}
		}
	})
}

func TestFixedRetryAtIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		config := pace.Config{
			Rate:  math.Exp(rapid.Float64Range(math.Log(.01), math.Log(1e6)).Draw(t, "log rate")),
			Batch: 50,
			Burst: rapid.IntRange(50, 500).Draw(t, "burst"),
		}
		f, err := pace.NewFixed(config)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		for range 40 {
			items := rapid.IntRange(1, 50).Draw(t, "items")
			v := f.Ask(now, 0, items)
			if v.Go {
				continue
			}
			wait := v.RetryAt.Sub(now)
			if wait <= 0 {
				t.Fatalf("told to come back after %v", wait)
			}
			// The bucket counts in float64 and the clock in nanoseconds: exact means within a microsecond, or a
			// millionth of long waits.
			early := v.RetryAt.Add(-max(time.Microsecond, wait/1e6))
			if early.After(now) && f.Ask(early, 0, items).Go {
				t.Fatalf("%d items passed %v before RetryAt", items, v.RetryAt.Sub(early))
			}
			if !f.Ask(v.RetryAt, 0, items).Go {
				t.Fatalf("%d items refused at RetryAt, %v after the first try", items, wait)
			}
			now = v.RetryAt
		}
	})
}

func TestRampShare(t *testing.T) {
	t.Parallel()
	r := pace.Ramp{Start: epoch, Initial: .2, Length: 8 * time.Second}
	for at, want := range map[time.Duration]float64{-1: .2, 0: .2, 4: .6, 8: 1, 99: 1} {
		if got := r.Share(epoch.Add(at * time.Second)); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("share after %d s: %v, want %v", at, got, want)
		}
	}
	if got := (pace.Ramp{}).Share(epoch); got != 1 {
		t.Errorf("share without a ramp: %v", got)
	}
}

func TestFixedComesBackByDegrees(t *testing.T) {
	t.Parallel()
	f, err := pace.NewFixed(pace.Config{Concurrency: 100, Batch: 100, RampTime: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	f.Resume(epoch)
	for at := time.Duration(0); at <= 8*time.Second; at += 4 * time.Second {
		var v, last pace.Verdict
		calls := 0
		for v = f.Ask(epoch.Add(at), 0, 100); v.Go; v = f.Ask(epoch.Add(at), 0, 100) {
			calls, last = calls+1, v
		}
		steps = append(steps, fmt.Sprintf("%dx%d", calls, last.Items))
		if ramping := at < 8*time.Second; v.RetryAt.IsZero() == ramping {
			t.Errorf("after %v told to come back at %v", at, v.RetryAt)
		}
		for range calls {
			f.Done(epoch.Add(at), pace.Call{Items: 1})
		}
	}
	if got := strings.Join(steps, " "); got != "10x10 55x55 100x100" {
		t.Errorf("calls and items after an outage: %s", got)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config pace.Config
		field  string // "" : valid
	}{
		"zero value":               {pace.Config{}, ""},
		"rate alone":               {pace.Config{Rate: 5}, ""},
		"small burst, small batch": {pace.Config{Rate: 5, Burst: 2}, ""},
		"negative concurrency":     {pace.Config{Concurrency: -1}, "concurrency"},
		"negative rate":            {pace.Config{Rate: -1}, "rate"},
		"rate is no number":        {pace.Config{Rate: math.NaN()}, "rate"},
		"endless rate":             {pace.Config{Rate: math.Inf(1)}, "rate"},
		"negative batch":           {pace.Config{Batch: -1}, "batch"},
		"burst under batch":        {pace.Config{Rate: 5, Burst: 2, Batch: 3}, "burst"},
		"negative burst":           {pace.Config{Rate: 5, Burst: -2}, "burst"},
		"a ramp from over 1":       {pace.Config{RampInitial: 1.5}, "ramp_initial"},
		"a ramp into the past":     {pace.Config{RampTime: -1}, "ramp_time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := pace.NewFixed(tc.config)
			if tc.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				if b := f.Limits().Batch; b < 1 {
					t.Fatalf("batch %d", b)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.field+":") {
				t.Fatalf("error %v does not name %q", err, tc.field)
			}
		})
	}
}

func TestFaultsOfTheCallerPanic(t *testing.T) {
	t.Parallel()
	f, err := pace.NewFixed(pace.Config{Batch: 3})
	if err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]func(){
		"no items":        func() { f.Ask(epoch, 0, 0) },
		"Done out of air": func() { f.Done(epoch, pace.Call{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fault()
		}()
	}
}

func BenchmarkFixed(b *testing.B) {
	f, err := pace.NewFixed(pace.Config{Concurrency: 10, Rate: 1e9})
	if err != nil {
		b.Fatal(err)
	}
	now := epoch
	for b.Loop() {
		now = now.Add(time.Microsecond)
		f.Ask(now, 0, 1)
		f.Done(now, pace.Call{Start: now, Items: 1})
	}
}
