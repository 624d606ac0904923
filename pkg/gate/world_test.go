package gate_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/policy"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
	"github.com/surgegate/surgegate/pkg/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodPassword = "seven lively otters juggle"

// world is the request side with everything real around it but the work side, which the tests play.
type world struct {
	t         testing.TB
	clock     *clock.Manual // the gate's, so that its timers can be counted
	engine    *clock.Manual // the queue's; advance moves both
	gate      *gate.Gate
	queue     queue.Queue
	faults    *faults
	admission *admission.Admission
	tokens    *token.Signer
	index     *seal.Index
	opener    *seal.Opener
	registry  *prometheus.Registry
	foreign   *token.Signer    // its keys have not reached the gate
	keys      *keyStore        // the gate's
	now       func() time.Time // what tokens are dated by
}

type options struct {
	clientBurst int  // default 1000
	globalBurst int  // default: the admission's; one that is set fills again once a day
	noStore     bool // the store has not described itself
	form        credstore.Form
	schemes     []string
	system      bool // the machine's clock
	unlimited   bool // buckets that nobody empties
	instant     bool // a queue that accepts for nothing
	tracer      *tracing.Tracer
	decisions   *decision.Log
}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := &world{t: t, clock: clock.NewManual(begin), engine: clock.NewManual(begin), registry: prometheus.NewRegistry()}
	w.now = w.clock.Now
	var gateClock, engineClock clock.Clock = w.clock, w.engine
	if o.system {
		gateClock, engineClock = clock.System{}, clock.System{}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	engine, err := embedded.Open(embedded.Config{Dir: filepath.Join(t.TempDir(), "queue"), MemTableBytes: 4 << 20, CacheBytes: 1 << 20}, embedded.Deps{
		Clock: engineClock, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Fatal: func(err error) { panic(err) }})
	must(err)
	t.Cleanup(func() { must(engine.Close()) })
	w.queue = engine
	w.faults = &faults{Queue: engine}
	if o.instant {
		w.faults.Queue = &instant{Queue: engine}
	}
	if o.clientBurst == 0 {
		o.clientBurst = 1000
	}
	rules := admission.Config{Client: admission.Rule{Burst: o.clientBurst}}
	if o.globalBurst > 0 {
		rules.Global = admission.Rule{Rate: admission.Rate{Count: 1, Per: 24 * time.Hour}, Burst: o.globalBurst}
	}
	if o.unlimited {
		rules.Client.Burst = 1_000_000
		rules.Global = admission.Rule{Rate: admission.Rate{Count: 1_000_000, Per: time.Second}, Burst: 2_000_000}
	}
	w.admission, err = admission.New(rules, admission.Deps{Registerer: prometheus.NewRegistry(), Clock: gateClock,
		Explain: o.decisions != nil})
	must(err)
	dir := t.TempDir()
	keys, err := token.OpenKeys(filepath.Join(dir, "token"), token.Config{Create: true}, gateClock)
	must(err)
	w.tokens, err = token.NewSigner(keys)
	must(err)
	others, err := token.OpenKeys(filepath.Join(dir, "foreign"), token.Config{Create: true}, gateClock)
	must(err)
	w.foreign, err = token.NewSigner(others)
	must(err)
	keyring, err := seal.OpenKeyring(filepath.Join(dir, "seal"), seal.Config{Create: true}, gateClock)
	must(err)
	w.index = keyring.Index()
	w.opener = seal.NewOpener(keyring, &keyStore{Records: engine})
	w.keys = &keyStore{Records: engine}
	pol, err := policy.New(policy.Config{})
	must(err)
	if !o.noStore {
		w.describe(o.form, o.schemes)
	}
	w.gate, err = gate.New(gate.Config{}, gate.Deps{Queue: w.faults, Admission: w.admission, Tokens: token.NewVerifier(keys),
		Sealer: seal.NewSealer(keyring, w.keys, gateClock), Tickets: keyring.Tickets(), Index: keyring.Index(), Policy: pol,
		Registerer: w.registry, Clock: gateClock, Tracer: o.tracer, Decisions: o.decisions})
	must(err)
	must(w.gate.Start(t.Context()))
	t.Cleanup(func() { must(w.gate.Close()) })
	return w
}

// keyStore keeps data keys in the queue's records, as the app does.
type keyStore struct {
	queue.Records
	fault atomic.Pointer[error]
}

func (s *keyStore) PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error {
	if fault := s.fault.Load(); fault != nil {
		return *fault
	}
	return s.Put(ctx, queue.RecordWrite{Kind: queue.RecordDataKey, Key: id, Value: wrapped, Version: queue.AnyVersion, ExpireTime: expire})
}

func (s *keyStore) GetKey(ctx context.Context, id string) ([]byte, error) {
	r, err := s.Get(ctx, queue.RecordDataKey, id)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, seal.ErrKeyGone
	}
	return r.Value, err
}

// faults is the real queue with errors that no test can make the disk give at will.
type faults struct {
	queue.Queue
	mu                               sync.Mutex
	enqueueErr, acceptErr, ticketErr error
	mark                             uint64 // what Mark tells, if not 0
}

func (f *faults) set(p *error, err error) { f.mu.Lock(); defer f.mu.Unlock(); *p = err }
func (f *faults) get(p *error) error      { f.mu.Lock(); defer f.mu.Unlock(); return *p }
func (f *faults) enqueue(err error)       { f.set(&f.enqueueErr, err) }
func (f *faults) notAccepting(err error)  { f.set(&f.acceptErr, err) }
func (f *faults) ticket(err error)        { f.set(&f.ticketErr, err) }

func (f *faults) Enqueue(ctx context.Context, items []queue.Item) []queue.Verdict {
	if err := f.get(&f.enqueueErr); err != nil {
		return []queue.Verdict{{Err: err}}
	}
	return f.Queue.Enqueue(ctx, items)
}

func (f *faults) Mark(ctx context.Context, account reset.Key) (uint64, error) {
	f.mu.Lock()
	mark := f.mark
	f.mu.Unlock()
	if mark != 0 {
		return mark, nil
	}
	return f.Queue.Mark(ctx, account)
}

func (f *faults) Ticket(ctx context.Context, ref reset.Ref) (queue.Status, error) {
	if err := f.get(&f.ticketErr); err != nil {
		return queue.Status{}, err
	}
	return f.Queue.Ticket(ctx, ref)
}

func (f *faults) Stats(ctx context.Context) (queue.Stats, error) {
	s, err := f.Queue.Stats(ctx)
	if fault := f.get(&f.acceptErr); fault != nil {
		s.NotAccepting = fault
	}
	return s, err
}

// mend takes back every fault, brownout level and pace.
func (w *world) mend() {
	w.t.Helper()
	w.faults.enqueue(nil)
	w.faults.notAccepting(nil)
	w.faults.ticket(nil)
	w.keys.fault.Store(nil)
	w.admission.SetLevel(0, admission.Cause{Words: "test"})
	for _, lane := range reset.Lanes() {
		w.pace(reset.Pace{Lane: lane, Rate: 1000, Service: 10 * time.Millisecond})
	}
	w.refresh()
}

func (w *world) refresh() {
	w.t.Helper()
	if err := w.gate.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(kind queue.RecordKind, key string, value []byte) {
	w.t.Helper()
	if err := w.queue.Put(w.t.Context(), queue.RecordWrite{Kind: kind, Key: key, Value: value, Version: queue.AnyVersion}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pace(p reset.Pace) { w.put(queue.RecordPace, p.Lane.String(), p.Marshal()) }

func (w *world) describe(form credstore.Form, schemes []string) {
	w.t.Helper()
	if form == 0 {
		form = credstore.FormHash
	}
	if schemes == nil {
		schemes = []string{"argon2id"}
	}
	b, err := json.Marshal(credstore.Description{Form: form, MaxLookupBatch: 64, MaxSetBatch: 64, HashSchemes: schemes})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(queue.RecordDescribe, "store", b)
}

// advance moves the queue's clock, then the gate's.
func (w *world) advance(d time.Duration) {
	w.engine.Advance(d)
	w.clock.Advance(d)
}

// blockUntilTimers returns once so many calls of the gate wait on the clock, its own refreshing left out.
func (w *world) blockUntilTimers(n int) { w.clock.BlockUntil(1 + n) }

func (w *world) client(ip string) gate.Client { return gate.Client{IP: netip.MustParseAddr(ip)} }

func (w *world) start(r gate.StartRequest) gate.Answer {
	w.t.Helper()
	a, err := w.gate.StartReset(w.t.Context(), r)
	if err != nil {
		w.t.Errorf("StartReset: %v", err)
	}
	return a
}

func (w *world) ticket(id string) gate.Answer {
	w.t.Helper()
	a, err := w.gate.GetTicket(w.t.Context(), id)
	if err != nil {
		w.t.Errorf("GetTicket: %v", err)
	}
	return a
}

// token signs a token for an account with its present mark, an hour good.
func (w *world) token(account string) string { return w.sign(w.tokens, account) }

func (w *world) sign(by *token.Signer, account string) string {
	w.t.Helper()
	mark, err := w.queue.Mark(w.t.Context(), w.index.Account(account))
	if err != nil {
		w.t.Fatal(err)
	}
	c := token.Claims{Purpose: token.PurposeReset, AccountID: account, Mark: mark, IssueTime: w.now(), ExpireTime: w.now().Add(time.Hour)}
	_, _ = rand.Read(c.Nonce[:])
	tok, err := by.Sign(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return tok
}

func (w *world) completion(tok string) gate.CompleteRequest {
	return gate.CompleteRequest{Token: tok, NewPassword: goodPassword, Client: w.client("192.0.2.1")}
}

func (w *world) complete(r gate.CompleteRequest) gate.Answer {
	w.t.Helper()
	a, err := w.gate.CompleteReset(w.t.Context(), r)
	if err != nil {
		w.t.Errorf("CompleteReset: %v", err)
	}
	return a
}

func (w *world) lease(lane reset.Lane, doneAfter time.Duration) []queue.Lease {
	w.t.Helper()
	leases, err := w.queue.Lease(w.t.Context(), queue.LeaseRequest{Lane: lane, UpTo: reset.ClassDeferrable, Max: 1000,
		Visibility: time.Minute, DoneAfter: doneAfter})
	if err != nil {
		w.t.Fatal(err)
	}
	return leases
}

func (w *world) finish(ends ...queue.Finish) {
	w.t.Helper()
	for _, err := range w.queue.Finish(w.t.Context(), ends) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) open(j reset.Job, into interface{ Unmarshal(b []byte) error }) {
	w.t.Helper()
	plain, err := w.opener.Open(w.t.Context(), seal.BindingOf(j), j.Payload)
	if err == nil {
		err = into.Unmarshal(plain)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) held() uint64 {
	w.t.Helper()
	s, err := w.queue.Stats(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Held
}

func wantKind(t testing.TB, err error, want reset.Kind) {
	t.Helper()
	if err == nil || reset.KindOf(err) != want {
		t.Errorf("got %v, want %s", err, (&reset.Error{Kind: want}).Info())
	}
}

func (w *world) wantCount(call, verdict string, want float64) {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "surgegate_gate_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() { // labels come sorted: call, verdict
			if l := m.GetLabel(); l[0].GetValue() == call && l[1].GetValue() == verdict {
				if got := m.GetCounter().GetValue(); got != want {
					w.t.Errorf("%s %s counted %v times, want %v", call, verdict, got, want)
				}
				return
			}
		}
	}
	w.t.Errorf("no series for %s %s", call, verdict)
}
