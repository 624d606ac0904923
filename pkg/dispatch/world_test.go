package dispatch_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/maildir"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
	"github.com/surgegate/surgegate/pkg/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; a quiet machine needs a hundredth of it.
const patience = 20 * time.Second

// world is the work side with everything real around it but the front, which the tests play.
type world struct {
	t        testing.TB
	clock    clock.Clock
	fs       vfs.FS
	queue    *watched
	sqlite   *sqlite.Store
	store    *store
	mails    *mailer
	keyring  *seal.Keyring
	sealer   *seal.Sealer
	opener   *seal.Opener
	signer   *token.Signer
	verifier *token.Verifier
	hashes   *hashpool.Pool
	registry *prometheus.Registry
	dispatch *dispatch.Dispatch
	asks     *asks
	stop     func() // ends Run and waits for it
}

type options struct {
	clock  clock.Clock
	config dispatch.Config
	store  pace.Config
	mail   pace.Config
	// revoker is the store itself: its calls have no pacer of their own.
	oneBackend bool
	// sender is the mail provider; nil: a maildir.
	sender mail.Sender
	// fs is the disk of an earlier world.
	fs vfs.FS
	// from is the world whose keys, store and mails this one goes on with.
	from *world
	// bare gives the store's pacer as it is, so that it can be steered, in place of one that remembers its asks.
	bare bool
	// idle leaves Run to the test.
	idle bool
	// link is told of link mails; nil: nobody is.
	link   func(age time.Duration, handedOff bool)
	tracer *tracing.Tracer
	// behind gives the store that the work side calls, in front of the real one; nil: that itself.
	behind func(credstore.Store) backend
	// log takes the log; nil: nothing does.
	log       slog.Handler
	decisions *decision.Log
}

// backend is a store that revokes.
type backend interface {
	credstore.Store
	credstore.Revoker
}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, clock: o.clock, fs: o.fs, registry: prometheus.NewRegistry(), stop: func() {}}
	if w.clock == nil {
		w.clock = clock.System{}
	}
	if w.fs == nil {
		w.fs = vfs.NewMem()
	}
	if o.from != nil {
		w.sqlite, w.store, w.mails = o.from.sqlite, o.from.store, o.from.mails
		w.keyring, w.signer, w.verifier, w.hashes = o.from.keyring, o.from.signer, o.from.verifier, o.from.hashes
	} else {
		w.makeWorldAround()
	}
	engine, err := embedded.Open(
		embedded.Config{Dir: "queue", MemTableBytes: 4 << 20, CacheBytes: 1 << 20},
		embedded.Deps{Clock: w.clock, FS: w.fs, Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { panic(err) }},
	)
	must(err)
	w.queue = &watched{Queue: engine, changed: make(chan struct{})}
	t.Cleanup(func() { must(w.queue.Close()) })
	w.sealer, w.opener = seal.NewSealer(w.keyring, keyStore{engine}, w.clock), seal.NewOpener(w.keyring, keyStore{engine})

	c := o.config
	if c.TryDelay == 0 {
		c.TryDelay = time.Millisecond
	}
	if c.OverloadDelay == 0 {
		c.OverloadDelay = time.Millisecond
	}
	if c.MaxDelay == 0 {
		c.MaxDelay = 20 * time.Millisecond
	}
	if c.Breaker == (breaker.Config{}) {
		c.Breaker = breaker.Config{OpenWait: 10 * time.Millisecond, MaxOpenWait: 20 * time.Millisecond}
	}
	if o.store == (pace.Config{}) {
		o.store = pace.Config{Concurrency: 4}
	}
	templates, err := mail.NewTemplates(mail.TemplateConfig{BaseURL: "https://reset.example.com"})
	must(err)
	pacer := func(c pace.Config) pace.Pacer {
		c.RampTime = 20 * time.Millisecond
		p, err := pace.NewFixed(c)
		must(err)
		return p
	}
	if o.mail == (pace.Config{}) {
		o.mail = pace.Config{Concurrency: 4}
	}
	if o.sender != nil {
		w.mails.Sender = o.sender
	}
	w.asks = &asks{Pacer: pacer(o.store)}
	pacers := dispatch.Pacers{
		Store: w.asks, Mail: pacer(o.mail), Revoker: pacer(pace.Config{Concurrency: 2}),
		HashPool: pacer(pace.Config{Concurrency: 2}),
	}
	if o.bare {
		pacers.Store = w.asks.Pacer
	}
	if o.oneBackend {
		pacers.Revoker = nil
	}
	var store backend = w.store
	if o.behind != nil {
		store = o.behind(w.store)
	}
	if o.log == nil {
		o.log = slog.DiscardHandler
	}
	w.dispatch, err = dispatch.New(c, dispatch.Deps{
		Queue: w.queue, Store: store, Revoker: store, Mailer: w.mails, Templates: templates,
		Sealer: w.sealer, Opener: w.opener, Index: w.keyring.Index(), Signer: w.signer, Verifier: w.verifier, Hasher: w.hashes,
		Pacers: pacers, Link: o.link,
		Clock: w.clock, Logger: slog.New(o.log), Register: w.registry,
		Tracer: o.tracer, Decisions: o.decisions,
	})
	must(err)
	w.dispatch.Prepare(t.Context())
	if !o.idle {
		w.run()
	}
	return w
}

// makeWorldAround makes what outlives the process: keys, store, mails.
func (w *world) makeWorldAround() {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	dir := w.t.TempDir()
	var err error
	w.sqlite, err = sqlite.New(w.t.Context(), sqlite.Config{Path: filepath.Join(dir, "store.db"), Sample: true})
	must(err)
	w.t.Cleanup(func() { must(w.sqlite.Close()) })
	w.store = &store{Store: w.sqlite, applied: make(map[string][]uint64)}
	box, err := maildir.New(maildir.Config{Path: filepath.Join(dir, "mail")}, maildir.Deps{Clock: w.clock})
	must(err)
	w.mails = &mailer{Sender: box, changed: make(chan struct{})}
	keys, err := token.OpenKeys(filepath.Join(dir, "keys"), token.Config{Create: true}, w.clock)
	must(err)
	w.signer, err = token.NewSigner(keys)
	must(err)
	w.verifier = token.NewVerifier(keys)
	w.keyring, err = seal.OpenKeyring(filepath.Join(dir, "keys"), seal.Config{Create: true}, w.clock)
	must(err)
	w.hashes, err = hashpool.New(hashpool.Config{ArgonKiB: 7168, ArgonTime: 5}, hashpool.Deps{}) // the cheapest floor
	must(err)
}

// run starts the work side and stops it at the end of the test.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.dispatch.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(w.stop)
}

// closed stops the work side, closes the queue and returns its disk.
func (w *world) closed() vfs.FS {
	w.t.Helper()
	w.stop()
	if err := w.queue.Close(); err != nil {
		w.t.Fatal(err)
	}
	return w.fs
}

// start asks for a link as the front does.
func (w *world) start(identifier string) reset.Ref {
	w.t.Helper()
	return w.enqueue(w.startJob(identifier), nil)
}

func (w *world) startJob(identifier string) reset.Job {
	w.t.Helper()
	return w.sealed(seal.AudiencePII, reset.Job{
		ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: w.keyring.Index().Identifier(identifier),
		AcceptTime: w.now(),
	}, reset.StartPayload{Identifier: identifier, Purpose: reset.PurposeLink}.Marshal())
}

func (w *world) now() time.Time { return w.clock.Now().UTC().Truncate(time.Microsecond) }

func (w *world) sealed(a seal.Audience, j reset.Job, payload []byte) reset.Job {
	w.t.Helper()
	var err error
	j.Payload, err = w.sealer.Seal(w.t.Context(), a, seal.Binding{
		Job: j.ID, Ticket: j.Ticket, Account: j.Account, Lane: j.Lane, AcceptTime: j.AcceptTime, ExpireTime: j.ExpireTime,
	}, payload)
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) enqueue(j reset.Job, mark *queue.MarkRaise) reset.Ref {
	w.t.Helper()
	v := w.queue.Enqueue(w.t.Context(), []queue.Item{{Job: j, Mark: mark}})
	if v[0].Err != nil {
		w.t.Fatal(v[0].Err)
	}
	return v[0].Ref
}

// token signs a link for the account as it stands now.
func (w *world) token(account string) (tok string, mark uint64) {
	w.t.Helper()
	mark, err := w.queue.Mark(w.t.Context(), w.keyring.Index().Account(account))
	if err != nil {
		w.t.Fatal(err)
	}
	c := token.Claims{Purpose: token.PurposeReset, AccountID: account, Mark: mark, IssueTime: w.now(), ExpireTime: w.now().Add(time.Hour)}
	_, _ = rand.Read(c.Nonce[:])
	if tok, err = w.signer.Sign(c); err != nil {
		w.t.Fatal(err)
	}
	return tok, mark
}

// complete sets a new password as the front does.
func (w *world) complete(account, password string, change ...func(*reset.Job, *reset.CompletionPayload)) reset.Ref {
	w.t.Helper()
	tok, mark := w.token(account)
	key := w.keyring.Index().Account(account)
	j := reset.Job{
		ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneHash, Key: key, Account: key, AcceptTime: w.now(),
		ExpireTime: w.now().Add(24 * time.Hour),
	}
	p := reset.CompletionPayload{AccountID: account, Token: tok, Password: password}
	for _, f := range change {
		f(&j, &p)
	}
	j = w.sealed(seal.AudiencePassword, j, p.Marshal())
	return w.enqueue(j, &queue.MarkRaise{Account: key, TokenMark: mark, ExpireTime: w.now().Add(72 * time.Hour)})
}

// until waits until the condition holds; it is looked at after each thing that the work side settles.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		queued, mailed := w.queue.watch(), w.mails.watch()
		if ok() {
			return
		}
		select {
		case <-queued:
		case <-mailed:
		case <-ctx.Done():
			s, _ := w.queue.Stats(w.t.Context())
			w.t.Fatalf("waited in vain until %s; %+v", what, s.Lanes)
		}
	}
}

func (w *world) status(r reset.Ref) queue.Status {
	w.t.Helper()
	s, err := w.queue.Ticket(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// ends waits for the ticket's end.
func (w *world) ends(r reset.Ref, state reset.State, reason reset.Reason) {
	w.t.Helper()
	var s queue.Status
	w.until(fmt.Sprintf("the ticket is %s %s (it is %+v)", state, reason, s), func() bool {
		s = w.status(r)
		return s.State.Final()
	})
	if s.State != state || s.Reason != reason {
		w.t.Fatalf("the ticket ended %s %s, not %s %s", s.State, s.Reason, state, reason)
	}
}

func (w *world) stats() queue.Stats {
	w.t.Helper()
	s, err := w.queue.Queue.Stats(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// drained waits until no job is held.
func (w *world) drained() {
	w.t.Helper()
	w.until("no job is held", func() bool {
		s := w.stats()
		if n := s.Conservation(); n != 0 {
			w.t.Fatalf("conservation is %d", n)
		}
		return s.Held == 0
	})
}

func (w *world) password(account string) string {
	w.t.Helper()
	found, err := w.sqlite.Lookup(w.t.Context(), nil, []string{account})
	if err != nil || len(found[0]) != 1 {
		w.t.Fatalf("look-up of %s: %v, %v", account, found, err)
	}
	return found[0][0].CurrentHash.Reveal()
}

func (w *world) hasPassword(account, password string) bool {
	w.t.Helper()
	ok, err := w.hashes.Verify(w.t.Context(), w.password(account), []byte(password))
	return err == nil && ok
}

// metric sums the series of a counter whose labels include the given values.
func (w *world) metric(name string, values ...string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if labelled(m, values) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func labelled(m *dto.Metric, values []string) bool {
	for _, v := range values {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetValue() == v
		}
		if !found {
			return false
		}
	}
	return true
}

// keyStore keeps data keys in the queue's records, as the app does.
type keyStore struct{ queue.Records }

func (s keyStore) PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error {
	return s.Put(ctx, queue.RecordWrite{
		Kind: queue.RecordDataKey, Key: id, Value: wrapped, Version: queue.AnyVersion, ExpireTime: expire,
	})
}

func (s keyStore) GetKey(ctx context.Context, id string) ([]byte, error) {
	r, err := s.Get(ctx, queue.RecordDataKey, id)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, seal.ErrKeyGone
	}
	return r.Value, err
}
