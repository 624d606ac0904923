package operator_test

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
	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/edge"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/operator"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/starvation"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// board is a work side whose settings stay where they are put. It is safe for concurrent use.
type board struct {
	mu         sync.Mutex
	paused     map[reset.Lane]bool
	weights    map[reset.Lane]float64
	paces      map[string]pace.Override
	breakers   map[string]breaker.Force
	identifier dispatch.Budget
	store      func() dispatch.Downstream
}

func newBoard() *board {
	return &board{
		paused: map[reset.Lane]bool{}, weights: map[reset.Lane]float64{}, paces: map[string]pace.Override{},
		breakers: map[string]breaker.Force{},
		store: func() dispatch.Downstream {
			return dispatch.Downstream{Name: "store", Breaker: "closed", Mode: pace.ModeAuto, Limits: pace.Limits{Concurrency: 12}}
		},
	}
}

func (b *board) do(f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	return nil
}

func (b *board) Lanes() (all []dispatch.LaneStatus) {
	_ = b.do(func() {
		for _, l := range []reset.Lane{reset.LaneStart, reset.LaneApply} {
			s := dispatch.LaneStatus{Lane: l, Weight: 8, Configured: 8}
			if b.paused[l] {
				s.PausedSince = begin()
			}
			if w := b.weights[l]; w != 0 {
				s.Weight = w
			}
			all = append(all, s)
		}
	})
	return all
}

func (b *board) Status() (all []dispatch.Downstream) {
	all = []dispatch.Downstream{b.store(), {Name: "mail", Breaker: "closed"}, {Name: "revoker", Breaker: "none"}}
	_ = b.do(func() {
		for i, d := range all {
			if f := b.breakers[d.Name]; f != breaker.ForceNone {
				all[i].Forced, all[i].Breaker = f, f.String()
			}
		}
	})
	return all
}

func (b *board) PauseLane(l reset.Lane, paused bool) error {
	return b.do(func() { b.paused[l] = paused })
}

func (b *board) SetLaneWeight(l reset.Lane, w float64) error {
	return b.do(func() { b.weights[l] = w })
}

func (b *board) SetPace(d string, o pace.Override) error { return b.do(func() { b.paces[d] = o }) }

func (b *board) ForceBreaker(d string, f breaker.Force) error {
	return b.do(func() { b.breakers[d] = f })
}

func (b *board) IdentifierBudget() (inForce, configured dispatch.Budget) {
	configured = dispatch.Budget{Mails: 5, Per: time.Hour, Burst: 5}
	_ = b.do(func() { inForce = b.identifier })
	if inForce == (dispatch.Budget{}) {
		inForce = configured
	}
	return inForce, configured
}

func (b *board) SetIdentifierBudget(x dispatch.Budget) error {
	return b.do(func() { b.identifier = x })
}

func (b *board) MailsWithheld() uint64 { return 0 }

// requests is a request side that knows some tickets and has refused some calls. It is safe for concurrent use.
type requests struct {
	tickets map[string]gate.Inspection

	mu      sync.Mutex
	refused map[reset.Kind]uint64
}

func (r *requests) refuse(k reset.Kind, calls uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused == nil {
		r.refused = map[reset.Kind]uint64{}
	}
	r.refused[k] += calls
}

func (r *requests) Refusals() map[reset.Kind]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.refused)
}

func (r *requests) Inspect(_ context.Context, id string) (gate.Inspection, error) {
	i, ok := r.tickets[id]
	if !ok {
		return gate.Inspection{}, &reset.Error{Kind: reset.KindNotFound}
	}
	return i, nil
}

// world is the service behind the real edge, over a real queue.
type world struct {
	t         *testing.T
	clock     *clock.Manual
	board     *board
	queue     *embedded.Engine
	service   *operator.Service
	admission *admission.Admission
	level     *operator.Level
	server    *edge.Server
	client    operatorv1.OperatorClient
	reg       *prometheus.Registry
	log       *bytes.Buffer
}

func begin() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }

func newWorld(t *testing.T, change func(*operator.Deps)) *world {
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
	if w.admission, err = admission.New(admission.Config{}, admission.Deps{Clock: w.clock}); err != nil {
		t.Fatal(err)
	}
	w.level = operator.NewLevel(w.admission.SetLevel)
	w.level.Set(1, admission.Cause{Words: "the oldest job has waited"})
	d := operator.Deps{
		Queue: w.queue, Gate: &requests{}, Work: w.board, Admission: w.admission, Level: w.level,
		MaxStartWait: 12 * time.Hour, MaxSealedWait: 24 * time.Hour, Registerer: w.reg, Logger: log,
		Disk: func() operator.Disk { return operator.Disk{} }, Process: func() starvation.Status { return starvation.Status{} },
		IsDraining: func() bool { return false }, Clock: w.clock, Version: "v0",
	}
	if change != nil {
		change(&d)
	}
	if w.service, err = operator.New(d); err != nil {
		t.Fatal(err)
	}
	local := edge.Listener{Address: "127.0.0.1:0"}
	w.server, err = edge.New(edge.Config{Operator: local, HTTP: local}, edge.Deps{
		Operator: w.service, Registerer: w.reg, Gatherer: w.reg, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.server.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.service.Run(ctx) })
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
