package mailbudget

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/reset"
)

func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func TestZeroConfigBoundsOnlyTheCallsOfBulk(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	if err := (Config{}).Validate(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got := b.Terms(epoch(), reset.ClassDeferrable, 8); !got.OK || got.UpTo != reset.ClassDeferrable {
			t.Fatalf("%+v", got)
		}
		b.Take(epoch(), reset.ClassDeferrable)
		b.Leased(epoch(), reset.ClassDeferrable, true, true)
	}
	full := b.Terms(epoch(), reset.ClassDeferrable, 8)
	if !full.OK || full.UpTo != reset.ClassSuspect || full.Wait != 0 {
		t.Fatalf("with half of the calls out: %+v", full)
	}
	if got := b.Terms(epoch(), reset.ClassDeferrable, 0); got.UpTo != reset.ClassDeferrable {
		t.Errorf("without a bound of calls: %+v", got)
	}
	if got := New(Config{}).Terms(epoch(), reset.ClassDeferrable, 1); got.UpTo != reset.ClassDeferrable {
		t.Errorf("a provider that takes one mail at a time: %+v", got)
	}
	b.Done()
	select {
	case <-full.Changed.Done():
	default:
		t.Error("nobody was told that a call is free")
	}
	if got := b.Terms(epoch(), reset.ClassDeferrable, 8); got.UpTo != reset.ClassDeferrable {
		t.Errorf("with a call free: %+v", got)
	}
}

// Whatever is in line and whenever: neither kind of mail ever exceeds its bucket, bulk never its calls, and what was not
// needed is given back.
func TestNeitherKindExceedsItsBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := func(name string) Rate {
			return Rate{PerSecond: rapid.SampledFrom([]float64{0, .5, 3, 100}).Draw(t, name), Burst: rapid.IntRange(1, 5).Draw(t, name+" burst")}
		}
		c := Config{Interactive: r("interactive"), Bulk: r("bulk"), BulkShare: rapid.Float64Range(.1, 1).Draw(t, "share")}
		calls := rapid.IntRange(1, 10).Draw(t, "calls")
		b := New(c)
		now := epoch()
		sent := [2]int{}
		out := 0
		for range 80 {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			if out > 0 && rapid.Bool().Draw(t, "a bulk call ends") {
				b.Done()
				out--
			}
			upTo := rapid.SampledFrom([]reset.Class{reset.ClassSuspect, reset.ClassDeferrable}).Draw(t, "up to")
			terms := b.Terms(now, upTo, calls)
			if !terms.OK {
				if terms.Wait <= 0 {
					t.Fatal("nothing may be sent, and no time is named")
				}
				if !b.Terms(now.Add(terms.Wait), upTo, calls).OK {
					t.Fatalf("nothing may be sent after %v either", terms.Wait)
				}
				continue
			}
			if terms.UpTo > upTo {
				t.Fatalf("up to %v where %v was asked for", terms.UpTo, upTo)
			}
			b.Take(now, terms.UpTo)
			leased := rapid.Bool().Draw(t, "something waits")
			bulk := leased && terms.UpTo == reset.ClassDeferrable && rapid.Bool().Draw(t, "it is bulk")
			b.Leased(now, terms.UpTo, leased, bulk)
			switch {
			case bulk:
				sent[1]++
				out++
			case leased:
				sent[0]++
			}
			if most := max(1, int(c.BulkShare*float64(calls))); out > most {
				t.Fatalf("%d bulk calls out, %d allowed", out, most)
			}
			for i, r := range []Rate{c.Interactive, c.Bulk} {
				most := r.PerSecond*now.Sub(epoch()).Seconds() + float64(r.Burst) + 1e-6
				if r.PerSecond > 0 && float64(sent[i]) > most {
					t.Fatalf("%d mails of kind %d sent, %v allowed", sent[i], i, most)
				}
			}
		}
		for ; out > 0; out-- {
			b.Done()
		}
		if b.out != 0 {
			t.Fatalf("%d bulk calls are counted with none out", b.out)
		}
	})
}

func TestWhatWasNotNeededIsGivenBack(t *testing.T) {
	t.Parallel()
	b := New(Config{Interactive: Rate{PerSecond: .001, Burst: 1}, Bulk: Rate{PerSecond: .001, Burst: 1}})
	for range 10 {
		if got := b.Terms(epoch(), reset.ClassDeferrable, 1); !got.OK || got.UpTo != reset.ClassDeferrable {
			t.Fatalf("%+v", got)
		}
		b.Take(epoch(), reset.ClassDeferrable)
		b.Leased(epoch(), reset.ClassDeferrable, false, false)
	}
	b.Take(epoch(), reset.ClassDeferrable)
	b.Leased(epoch(), reset.ClassDeferrable, true, true) // bulk: the interactive token is still there
	b.Done()
	if got := b.Terms(epoch(), reset.ClassDeferrable, 1); !got.OK || got.UpTo != reset.ClassSuspect || got.Wait <= 0 {
		t.Fatalf("after a bulk mail: %+v", got)
	}
	b.Take(epoch(), reset.ClassSuspect)
	b.Leased(epoch(), reset.ClassSuspect, true, false)
	if got := b.Terms(epoch(), reset.ClassDeferrable, 1); got.OK || got.Wait <= 0 {
		t.Fatalf("after both: %+v", got)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]Config{
		"Interactive": {Interactive: Rate{PerSecond: -1}}, "Bulk": {Bulk: Rate{Burst: -1}}, "BulkShare": {BulkShare: 1.5},
	} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A new bound is in force for the next mail, who waits is told, and no change of it is a burst for free.
func TestConfigureChangesBoundsAtOnce(t *testing.T) {
	t.Parallel()
	now := epoch()
	b := New(Config{})
	take := func(upTo reset.Class) {
		t.Helper()
		if got := b.Terms(now, upTo, 0); !got.OK || got.UpTo != upTo {
			t.Fatalf("%+v", got)
		}
		b.Take(now, upTo)
	}
	take(reset.ClassSuspect) // under no bound ...
	before := b.Terms(now, reset.ClassDeferrable, 0)
	b.Configure(now, Config{Interactive: Rate{PerSecond: 1, Burst: 2}, BulkShare: .25})
	select {
	case <-before.Changed.Done():
	default:
		t.Error("nobody was told of the change")
	}
	b.Leased(now, reset.ClassSuspect, false, false) // ... gives nothing back to the one that came
	take(reset.ClassSuspect)
	b.Leased(now, reset.ClassSuspect, true, false)
	take(reset.ClassSuspect)
	for range 3 { // again and again: nothing is made up
		b.Configure(now, Config{Interactive: Rate{PerSecond: 10, Burst: 10}, Bulk: Rate{PerSecond: 1, Burst: 1}, BulkShare: .25})
	}
	if got := b.Terms(now, reset.ClassSuspect, 0); got.OK || got.Wait <= 0 || got.Wait > time.Second/10+time.Microsecond {
		t.Errorf("with an empty bucket at 10 a second: %+v", got)
	}
	b.Leased(now, reset.ClassSuspect, false, false) // the one that was not needed
	take(reset.ClassDeferrable)
	b.Leased(now, reset.ClassDeferrable, true, true)
	now = now.Add(time.Hour)
	for range 3 {
		take(reset.ClassDeferrable)
		b.Leased(now, reset.ClassDeferrable, true, true)
		now = now.Add(time.Minute)
	}
	if got := b.Terms(now, reset.ClassDeferrable, 16); got.UpTo != reset.ClassSuspect {
		t.Errorf("4 of 16 calls are bulk at a share of a quarter: %+v", got)
	}
	b.Configure(now, Config{})
	if got := b.Terms(now, reset.ClassDeferrable, 16); !got.OK || got.UpTo != reset.ClassDeferrable {
		t.Errorf("without a bound again: %+v", got)
	}
}
