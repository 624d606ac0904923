package grpcstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/failure"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

var (
	_ credstore.Store   = (*Store)(nil)
	_ credstore.Revoker = (*Store)(nil)
)

// Store is a backend behind gRPC. It is safe for concurrent use.
type Store struct {
	config Config
	conn   *grpc.ClientConn
	client credstorev1.CredentialStoreClient
	form   atomic.Uint32 // of the last Describe; 0 before the first
}

// New checks the configuration; it does not connect, so that surgegate starts while the backend is away.
func New(config Config) (*Store, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("grpcstore: %w: %w", credstore.ErrConfig, err)
	}
	transport := insecure.NewCredentials()
	if !config.Insecure {
		t, err := config.tlsConfig()
		if err != nil {
			return nil, fmt.Errorf("grpcstore: %w: %w", credstore.ErrConfig, err)
		}
		transport = credentials.NewTLS(t)
	}
	conn, err := grpc.NewClient(config.Address,
		grpc.WithTransportCredentials(transport),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(), // whoever can write a DNS record does not set how surgegate calls
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: config.KeepaliveTime, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(config.MaxMessageBytes), grpc.MaxCallSendMsgSize(config.MaxMessageBytes)),
	)
	if err != nil {
		return nil, fmt.Errorf("grpcstore: %w: address: %w", credstore.ErrConfig, err)
	}
	return &Store{config: config, conn: conn, client: credstorev1.NewCredentialStoreClient(conn)}, nil
}

func (s *Store) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.config.CallTimeout)
}

// Describe implements credstore.Store.
func (s *Store) Describe(ctx context.Context) (credstore.Description, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	answer, err := s.client.Describe(ctx, &credstorev1.DescribeRequest{})
	if err != nil {
		return credstore.Description{}, classify(ctx, "Describe", err)
	}
	d := credstore.Description{
		Form:           credstore.Form(answer.GetPasswordForm()),
		MaxLookupBatch: batch(answer.GetMaxLookupBatch()),
		MaxSetBatch:    batch(answer.GetMaxSetBatch()),
		HashSchemes:    answer.GetHashSchemes(),
	}
	if n := answer.GetMaxRevokeBatch(); n > 0 {
		d.MaxRevokeBatch = batch(n)
	}
	switch {
	case answer.GetPasswordForm() != credstorev1.PasswordForm_PASSWORD_FORM_HASH && answer.GetPasswordForm() != credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT:
		return credstore.Description{}, misdescribed(failure.NoForm, fmt.Errorf("password_form %d", answer.GetPasswordForm()))
	case d.Form == credstore.FormHash && len(d.HashSchemes) == 0:
		return credstore.Description{}, misdescribed(failure.NoSchemes, errors.New("no hash_schemes"))
	}
	s.form.Store(uint32(d.Form))
	return d, s.allowed(d.Form)
}

// misdescribed is the error of an answer to Describe that cannot be worked with.
func misdescribed(code string, err error) error {
	return &failure.Error{
		Scope: failure.Downstream, Class: failure.Config, Code: code,
		Err: fmt.Errorf("grpcstore: Describe: %w: %w", credstore.ErrConfig, err),
	}
}

// maxBatch keeps a backend's word from making surgegate lease without bound.
const maxBatch = 1 << 16

func batch(n uint32) int { return int(min(max(n, 1), maxBatch)) }

// allowed refuses to send plaintext where somebody can listen.
func (s *Store) allowed(form credstore.Form) error {
	if form == credstore.FormPlaintext && !s.config.private() {
		return misdescribed(failure.OpenPlaintext, errors.New("the backend wants plaintext passwords, which need TLS or loopback"))
	}
	return nil
}

// Lookup implements credstore.Store.
func (s *Store) Lookup(ctx context.Context, identifiers, accountIDs []string) ([][]credstore.Account, error) {
	results := make([][]credstore.Account, len(identifiers)+len(accountIDs))
	request := &credstorev1.LookupRequest{}
	var at []int // where the result of each sent item belongs
	for i, identifier := range identifiers {
		if utf8.ValidString(identifier) {
			request.Identifiers, at = append(request.Identifiers, identifier), append(at, i)
		}
	}
	for i, id := range accountIDs {
		if utf8.ValidString(id) {
			request.AccountIds, at = append(request.AccountIds, id), append(at, len(identifiers)+i)
		}
	}
	if len(at) == 0 {
		return results, s.ended(ctx)
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	answer, err := s.client.Lookup(ctx, request)
	if err != nil {
		return nil, classify(ctx, "Lookup", err)
	}
	if err := counted("Lookup", len(answer.GetResults()), len(at)); err != nil {
		return nil, err
	}
	for i, r := range answer.GetResults() {
		for _, a := range r.GetAccounts() {
			results[at[i]] = append(results[at[i]], credstore.Account{
				ID: a.GetId(), Address: a.GetAddress(), Locale: a.GetLocale(),
				CurrentHash: credstore.Secret(a.GetCurrentHash()), NotResettable: a.GetNotResettable(),
			})
		}
	}
	return results, nil
}

// SetPasswords implements credstore.Store.
func (s *Store) SetPasswords(ctx context.Context, changes []credstore.Change) ([]credstore.Result, error) {
	form, err := s.knownForm(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]credstore.Result, len(changes))
	request := &credstorev1.SetPasswordsRequest{}
	var at []int
	for i, c := range changes {
		password := c.Password.Reveal()
		switch {
		case !utf8.ValidString(c.AccountID):
			results[i] = credstore.Result{Outcome: credstore.UnknownAccount}
			continue
		case password == "" || !utf8.ValidString(password) || !utf8.ValidString(c.ChangeID) ||
			form == credstore.FormHash && !strings.HasPrefix(password, "$") || form == credstore.FormPlaintext && isHash(password):
			results[i] = credstore.Result{Outcome: credstore.RetryItem, Detail: "not in the form that the backend takes"}
			continue
		}
		change := &credstorev1.PasswordChange{
			AccountId: c.AccountID, ChangeId: c.ChangeID, Sequence: c.Sequence, AcceptTime: timestamppb.New(c.AcceptTime),
			Password: &credstorev1.PasswordChange_Hash{Hash: password},
		}
		if form == credstore.FormPlaintext {
			change.Password = &credstorev1.PasswordChange_Plaintext{Plaintext: password}
		}
		request.Changes, at = append(request.Changes, change), append(at, i)
	}
	if len(at) == 0 {
		return results, s.ended(ctx)
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	answer, err := s.client.SetPasswords(ctx, request)
	if err != nil {
		return nil, classify(ctx, "SetPasswords", err)
	}
	if err := counted("SetPasswords", len(answer.GetResults()), len(at)); err != nil {
		return nil, err
	}
	for i, r := range answer.GetResults() {
		results[at[i]] = credstore.Result{Outcome: outcome(r.GetOutcome()), Detail: r.GetDetail()}
	}
	return results, nil
}

// isHash knows the two hashes that surgegate makes. One that was made for a backend that has begun to ask for plaintext
// meanwhile must not become the password itself; nobody chooses a password of this form.
func isHash(password string) bool {
	return strings.HasPrefix(password, "$argon2id$v=") && strings.Count(password, "$") == 5 ||
		strings.HasPrefix(password, "$2b$") && len(password) == 60
}

// knownForm asks a backend that has not been asked yet: which field a password belongs in is not guessed.
func (s *Store) knownForm(ctx context.Context) (credstore.Form, error) {
	form := credstore.Form(s.form.Load())
	if form != 0 {
		return form, s.allowed(form)
	}
	d, err := s.Describe(ctx)
	return d.Form, err
}

func outcome(o credstorev1.SetPasswordOutcome) credstore.Outcome {
	if o < credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED || o > credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_RETRY {
		return credstore.RetryItem
	}
	return credstore.Outcome(o)
}

// RevokeSessions implements credstore.Revoker.
func (s *Store) RevokeSessions(ctx context.Context, revocations []credstore.Revocation) ([]credstore.Revoked, error) {
	results := make([]credstore.Revoked, len(revocations))
	request := &credstorev1.RevokeSessionsRequest{}
	var at []int
	for i, r := range revocations {
		if utf8.ValidString(r.AccountID) && utf8.ValidString(r.RevocationID) {
			request.Revocations, at = append(request.Revocations, &credstorev1.SessionRevocation{
				AccountId: r.AccountID, RevocationId: r.RevocationID, SessionsBefore: timestamppb.New(r.SessionsBefore),
			}), append(at, i)
		}
	}
	if len(at) == 0 {
		return results, s.ended(ctx)
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	answer, err := s.client.RevokeSessions(ctx, request)
	if err != nil {
		return nil, classify(ctx, "RevokeSessions", err)
	}
	if err := counted("RevokeSessions", len(answer.GetResults()), len(at)); err != nil {
		return nil, err
	}
	for i, r := range answer.GetResults() {
		results[at[i]] = credstore.Revoked{Known: r.GetKnown(), Ended: int(r.GetEnded())}
	}
	return results, nil
}

// Close implements credstore.Store.
func (s *Store) Close() error { return s.conn.Close() }

func counted(call string, results, items int) error {
	if results != items {
		return &failure.Error{Code: failure.BadAnswer, Err: fmt.Errorf("grpcstore: %s: %d results for %d items", call, results, items)}
	}
	return nil
}

// ended is for calls that are answered without asking.
func (s *Store) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return classify(ctx, "call", err)
	}
	return nil
}

// classify says what a failed call means. UNKNOWN, INVALID_ARGUMENT and the other codes that may be one item's fault have
// no scope: whether they are is for the work side to find out. FAILED_PRECONDITION is one of them, unless the backend marks it
// as its own configuration (isMisconfigured): a batch that is taken for misconfigured is never bisected, so one item would
// hold up every batch that it is in.
func classify(ctx context.Context, call string, err error) error {
	code := status.Code(err)
	f := &failure.Error{Code: codeName(code), Text: status.Convert(err).Message()}
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("grpcstore: %s: %w", call, cause)
	case cause != nil, code == codes.DeadlineExceeded: // the transport may be a moment ahead of the context
		f.Scope, f.Class, f.Code = failure.Downstream, failure.Timeout, failure.TimedOut
		f.Err = fmt.Errorf("grpcstore: %s: %w: %w", call, credstore.ErrOverloaded, context.DeadlineExceeded)
	case code == codes.ResourceExhausted && tooLarge(err):
		f.Code = failure.TooLarge
		f.Err = fmt.Errorf("grpcstore: %s: a message is larger than max_message_bytes", call)
	case code == codes.ResourceExhausted, code == codes.Unavailable:
		f.Scope, f.Class = failure.Downstream, failure.Overload
		f.Err = fmt.Errorf("grpcstore: %s: %w: %s", call, credstore.ErrOverloaded, code)
	case code == codes.Unimplemented, code == codes.Unauthenticated, code == codes.PermissionDenied:
		f.Scope, f.Class = failure.Downstream, failure.Config
		f.Err = fmt.Errorf("grpcstore: %s: %w: %s", call, credstore.ErrConfig, code)
	case isMisconfigured(err):
		f.Scope, f.Class = failure.Downstream, failure.Config
		f.Advice = "The backend says that its own configuration is wrong. Look into its log, and correct it there."
		f.Err = fmt.Errorf("grpcstore: %s: %w: %s", call, credstore.ErrConfig, code)
	default:
		f.Err = fmt.Errorf("grpcstore: %s: %s", call, code)
	}
	return f
}

// codeName is the code as the gRPC specification writes it.
func codeName(c codes.Code) string {
	if names := codeNames(); int(c) < len(names) {
		return names[c]
	}
	return failure.Other
}

// codeNames are the names by number (gRPC, "Status codes and their use in gRPC").
func codeNames() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
		"DATA_LOSS", "UNAUTHENTICATED",
	}
}

// FailureCodes are the codes of its errors that are worth a series of their own.
func (s *Store) FailureCodes() []string {
	return []string{
		"UNKNOWN", "INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "UNIMPLEMENTED", "INTERNAL",
		"UNAVAILABLE", "UNAUTHENTICATED", failure.TooLarge,
	}
}

// tooLarge knows gRPC's own refusals by their words, as they share a code with an overloaded backend's
// (google.golang.org/grpc rpc_util.go and stream.go; TestMessageTooLarge fails if they change).
func tooLarge(err error) bool {
	message := status.Convert(err).Message()
	return strings.Contains(message, "message larger than max") || strings.Contains(message, "larger than max (")
}
