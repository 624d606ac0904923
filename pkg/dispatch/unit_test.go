package dispatch

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/reset"
)

func TestZeroConfigIsTheDefault(t *testing.T) {
	t.Parallel()
	c := Config{}.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.LinkTTL != time.Hour || c.MaxTries != 8 || c.SignOut != reset.SignOutEverywhere || c.Identifier != (Budget{5, time.Hour, 5}) {
		t.Errorf("defaults are %+v", c)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*Config){
		"StoreTimeout": func(c *Config) { c.StoreTimeout = -1 },
		"LinkTTL":      func(c *Config) { c.LinkTTL = -1 },
		"SweepEvery":   func(c *Config) { c.SweepEvery = -1 },
		"Identifier":   func(c *Config) { c.Identifier = Budget{Mails: -1, Per: time.Hour} },
		"Recipient":    func(c *Config) { c.Recipient = Budget{Mails: 1} },
		"Floors[hash]": func(c *Config) { c.Floors = map[reset.Lane]float64{reset.LaneHash: -1} },
		"SignOut":      func(c *Config) { c.SignOut = 9 },
	} {
		var c Config
		change(&c)
		if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestMissingDepsAreNamed(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}, Deps{}); err == nil || !strings.Contains(err.Error(), "Deps.Queue") {
		t.Errorf("New without a queue: %v", err)
	}
}

func TestBackoffIsBoundedAndJittered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "base"))
		limit := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "limit"))
		n := rapid.IntRange(0, 1000).Draw(t, "n")
		if d := backoff(base, limit, n); d <= 0 || d > limit {
			t.Fatalf("backoff(%v, %v, %d) is %v", base, limit, n, d)
		}
	})
}

// A budget never lets more through than its burst and then its rate.
func TestBudgetAgainstACount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		budget := Budget{
			Mails: rapid.IntRange(1, 20).Draw(t, "mails"),
			Per:   time.Duration(rapid.Int64Range(int64(time.Minute), int64(24*time.Hour)).Draw(t, "per")),
			Burst: rapid.IntRange(1, 20).Draw(t, "burst"),
		}
		now := time.Unix(1e9, 0)
		e := entry{budget: budget}
		begin, spent := now, 0
		for range rapid.IntRange(1, 100).Draw(t, "asks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(budget.Per)).Draw(t, "pause")))
			if e.room(now) {
				e.spend(now)
				e.full = timeOf(timeBytes(e.full)) // as the record keeps it
				spent++
			}
			most := float64(budget.Burst) + float64(now.Sub(begin))/float64(e.interval())
			if float64(spent) > most+1e-6 {
				t.Fatalf("%d spent, at most %v allowed", spent, most)
			}
		}
		if now = now.Add(budget.Per * time.Duration(budget.Burst)); !e.room(now) {
			t.Fatal("a rested budget has no room")
		}
	})
}

func TestLinkRecord(t *testing.T) {
	t.Parallel()
	until := time.UnixMicro(1_700_000_000_123_456)
	want := link{until: until, mark: 7, account: reset.Key{1, 15: 16}}
	if got := linkOf(linkBytes(want)); got.mark != 7 || got.account != want.account || !got.until.Equal(until) {
		t.Errorf("read back %+v", got)
	}
	if linkOf([]byte("short")) != (link{}) {
		t.Error("a broken record was read")
	}
	if !timeOf(nil).IsZero() {
		t.Error("an absent record is a time")
	}
}

func TestPanicOfOneIsThePanicOfAll(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("the panic was lost")
		}
	}()
	onAllCores(100, func(i int) {
		if i == 77 {
			panic("77")
		}
	})
}
