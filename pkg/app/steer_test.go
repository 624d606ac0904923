package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/config"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// ahead is the machine's clock, whose time of day can be set ahead.
type ahead struct {
	clock.System
	mu sync.Mutex
	by time.Duration
}

func (a *ahead) Now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.System.Now().Add(a.by)
}

func (a *ahead) jump(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.by += d
}

// process is a whole surgegate in this process, with its queue, an SQLite store with the sample accounts and a maildir.
type process struct {
	t      *testing.T
	dir    string
	app    *app.App
	clock  *ahead
	hangup chan os.Signal
	reset  resetv1.PasswordResetClient
	ops    operatorv1.OperatorClient
	log    *lines
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const calm = `
admission:
  global: {rate: 1000/s, burst: 1000}
  client: {rate: 1000/s, burst: 1000}
`

func (p *process) file() string { return filepath.Join(p.dir, "surgegate.yaml") }

func (p *process) write(extra string) {
	p.t.Helper()
	text := fmt.Sprintf(`data_dir: %[1]s/data
keys_dir: %[1]s/keys
listen: {grpc: "127.0.0.1:0", operator: "127.0.0.1:0", http: "127.0.0.1:0"}
queue: {disk_reserve: 1MiB}
store: {sqlite: {path: %[1]s/store.db, sample: true}}
mail: {maildir: {path: %[1]s/mail}, base_url: "https://reset.example.com"}
hash: {memory: 7MiB, time: 5}
`, p.dir) + extra
	if err := os.WriteFile(p.file(), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func serve(t *testing.T, extra string) *process {
	t.Helper()
	p := &process{t: t, dir: t.TempDir(), clock: &ahead{}, hangup: make(chan os.Signal, 1), log: &lines{}}
	p.write(extra)
	load := func() (config.Config, error) {
		return config.Load(p.file(), []string{"SURGEGATE_BROWNOUT_CPU_DELAY=" + neverStarved})
	}
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if p.app, err = app.New(t.Context(), app.Options{Config: c, Output: p.log, Clock: p.clock, Reload: load, Hangup: p.hangup}); err != nil {
		t.Fatal(err)
	}
	if err := p.app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	dial := func(address string) *grpc.ClientConn {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	p.reset = resetv1.NewPasswordResetClient(dial(p.app.Addrs().GRPC.String()))
	p.ops = operatorv1.NewOperatorClient(dial(p.app.Addrs().Operator.String()))
	t.Cleanup(func() {
		if err := p.app.Stop(true); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *process) await(what string, condition func(context.Context) error) {
	p.t.Helper()
	await(p.t, what, p.log.String, condition)
}

func (p *process) status() *operatorv1.GetStatusResponse {
	p.t.Helper()
	s, err := p.ops.GetStatus(p.t.Context(), &operatorv1.GetStatusRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *process) lane(name string) *operatorv1.LaneStatus {
	p.t.Helper()
	for _, l := range p.status().GetLanes() {
		if l.GetLane() == name {
			return l
		}
	}
	p.t.Fatalf("no lane %s", name)
	return nil
}

// ask starts a reset for a sample account; the error's reason is empty where it was accepted.
func (p *process) ask(identifier string) (reason string) {
	p.t.Helper()
	_, err := p.reset.StartReset(p.t.Context(), &resetv1.StartResetRequest{Identifier: identifier, Client: person})
	if err == nil {
		return ""
	}
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetReason()
		}
	}
	return err.Error()
}

// set fails the test where what was done could not be.
func (p *process) set(change *operatorv1.Change, err error) *operatorv1.Change {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	return change
}

func (p *process) hold(level uint32, s *operatorv1.Steering) *operatorv1.Change {
	p.t.Helper()
	r, err := p.ops.ForceBrownout(p.t.Context(), &operatorv1.ForceBrownoutRequest{Level: level, Steering: s})
	return p.set(r.GetChange(), err)
}

func (p *process) lift(target string) {
	p.t.Helper()
	if _, err := p.ops.LiftOverride(p.t.Context(), &operatorv1.LiftOverrideRequest{Target: target}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) audits() (actions []string) {
	p.t.Helper()
	r, err := p.ops.ListAudit(p.t.Context(), &operatorv1.ListAuditRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range r.GetEntries() {
		actions = append(actions, fmt.Sprintf("%s %s %s: %s -> %s", e.GetWho(), e.GetAction(), strings.Join(e.GetTargets(), " "),
			e.GetBefore(), e.GetAfter()))
	}
	return actions
}

func (p *process) mailed() (n int) {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.dir, "mail", "new"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	return len(entries)
}

func TestAPausedLaneStopsAndGoesOn(t *testing.T) {
	t.Parallel()
	p := serve(t, calm)
	r, err := p.ops.PauseLane(t.Context(), &operatorv1.PauseLaneRequest{Lane: "mail"})
	c := p.set(r.GetChange(), err)
	if c.GetBefore() != "running" || c.GetAfter() != "paused" || len(c.GetNotes()) == 0 {
		t.Errorf("%v", c)
	}
	if reason := p.ask("ada@example.com"); reason != "" {
		t.Fatal(reason)
	}
	p.await("the mail in line", func(context.Context) error {
		if l := p.lane("mail"); l.GetWaiting() != 1 || !l.GetPaused() {
			return fmt.Errorf("%v", l)
		}
		return nil
	})
	// What comes after it goes through the other lanes, and stops at this one too.
	if reason := p.ask("grace@example.com"); reason != "" {
		t.Fatal(reason)
	}
	p.await("both in line", func(context.Context) error {
		if l := p.lane("mail"); l.GetWaiting() != 2 || l.GetLeased() != 0 {
			return fmt.Errorf("%v", l)
		}
		return nil
	})
	if n := p.mailed(); n != 0 {
		t.Fatalf("%d mails from a paused lane", n)
	}
	p.lift("lane/mail/paused")
	p.await("the mails", func(context.Context) error {
		if n := p.mailed(); n != 2 || p.lane("mail").GetPaused() {
			return fmt.Errorf("%d mails", n)
		}
		return nil
	})
}

func TestAHeldLevelShedsUntilItEnds(t *testing.T) {
	t.Parallel()
	p := serve(t, calm)
	if c := p.hold(3, &operatorv1.Steering{DryRun: true}); !c.GetDryRun() || p.ask("ada") != "" || len(p.audits()) != 0 {
		t.Fatalf("a dry run did something: %v, %q", c, p.audits())
	}
	p.hold(3, nil)
	if reason := p.ask("ada"); reason != "SHED_LEVEL_3" {
		t.Errorf("refused with %q", reason)
	}
	if s := p.status(); s.GetBrownoutLevel() != 3 || s.GetBrownoutLevelAsked() != 0 || !strings.Contains(s.GetBrownoutCause(), "held") ||
		len(s.GetOverrides()) != 1 {
		t.Errorf("%v", s)
	}
	p.hold(4, nil) // the last wins
	if _, err := p.reset.CheckToken(t.Context(), &resetv1.CheckTokenRequest{Token: "x",
		Client: person}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("closed: %v", err)
	}
	p.clock.jump(time.Hour)
	p.await("the end of the override", func(context.Context) error {
		if s := p.status(); s.GetBrownoutLevel() != 0 || len(s.GetOverrides()) != 0 {
			return fmt.Errorf("level %d", s.GetBrownoutLevel())
		}
		return nil
	})
	if reason := p.ask("ada"); reason != "" {
		t.Errorf("refused with %q after its end", reason)
	}
	want := []string{
		"surgegate override_expired brownout: held at 4 (closed) -> by the signals, 0 (normal) now",
		"loopback force_brownout brownout: held at 3 (only completions are taken) -> held at 4 (closed)",
		"loopback force_brownout brownout: by the signals, 0 (normal) now -> held at 3 (only completions are taken)",
	}
	if got := p.audits(); !slices.Equal(got, want) {
		t.Errorf("audit\n%q, want\n%q", got, want)
	}
}

func TestALimitLimits(t *testing.T) {
	t.Parallel()
	p := serve(t, calm)
	r, err := p.ops.SetLimit(t.Context(), &operatorv1.SetLimitRequest{Limit: "client", Rate: "1/h", Burst: 2})
	if c := p.set(r.GetChange(), err); c.GetBefore() != "1000/s, burst 1000, enforced" || c.GetAfter() != "1/h, burst 2, enforced" {
		t.Errorf("%v", c)
	}
	got := []string{p.ask("a"), p.ask("b"), p.ask("c")}
	if !slices.Equal(got, []string{"", "", "LIMIT_CLIENT"}) {
		t.Errorf("%q", got)
	}
	p.await("who was refused", func(ctx context.Context) error {
		l, err := p.ops.ListLimitedClients(ctx, &operatorv1.ListLimitedClientsRequest{})
		if err == nil && (len(l.GetClients()) == 0 || l.GetClients()[0].GetClient() != person.GetIp()) {
			err = fmt.Errorf("%v", l)
		}
		return err
	})
	yes := true
	if _, err := p.ops.SetLimit(t.Context(), &operatorv1.SetLimitRequest{Limit: "client", Rate: "1/h", Burst: 2,
		CountOnly: &yes}); err != nil {
		t.Fatal(err)
	}
	if reason := p.ask("d"); reason != "" {
		t.Errorf("counted only, refused with %q", reason)
	}
	p.lift("")
	l, err := p.ops.GetLimits(t.Context(), &operatorv1.GetLimitsRequest{})
	if err != nil || l.GetLimits()[1].GetRate() != "1000/s" || l.GetLimits()[1].GetOverridden() {
		t.Errorf("%v, %v", l, err)
	}
	// The bucket is as empty as it was, and fills a thousand times a second now.
	p.await("let in again", func(context.Context) error {
		if reason := p.ask("e"); reason != "" {
			return errors.New(reason)
		}
		return nil
	})
}

func TestDownstreamsAreSteered(t *testing.T) {
	t.Parallel()
	p := serve(t, calm)
	r, err := p.ops.SetPace(t.Context(), &operatorv1.SetPaceRequest{Downstream: "store",
		Pace: &operatorv1.SetPaceRequest_Fixed{Fixed: &operatorv1.FixedPace{Concurrency: 3, Rate: 50}}})
	if c := p.set(r.GetChange(), err); !strings.HasPrefix(c.GetBefore(), "measured") ||
		c.GetAfter() != "fixed at 3 calls at once, at most 50 items a second" {
		t.Errorf("%v", c)
	}
	b, err := p.ops.ForceBreaker(t.Context(), &operatorv1.ForceBreakerRequest{Downstream: "store",
		State: operatorv1.BreakerState_BREAKER_STATE_OPEN})
	p.set(b.GetChange(), err)
	d := p.status().GetDownstreams()[0]
	if d.GetDownstream() != "store" || d.GetPaceMode() != "fixed" || d.GetConcurrencyLimit() != 3 || !d.GetBreakerForced() ||
		d.GetBreaker() != "open" {
		t.Errorf("%v", d)
	}
	if reason := p.ask("ada@example.com"); reason != "" {
		t.Fatal(reason)
	}
	if n := p.mailed(); n != 0 || p.lane("start").GetLeased() != 0 {
		t.Errorf("%d mails past an open breaker", n)
	}
	p.lift("breaker/store")
	p.await("the mail", func(context.Context) error {
		if n := p.mailed(); n != 1 {
			return fmt.Errorf("%d mails", n)
		}
		return nil
	})
	w, err := p.ops.SetLaneWeight(t.Context(), &operatorv1.SetLaneWeightRequest{Lane: "start", Weight: 100})
	if c := p.set(w.GetChange(), err); c.GetBefore() != "weight 8" || p.lane("start").GetWeight() != 100 {
		t.Errorf("%v, %v", c, p.lane("start"))
	}
}

// TestNoMeasurementIsPromisedWhereThereIsNone: the hash pool has a constant pace and no breaker.
func TestNoMeasurementIsPromisedWhereThereIsNone(t *testing.T) {
	t.Parallel()
	p := serve(t, calm)
	says := func(c *operatorv1.Change, words ...string) {
		t.Helper()
		for _, no := range append(words, "breaker", "measuring", "still found") {
			if strings.Contains(c.GetAfter()+fmt.Sprint(c.GetNotes()), no) {
				t.Errorf("%q in %v", no, c)
			}
		}
	}
	fixed, err := p.ops.SetPace(t.Context(), &operatorv1.SetPaceRequest{Downstream: "hash_pool",
		Pace: &operatorv1.SetPaceRequest_Fixed{Fixed: &operatorv1.FixedPace{Concurrency: 1}}})
	says(p.set(fixed.GetChange(), err))
	bounds, err := p.ops.SetPace(t.Context(), &operatorv1.SetPaceRequest{Downstream: "hash_pool",
		Pace: &operatorv1.SetPaceRequest_Bounds{Bounds: &operatorv1.PaceBounds{MaxConcurrency: 2}}})
	if c := p.set(bounds.GetChange(), err); c.GetAfter() != "constant, at most 2 calls at once" {
		t.Errorf("%v", c)
	}
	lifted, err := p.ops.LiftOverride(t.Context(), &operatorv1.LiftOverrideRequest{Target: "pace/hash_pool"})
	if err != nil || len(lifted.GetChanges()) != 1 {
		t.Fatalf("%v, %v", lifted, err)
	}
	says(lifted.GetChanges()[0], "measured")
}

func TestAnOverrideOutlivesAKill(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "{sqlite: {sample: true}}", calm)
	g.start()
	ops := operatorv1.NewOperatorClient(g.dial(g.operator))
	if _, err := ops.ForceBrownout(t.Context(), &operatorv1.ForceBrownoutRequest{Level: 3,
		Steering: &operatorv1.Steering{Reason: "store is sick"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := ops.PauseLane(t.Context(), &operatorv1.PauseLaneRequest{Lane: "apply"}); err != nil {
		t.Fatal(err)
	}
	before, err := ops.ListOverrides(t.Context(), &operatorv1.ListOverridesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	g.kill()
	g.start()
	// From the first call on: there is no moment in which what an operator closed is open.
	_, err = g.reset().StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: "ada", Client: person})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	g.await("what stood", func(ctx context.Context) error {
		s, err := g.status(ctx)
		if err != nil {
			return err
		}
		if s.GetBrownoutLevel() != 3 || !s.GetLanes()[3].GetPaused() || fmt.Sprint(s.GetOverrides()) != fmt.Sprint(before.GetOverrides()) {
			return fmt.Errorf("%v, before the kill %v", s.GetOverrides(), before.GetOverrides())
		}
		return nil
	})
}

func TestAHangupReloadsAllOrNothing(t *testing.T) {
	t.Parallel()
	p := serve(t, calm)
	hangup := func(extra, want string) {
		t.Helper()
		p.write(extra)
		seen := strings.Count(p.log.String(), want)
		p.hangup <- syscall.SIGHUP
		p.await("in the log: "+want, func(context.Context) error {
			if strings.Count(p.log.String(), want) <= seen {
				return errors.New("not there")
			}
			return nil
		})
	}
	client := func() string {
		l, err := p.ops.GetLimits(t.Context(), &operatorv1.GetLimitsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return l.GetLimits()[1].GetRate()
	}
	for extra, want := range map[string]string{
		"admission: {client: {rate: 7/m, burst: 7}}\nlog: {level: loud}":                               "surgegate.yaml:9: log.level",
		"admission: {client: {rate: 7/m, burst: 7}, max_keys: 7}\nqueue: {":                            "reload refused",
		"admission: {client: {rate: 7/m, burst: 7}, global: {rate: 1000/s, burst: 1000}, max_keys: 7}": "admission.max_keys: restart to change; nothing has been changed",
	} {
		hangup(extra, want)
		if got := client(); got != "1000/s" {
			t.Errorf("%s is in force after a refused reload", got)
		}
	}
	hangup(calm, "the configuration is the one in force")
	next := strings.Replace(calm, "client: {rate: 1000/s, burst: 1000}", "client: {rate: 7/m, burst: 8}", 1) +
		"lanes: {start: {weight: 3}}\nbrownout: {hold: 20s}\nstore_pace_is: unknown\n"
	hangup(next, `unknown key \"store_pace_is\"`)
	next = strings.Replace(next, "store_pace_is: unknown\n", "log: {level: debug}\n", 1)
	// An override on top stays there, and what comes back when it ends is the new configuration.
	if _, err := p.ops.SetLaneWeight(t.Context(), &operatorv1.SetLaneWeightRequest{Lane: "start", Weight: 100}); err != nil {
		t.Fatal(err)
	}
	hangup(next, "keys=\"lanes.start.weight, admission.client.rate, admission.client.burst, brownout.hold, log.level\"")
	if got := client(); got != "7/m" || p.lane("start").GetWeight() != 100 {
		t.Errorf("client %s, weight %v", got, p.lane("start").GetWeight())
	}
	p.lift("lane/start/weight")
	if w := p.lane("start").GetWeight(); w != 3 {
		t.Errorf("weight %v came back", w)
	}
	p.write(calm)
	dry, err := p.ops.Reload(t.Context(), &operatorv1.ReloadRequest{DryRun: true})
	if err != nil || len(dry.GetChanges()) != 5 || dry.GetChanges()[1].GetKey() != "admission.client.rate" || client() != "7/m" {
		t.Errorf("%v, %v", dry, err)
	}
	done, err := p.ops.Reload(t.Context(), &operatorv1.ReloadRequest{})
	if err != nil || len(done.GetChanges()) != 5 || client() != "1000/s" {
		t.Errorf("%v, %v", done, err)
	}
	if a := p.audits(); len(a) != 4 || !strings.HasPrefix(a[0], "loopback reload lanes.start.weight admission.client.rate") ||
		!strings.HasPrefix(a[2], "SIGHUP reload ") {
		t.Errorf("audit %q", a)
	}
}
