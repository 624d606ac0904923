package decision_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/decision"
)

func newLog(t *testing.T, reasons ...decision.Reason) (*decision.Log, *clock.Manual, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	clk := clock.NewManual(time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC))
	l, err := decision.New(decision.Config{Reasons: reasons}, decision.Deps{Logger: slog.New(slog.NewJSONHandler(&out, nil)), Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	return l, clk, &out
}

// lines are what was written, without the time.
func lines(t *testing.T, out *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for text := range strings.Lines(out.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, line)
	}
	return all
}

// A storm of decisions is a line a second for each cause, and none is lost from the count.
func TestAStormIsALineASecond(t *testing.T) {
	t.Parallel()
	log, clk, out := newLog(t, decision.Limited)
	client, global := log.Line(decision.Limited, "limit_client_ip"), log.Line(decision.Limited, "limit_global")
	const callers, calls = 8, 1000
	var written atomic.Int64
	for range 3 {
		var group sync.WaitGroup
		var mu sync.Mutex // of the test's buffer; a real logger has its own
		for range callers {
			group.Go(func() {
				for range calls {
					if client.Due() {
						written.Add(1)
						mu.Lock()
						client.Write(t.Context(), slog.Float64("tokens", .5))
						mu.Unlock()
					}
				}
			})
		}
		group.Wait()
		clk.Advance(time.Second)
	}
	if !global.Due() {
		t.Error("one cause keeps another silent")
	}
	if !client.Due() {
		t.Fatal("not written after its time")
	}
	client.Write(t.Context())
	got := lines(t, out)
	if len(got) != 4 || written.Load() != 3 {
		t.Fatalf("%d lines:\n%s", len(got), out)
	}
	sum := 0.
	for _, l := range got {
		sum += l["left_out"].(float64) + 1
		if l["msg"] != "decision: limited" || l["reason"] != "limited" || l["cause"] != "limit_client_ip" {
			t.Errorf("%v", l)
		}
	}
	if sum != 3*callers*calls+1 {
		t.Errorf("%v decisions are told, %d were made", sum, 3*callers*calls+1)
	}
	if got[0]["tokens"] != .5 {
		t.Errorf("the numbers are missing: %v", got[0])
	}
}

// wall is a clock that can be set back.
type wall struct {
	*clock.Manual
	back time.Duration
}

func (w *wall) Now() time.Time { return w.Manual.Now().Add(-w.back) }

func TestAClockThatIsSetBackSilencesNothing(t *testing.T) {
	t.Parallel()
	clk := &wall{Manual: clock.NewManual(time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC))}
	log, err := decision.New(decision.Config{}, decision.Deps{Logger: slog.New(slog.DiscardHandler), Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	line := log.Line(decision.Parked, "apply")
	if !line.Due() {
		t.Fatal("the first is not written")
	}
	clk.back = time.Hour
	if !line.Due() {
		t.Error("nothing is written until the clock is where it was")
	}
	if line.Due() {
		t.Error("twice in a moment")
	}
}

// What is off costs a comparison with nil.
//
// Not parallel: it counts allocations.
func TestOffCostsNothing(t *testing.T) {
	log, _, out := newLog(t)
	var none *decision.Log
	for _, l := range []*decision.Line{log.Line(decision.Shed, "shed_2"), none.Line(decision.Shed, "shed_2")} {
		if l != nil || l.Due() {
			t.Error("on")
		}
	}
	off := log.Line(decision.Paced, "store")
	if n := testing.AllocsPerRun(100, func() {
		if off.Due() {
			t.Error("due")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if out.Len() != 0 {
		t.Errorf("%s", out)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]decision.Config{
		"reasons: ": {Reasons: []decision.Reason{"shedding"}},
		"every: ":   {Every: -1},
	} {
		if _, err := decision.New(c, decision.Deps{Logger: slog.Default()}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s%v", field, err)
		}
	}
	if _, err := decision.New(decision.Config{}, decision.Deps{}); err == nil {
		t.Error("no logger, no error")
	}
	if err := (decision.Config{Reasons: decision.Reasons()}).Validate(); err != nil {
		t.Error(err)
	}
}
