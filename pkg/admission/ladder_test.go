package admission_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"pgregory.net/rapid"
)

func ExampleNewLadder() {
	ladder := admission.NewLadder(admission.LadderConfig{})
	now := time.Unix(0, 0)
	step := func(pass time.Duration, s admission.Signals) {
		level, cause := ladder.Step(now.Add(pass), s)
		fmt.Println(level, cause.Words)
	}
	step(0, admission.Signals{OldestInteractiveWait: 7 * time.Second})
	step(0, admission.Signals{WaitShare: .6})
	step(time.Second, admission.Signals{})
	step(11*time.Second, admission.Signals{})
	// Output:
	// 1 the oldest interactive job has waited 7s, over 5s
	// 2 the oldest interactive wait is at 60 % of its acceptance bound, level 2 from 50 %
	// 2 easing; was: the oldest interactive wait is at 60 % of its acceptance bound, level 2 from 50 %
	// 1 easing; was: the oldest interactive wait is at 60 % of its acceptance bound, level 2 from 50 %
}

func TestLadderGoesUpAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		signals admission.Signals
		level   int
		words   string
	}{
		"nothing":                      {admission.Signals{}, 0, ""},
		"a wait of 5 s":                {admission.Signals{OldestInteractiveWait: 5 * time.Second}, 0, ""},
		"a wait over 5 s":              {admission.Signals{OldestInteractiveWait: 5001 * time.Millisecond}, 1, "waited 5s"},
		"a wait of a day":              {admission.Signals{OldestInteractiveWait: 24 * time.Hour}, 1, "waited 24h"},
		"half the bound":               {admission.Signals{WaitShare: .5}, 2, "50 %"},
		"four fifths of the bound":     {admission.Signals{WaitShare: .8}, 3, "80 %"},
		"a wait never closes":          {admission.Signals{WaitShare: 50}, 3, "acceptance bound"},
		"queue at 60 %":                {admission.Signals{QueueFill: .6}, 1, "queue"},
		"queue nearly full":            {admission.Signals{QueueFill: .96}, 4, "queue"},
		"disk nearly full":             {admission.Signals{DiskFill: 1}, 4, "disk"},
		"heap":                         {admission.Signals{HeapFill: .91}, 3, "heap"},
		"processors, a little late":    {admission.Signals{CPUDelay: 4 * time.Millisecond}, 0, ""},
		"processors, late":             {admission.Signals{CPUDelay: 5 * time.Millisecond}, 1, "surgegate itself is short of processor time: it waits 5 ms"},
		"processors, too late":         {admission.Signals{CPUDelay: 70 * time.Millisecond}, 2, "it waits 70 ms for a processor, level 2 from 50 ms"},
		"processors never close":       {admission.Signals{CPUDelay: time.Minute}, 3, "short of processor time"},
		"the worst one wins":           {admission.Signals{CPUDelay: 9 * time.Millisecond, QueueFill: .8, WaitShare: .9}, 3, "acceptance bound"},
		"what is no number is no sign": {admission.Signals{DiskFill: math.NaN(), QueueFill: math.NaN()}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			level, cause := admission.NewLadder(admission.LadderConfig{}).Step(epoch, tc.signals)
			if level != tc.level || !strings.Contains(cause.Words, tc.words) || (level == 0) != (cause == admission.Cause{}) {
				t.Fatalf("level %d, %q; want %d, with %q", level, cause.Words, tc.level, tc.words)
			}
		})
	}
}

func TestLadderGoesDownSlowly(t *testing.T) {
	t.Parallel()
	ladder := admission.NewLadder(admission.LadderConfig{Hold: 10 * time.Second})
	now := epoch
	step := func(pass time.Duration, s admission.Signals, want int) {
		t.Helper()
		now = now.Add(pass)
		if level, cause := ladder.Step(now, s); level != want {
			t.Fatalf("after %v: level %d (%s), want %d", now.Sub(epoch), level, cause.Words, want)
		}
	}
	step(0, admission.Signals{QueueFill: .86}, 3)
	step(time.Second, admission.Signals{QueueFill: .84}, 3)   // under the threshold, not under nine tenths of it
	step(time.Hour, admission.Signals{QueueFill: .8}, 3)      // and that is no calm, however long
	step(time.Second, admission.Signals{QueueFill: .7}, 3)    // calm begins
	step(9*time.Second, admission.Signals{QueueFill: .7}, 3)  //
	step(0, admission.Signals{QueueFill: .8}, 3)              // and is broken
	step(time.Second, admission.Signals{QueueFill: .7}, 3)    // begins again
	step(10*time.Second, admission.Signals{QueueFill: .7}, 2) // one level
	step(10*time.Second, admission.Signals{QueueFill: .7}, 2) // 0.7 keeps level 2, which asks from 0.75
	step(time.Second, admission.Signals{QueueFill: .5}, 2)    //
	step(10*time.Second, admission.Signals{QueueFill: .5}, 1) //
	step(9*time.Second, admission.Signals{QueueFill: .5}, 1)  // one level takes one Hold
	step(0, admission.Signals{QueueFill: .99}, 4)             // up at once, by several
	step(time.Second, admission.Signals{}, 4)                 //
	for want := 3; want >= 0; want-- {
		step(10*time.Second, admission.Signals{}, want)
	}
	step(time.Hour, admission.Signals{}, 0)
	step(-time.Hour, admission.Signals{}, 0)
}

// A signal that swings around a threshold must not make the level swing with it.
func TestLadderDoesNotFlap(t *testing.T) {
	t.Parallel()
	ladder := admission.NewLadder(admission.LadderConfig{})
	changes, last := 0, 0
	for i := range 1000 {
		fill := .75 + .06*math.Sin(float64(i))
		level, _ := ladder.Step(epoch.Add(time.Duration(i)*time.Second), admission.Signals{QueueFill: fill})
		if level != last {
			changes, last = changes+1, level
		}
	}
	if changes > 2 {
		t.Fatalf("%d changes of level", changes)
	}
}

func TestLadderHoldsItsRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const hold = 10 * time.Second
		ladder := admission.NewLadder(admission.LadderConfig{Hold: hold})
		now, last, lastChange := epoch, 0, time.Time{}
		share := rapid.Float64Range(0, 1.2)
		for range 60 {
			now = now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
			s := admission.Signals{
				OldestInteractiveWait: time.Duration(rapid.IntRange(0, 10).Draw(t, "wait")) * time.Second,
				WaitShare:             share.Draw(t, "share"), QueueFill: share.Draw(t, "queue"), DiskFill: share.Draw(t, "disk"),
				CPUDelay: time.Duration(rapid.IntRange(0, 300).Draw(t, "cpu")) * time.Millisecond,
			}
			asked, _ := admission.NewLadder(admission.LadderConfig{}).Step(now, s)
			level, cause := ladder.Step(now, s)
			if level < asked {
				t.Fatalf("level %d, the signals ask for %d", level, asked)
			}
			if level > asked && level > last {
				t.Fatalf("level rose to %d, the signals ask for %d", level, asked)
			}
			if level < last-1 || level < last && !lastChange.IsZero() && now.Sub(lastChange) < hold {
				t.Fatalf("level fell from %d to %d after %v", last, level, now.Sub(lastChange))
			}
			if (level == 0) != (cause == admission.Cause{}) {
				t.Fatalf("level %d with cause %q", level, cause.Words)
			}
			if level != last {
				last, lastChange = level, now
			}
		}
	})
}

func TestLadderConfigValidate(t *testing.T) {
	t.Parallel()
	if err := (admission.LadderConfig{}).Validate(); err != nil {
		t.Errorf("zero value: %v", err)
	}
	if err := (admission.LadderConfig{CPUDelay: admission.Steps{0, 0, .9}}).Validate(); err != nil {
		t.Errorf("one step only: %v", err)
	}
	for field, config := range map[string]admission.LadderConfig{
		"wait":       {Wait: -1},
		"wait_share": {WaitShare: admission.Steps{.8, .5}},
		"queue_fill": {QueueFill: admission.Steps{-1}},
		"disk_fill":  {DiskFill: admission.Steps{.5, 0, .5}},
		"heap_fill":  {HeapFill: admission.Steps{math.NaN()}},
		"cpu_delay":  {CPUDelay: admission.Steps{.5, .5}},
		"release":    {Release: 2},
		"hold":       {Hold: -1},
	} {
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("error %v does not name %q", err, field)
		}
	}
}
