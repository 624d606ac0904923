package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"store-slow 0.5 at 10s for 20s", "store-capacity 0.5 at 1m0s for 1h0m0s", "store-dark at 0s for 30m0s",
		"store-crash at 5s", "mail-refuse at 5s for 1s", "gateway-kill at 15s", "disk-full at 1s for 2s",
	} {
		f, err := ParseFault(text)
		if err != nil || f.String() != text {
			t.Errorf("%q became %q, %v", text, f, err)
		}
	}
	for text, want := range map[string]string{
		"":                              "nothing there",
		"store-slow at 10s for 1s":      "needs a factor",
		"store-slow 0 at 10s for 1s":    "store-dark",
		"store-slow 0.5 at 10s":         "for how long",
		"store-dark at 10 for 1s":       "no time with its unit",
		"store-dark at 10s for":         "cannot be read",
		"store-dark from 10s for 1s":    "neither at nor for",
		"store-crash at 1s for 2s":      "happens once",
		"store-melt at 1s for 2s":       "there is no",
		"store-dark at -1s for 2s":      "below 0",
		"store-capacity x at 1s for 2s": "needs a factor",
	} {
		if _, err := ParseFault(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	first := Fault{Kind: StoreDark, At: 10, For: 10}
	if err := ValidateFaults([]Fault{first, {Kind: StoreDark, At: 15, For: 1}}); err == nil {
		t.Error("two at once were taken")
	}
	if err := ValidateFaults([]Fault{first, {Kind: StoreDark, At: 30, For: 1}, {Kind: StoreSlow, Factor: 2, At: 15, For: 1}}); err != nil {
		t.Error(err)
	}
}

// log is a set of actors that write down what they are told, and when.
func logging(start time.Time, lines *[]string) FaultActors {
	say := func(format string, args ...any) {
		*lines = append(*lines, fmt.Sprintf("%v ", time.Since(start))+fmt.Sprintf(format, args...))
	}
	return FaultActors{
		Store: func(_ context.Context, s StoreState) error {
			answers := ""
			if s.Refuse {
				answers += " refuse"
			}
			if s.Unknown {
				answers += " unknown"
			}
			say("store %v %v%s", s.Speed, s.Capacity, answers)
			return nil
		},
		StoreCrash:  func(context.Context) error { say("crash"); return nil },
		MailRefuse:  func(on bool) { say("mail %v", on) },
		GatewayKill: func(context.Context) error { say("kill"); return nil },
		DiskFull:    func(on bool) error { say("disk %v", on); return nil },
	}
}

func TestTheTimeline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		start := time.Now()
		done, err := RunFaults(t.Context(), clock.System{}, start, []Fault{
			{Kind: StoreDark, At: 4 * time.Second, For: 2 * time.Second},
			{Kind: StoreSlow, Factor: .5, At: time.Second, For: 10 * time.Second},
			{Kind: GatewayKill, At: 2 * time.Second},
			{Kind: MailRefuse, At: 3 * time.Second, For: time.Second},
			{Kind: StoreRefuse, At: 7 * time.Second, For: time.Second},
			{Kind: StoreUnknown, At: 9 * time.Second, For: time.Second},
		}, logging(start, &lines))
		if len(done) != 6 {
			t.Errorf("done: %v", done)
		}
		want := []string{"1s store 0.5 1", "2s kill", "3s mail true", "4s store 0 1", "4s mail false", "6s store 0.5 1",
			"7s store 0.5 1 refuse", "8s store 0.5 1", "9s store 0.5 1 unknown", "10s store 0.5 1", "11s store 1 1",
		}
		if err != nil || !slices.Equal(lines, want) {
			t.Errorf("%v, %q, want %q", err, lines, want)
		}
	})
}

// A run that ends in the middle of a fault leaves nothing broken behind.
func TestWhatWasBegunIsEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		done, err := RunFaults(ctx, clock.System{}, start, []Fault{
			{Kind: StoreDark, At: 4 * time.Second, For: time.Hour}, {Kind: DiskFull, At: time.Minute, For: time.Hour}, {Kind: StoreCrash, At: time.Minute},
		}, logging(start, &lines))
		if len(done) != 1 {
			t.Errorf("done: %v", done)
		}
		if want := []string{"4s store 0 1", "5s store 1 1"}; err != nil || !slices.Equal(lines, want) {
			t.Errorf("%v, %q, want %q", err, lines, want)
		}
	})
}

func TestWhatCannotBeDone(t *testing.T) {
	t.Parallel()
	all := []Fault{{Kind: MailRefuse, At: 1, For: 1}, {Kind: DiskFull, At: 1, For: 1}}
	if err := (FaultActors{MailRefuse: func(bool) {}}).Able(all); err == nil || !strings.Contains(err.Error(), "disk-full") {
		t.Errorf("%v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no such disk")
		actors := FaultActors{MailRefuse: func(bool) {}, DiskFull: func(bool) error { return broken }}
		if _, err := RunFaults(t.Context(), clock.System{}, time.Now(), all, actors); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}
