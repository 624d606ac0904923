package operator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

func TestAnOverrideStandsForItsTimeAndThenIsGone(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	c := w.set("lane/a/weight", 7, 2*time.Minute)
	if c.Before != "1" || c.After != "7" || !c.ExpireTime.Equal(begin().Add(2*time.Minute)) || len(c.Notes) != 1 || w.a.inForce() != 7 {
		t.Errorf("%+v, in force %v", c, w.a.inForce())
	}
	l := w.overrides.List()
	if len(l) != 1 || l[0].Setting != "7" || l[0].By != ada() || l[0].Reason != "why" || w.metric("surgegate_overrides", "lane") != 1 {
		t.Errorf("%+v", l)
	}
	w.pass(119 * time.Second)
	if w.a.inForce() != 7 {
		t.Error("it ended early")
	}
	w.pass(2 * time.Second)
	if w.a.inForce() != 1 || len(w.overrides.List()) != 0 || w.metric("surgegate_overrides", "lane") != 0 {
		t.Errorf("in force %v, %+v", w.a.inForce(), w.overrides.List())
	}
	w.wantTrail("ada set_lane_weight [lane/a/weight] 1 -> 7", "surgegate override_expired [lane/a/weight] 7 -> 1")
	if w.metric("surgegate_operator_actions_total", "set_lane_weight") != 1 || w.metric("surgegate_operator_actions_total",
		"override_expired") != 1 {
		t.Error("actions are not counted")
	}
	w.restart()
	if w.a.inForce() != 1 || len(w.overrides.List()) != 0 {
		t.Error("an override that ended came back")
	}
	w.stop()
	if n := strings.Count(w.log.String(), "override ended: its time is over"); n != 1 {
		t.Errorf("%d lines of its end in the log:\n%s", n, w.log)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	c, err := w.overrides.Set(t.Context(), operator.Request{Setting: laneWeight("lane/a/weight", 7), DryRun: true, By: ada()})
	if err != nil || !c.DryRun || c.Before != "1" || c.After != "7" || c.ExpireTime.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
	w.set("lane/b/weight", 5, 0)
	if l, err := w.overrides.Lift(t.Context(), "", "", true, ada()); err != nil || len(l) != 1 || !l[0].DryRun || l[0].Before != "5" ||
		l[0].After != "2" {
		t.Errorf("%+v, %v", l, err)
	}
	if w.a.inForce() != 1 || w.b.inForce() != 5 || len(w.overrides.List()) != 1 {
		t.Errorf("in force %v, %v", w.a.inForce(), w.b.inForce())
	}
	w.wantTrail("ada set_lane_weight [lane/b/weight] 2 -> 5")
}

func TestItSurvivesARestartForWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/a/weight", 7, 3*time.Minute)
	w.set("lane/b/weight", 8, 2*time.Minute)
	w.restart()
	if l := w.overrides.List(); len(l) != 2 || l[0].Target != "lane/b/weight" || l[1].Before != "1" || l[1].By != ada() || l[1].Reason != "why" ||
		w.a.inForce() != 7 || w.b.inForce() != 8 || w.metric("surgegate_overrides", "lane") != 2 {
		t.Fatalf("%+v, %v, %v", l, w.a.inForce(), w.b.inForce())
	}
	w.stop()
	w.clock.Advance(150 * time.Second) // b's time is over while nothing runs
	w.open()
	if w.a.inForce() != 7 || w.b.inForce() != 2 || len(w.overrides.List()) != 1 {
		t.Errorf("%v, %v", w.a.inForce(), w.b.inForce())
	}
	w.pass(31 * time.Second)
	if w.a.inForce() != 1 {
		t.Error("a stands for longer than it was given")
	}
	w.wantTrail("ada set_lane_weight [lane/a/weight] 1 -> 7", "ada set_lane_weight [lane/b/weight] 2 -> 8",
		"surgegate override_expired [lane/b/weight] 8 -> 2", "surgegate override_expired [lane/a/weight] 7 -> 1")
}

func TestClocksThatJump(t *testing.T) {
	t.Parallel()
	t.Run("back", func(t *testing.T) {
		t.Parallel()
		w := newOverridesWorld(t)
		w.set("lane/a/weight", 7, 2*time.Minute)
		w.pass(time.Minute)
		w.clock.jump(-24 * time.Hour)
		w.pass(62 * time.Second)
		if w.a.inForce() != 1 {
			t.Error("a clock that was set back keeps it")
		}
	})
	t.Run("back over a restart", func(t *testing.T) {
		t.Parallel()
		w := newOverridesWorld(t)
		w.set("lane/a/weight", 7, 2*time.Minute)
		w.stop()
		w.clock.jump(-24 * time.Hour)
		w.open()
		if l := w.overrides.List(); len(l) != 1 || l[0].ExpireTime.Sub(w.clock.Now()) > 2*time.Minute {
			t.Fatalf("more than it was given: %+v", l)
		}
		w.pass(122 * time.Second)
		if w.a.inForce() != 1 {
			t.Error("a clock that was set back keeps it")
		}
	})
	t.Run("ahead", func(t *testing.T) {
		t.Parallel()
		w := newOverridesWorld(t)
		w.set("lane/a/weight", 7, time.Hour)
		w.clock.jump(2 * time.Hour)
		w.pass(time.Second)
		if w.a.inForce() != 1 {
			t.Error("its time of day has come and it stands")
		}
	})
}

func TestTheLastOneWinsAndBothAreAudited(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	var both sync.WaitGroup
	for i := range 8 {
		both.Go(func() {
			_, err := w.overrides.Set(t.Context(), operator.Request{Setting: laneWeight("lane/a/weight", float64(10+i)),
				By: operator.Caller{Who: fmt.Sprint("operator", i)}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	trail := w.trail()
	if len(trail) != 8 {
		t.Fatalf("%q", trail)
	}
	// Each begins where the one before it ended: there was no mixture.
	at := "1"
	for _, line := range trail {
		from, to, _ := strings.Cut(line[strings.Index(line, "] ")+2:], " -> ")
		if from != at {
			t.Errorf("%q begins at %s, was %s", line, from, at)
		}
		at = to
	}
	l := w.overrides.List()
	if len(l) != 1 || l[0].Setting != at || fmt.Sprint(w.a.inForce()) != at {
		t.Errorf("in force %v, listed %+v, audited last %s", w.a.inForce(), l, at)
	}
	if _, err := w.overrides.Lift(t.Context(), "lane/a/weight", "done", false, ada()); err != nil || w.a.inForce() != 1 {
		t.Errorf("%v: what comes back is the configuration, not the override before: %v", err, w.a.inForce())
	}
}

func TestWhatCannotBeAuditedIsNotDone(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/b/weight", 5, 0)
	w.disk.refuse(queue.ErrNotDurable)
	_, err := w.overrides.Set(t.Context(), operator.Request{Setting: laneWeight("lane/a/weight", 7), By: ada()})
	if !errors.Is(err, queue.ErrNotDurable) || w.a.inForce() != 1 {
		t.Errorf("%v, in force %v", err, w.a.inForce())
	}
	if _, err := w.overrides.Lift(t.Context(), "", "", false, ada()); !errors.Is(err, queue.ErrNotDurable) || w.b.inForce() != 5 {
		t.Errorf("%v, in force %v", err, w.b.inForce())
	}
	called := false
	if err := w.overrides.Reconfigure(t.Context(), operator.Entry{What: operator.ActionReload},
		func() error { called = true; return nil }); err == nil || called {
		t.Errorf("%v, called %v", err, called)
	}
}

func TestWhatCannotBeAppliedIsUndone(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.a.fail(errors.New("stuck"), nil)
	if _, err := w.overrides.Set(t.Context(), operator.Request{Setting: laneWeight("lane/a/weight", 7), By: ada()}); err == nil {
		t.Fatal("no error")
	}
	w.a.fail(nil, nil)
	w.set("lane/b/weight", 5, 0)
	w.b.fail(nil, errors.New("stuck"))
	if _, err := w.overrides.Lift(t.Context(), "lane/b/weight", "", false, ada()); err == nil {
		t.Fatal("no error")
	}
	w.wantTrail("ada set_lane_weight [lane/a/weight] 1 -> 7",
		"ada set_lane_weight_undone [lane/a/weight] 1 -> not changed: operator: lane/a/weight: stuck",
		"ada set_lane_weight [lane/b/weight] 2 -> 5", "ada lift_override [lane/b/weight] 5 -> 2",
		"ada lift_override_undone [lane/b/weight] 5 -> not changed: operator: lane/b/weight: stuck")
	w.restart()
	if l := w.overrides.List(); len(l) != 1 || l[0].Target != "lane/b/weight" || w.a.inForce() != 1 || w.b.inForce() != 5 {
		t.Errorf("%+v, %v, %v", l, w.a.inForce(), w.b.inForce())
	}
}

func TestAFullDiskDoesNotKeepAnOverrideForEver(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/a/weight", 7, time.Minute)
	w.disk.refuse(queue.ErrNotDurable)
	w.pass(62 * time.Second)
	if w.a.inForce() != 1 || len(w.overrides.List()) != 0 {
		t.Fatalf("it stands: %v", w.a.inForce())
	}
	w.disk.refuse(nil)
	w.pass(time.Second)
	w.wantTrail("ada set_lane_weight [lane/a/weight] 1 -> 7", "surgegate override_expired [lane/a/weight] 7 -> 1")
	if r, err := w.disk.List(t.Context(), queue.RecordOverride, "", 10); err != nil || len(r) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhoGoesAwayInTheMiddleLeavesNoHalfDoneThing(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/b/weight", 5, 0)
	ctx, cancel := context.WithCancel(t.Context())
	w.disk.leave(cancel)
	_, err := w.overrides.Set(ctx, operator.Request{Setting: laneWeight("lane/a/weight", 7), By: ada()})
	if err != nil || w.a.inForce() != 7 {
		t.Errorf("set: %v, in force %v", err, w.a.inForce())
	}
	ctx, cancel = context.WithCancel(t.Context())
	w.disk.leave(cancel)
	if _, err := w.overrides.Lift(ctx, "lane/b/weight", "", false, ada()); err != nil || w.b.inForce() != 2 {
		t.Errorf("lift: %v, in force %v", err, w.b.inForce())
	}
	w.restart()
	if l := w.overrides.List(); len(l) != 1 || l[0].Target != "lane/a/weight" || w.a.inForce() != 7 || w.b.inForce() != 2 {
		t.Errorf("after a restart %+v, %v, %v", l, w.a.inForce(), w.b.inForce())
	}
	ctx, cancel = context.WithCancel(t.Context())
	w.disk.leave(cancel)
	done := false
	if err := w.overrides.Reconfigure(ctx, operator.Entry{What: operator.ActionReload}, func() error { done = true; return nil }); err != nil || !done {
		t.Errorf("reload: %v, done %v", err, done)
	}
}

func TestAnEndThatIsOwedIsAuditedBeforeTheNextOverride(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/a/weight", 7, time.Minute)
	w.disk.refuse(queue.ErrNotDurable)
	w.pass(62 * time.Second)
	w.disk.refuse(nil)
	w.set("lane/a/weight", 9, 0) // before the next look
	w.pass(2 * time.Second)
	w.wantTrail("ada set_lane_weight [lane/a/weight] 1 -> 7", "surgegate override_expired [lane/a/weight] 7 -> 1",
		"ada set_lane_weight [lane/a/weight] 1 -> 9")
	w.restart()
	if w.a.inForce() != 9 {
		t.Errorf("in force %v", w.a.inForce())
	}
}

func TestOneThatCannotBeRevertedIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/a/weight", 7, time.Minute)
	w.a.fail(nil, errors.New("stuck"))
	w.pass(65 * time.Second)
	if len(w.overrides.List()) != 1 {
		t.Error("what is in force is not listed")
	}
	w.a.fail(nil, nil)
	w.pass(time.Second)
	if len(w.overrides.List()) != 0 || w.a.inForce() != 1 {
		t.Error("it was not tried again")
	}
}

func TestAReloadGoesBelow(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	w.set("lane/a/weight", 7, time.Minute)
	reload := func() error {
		for _, d := range []*dial{w.a, w.b} {
			d.mu.Lock()
			d.configured, d.now, d.unit = d.configured*100, d.configured*100, " of 100"
			d.mu.Unlock()
		}
		return nil
	}
	if err := w.overrides.Reconfigure(t.Context(), operator.Entry{Who: "ada", What: operator.ActionReload, Before: "1", After: "100"},
		reload); err != nil {
		t.Fatal(err)
	}
	if w.a.inForce() != 7 || w.b.inForce() != 200 {
		t.Errorf("in force %v, %v", w.a.inForce(), w.b.inForce())
	}
	if l := w.overrides.List(); len(l) != 1 || l[0].Setting != "7 of 100" {
		t.Errorf("what stands is told as before the reload: %+v", l)
	}
	w.pass(62 * time.Second)
	if w.a.inForce() != 100 {
		t.Errorf("what came back is %v", w.a.inForce())
	}
	err := w.overrides.Reconfigure(t.Context(), operator.Entry{Who: "ada", What: operator.ActionReload, After: "0"},
		func() error { return errors.New("no") })
	if err == nil {
		t.Error("no error")
	}
	if trail := w.trail(); trail[len(trail)-1] != "ada reload_undone []  -> not changed: no" {
		t.Errorf("%q", trail)
	}
}

func TestRecordsOfAnotherVersionStopNoStart(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	for key, value := range map[string]string{
		"lane/a/weight": "{", "lane/gone/weight": `{"setting":{"target":"lane/gone/weight"},"expire_time":"2099-01-01T00:00:00Z","duration_ns":1}`,
		"lane/b/weight": `{"setting":{"target":"lane/b/weight","weight":-3},"expire_time":"2099-01-01T00:00:00Z","duration_ns":3600000000000}`,
	} {
		if err := w.disk.Put(t.Context(), queue.RecordWrite{Kind: queue.RecordOverride, Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	w.restart()
	if len(w.overrides.List()) != 0 || w.a.inForce() != 1 || w.b.inForce() != 2 {
		t.Errorf("%+v", w.overrides.List())
	}
	w.wantTrail("surgegate override_expired [lane/a/weight] an override -> as configured: its record cannot be read",
		"surgegate override_expired [lane/b/weight] an override -> as configured: it cannot be set any more: weight: must be over 0",
		"surgegate override_expired [lane/gone/weight] an override -> as configured: there is no such target any more")
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	w := newOverridesWorld(t)
	for _, c := range []struct {
		r    operator.Request
		want string
	}{
		{operator.Request{Setting: laneWeight("lane/a/weight", 0)}, "weight: must be over 0"},
		{operator.Request{Setting: laneWeight("lane/a/weight", 1), Duration: time.Second},
			"steering.duration: must be between 1m and 7 days"},
		{operator.Request{Setting: laneWeight("lane/a/weight", 1), Duration: 8 * 24 * time.Hour}, "steering.duration"},
		{operator.Request{Setting: laneWeight("lane/a/weight", 1), Reason: strings.Repeat("é", 201)},
			"steering.reason: must be at most 200"},
		{operator.Request{Setting: laneWeight("lane/a/weight", 1), Reason: "a\nb"}, "steering.reason: must be one line"},
		{operator.Request{Setting: laneWeight("lane/z/weight", 1)}, "NOT_FOUND"},
	} {
		if _, err := w.overrides.Set(t.Context(), c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.r, err, c.want)
		}
	}
	for _, target := range []string{"", "lane/a/weight"} {
		if _, err := w.overrides.Lift(t.Context(), target, "", false, ada()); reset.KindOf(err) != reset.KindNotFound {
			t.Errorf("lifting %q: %v", target, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.overrides.Set(gone, operator.Request{Setting: laneWeight("lane/a/weight", 1)}); err == nil {
		t.Error("who has gone changes something")
	}
	if got := w.trail(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
