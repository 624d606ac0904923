package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/token"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// climber is a whole gateway in this process whose time stands still but for pass. The ladder has a clock of its own, which
// moves with the other, so that its look at each step is waited for.
type climber struct {
	t      *testing.T
	app    *App
	clock  *clock.Manual
	ladder *clock.Manual
	api    resetv1.PasswordResetClient
	log    *logBuffer
	signer *token.Signer

	mu     sync.Mutex
	levels []int // each time that it changed
	signal admission.Signal
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) changes() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, "brownout level changed") {
			lines = append(lines, line)
		}
	}
	return lines
}

const password = "a long enough passphrase"

func newClimber(t *testing.T, people int, keys, pace string) *climber {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	database := filepath.Join(dir, "store.db")
	store, err := sqlite.New(t.Context(), sqlite.Config{Path: database})
	must(err)
	t.Cleanup(func() { _ = store.Close() })
	for i := range people {
		id := fmt.Sprintf("person-%d", i)
		must(store.PutAccounts(t.Context(), sqlite.Account{Login: id, Account: credstore.Account{ID: id, Address: id + "@example.com"}}))
	}
	file := filepath.Join(dir, "surgegate.yaml")
	must(os.WriteFile(file, fmt.Appendf(nil, `
data_dir: %[1]s/data
keys_dir: %[1]s/keys
listen: {grpc: "127.0.0.1:0", operator: "127.0.0.1:0", http: "127.0.0.1:0"}
mail: {maildir: {path: %[1]s/mail}, base_url: "https://reset.example.com"}
hash: {memory: 7MiB, time: 5}
admission: {global: {rate: 1000000/s, burst: 1000000}, client: {rate: 1000000/s, burst: 1000000}}
%[3]s
store: {sqlite: {path: %[2]s}, timeout: 5m, headroom: 0, pace: %[4]s}
`, dir, database, keys, pace), 0o600))
	cfg, err := config.Load(file, nil)
	must(err)
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &climber{t: t, clock: clock.NewManual(begin), ladder: clock.NewManual(begin), log: &logBuffer{}}
	c.app, err = New(t.Context(), Options{Config: cfg, Output: c.log, Clock: c.clock})
	must(err)
	c.app.level.clock = c.ladder
	c.app.level.delay = func() time.Duration { return 0 } // the machine's own business is not part of this
	c.app.level.set = append(c.app.level.set, func(level int, cause admission.Cause) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.levels) == 0 || c.levels[len(c.levels)-1] != level {
			c.levels = append(c.levels, level)
		}
		c.signal = cause.Signal
	})
	must(c.app.Start(t.Context()))
	t.Cleanup(func() { must(c.app.Stop(false)) })
	c.ladder.BlockUntil(1)
	c.signer, err = token.NewSigner(c.app.keys.token)
	must(err)
	conn, err := grpc.NewClient(c.app.Addrs().GRPC.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	t.Cleanup(func() { _ = conn.Close() })
	c.api = resetv1.NewPasswordResetClient(conn)
	return c
}

// pass lets time pass; the ladder looks once, at its end.
func (c *climber) pass(d time.Duration) {
	c.clock.Advance(d)
	c.ladder.Advance(d)
	c.ladder.BlockUntil(1)
}

// look lets the ladder look without time passing. Its own goroutine waits for its clock meanwhile.
func (c *climber) look() { c.app.level.step(c.stats()) }

// serve lets so much time pass that the store takes one more call, and waits until that is done.
func (c *climber) serve() {
	c.t.Helper()
	calls := func() (n float64) {
		for _, outcome := range []string{"ok", "error", "overload", "timeout"} {
			n += c.metric("surgegate_downstream_calls_total", "store", outcome)
		}
		return n
	}
	before := calls()
	c.pass(1001 * time.Second)
	c.until("the store was called", func() bool { return calls() > before })
	c.until("the hash is made", func() bool { return c.stats().Lanes[reset.LaneHash].Leased == 0 })
}

func (c *climber) level() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.levels[len(c.levels)-1]
}

func (c *climber) stats() queue.Stats {
	c.t.Helper()
	s, err := c.app.queue.Stats(context.WithoutCancel(c.t.Context()))
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// is asserts the level and the signal behind it, on every side that shows them.
func (c *climber) is(level int, signal admission.Signal) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.levels[len(c.levels)-1]; got != level || c.signal != signal {
		c.t.Fatalf("level %d by %s, not %d by %s", got, c.signal, level, signal)
	}
	if got := c.metric("surgegate_brownout_level"); got != float64(level) {
		c.t.Errorf("the metric says level %v, not %d", got, level)
	}
	if got := c.metric("surgegate_brownout_signal", signal.String()); got != 1 {
		c.t.Errorf("the metric of signal %s says %v", signal, got)
	}
}

// metric sums the series whose labels have these values.
func (c *climber) metric(name string, values ...string) (sum float64) {
	c.t.Helper()
	families, err := c.app.registry.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var has []string
			for _, l := range m.GetLabel() {
				has = append(has, l.GetValue())
			}
			if !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(has, v) }) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func (c *climber) start(identifier string, v resetv1.Verdict, wait time.Duration) (*resetv1.StartResetResponse, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	return c.api.StartReset(ctx, &resetv1.StartResetRequest{
		Identifier: identifier, Client: &resetv1.Client{Ip: "192.0.2.7", Verdict: v}, Wait: durationpb.New(wait),
	})
}

// ask is a StartReset that must be taken.
func (c *climber) ask(identifier string) {
	c.t.Helper()
	if _, err := c.start(identifier, resetv1.Verdict_VERDICT_UNSPECIFIED, 0); err != nil {
		c.t.Fatal(err)
	}
}

// complete sets a password with a link that is made here, as the mail would hold it.
func (c *climber) complete(account string) string {
	c.t.Helper()
	now := c.clock.Now()
	tok, err := c.signer.Sign(token.Claims{
		Purpose: token.PurposeReset, AccountID: account, IssueTime: now, ExpireTime: now.Add(time.Hour), Nonce: [16]byte{1},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := c.api.CompleteReset(c.t.Context(), &resetv1.CompleteResetRequest{
		Token: tok, NewPassword: password, Client: &resetv1.Client{Ip: "192.0.2.7"}, SignOut: resetv1.SignOut_SIGN_OUT_EVERYWHERE,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return r.GetTicket().GetId()
}

func (c *climber) state(ticket string) resetv1.State {
	c.t.Helper()
	r, err := c.api.GetTicket(c.t.Context(), &resetv1.GetTicketRequest{TicketId: ticket})
	if err != nil {
		c.t.Fatal(err)
	}
	return r.GetTicket().GetState()
}

func (c *climber) shed(err error, reason string) {
	c.t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == reason {
			return
		}
	}
	c.t.Errorf("want %s, got %v", reason, err)
}

// until waits for what happens without time passing.
func (c *climber) until(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("waited in vain until %s: %+v", what, c.stats().Lanes)
		}
	}
}

// A store that takes a call in 1000 s, and a handful of people. Their wait takes the gateway up level by level; each does
// what it is there for, and no more. When they are served it comes down, one level each hold.
func TestLevelsFollowARealBacklog(t *testing.T) {
	t.Parallel()
	c := newClimber(t, 4, "queue: {disk_reserve: 1MiB, max_start_wait: 1h}", "{concurrency: 16, rate: 0.001, batch: 1}")
	c.pass(time.Second)
	c.is(0, admission.SignalNone)

	// Level 0: who waits for his answer is held until his ticket is final.
	held := make(chan *resetv1.StartResetResponse, 1)
	go func() {
		r, err := c.start("person-0", resetv1.Verdict_VERDICT_UNSPECIFIED, 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		held <- r
	}()
	c.until("the first is served, and his mail sent", func() bool {
		return c.stats().Lanes[reset.LaneMail].Ended == 1
	})
	if len(held) != 0 {
		t.Error("an answer was not held at level 0")
	}
	c.pass(2 * time.Second)
	if r := <-held; r.GetTicket().GetState() != resetv1.State_STATE_DONE {
		t.Errorf("the held answer is %v", r)
	}

	// The bucket of the store is empty now. Nobody is served until time passes.
	for i := range 6 {
		c.ask(fmt.Sprintf("nobody-%d", i))
	}
	c.pass(5 * time.Second)
	c.is(0, admission.SignalNone) // 5 s are not over 5 s
	c.pass(time.Second)
	c.is(1, admission.SignalWait)
	if r, err := c.start("nobody-6", resetv1.Verdict_VERDICT_SUSPECT, 20*time.Second); err != nil || r.GetTicket().GetState() != resetv1.State_STATE_ACCEPTED {
		t.Errorf("with wait at level 1, at once: %v, %v", r, err)
	}

	c.pass(30 * time.Minute)
	c.is(2, admission.SignalWaitShare)
	_, err := c.start("nobody-7", resetv1.Verdict_VERDICT_SUSPECT, 0)
	c.shed(err, "SHED_LEVEL_2")
	c.ask("nobody-7")

	c.pass(18 * time.Minute)
	c.is(3, admission.SignalWaitShare)
	_, err = c.start("nobody-8", resetv1.Verdict_VERDICT_UNSPECIFIED, 0)
	c.shed(err, "SHED_LEVEL_3")
	// Completions are still served, before those who only ask; what nobody waits for is put off.
	ticket := c.complete("person-1")
	served := c.stats().Lanes[reset.LaneStart].Ended
	for range 5 {
		if c.stats().Lanes[reset.LaneApply].Ended > 0 {
			break
		}
		c.serve()
		c.is(3, admission.SignalWaitShare)
	}
	c.until("the completion is done", func() bool { return c.state(ticket) == resetv1.State_STATE_DONE })
	if n := c.stats().Lanes[reset.LaneStart].Ended - served; n > 3 {
		t.Errorf("%d starts were served while a completion waited", n)
	}
	deferred := func() uint64 {
		s := c.stats()
		return s.Lanes[reset.LaneRevoke].Waiting[reset.ClassDeferrable] + s.Lanes[reset.LaneStart].Waiting[reset.ClassDeferrable]
	}
	if n := deferred(); n != 2 {
		t.Errorf("%d of a revocation and a confirmation are put off", n)
	}

	// Those who wait are served, one in 1000 s, so that the level comes down when the last one is.
	for range 30 {
		s := c.stats().Lanes[reset.LaneStart]
		if s.Waiting[reset.ClassInteractive]+s.Waiting[reset.ClassSuspect]+s.Leased+s.Retrying == 0 {
			break
		}
		c.serve()
	}
	if n := deferred(); n != 2 {
		t.Errorf("%d are put off before the level is down", n)
	}
	for range 12 {
		c.pass(6 * time.Second)
	}
	c.is(0, admission.SignalNone)
	c.mu.Lock()
	if !slices.Equal(c.levels, []int{0, 1, 2, 3, 2, 1, 0}) {
		t.Errorf("the levels were %v", c.levels)
	}
	c.mu.Unlock()
	c.until("what was put off is done", func() bool {
		c.pass(1001 * time.Second)
		return c.stats().Held == 0
	})
	if lines := c.log.changes(); len(lines) != 6 || !strings.Contains(lines[0], "signal=wait ") || !strings.Contains(lines[2], "acceptance bound") {
		t.Errorf("the log tells %d changes: %v", len(lines), lines)
	}
	if n := c.metric("surgegate_brownout_changes_total"); n != 6 {
		t.Errorf("%v changes counted", n)
	}
}

// The queue's own bytes take the level up to 3, where nobody more is let in who only asks, so that it never gets to 4; and
// down again as it empties.
func TestLevelsFollowTheQueuesBytes(t *testing.T) {
	t.Parallel()
	c := newClimber(t, 1, "queue: {disk_reserve: 1MiB, max_bytes: 1MiB, max_start_wait: 12h}", "{concurrency: 16, rate: 1000, batch: 100}")
	c.until("the store's bucket is used up", func() bool {
		c.ask(fmt.Sprintf("%0300d", time.Now().UnixNano()))
		return c.stats().Lanes[reset.LaneStart].Waiting[reset.ClassInteractive] > 20
	})
	fills := map[int]float64{}
	asked := 0
	for range 5000 {
		level := c.level()
		if s := c.stats(); fills[level] == 0 {
			fills[level] = float64(s.Bytes) / float64(s.MaxBytes)
		}
		if level == 3 {
			break
		}
		for range 10 {
			asked++
			c.ask(fmt.Sprintf("%0300d", asked))
		}
		c.look()
	}
	for level, least := range map[int]float64{1: .6, 2: .75, 3: .85} {
		if got := fills[level]; got < least || got > least+.02 {
			t.Errorf("level %d at a fill of %.3f, not %.2f", level, got, least)
		}
	}
	c.is(3, admission.SignalQueue)
	_, err := c.start("nobody", resetv1.Verdict_VERDICT_UNSPECIFIED, 0)
	c.shed(err, "SHED_LEVEL_3")
	ticket := c.complete("person-0")
	c.until("the completion and everybody's asks are done, and then what nobody waits for", func() bool {
		c.pass(time.Second)
		return c.stats().Held == 0
	})
	if got := c.state(ticket); got != resetv1.State_STATE_DONE {
		t.Errorf("the completion is %v", got)
	}
	c.is(0, admission.SignalNone)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.levels, []int{0, 1, 2, 3, 2, 1, 0}) {
		t.Errorf("the levels were %v", c.levels)
	}
}
