package dispatch_test

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// watched is the real queue; it tells when something was settled.
type watched struct {
	queue.Queue
	mu      sync.Mutex
	changed chan struct{}
	leases  []queue.LeaseRequest
	looks   int // at the numbers, one a publication
	onMark  func() error
	onLease func(queue.LeaseRequest)
}

func (q *watched) Mark(ctx context.Context, account reset.Key) (uint64, error) {
	q.mu.Lock()
	f := q.onMark
	q.mu.Unlock()
	if f != nil {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return q.Queue.Mark(ctx, account)
}

func (q *watched) watch() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

func (q *watched) tell() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *watched) Lease(ctx context.Context, r queue.LeaseRequest) ([]queue.Lease, error) {
	q.mu.Lock()
	q.leases = append(q.leases, r)
	f := q.onLease
	q.mu.Unlock()
	defer q.tell()
	if f != nil {
		f(r)
	}
	return q.Queue.Lease(ctx, r)
}

func (q *watched) Finish(ctx context.Context, ends []queue.Finish) []error {
	defer q.tell()
	return q.Queue.Finish(ctx, ends)
}

func (q *watched) Retry(ctx context.Context, r []queue.Retry) []error {
	defer q.tell()
	return q.Queue.Retry(ctx, r)
}

func (q *watched) Park(ctx context.Context, p []queue.Park) []error {
	defer q.tell()
	return q.Queue.Park(ctx, p)
}

func (q *watched) Stats(ctx context.Context) (queue.Stats, error) {
	q.mu.Lock()
	q.looks++
	q.mu.Unlock()
	defer q.tell()
	return q.Queue.Stats(ctx)
}

func (q *watched) Put(ctx context.Context, w queue.RecordWrite) error {
	defer q.tell()
	return q.Queue.Put(ctx, w)
}

// asks is the store's real pacer; it remembers for how many items it was asked.
type asks struct {
	pace.Pacer
	mu    sync.Mutex
	items []int
	onAsk func(k pace.Kind)
}

func (a *asks) Ask(now time.Time, k pace.Kind, items int) pace.Verdict {
	a.mu.Lock()
	a.items = append(a.items, items)
	f := a.onAsk
	a.mu.Unlock()
	if f != nil {
		f(k)
	}
	return a.Pacer.Ask(now, k, items)
}

// take returns what was asked for since the last time.
func (a *asks) take() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	items := a.items
	a.items = nil
	return items
}

// store is the real store with faults that no database can be made to have at will.
type store struct {
	*sqlite.Store
	mu       sync.Mutex
	describe func(credstore.Description) (credstore.Description, error)
	lookup   func(ctx context.Context, identifiers, ids []string) error // before the real one
	set      func(ctx context.Context, changes []credstore.Change) error
	after    func(changes []credstore.Change, results []credstore.Result) error // after the real one
	revoke   func(ctx context.Context) error
	sets     []int
	applied  map[string][]uint64 // sequences applied now, by account
	revoked  []credstore.Revocation
}

func (s *store) on(f func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *store) Describe(ctx context.Context) (credstore.Description, error) {
	desc, err := s.Store.Describe(ctx)
	s.mu.Lock()
	f := s.describe
	s.mu.Unlock()
	if f != nil {
		return f(desc)
	}
	return desc, err
}

func (s *store) Lookup(ctx context.Context, identifiers, ids []string) ([][]credstore.Account, error) {
	s.mu.Lock()
	f := s.lookup
	s.mu.Unlock()
	if f != nil {
		if err := f(ctx, identifiers, ids); err != nil {
			return nil, err
		}
	}
	return s.Store.Lookup(ctx, identifiers, ids)
}

func (s *store) SetPasswords(ctx context.Context, changes []credstore.Change) ([]credstore.Result, error) {
	s.mu.Lock()
	before, after := s.set, s.after
	s.sets = append(s.sets, len(changes))
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, changes); err != nil {
			return nil, err
		}
	}
	results, err := s.Store.SetPasswords(ctx, changes)
	s.mu.Lock()
	for i, r := range results {
		if r.Outcome == credstore.Applied {
			s.applied[changes[i].AccountID] = append(s.applied[changes[i].AccountID], changes[i].Sequence)
		}
	}
	s.mu.Unlock()
	if err == nil && after != nil {
		err = after(changes, results)
	}
	return results, err
}

func (s *store) RevokeSessions(ctx context.Context, r []credstore.Revocation) ([]credstore.Revoked, error) {
	s.mu.Lock()
	f := s.revoke
	s.revoked = append(s.revoked, r...)
	s.mu.Unlock()
	if f != nil {
		if err := f(ctx); err != nil {
			return nil, err
		}
	}
	return s.Store.RevokeSessions(ctx, r)
}

// mailer is the real maildir; it remembers and fails at will.
type mailer struct {
	mail.Sender
	mu      sync.Mutex
	changed chan struct{}
	fail    func(mail.Message) error
	sent    []mail.Message
}

func (m *mailer) watch() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *mailer) Send(ctx context.Context, msg mail.Message) error {
	m.mu.Lock()
	fail := m.fail
	m.mu.Unlock()
	if fail != nil {
		if err := fail(msg); err != nil {
			return err
		}
	}
	if err := m.Sender.Send(ctx, msg); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, msg)
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// links are the tokens that were mailed to an address, confirmations the other mails' number.
func (m *mailer) to(address string) (links []string, confirmations int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range m.sent {
		if msg.To != address {
			continue
		}
		_, after, ok := strings.Cut(msg.Text, "#token=")
		if !ok {
			confirmations++
			continue
		}
		links = append(links, strings.Fields(after)[0])
	}
	return links, confirmations
}
