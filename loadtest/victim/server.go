package victim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

// Deps of a victim.
type Deps struct {
	Clock clock.Clock // default: the system's
	Die   func()      // called past the memory bound; production exits 137
}

// Victim is the store itself, inside its process.
type Victim struct {
	credstorev1.UnimplementedCredentialStoreServer
	cfg      Config
	clock    clock.Clock
	born     time.Time
	ledger   *ledger
	workers  *workers
	listener net.Listener
	server   *grpc.Server
	control  net.Listener // nil: none
	applied  atomic.Int64
	lookups  atomic.Int64
}

// New opens the ledger and listens.
func New(cfg Config, deps Deps) (*Victim, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Die == nil {
		return nil, errors.New("victim: Deps.Die is missing")
	}
	l, err := openLedger(cfg.Ledger)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("victim: %w", err), l.close())
	}
	v := &Victim{
		cfg: cfg, clock: deps.Clock, born: deps.Clock.Now(), ledger: l, listener: listener,
		workers: newWorkers(cfg, deps.Clock, deps.Die), server: grpc.NewServer(grpc.WaitForHandlers(true)),
	}
	credstorev1.RegisterCredentialStoreServer(v.server, v)
	if cfg.Control != "" {
		if v.control, err = net.Listen("tcp", cfg.Control); err != nil {
			return nil, errors.Join(fmt.Errorf("victim: control: %w", err), listener.Close(), l.close())
		}
	}
	return v, nil
}

// Addr is where it listens.
func (v *Victim) Addr() string { return v.listener.Addr().String() }

// Run serves until ctx ends.
func (v *Victim) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, v.server.Stop)
	defer stop()
	endControl := v.serveControl()
	err := v.server.Serve(v.listener)
	endControl()
	v.workers.close()
	return errors.Join(err, v.ledger.close())
}

// Describe implements CredentialStore.
func (v *Victim) Describe(context.Context, *credstorev1.DescribeRequest) (*credstorev1.DescribeResponse, error) {
	answer := &credstorev1.DescribeResponse{
		PasswordForm:   credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT,
		MaxLookupBatch: uint32(v.cfg.MaxLookup), MaxSetBatch: uint32(v.cfg.MaxSetBatch), MaxRevokeBatch: 64,
	}
	if v.cfg.Hashed {
		answer.PasswordForm, answer.HashSchemes = credstorev1.PasswordForm_PASSWORD_FORM_HASH, []string{"argon2id"}
	}
	return answer, nil
}

// Lookup implements CredentialStore.
func (v *Victim) Lookup(ctx context.Context, req *credstorev1.LookupRequest) (*credstorev1.LookupResponse, error) {
	resp := &credstorev1.LookupResponse{}
	find := func(n uint64, ok bool) {
		result := &credstorev1.LookupResult{}
		if ok && !v.cfg.Mute {
			result.Accounts = []*credstorev1.Account{{Id: AccountID(n), Address: Identifier(n), Locale: "en"}}
		}
		resp.Results = append(resp.Results, result)
	}
	for _, identifier := range req.GetIdentifiers() {
		find(v.cfg.byIdentifier(identifier))
	}
	for _, id := range req.GetAccountIds() {
		find(v.cfg.byAccount(id))
	}
	err := v.hold(ctx, work{
		items: len(resp.GetResults()), cost: func(int) time.Duration { return v.cfg.LookupTime }, do: func(int) { v.lookups.Add(1) },
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// SetPasswords implements CredentialStore.
func (v *Victim) SetPasswords(ctx context.Context, req *credstorev1.SetPasswordsRequest) (*credstorev1.SetPasswordsResponse, error) {
	changes := req.GetChanges()
	if len(changes) > v.cfg.MaxSetBatch {
		return nil, status.Errorf(codes.InvalidArgument, "%d changes; at most %d", len(changes), v.cfg.MaxSetBatch)
	}
	if step, _ := v.workers.state(); step.Unknown {
		return nil, status.Error(codes.Unknown, "something went wrong")
	}
	results := make([]*credstorev1.SetPasswordResult, len(changes))
	cost := func(i int) time.Duration {
		c := changes[i]
		if _, ok := v.cfg.byAccount(c.GetAccountId()); !ok || v.ledger.judge(c.GetAccountId(), c.GetChangeId(), c.GetSequence()) != verdictNew {
			return v.cfg.LookupTime
		}
		return v.cfg.HashTime
	}
	set := work{items: len(changes), once: v.cfg.BatchTime, cost: cost, do: func(i int) { results[i] = v.set(changes[i]) }}
	if err := v.hold(ctx, set); err != nil {
		return nil, err
	}
	return &credstorev1.SetPasswordsResponse{Results: results}, nil
}

func (v *Victim) set(c *credstorev1.PasswordChange) *credstorev1.SetPasswordResult {
	if _, ok := v.cfg.byAccount(c.GetAccountId()); !ok {
		return &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_UNKNOWN_ACCOUNT}
	}
	password, form := c.GetPlaintext(), "plaintext"
	if v.cfg.Hashed {
		password, form = c.GetHash(), "hashes"
	}
	if password == "" {
		return &credstorev1.SetPasswordResult{
			Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_REFUSED, Detail: "this store takes " + form,
		}
	}
	verdict, err := v.ledger.apply(Entry{
		Time: v.clock.Now(), Account: c.GetAccountId(), Change: c.GetChangeId(), Sequence: c.GetSequence(),
		Password: Digest(password),
	})
	switch {
	case err != nil:
		return &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_RETRY, Detail: "ledger"}
	case verdict == verdictAlready:
		return &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_ALREADY_APPLIED}
	case verdict == verdictSuperseded:
		return &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_SUPERSEDED}
	}
	v.applied.Add(1)
	return &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED}
}

// RevokeSessions implements CredentialStore.
func (v *Victim) RevokeSessions(ctx context.Context, req *credstorev1.RevokeSessionsRequest) (*credstorev1.RevokeSessionsResponse, error) {
	results := make([]*credstorev1.RevokeSessionsResult, len(req.GetRevocations()))
	err := v.hold(ctx, work{
		items: len(results), cost: func(int) time.Duration { return v.cfg.RevokeTime }, do: func(i int) {
			_, known := v.cfg.byAccount(req.GetRevocations()[i].GetAccountId())
			results[i] = &credstorev1.RevokeSessionsResult{Known: known}
		},
	})
	if err != nil {
		return nil, err
	}
	return &credstorev1.RevokeSessionsResponse{Results: results}, nil
}

// work is what a call asks for.
type work struct {
	items int
	once  time.Duration // of a call that is one piece of work
	cost  func(int) time.Duration
	do    func(int)
}

// pieces are the tasks of a call.
func (v *Victim) pieces(w work, factor float64, pending *sync.WaitGroup) []task {
	slow := func(d time.Duration) time.Duration { return time.Duration(float64(d) * factor) }
	if v.cfg.Batched || v.cfg.Knee > 0 {
		return []task{{items: w.items, done: pending, cost: func() time.Duration {
			sum := w.once
			for i := range w.items {
				sum += w.cost(i)
			}
			return slow(sum)
		}, work: func() {
			for i := range w.items {
				w.do(i)
			}
		}}}
	}
	var list []task
	for i := range w.items {
		list = append(list, task{items: 1, cost: func() time.Duration { return slow(w.cost(i)) }, work: func() { w.do(i) }, done: pending})
	}
	return list
}

// hold takes a call in and waits for its last piece. A caller that goes away leaves its work inside.
func (v *Victim) hold(ctx context.Context, w work) error {
	if w.items == 0 {
		return nil
	}
	if step, _ := v.workers.state(); step.Refuse {
		return status.Error(codes.ResourceExhausted, "too many calls")
	}
	factor, noise := v.workers.draw()
	if noise {
		w.do = func(int) {}
	}
	if !v.workers.call(1) {
		v.workers.call(-1)
		return status.Error(codes.Unavailable, "out of memory")
	}
	var pending sync.WaitGroup
	dying := false
	for _, t := range v.pieces(w, factor, &pending) {
		if dying = !v.workers.enter(t); dying {
			break
		}
	}
	done := make(chan struct{})
	v.workers.waiters.Go(func() {
		pending.Wait()
		v.workers.late()
		v.workers.call(-1)
		close(done)
	})
	if dying {
		return status.Error(codes.Unavailable, "out of memory")
	}
	select {
	case <-done:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	if noise {
		return status.Error(codes.Unavailable, "as happens now and then")
	}
	return nil
}
