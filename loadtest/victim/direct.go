package victim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/clock"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// DefaultStoreTimeout is the time-out that most backends have.
const DefaultStoreTimeout = 10 * time.Second

// DirectConfig says how the front serves. Zero fields mean the defaults.
type DirectConfig struct {
	Address      string        // host:port to listen on; required
	Store        string        // host:port of the CredentialStore; required
	Maildir      string        // where mails go
	SMTP         string        // host:port of the mail server that they go to instead
	BaseURL      string        // default https://reset.example.com
	StoreTimeout time.Duration // of each store call; default DefaultStoreTimeout
	TokenTTL     time.Duration // default 1 h
}

// DirectDeps are what the front needs.
type DirectDeps struct{ Clock clock.Clock }

// Direct is the naive front: the PasswordReset API served as most backends serve it, by calling the store inside the handler. It is the
// other side of a comparison, neither better nor worse than usual:
//
//   - every store call has a time-out of 10 s; an error goes to the caller as UNAVAILABLE or DEADLINE_EXCEEDED;
//   - no queue, no admission, no retries, one gRPC connection with the library's defaults;
//   - StartReset looks the account up and mails a link with a signed token (HMAC-SHA-256 over account and expiry);
//   - CompleteReset writes the password, then ends the sessions, each with one store call of one item;
//   - every call makes a new change, as an UPDATE does: a call that timed out may have been applied, and a repeat applies it again.
//
// A ticket is DONE when it is returned; nothing remembers it.
type Direct struct {
	resetv1.UnimplementedPasswordResetServer
	cfg      DirectConfig
	clock    clock.Clock
	signer   signer
	conn     *grpc.ClientConn
	store    credstorev1.CredentialStoreClient
	listener net.Listener
	server   *grpc.Server
}

// NewDirect listens and makes the maildir.
func NewDirect(cfg DirectConfig, deps DirectDeps) (*Direct, error) {
	if cfg.Address == "" || cfg.Store == "" || (cfg.Maildir == "") == (cfg.SMTP == "") {
		return nil, errors.New("direct: Address or Store is missing, or not one of Maildir and SMTP")
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://reset.example.com"
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = DefaultStoreTimeout
	}
	if cfg.TokenTTL == 0 {
		cfg.TokenTTL = time.Hour
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if cfg.Maildir != "" {
		if err := testbed.CreateMaildir(cfg.Maildir); err != nil {
			return nil, err
		}
	}
	conn, err := grpc.NewClient(cfg.Store, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("direct: %w", err)
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("direct: %w", err), conn.Close())
	}
	f := &Direct{
		cfg: cfg, clock: deps.Clock, conn: conn, store: credstorev1.NewCredentialStoreClient(conn), listener: listener,
		signer: signer{key: []byte(rand.Text() + rand.Text())}, server: grpc.NewServer(grpc.WaitForHandlers(true)),
	}
	resetv1.RegisterPasswordResetServer(f.server, f)
	grpc_health_v1.RegisterHealthServer(f.server, health.NewServer())
	return f, nil
}

// Addr returns the address that the front listens on.
func (f *Direct) Addr() string { return f.listener.Addr().String() }

// Run serves until ctx ends.
func (f *Direct) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, f.server.Stop)
	defer stop()
	err := f.server.Serve(f.listener)
	return errors.Join(err, f.conn.Close())
}

// StartReset implements PasswordReset.
func (f *Direct) StartReset(ctx context.Context, req *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	call, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
	defer cancel()
	found, err := f.store.Lookup(call, &credstorev1.LookupRequest{Identifiers: []string{req.GetIdentifier()}})
	if err != nil {
		return nil, storeError(err)
	}
	now := f.clock.Now()
	for _, result := range found.GetResults() {
		for _, account := range result.GetAccounts() {
			token := f.signer.sign(account.GetId(), now.Add(f.cfg.TokenTTL))
			text := "Choose a new password: " + f.cfg.BaseURL + "/complete#token=" + token
			if err := f.mail(account.GetAddress(), text); err != nil {
				return nil, status.Error(codes.Internal, "the mail could not be sent")
			}
		}
	}
	return &resetv1.StartResetResponse{Ticket: done(rand.Text(), now)}, nil
}

// mail sends one, while the caller waits.
func (f *Direct) mail(to, text string) error {
	const subject = "Choose a new password"
	if f.cfg.SMTP == "" {
		return testbed.DeliverMail(f.cfg.Maildir, rand.Text(), to, subject, text)
	}
	message := "To: <" + to + ">\r\nSubject: " + subject + "\r\n\r\n" + text + "\r\n"
	return smtp.SendMail(f.cfg.SMTP, nil, "no-reply@reset.example.com", []string{to}, []byte(message))
}

// CheckToken implements PasswordReset.
func (f *Direct) CheckToken(_ context.Context, req *resetv1.CheckTokenRequest) (*resetv1.CheckTokenResponse, error) {
	_, expire, err := f.check(req.GetToken())
	if err != nil {
		return nil, err
	}
	return &resetv1.CheckTokenResponse{ExpireTime: timestamppb.New(expire)}, nil
}

// CompleteReset implements PasswordReset.
func (f *Direct) CompleteReset(ctx context.Context, req *resetv1.CompleteResetRequest) (*resetv1.CompleteResetResponse, error) {
	account, _, err := f.check(req.GetToken())
	if err != nil {
		return nil, err
	}
	now := f.clock.Now()
	id := rand.Text()
	if err := f.setPassword(ctx, &credstorev1.PasswordChange{
		AccountId: account, ChangeId: id, Sequence: uint64(now.UnixMicro()), AcceptTime: timestamppb.New(now),
		Password: &credstorev1.PasswordChange_Plaintext{Plaintext: req.GetNewPassword()},
	}); err != nil {
		return nil, err
	}
	if req.GetSignOut() == resetv1.SignOut_SIGN_OUT_EVERYWHERE {
		call, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
		defer cancel()
		if _, err := f.store.RevokeSessions(call, &credstorev1.RevokeSessionsRequest{
			Revocations: []*credstorev1.SessionRevocation{{AccountId: account, RevocationId: id, SessionsBefore: timestamppb.New(now)}},
		}); err != nil {
			return nil, storeError(err)
		}
	}
	return &resetv1.CompleteResetResponse{Ticket: done(id, now)}, nil
}

func (f *Direct) setPassword(ctx context.Context, change *credstorev1.PasswordChange) error {
	call, cancel := context.WithTimeout(ctx, f.cfg.StoreTimeout)
	defer cancel()
	resp, err := f.store.SetPasswords(call, &credstorev1.SetPasswordsRequest{Changes: []*credstorev1.PasswordChange{change}})
	if err != nil {
		return storeError(err)
	}
	switch outcome := resp.GetResults()[0].GetOutcome(); outcome {
	case credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED,
		credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_ALREADY_APPLIED,
		credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_SUPERSEDED: // somebody changed it later: as good as done
		return nil
	default:
		return status.Errorf(codes.Unavailable, "the store answered %v", outcome)
	}
}

// GetTicket implements PasswordReset.
func (f *Direct) GetTicket(_ context.Context, req *resetv1.GetTicketRequest) (*resetv1.GetTicketResponse, error) {
	return &resetv1.GetTicketResponse{Ticket: done(req.GetTicketId(), f.clock.Now())}, nil
}

// WatchTicket implements PasswordReset.
func (f *Direct) WatchTicket(req *resetv1.WatchTicketRequest, stream grpc.ServerStreamingServer[resetv1.WatchTicketResponse]) error {
	return stream.Send(&resetv1.WatchTicketResponse{Ticket: done(req.GetTicketId(), f.clock.Now())})
}

func (f *Direct) check(token string) (account string, expire time.Time, err error) {
	account, expire, ok := f.signer.verify(token)
	if !ok {
		return "", time.Time{}, refused("TOKEN_INVALID")
	}
	if f.clock.Now().After(expire) {
		return "", time.Time{}, refused("TOKEN_EXPIRED")
	}
	return account, expire, nil
}

func refused(reason string) error {
	s, err := status.New(codes.FailedPrecondition, reason).WithDetails(&errdetails.ErrorInfo{Domain: "surgegate", Reason: reason})
	if err != nil {
		return status.Error(codes.FailedPrecondition, reason)
	}
	return s.Err()
}

func storeError(err error) error {
	if status.Code(err) == codes.DeadlineExceeded {
		return status.Error(codes.DeadlineExceeded, "the store did not answer in time")
	}
	return status.Error(codes.Unavailable, "the store is not available")
}

func done(id string, now time.Time) *resetv1.Ticket {
	return &resetv1.Ticket{Id: id, State: resetv1.State_STATE_DONE, AcceptTime: timestamppb.New(now), UpdateTime: timestamppb.New(now)}
}
