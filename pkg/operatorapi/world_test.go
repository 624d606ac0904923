package operatorapi_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/operatorapi"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/steer"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// board is what is steered: values that stay where they are put.
type board struct {
	mu       sync.Mutex
	paused   map[reset.Lane]bool
	weights  map[reset.Lane]float64
	paces    map[string]steer.Pace
	breakers map[string]steer.Breaker
	rules    map[string]steer.Rule
	held     bool
	level    int
}

func newBoard() *board {
	return &board{
		paused: map[reset.Lane]bool{}, weights: map[reset.Lane]float64{}, paces: map[string]steer.Pace{},
		breakers: map[string]steer.Breaker{}, rules: maps.Clone(configuredRules()),
	}
}

func configuredRules() map[string]steer.Rule {
	return map[string]steer.Rule{
		"global": {Rate: admission.Rate{Count: 20_000, Per: time.Second}, Burst: 40_000}, "client": {Rate: admission.Rate{Count: 20,
			Per: time.Minute}, Burst: 20},
		"identifier": {Rate: admission.Rate{Count: 5, Per: time.Hour}, Burst: 5}, "level": {},
	}
}

func (b *board) do(f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	return nil
}

func (b *board) PauseLane(l reset.Lane, paused bool) error {
	return b.do(func() { b.paused[l] = paused })
}
func (b *board) SetLaneWeight(l reset.Lane, w float64) error {
	return b.do(func() { b.weights[l] = w })
}
func (b *board) SetPace(d string, p steer.Pace) error { return b.do(func() { b.paces[d] = p }) }
func (b *board) ForceBreaker(d string, s steer.Breaker) error {
	return b.do(func() { b.breakers[d] = s })
}
func (b *board) Lane(l reset.Lane) (s steer.LaneState) {
	_ = b.do(func() {
		s = steer.LaneState{Paused: b.paused[l], Weight: 8, Configured: 8, Waiting: 3}
		if w := b.weights[l]; w != 0 {
			s.Weight = w
		}
	})
	return s
}
func (b *board) Downstream(d string) (s steer.DownstreamState) {
	_ = b.do(func() {
		s = steer.DownstreamState{Mode: "auto", Concurrency: 12, Breaker: "closed", Forced: b.breakers[d] != "", Configured: "measured"}
	})
	return s
}
func (b *board) Rule(name string) (r steer.Rule) {
	_ = b.do(func() { r = b.rules[name] })
	return r
}
func (b *board) Configured(name string) steer.Rule { return configuredRules()[name] }
func (b *board) SetRule(name string, r steer.Rule) error {
	return b.do(func() { b.rules[name] = r })
}
func (b *board) Force(level int) { _ = b.do(func() { b.held, b.level = true, level }) }
func (b *board) Release()        { _ = b.do(func() { b.held, b.level = false, 1 }) }
func (b *board) Level() (int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level, b.held
}
func (b *board) Asked() (int, string) { return 1, "the oldest job has waited" }

// world is the service behind the real edge, over a real queue.
type world struct {
	t      *testing.T
	clock  *clock.Manual
	board  *board
	queue  *embedded.Engine
	book   *steer.Book
	server *edge.Server
	client operatorv1.OperatorClient
	reg    *prometheus.Registry
	log    *bytes.Buffer
}

func begin() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }

func newWorld(t *testing.T, change func(*operatorapi.Deps)) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewManual(begin()), board: newBoard(), reg: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	// Leases and commits have the machine's time; what is measured and told has the test's.
	w.queue, err = embedded.Open(embedded.Config{Dir: t.TempDir()}, embedded.Deps{Registerer: w.reg,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	knobs := steer.WorkKnobs(steer.WorkConfig{
		Lanes: []reset.Lane{reset.LaneStart, reset.LaneApply}, Paced: []string{"store"}, Broken: []string{"store", "mail"},
		MaxStartWait: 12 * time.Hour, MaxSealedWait: 24 * time.Hour,
	}, w.board)
	knobs = append(append(knobs, steer.BrownoutKnob(w.board)), steer.LimitKnobs(w.board)...)
	if w.book, err = steer.New(steer.Config{}, steer.Deps{Records: w.queue, Knobs: knobs, Clock: w.clock, Registerer: w.reg,
		Logger: log}); err != nil {
		t.Fatal(err)
	}
	d := operatorapi.Deps{
		Queue: w.queue, Book: w.book, Gatherer: w.reg, Registerer: w.reg, Limits: w.board, Clock: w.clock, Version: "v0",
		Level: func() operatorapi.Level {
			level, _ := w.board.Level()
			asked, cause := w.board.Asked()
			return operatorapi.Level{InForce: level, Asked: asked, Cause: cause}
		},
		Lanes: func() []operatorapi.Lane {
			s := w.board.Lane(reset.LaneApply)
			return []operatorapi.Lane{{Lane: reset.LaneApply, Paused: s.Paused, Weight: s.Weight}}
		},
	}
	if change != nil {
		change(&d)
	}
	service, err := operatorapi.New(d)
	if err != nil {
		t.Fatal(err)
	}
	local := edge.Listener{Address: "127.0.0.1:0"}
	w.server, err = edge.New(edge.Config{Operator: local, HTTP: local}, edge.Deps{
		Operator: service, Registerer: w.reg, Gatherer: w.reg, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.server.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { service.Run(ctx) })
	running.Go(func() { w.book.Run(ctx) })
	conn, err := grpc.NewClient(w.server.Addrs().Operator.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	w.client = operatorv1.NewOperatorClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		stop, end := context.WithTimeout(context.Background(), time.Second)
		defer end()
		w.server.Stop(stop)
		cancel()
		running.Wait()
		if err := w.queue.Close(); err != nil {
			t.Error(err)
		}
	})
	w.clock.BlockUntil(2) // both look once a second from now on
	return w
}

// pass lets time go by, look after look.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for range d / time.Second {
		w.clock.BlockUntil(2)
		w.clock.Advance(time.Second)
	}
	w.clock.BlockUntil(2)
}

func (w *world) ctx() context.Context {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// audits is the audit trail, newest first.
func (w *world) audits() []*operatorv1.AuditEntry {
	w.t.Helper()
	r, err := w.client.ListAudit(w.ctx(), &operatorv1.ListAuditRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.GetEntries()
}

// park puts n jobs of the apply lane aside and returns their ids, oldest first.
func (w *world) park(n int) (ids []string) {
	w.t.Helper()
	ctx := w.ctx()
	var items []queue.Item
	for i := range n {
		j := reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneApply, Key: reset.Key{1, byte(i >> 8), byte(i)},
			Account: reset.Key{1, byte(i >> 8), byte(i)}, AcceptTime: time.Now(), ExpireTime: time.Now().Add(time.Hour), Payload: []byte("sealed")}
		ids = append(ids, j.ID.String())
		items = append(items, queue.Item{Job: j})
	}
	for _, v := range w.queue.Enqueue(ctx, items) {
		if v.Err != nil {
			w.t.Fatal(v.Err)
		}
	}
	leases, err := w.queue.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneApply, UpTo: reset.ClassDeferrable, Max: n, Visibility: time.Minute})
	if err != nil || len(leases) != n {
		w.t.Fatalf("%d leased, %v", len(leases), err)
	}
	var parks []queue.Park
	for _, l := range leases {
		parks = append(parks, queue.Park{Lease: l, Cause: "the store refuses it"})
	}
	for _, err := range w.queue.Park(ctx, parks) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return ids
}

// wantField checks that exactly these fields are named as wrong.
func wantField(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.GetFieldViolations() {
				got = append(got, v.GetField())
			}
		}
	}
	if status.Code(err) != codes.InvalidArgument || !slices.Equal(got, want) {
		t.Errorf("%v: fields %v, want %v", err, got, want)
	}
}
