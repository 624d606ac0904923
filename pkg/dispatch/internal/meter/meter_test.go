package meter

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/reset"
)

func TestRateIsMeasuredOnlyWhileThereIsWork(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	m := New(50)
	second := func(jobs int, busy, out bool) float64 {
		if busy {
			m.Busy(now)
		} else {
			m.Idle(now)
		}
		for range jobs {
			m.Ended(10 * time.Millisecond)
		}
		now = now.Add(time.Second)
		rate, _ := m.Read(now, out, 0)
		return rate
	}
	m.Read(now, false, 0)
	if r := second(3, false, false); r != 50 {
		t.Errorf("idle: %v, not the floor", r)
	}
	if r := second(20, true, false); r != 20 {
		t.Errorf("first full second: %v", r)
	}
	if r := second(1, false, false); r != 20 {
		t.Errorf("quiet: %v", r)
	}
	if r := second(0, true, true); r != 20 {
		t.Errorf("out: %v", r)
	}
	if r := second(30, false, false); r != 30 {
		t.Errorf("more than ever: %v", r)
	}
	for range 30 {
		second(10, true, false)
	}
	if r := second(10, true, false); r < 10 || r > 10.5 {
		t.Errorf("settled at %v, not 10", r)
	}
	m = New(50)
	m.Resume(8, 0)
	m.Resume(0, 0)
	if r, _ := m.Read(now, false, 0); r != 8 {
		t.Errorf("resumed at %v", r)
	}
}

func TestServiceIsAHighPercentile(t *testing.T) {
	t.Parallel()
	m := New(1)
	for i := range 1000 {
		m.Ended(time.Duration(i) * time.Millisecond)
	}
	// Of the last 256, from 744 to 999 ms.
	if _, s := m.Read(time.Unix(1e9, 0), false, 0); s != 987*time.Millisecond {
		t.Errorf("service is %v", s)
	}
}

// A handful of jobs moves neither rate nor service, however long they took and however often it is read.
func TestFewJobsMeasureNothing(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	m := New(50)
	m.Resume(20, 100*time.Millisecond)
	m.Busy(now)
	second := func(jobs int, out bool) {
		t.Helper()
		for range jobs {
			m.Ended(8 * time.Second)
		}
		now = now.Add(time.Second)
		if r, s := m.Read(now, out, 128); r != 20 || s != 100*time.Millisecond {
			t.Fatalf("rate %v, service %v", r, s)
		}
	}
	for range 5 {
		second(5, false)
	}
	second(5, true) // an outage begins the window anew
	second(127, false)
	m.Ended(8 * time.Second)
	now = now.Add(time.Second)
	if r, s := m.Read(now, false, 128); r != 20+smoothing*(64-20) || s != 8*time.Second {
		t.Errorf("128 jobs in two seconds: rate %v, service %v", r, s)
	}
}

func TestDoneAfterIsOnTheGridAndCoversTheWaits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1e9, 0)
		lookup := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "lookup"))
		mail := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "mail"))
		out := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "out"))
		var w Waits
		w.Set(lookup, mail, []time.Time{now.Add(-out)})
		d := w.DoneAfter(now)
		if d%reset.StartGrid != 0 || d < reset.StartGrid || d > reset.LongestStart || d < min(lookup+mail+out, reset.LongestStart) ||
			d >= lookup+mail+out+reset.StartGrid+1 {
			t.Fatalf("%v for %v", d, lookup+mail+out)
		}
	})
}
