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
	ledger   *ledger
	workers  *workers
	listener net.Listener
	server   *grpc.Server
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
		cfg: cfg, clock: deps.Clock, ledger: l, listener: listener,
		workers: newWorkers(cfg, deps.Clock, deps.Die), server: grpc.NewServer(grpc.WaitForHandlers(true)),
	}
	credstorev1.RegisterCredentialStoreServer(v.server, v)
	return v, nil
}

// Addr is where it listens.
func (v *Victim) Addr() string { return v.listener.Addr().String() }

// Run serves until ctx ends.
func (v *Victim) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, v.server.Stop)
	defer stop()
	err := v.server.Serve(v.listener)
	v.workers.close()
	return errors.Join(err, v.ledger.close())
}

// Status is what goes on inside.
func (v *Victim) Status() Status {
	return Status{
		Up: true, Cold: v.workers.cold(), Inside: v.workers.inside.Load(), Bytes: v.workers.bytes.Load(),
		Applied: v.applied.Load(), Lookups: v.lookups.Load(),
	}
}

// Describe implements CredentialStore.
func (v *Victim) Describe(context.Context, *credstorev1.DescribeRequest) (*credstorev1.DescribeResponse, error) {
	return &credstorev1.DescribeResponse{
		PasswordForm:   credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT,
		MaxLookupBatch: 64, MaxSetBatch: uint32(v.cfg.MaxSetBatch), MaxRevokeBatch: 64,
	}, nil
}

// Lookup implements CredentialStore.
func (v *Victim) Lookup(ctx context.Context, req *credstorev1.LookupRequest) (*credstorev1.LookupResponse, error) {
	resp := &credstorev1.LookupResponse{}
	find := func(n uint64, ok bool) {
		result := &credstorev1.LookupResult{}
		if ok {
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
	err := v.hold(ctx, len(resp.GetResults()), func(int) time.Duration { return v.cfg.LookupTime }, func(int) { v.lookups.Add(1) })
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
	results := make([]*credstorev1.SetPasswordResult, len(changes))
	cost := func(i int) time.Duration {
		c := changes[i]
		if _, ok := v.cfg.byAccount(c.GetAccountId()); !ok || v.ledger.judge(c.GetAccountId(), c.GetChangeId(), c.GetSequence()) != verdictNew {
			return v.cfg.LookupTime
		}
		return v.cfg.HashTime
	}
	if err := v.hold(ctx, len(changes), cost, func(i int) { results[i] = v.set(changes[i]) }); err != nil {
		return nil, err
	}
	return &credstorev1.SetPasswordsResponse{Results: results}, nil
}

func (v *Victim) set(c *credstorev1.PasswordChange) *credstorev1.SetPasswordResult {
	if _, ok := v.cfg.byAccount(c.GetAccountId()); !ok {
		return &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_UNKNOWN_ACCOUNT}
	}
	if c.GetPlaintext() == "" {
		return &credstorev1.SetPasswordResult{
			Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_REFUSED, Detail: "this store takes plaintext",
		}
	}
	verdict, err := v.ledger.apply(Entry{
		Time: v.clock.Now(), Account: c.GetAccountId(), Change: c.GetChangeId(), Sequence: c.GetSequence(),
		Password: Digest(c.GetPlaintext()),
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
	err := v.hold(ctx, len(results), func(int) time.Duration { return v.cfg.RevokeTime }, func(i int) {
		_, known := v.cfg.byAccount(req.GetRevocations()[i].GetAccountId())
		results[i] = &credstorev1.RevokeSessionsResult{Known: known}
	})
	if err != nil {
		return nil, err
	}
	return &credstorev1.RevokeSessionsResponse{Results: results}, nil
}

// hold puts n items in line and waits for the last. A caller that goes away leaves its items in line.
func (v *Victim) hold(ctx context.Context, n int, cost func(int) time.Duration, work func(int)) error {
	var pending sync.WaitGroup
	for i := range n {
		if !v.workers.enter(task{cost: func() time.Duration { return cost(i) }, work: func() { work(i) }, done: &pending}) {
			return status.Error(codes.Unavailable, "out of memory")
		}
	}
	done := make(chan struct{})
	v.workers.waiters.Go(func() { pending.Wait(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
