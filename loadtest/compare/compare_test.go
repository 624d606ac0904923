package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/config"
)

// The test binary is also the victim and the naive front, as storm is.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && (os.Args[1] == "victim" || os.Args[1] == "direct") {
		if err := child(os.Args[1], []byte(os.Args[3])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func child(what string, arg []byte) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if what == "victim" {
		var cfg victim.Config
		return errors.Join(json.Unmarshal(arg, &cfg),
			victim.RunChild(ctx, cfg, os.Stdin, os.Stdout, func() { os.Exit(victim.ExitOutOfMemory) }))
	}
	var cfg victim.DirectConfig
	if err := json.Unmarshal(arg, &cfg); err != nil {
		return err
	}
	front, err := victim.NewDirect(cfg, victim.DirectDeps{})
	if err != nil {
		return err
	}
	return front.Run(ctx)
}

func noTerminal() (int, bool) { return 0, false }

// A short storm at a store that dies: real processes, real mails, and the files at the end.
func TestTheDirectArmEndToEnd(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var shown bytes.Buffer
	err = Run(t.Context(), Config{
		Storm: self, Out: dir, Arms: []Arm{{Name: Direct, Front: Direct}}, Seed: 1, Thin: 100, Length: 3 * time.Second, Lead: time.Second, ArmLimit: 8 * time.Second,
		People: people.Config{Read: 10 * time.Millisecond, Type: 10 * time.Millisecond, Return: 100 * time.Millisecond, Backoff: 100 * time.Millisecond},
		Victim: victim.Config{Workers: 1, RequestMemory: 1 << 20, MemoryBound: 20 << 20},
	}, Deps{Out: &shown, Terminal: noTerminal})
	busy := errors.Is(err, ErrInvalid) // the machine: no fault of this test's, but then nobody may get through
	if err != nil && !busy {
		t.Fatalf("%v\n%s", err, shown.String())
	}
	data, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Result
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	a := r.Arms[0]
	if a.People != r.Storm.People || a.People < 50 || a.StoreCrashes == 0 || a.FailedCalls == 0 || a.Completed == 0 && !busy {
		t.Errorf("%d of %d people, %d crashes, %d failed calls, %d completed", a.People, r.Storm.People, a.StoreCrashes, a.FailedCalls, a.Completed)
	}
	if a.Completed+a.GaveUp+a.StillWaiting != a.People || a.Lost != 0 {
		t.Errorf("%d + %d + %d people of %d, %d lost", a.Completed, a.GaveUp, a.StillWaiting, a.People, a.Lost)
	}
	if !strings.Contains(shown.String(), "store crashes") {
		t.Errorf("no comparison in:\n%s", shown.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "report.html")); err != nil {
		t.Error(err)
	}
}

func TestBrokenPromisesAreListed(t *testing.T) {
	t.Parallel()
	kept := measure.Arm{Accepted: 10, Completed: 10}
	if list := broken(kept, nil, nil); len(list) != 0 {
		t.Errorf("kept promises are listed: %v", list)
	}
	for name, c := range map[string]struct {
		change func(*measure.Arm)
		err    error
	}{
		"accepted, not completed": {func(a *measure.Arm) { a.Completed = 9 }, nil},
		"lost":                    {func(a *measure.Arm) { a.Lost = 1 }, nil},
		"twice":                   {func(a *measure.Arm) { a.AppliedTwice = 1 }, nil},
		"order":                   {func(a *measure.Arm) { a.OutOfOrder = 1 }, nil},
		"crash":                   {func(a *measure.Arm) { a.StoreCrashes = 1 }, nil},
		"nobody":                  {func(a *measure.Arm) { a.Accepted, a.Completed = 0, 0 }, nil},
		"gateway gone":            {func(*measure.Arm) {}, errors.New("gone")},
	} {
		a := kept
		c.change(&a)
		if list := broken(a, nil, c.err); len(list) != 1 {
			t.Errorf("%s: %v", name, list)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"Storm": {}, "Surgegate": {Storm: "x"}, "Arms": {Storm: "x", Arms: []Arm{{Name: "other"}}}, "ArmLimit": {Storm: "x", ArmLimit: 1},
	} {
		if err := cfg.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error for a bad %s is %v", name, err)
		}
	}
}

func TestParseArm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Arm{
		"direct": {Name: Direct, Front: Direct}, "surgegate": {Name: Surgegate, Front: Surgegate},
		"fixed=a/b.yaml": {Name: "fixed", Front: Surgegate, Overlay: "a/b.yaml"},
	} {
		if got, err := ParseArm(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "other", "=x", "a=", "a/b=x"} {
		if _, err := ParseArm(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestAnOverlayIsLaidOverTheArmsSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	overlay := filepath.Join(dir, "fixed.yaml")
	if err := os.WriteFile(overlay, []byte("store: {pace: {concurrency: 4}}\nqueue: {max_bytes: 1GiB}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := writeConfig("127.0.0.1:1", places{dir: dir, store: "127.0.0.1:2", maildir: filepath.Join(dir, "mail"), reserve: diskReserve}, overlay)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Store.Pace.Concurrency != 4 || cfg.Store.GRPC.Address != "127.0.0.1:2" || cfg.Queue.MaxBytes != 1<<30 {
		t.Errorf("pace %+v, store %+v, queue %+v", cfg.Store.Pace, cfg.Store.GRPC, cfg.Queue)
	}
}

func TestDifferencesArePairedByPerson(t *testing.T) {
	t.Parallel()
	var before, after []people.Outcome
	for p := range uint64(100) {
		before = append(before, people.Outcome{Person: p, Completed: p%2 == 0, Wait: time.Duration(p) * time.Second, Failures: 3})
		// The others' end in another order, one second later each, and everybody gets there.
		after = append([]people.Outcome{{Person: p, Completed: true, Wait: time.Duration(p+1) * time.Second}}, after...)
	}
	arms := []Arm{{Name: "a"}, {Name: "b"}}
	got := differences(arms, []round{{outcomes: [][]people.Outcome{before, after}}}, 1)
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []report.Difference{
		{Difference: 50, N: 100}, {Difference: -3, Low: -3, High: -3, N: 100}, {Difference: 1, Low: 1, High: 1, N: 50},
	} {
		d := got[i]
		if math.Abs(d.Difference-want.Difference) > 1e-9 || d.N != want.N || d.Low > d.Difference+1e-9 || d.High < d.Difference-1e-9 || d.Arm != "b" || d.Against != "a" {
			t.Errorf("%s: %+v, want %+v", d.Figure, d, want)
		}
	}
}
