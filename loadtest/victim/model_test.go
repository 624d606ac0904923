package victim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/clock"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// machine is a victim's inside on a clock that the test moves.
func machine(t *testing.T, cfg Config) (*workers, *clock.Manual) {
	t.Helper()
	cfg.Address, cfg.Ledger = "-", "-"
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	manual := clock.NewManual(time.Unix(1_700_000_000, 0))
	w := newWorkers(cfg, manual, t.FailNow)
	t.Cleanup(w.close)
	return w, manual
}

// fill puts n pieces of work of a length inside a curve and returns how many are done.
func fill(w *workers, n int, each time.Duration) *atomic.Int64 {
	var done atomic.Int64
	var pending sync.WaitGroup
	for range n {
		w.enter(task{items: 1, cost: func() time.Duration { return each }, work: func() { done.Add(1) }, done: &pending})
	}
	return &done
}

// look lets the curve work until now, as its goroutine would when its timer fires.
func look(w *workers, manual *clock.Manual, pass time.Duration) {
	manual.Advance(pass)
	w.curve.mu.Lock()
	defer w.curve.mu.Unlock()
	w.curve.advance(manual.Now())
}

// The curve delivers what the formula says, below, at and past its knee, and is at its best at the knee.
func TestCurveFollowsTheFormula(t *testing.T) {
	t.Parallel()
	const hash = 20 * time.Millisecond
	cfg := Config{Knee: 20, Sigma: .05, HashTime: hash, Accounts: 1}
	best, at := 0.0, 0
	for _, n := range []int{1, 5, 10, 19, 20, 21, 40, 80} {
		w, manual := machine(t, cfg)
		kappa := (1 - cfg.Sigma) / 400
		want := float64(n) / hash.Seconds() / (1 + cfg.Sigma*float64(n-1) + kappa*float64(n)*float64(n-1))
		// Equal work that entered together ends together: n answers, each after n ÷ want.
		done := fill(w, n, hash)
		look(w, manual, time.Duration(.999*float64(n)/want*1e9))
		if got := done.Load(); got != 0 {
			t.Errorf("%d inside: %d were done early", n, got)
		}
		look(w, manual, time.Duration(.002*float64(n)/want*1e9))
		if got := done.Load(); got != int64(n) {
			t.Errorf("%d inside: %d done when all should be", n, got)
		}
		if want > best {
			best, at = want, n
		}
	}
	if at != 20 {
		t.Errorf("best at %d inside, the knee is 20", at)
	}
	if c := cfg.Capacity(); math.Abs(c-best) > 1e-9*best {
		t.Errorf("Capacity says %v, best was %v", c, best)
	}
}

func TestStepsOfACurve(t *testing.T) {
	t.Parallel()
	w, manual := machine(t, Config{Knee: 10, HashTime: time.Second, ColdFor: time.Minute})
	done := fill(w, 1, 10*time.Second)
	expect := func(pass time.Duration, want float64) {
		t.Helper()
		look(w, manual, pass)
		w.curve.mu.Lock()
		defer w.curve.mu.Unlock()
		if got := w.curve.done; math.Abs(got-want) > 1e-6 {
			t.Errorf("%v of work got, want %v", got, want)
		}
	}
	expect(time.Second, 1)
	w.change(Step{Speed: 0, Workers: 1})
	expect(30*time.Second, 1)
	w.change(Step{Speed: 1, Workers: 1, ColdFor: 4 * time.Second})
	expect(2*time.Second, 2)
	expect(2*time.Second, 3)
	w.change(Step{Speed: 3, Workers: .5}) // one call alone is not past half a knee
	expect(time.Second, 3+3/(1+.01*2*1))
	if done.Load() != 0 {
		t.Error("done before its time")
	}
	expect(2*time.Second, 10)
	if done.Load() != 1 {
		t.Error("not done after its time")
	}
}

func TestInsideIsIntegrated(t *testing.T) {
	t.Parallel()
	w, manual := machine(t, Config{Workers: 1})
	w.call(1)
	manual.Advance(2 * time.Second)
	w.call(1)
	manual.Advance(time.Second)
	w.call(-1)
	w.call(-1)
	manual.Advance(5 * time.Second)
	v := &Victim{workers: w, clock: manual, born: manual.Now().Add(-8 * time.Second)}
	if s := v.Status(); s.Calls != 0 || s.PeakCalls != 2 || s.CallSeconds != 4 || s.Seconds != 8 {
		t.Errorf("status %+v, want 2 at the most and 2·1 s + 1·2 s in 8 s", s)
	}
}

// A batch of n that one worker takes costs a + b·n: of four workers one is busy.
func TestBatchIsOnePieceOfWork(t *testing.T) {
	t.Parallel()
	v := &Victim{cfg: Config{Batched: true}.WithDefaults()}
	w := work{items: 8, once: 10 * time.Millisecond, cost: func(int) time.Duration { return 2 * time.Millisecond }, do: func(int) {}}
	list := v.pieces(w, 1, &sync.WaitGroup{})
	if len(list) != 1 || list[0].items != 8 || list[0].cost() != 26*time.Millisecond {
		t.Errorf("%d pieces, the first of %d items and %v", len(list), list[0].items, list[0].cost())
	}
	v.cfg.Batched = false
	if list := v.pieces(w, 1, &sync.WaitGroup{}); len(list) != 8 || list[0].cost() != 2*time.Millisecond {
		t.Errorf("unbatched: %d pieces, the first of %v", len(list), list[0].cost())
	}
	batched := Config{Batched: true, BatchTime: 10 * time.Millisecond, HashTime: 2 * time.Millisecond, MaxSetBatch: 8, Workers: 2}
	if got, want := batched.Capacity(), 2*8/.026; math.Abs(got-want) > 1e-6 {
		t.Errorf("capacity %v, want %v", got, want)
	}
}

func TestDraws(t *testing.T) {
	t.Parallel()
	w, _ := machine(t, Config{Spread: .5, Noise: .1, Seed: 3})
	const n = 20_000
	var sum, squares, noisy float64
	for range n {
		f, noise := w.draw()
		sum, squares = sum+f, squares+f*f
		if noise {
			noisy++
		}
	}
	mean := sum / n
	if spread := math.Sqrt(squares/n-mean*mean) / mean; math.Abs(mean-1) > .02 || math.Abs(spread-.5) > .03 {
		t.Errorf("mean %.3f and variation %.3f, want 1 and 0.5", mean, spread)
	}
	if noisy < .09*n || noisy > .11*n {
		t.Errorf("%v of %d calls fail, want a tenth", noisy, n)
	}
}

// The real thing through its two ports: steps act, the status tells, and too many calls kill it.
func TestControl(t *testing.T) {
	t.Parallel()
	control, err := testbed.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	var deaths atomic.Int64
	store := start(t, Config{
		Ledger: filepath.Join(t.TempDir(), "ledger"), Accounts: 10, HashTime: time.Microsecond, Workers: 2, Control: control, MaxCalls: 1,
	}, func() { deaths.Add(1) })
	post := func(path, body string, want int) {
		t.Helper()
		r, err := http.Post("http://"+control+path, "application/json", bytes.NewBufferString(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("POST %s %s: %s", path, body, r.Status)
		}
	}
	status := func() (s Status) {
		t.Helper()
		r, err := http.Get("http://" + control + "/status")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	post("/step", `{"speed": -1}`, http.StatusBadRequest)
	post("/step", `{"workers": 0}`, http.StatusBadRequest)
	post("/step", `{"speed": 0}`, http.StatusOK)
	results := make(chan error, 2)
	set := func(n uint64) {
		_, err := store.SetPasswords(t.Context(), &credstorev1.SetPasswordsRequest{Changes: changes(n)})
		results <- err
	}
	go set(1)
	for status().Calls != 1 { // a look takes a round trip: this does not spin hot
	}
	if s := status(); s.Applied != 0 || s.Step.Speed != 0 || s.Step.Workers != 1 {
		t.Errorf("standing still: %+v", s)
	}
	go set(2) // one too many
	if err := <-results; err == nil {
		t.Error("the second call was worked past MaxCalls")
	}
	if deaths.Load() != 1 {
		t.Errorf("%d deaths, want 1", deaths.Load())
	}
	post("/step", `{}`, http.StatusOK)
	if err := <-results; err != nil {
		t.Errorf("after the stall: %v", err)
	}
	if s := status(); s.Applied != 1 || s.PeakCalls < 1 {
		t.Errorf("after the stall: %+v", s)
	}
	post("/crash", "", http.StatusOK)
	if deaths.Load() != 2 {
		t.Errorf("%d deaths, want 2", deaths.Load())
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]Config{
		"Sigma": {Sigma: 1}, "Noise": {Noise: -1}, "Spread": {Spread: math.NaN()}, "Control": {Control: "0.0.0.0:1"}, "Knee": {Knee: -1},
	} {
		c.Address, c.Ledger = "127.0.0.1:0", "x"
		if err := c.WithDefaults().Validate(); err == nil || !bytes.Contains([]byte(err.Error()), []byte(field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func changes(n uint64) []*credstorev1.PasswordChange {
	return []*credstorev1.PasswordChange{change(n, fmt.Sprint(n), 1, "password")}
}

// A store that refuses or fails calls does so at once, without work, and until it is told otherwise.
func TestAnswersOfAStoreThatIsNotWell(t *testing.T) {
	t.Parallel()
	v, err := New(Config{Address: "127.0.0.1:0", Ledger: filepath.Join(t.TempDir(), "ledger"), Hashed: true}, Deps{Die: t.FailNow})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	store := dial(t, v.Addr())
	if d, err := store.Describe(ctx, &credstorev1.DescribeRequest{}); err != nil || d.GetPasswordForm() != credstorev1.PasswordForm_PASSWORD_FORM_HASH {
		t.Errorf("it asks for %v, %v", d.GetPasswordForm(), err)
	}
	hashed := &credstorev1.PasswordChange{
		AccountId: AccountID(1), ChangeId: "a", Sequence: 1, Password: &credstorev1.PasswordChange_Hash{Hash: "$argon2id$x"},
	}
	for _, c := range []struct {
		step        Step
		lookup, set codes.Code
	}{
		{Step{Speed: 1, Workers: 1, Refuse: true}, codes.ResourceExhausted, codes.ResourceExhausted},
		{Step{Speed: 1, Workers: 1, Unknown: true}, codes.OK, codes.Unknown},
		{Step{Speed: 1, Workers: 1}, codes.OK, codes.OK},
	} {
		v.workers.change(c.step)
		_, lookup := store.Lookup(ctx, &credstorev1.LookupRequest{Identifiers: []string{Identifier(1)}})
		_, set := store.SetPasswords(ctx, &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{hashed}})
		if status.Code(lookup) != c.lookup || status.Code(set) != c.set {
			t.Errorf("%+v: Lookup %v, SetPasswords %v, want %v and %v", c.step, lookup, set, c.lookup, c.set)
		}
	}
	if v.applied.Load() != 1 {
		t.Errorf("%d applied, want 1", v.applied.Load())
	}
}
