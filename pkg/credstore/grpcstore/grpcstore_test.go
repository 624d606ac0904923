package grpcstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/credstoretest"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/failure"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a CredentialStore on loopback for as long as the test.
func serve(t *testing.T, service credstorev1.CredentialStoreServer, options ...grpc.ServerOption) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	credstorev1.RegisterCredentialStoreServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func dial(t *testing.T, config grpcstore.Config) *grpcstore.Store {
	t.Helper()
	s, err := grpcstore.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The suite over a real connection, with the reference server in front of SQLite: both sides at once.
func TestConformance(t *testing.T) {
	t.Parallel()
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		behind, err := sqlite.New(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = behind.Close() })
		var sessions atomic.Int64
		return credstoretest.Fixture{
			Store:      dial(t, grpcstore.Config{Address: serve(t, grpcstore.NewServer(behind)), Insecure: true}),
			SharesHash: true,
			AddAccount: func(ctx context.Context, login string, a credstore.Account) error {
				return behind.PutAccounts(ctx, sqlite.Account{Login: login, Account: a})
			},
			Password: func(ctx context.Context, id string) (string, error) {
				found, err := behind.Lookup(ctx, nil, []string{id})
				if err != nil || len(found[0]) != 1 {
					return "", fmt.Errorf("%d accounts: %w", len(found), err)
				}
				return found[0][0].CurrentHash.Reveal(), nil
			},
			BeginSession: func(ctx context.Context, id string, begun time.Time) error {
				return behind.BeginSession(ctx, fmt.Sprint(sessions.Add(1)), id, begun)
			},
			Sessions: behind.Sessions,
		}
	})
}

// backend answers as a test tells it to.
type backend struct {
	credstorev1.UnimplementedCredentialStoreServer
	describe *credstorev1.DescribeResponse
	err      error
	lookup   *credstorev1.LookupResponse
	set      *credstorev1.SetPasswordsResponse
	hang     chan struct{} // gets a value for each call that is left hanging; nil: none is
	asked    atomic.Int64  // SetPasswords
	got      atomic.Pointer[credstorev1.SetPasswordsRequest]
}

func (b *backend) Describe(ctx context.Context, _ *credstorev1.DescribeRequest) (*credstorev1.DescribeResponse, error) {
	if b.hang != nil {
		b.hang <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if b.describe == nil {
		return &credstorev1.DescribeResponse{PasswordForm: credstorev1.PasswordForm_PASSWORD_FORM_HASH, HashSchemes: []string{"argon2id"}}, b.err
	}
	return b.describe, b.err
}

func (b *backend) Lookup(context.Context, *credstorev1.LookupRequest) (*credstorev1.LookupResponse, error) {
	return b.lookup, b.err
}

func (b *backend) SetPasswords(_ context.Context, r *credstorev1.SetPasswordsRequest) (*credstorev1.SetPasswordsResponse, error) {
	b.asked.Add(1)
	b.got.Store(r)
	return b.set, b.err
}

func change(password string) credstore.Change {
	return credstore.Change{AccountID: "a", Password: credstore.Secret(password), ChangeID: "c", Sequence: 1, AcceptTime: time.UnixMicro(1)}
}

func TestStatusIsClassified(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]error{
		codes.ResourceExhausted:  credstore.ErrOverloaded,
		codes.Unavailable:        credstore.ErrOverloaded,
		codes.DeadlineExceeded:   credstore.ErrOverloaded,
		codes.Unimplemented:      credstore.ErrConfig,
		codes.Unauthenticated:    credstore.ErrConfig,
		codes.PermissionDenied:   credstore.ErrConfig,
		codes.Internal:           nil,
		codes.InvalidArgument:    nil,
		codes.FailedPrecondition: nil, // without the mark of a backend that is set up wrong it may be one item's
		codes.Canceled:           nil, // the backend's own doing: the caller's context is well
		codes.Unknown:            nil,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			s := dial(t, grpcstore.Config{Address: serve(t, &backend{err: status.Error(code, "row of ada@example.com")}), Insecure: true})
			_, err := s.Lookup(t.Context(), []string{"x"}, nil)
			if err == nil {
				t.Fatal("no error")
			}
			for _, class := range []error{credstore.ErrOverloaded, credstore.ErrConfig, context.Canceled} {
				if errors.Is(err, class) != (class == want) { //nolint:errorlint // the sentinel itself
					t.Errorf("%v", err)
				}
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "ada") {
				t.Errorf("the error holds the backend's words: %v", err)
			}
			f := failure.Of(err)
			name := strings.ReplaceAll(strings.ToUpper(code.String()), "_", "") // UNKNOWN, INVALIDARGUMENT
			if code == codes.DeadlineExceeded {
				name = failure.TimedOut
			}
			if code == codes.Canceled {
				name = "CANCELLED"
			}
			if strings.ReplaceAll(f.Code, "_", "") != name || (f.Scope == failure.Downstream) != (want != nil) {
				t.Errorf("code %q, scope %d", f.Code, f.Scope)
			}
			if f.Class != failure.Timeout && f.Text != "row of ada@example.com" {
				t.Errorf("the backend's words are lost: %q", f.Text)
			}
		})
	}
}

// misconfigured is a store whose every call fails with credstore.ErrConfig.
type misconfigured struct{ credstore.Store }

func (misconfigured) Describe(context.Context) (credstore.Description, error) {
	return credstore.Description{Form: credstore.FormHash, MaxLookupBatch: 1, MaxSetBatch: 1, MaxRevokeBatch: 1, HashSchemes: []string{"2b"}}, nil
}

func (misconfigured) Lookup(context.Context, []string, []string) ([][]credstore.Account, error) {
	return nil, fmt.Errorf("table of ada@example.com: %w", credstore.ErrConfig)
}

func (misconfigured) SetPasswords(context.Context, []credstore.Change) ([]credstore.Result, error) {
	return nil, fmt.Errorf("table of ada@example.com: %w", credstore.ErrConfig)
}

func (misconfigured) RevokeSessions(context.Context, []credstore.Revocation) ([]credstore.Revoked, error) {
	return nil, fmt.Errorf("table of ada@example.com: %w", credstore.ErrConfig)
}

func TestServer_MisconfiguredStoreIsErrConfigAtTheClient(t *testing.T) {
	t.Parallel()
	s := dial(t, grpcstore.Config{Address: serve(t, grpcstore.NewServer(misconfigured{})), Insecure: true})
	_, lookup := s.Lookup(t.Context(), []string{"x"}, nil)
	_, set := s.SetPasswords(t.Context(), []credstore.Change{change("$a")})
	_, revoke := s.RevokeSessions(t.Context(), []credstore.Revocation{{AccountID: "a", RevocationID: "r", SessionsBefore: time.UnixMicro(1)}})
	for call, err := range map[string]error{"Lookup": lookup, "SetPasswords": set, "RevokeSessions": revoke} {
		f := failure.Of(err)
		if !errors.Is(err, credstore.ErrConfig) || f.Scope != failure.Downstream || f.Class != failure.Config || f.Code != "FAILED_PRECONDITION" || f.Advice == "" {
			t.Errorf("%s: %v, %d %d %q", call, err, f.Scope, f.Class, f.Code)
		}
		if strings.Contains(fmt.Sprint(err, f.Text), "ada") {
			t.Errorf("%s: the store's words went over the wire", call)
		}
	}
}

// A FAILED_PRECONDITION with somebody else's ErrorInfo may be one item's.
func TestClient_OtherErrorInfoIsNotErrConfig(t *testing.T) {
	t.Parallel()
	for name, info := range map[string]*errdetails.ErrorInfo{
		"other domain": {Domain: "accounts.example.com", Reason: "STORE_MISCONFIGURED"},
		"other reason": {Domain: "surgegate", Reason: "ACCOUNT_LOCKED"},
	} {
		refusal, err := status.New(codes.FailedPrecondition, "x").WithDetails(info)
		if err != nil {
			t.Fatal(err)
		}
		s := dial(t, grpcstore.Config{Address: serve(t, &backend{err: refusal.Err()}), Insecure: true})
		_, err = s.Lookup(t.Context(), []string{"x"}, nil)
		if f := failure.Of(err); err == nil || errors.Is(err, credstore.ErrConfig) || f.Scope != failure.Call || f.Code != "FAILED_PRECONDITION" {
			t.Errorf("%s: %v, scope %d, code %q", name, err, f.Scope, f.Code)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	s := dial(t, grpcstore.Config{Address: listener.Addr().String(), Insecure: true})
	if _, err := s.Describe(t.Context()); !errors.Is(err, credstore.ErrOverloaded) {
		t.Error(err)
	}
}

func TestHangingBackendEndsWithTheContext(t *testing.T) {
	t.Parallel()
	b := &backend{hang: make(chan struct{}, 8)}
	address := serve(t, b)
	s := dial(t, grpcstore.Config{Address: address, Insecure: true})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := s.Describe(ctx); failed <- err }()
	<-b.hang
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, credstore.ErrOverloaded) {
		t.Error(err)
	}
	// Without a deadline of the caller's, CallTimeout ends the call.
	quick := dial(t, grpcstore.Config{Address: address, Insecure: true, CallTimeout: 20 * time.Millisecond})
	if _, err := quick.Describe(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, credstore.ErrOverloaded) {
		t.Error(err)
	}
}

func TestAnswersAreChecked(t *testing.T) {
	t.Parallel()
	b := &backend{
		lookup: &credstorev1.LookupResponse{Results: []*credstorev1.LookupResult{{}}},
		set:    &credstorev1.SetPasswordsResponse{Results: []*credstorev1.SetPasswordResult{{}, {Outcome: 99}, {Outcome: -1}, {Outcome: 1}}},
	}
	s := dial(t, grpcstore.Config{Address: serve(t, b), Insecure: true})
	if _, err := s.Lookup(t.Context(), []string{"a"}, []string{"b"}); err == nil || errors.Is(err, credstore.ErrOverloaded) {
		t.Errorf("1 result for 2 items: %v", err)
	}
	if _, err := s.SetPasswords(t.Context(), []credstore.Change{change("$a")}); err == nil || errors.Is(err, credstore.ErrOverloaded) {
		t.Errorf("4 results for 1 item: %v", err)
	}
	got, err := s.SetPasswords(t.Context(), []credstore.Change{change("$a"), change("$b"), change("$c"), change("$d")})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []credstore.Outcome{credstore.RetryItem, credstore.RetryItem, credstore.RetryItem, credstore.Applied} {
		if got[i].Outcome != want {
			t.Errorf("item %d: %v", i, got[i])
		}
	}
}

func TestDescribeIsChecked(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]*credstorev1.DescribeResponse{
		"no form":      {HashSchemes: []string{"2b"}},
		"unknown form": {PasswordForm: 257}, // 1 in the port's eight bits
		"no scheme":    {PasswordForm: credstorev1.PasswordForm_PASSWORD_FORM_HASH},
	} {
		code := failure.NoForm
		if name == "no scheme" {
			code = failure.NoSchemes
		}
		s := dial(t, grpcstore.Config{Address: serve(t, &backend{describe: answer}), Insecure: true})
		if _, err := s.Describe(t.Context()); !errors.Is(err, credstore.ErrConfig) || failure.Of(err).Code != code {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.SetPasswords(t.Context(), []credstore.Change{change("$a")}); !errors.Is(err, credstore.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := &backend{describe: &credstorev1.DescribeResponse{PasswordForm: credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT, MaxSetBatch: 1 << 31}}
	d, err := dial(t, grpcstore.Config{Address: serve(t, b), Insecure: true}).Describe(t.Context())
	if err != nil || d.MaxLookupBatch != 1 || d.MaxSetBatch != 1<<16 || d.MaxRevokeBatch != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestPasswordTravelsInTheFormThatWasAskedFor(t *testing.T) {
	t.Parallel()
	const phc, plaintext = "$argon2id$x", "correct horse"
	one := &credstorev1.SetPasswordsResponse{Results: []*credstorev1.SetPasswordResult{{Outcome: 1}}}
	hash := &backend{set: one}
	s := dial(t, grpcstore.Config{Address: serve(t, hash), Insecure: true})
	got, err := s.SetPasswords(t.Context(), []credstore.Change{change(plaintext), change(phc)})
	if err != nil || got[0].Outcome != credstore.RetryItem || got[1].Outcome != credstore.Applied {
		t.Errorf("%v, %v", got, err)
	}
	if sent := hash.got.Load().GetChanges(); len(sent) != 1 || sent[0].GetHash() != phc || sent[0].GetPlaintext() != "" {
		t.Errorf("sent %v", sent)
	}
	plain := &backend{set: one, describe: &credstorev1.DescribeResponse{PasswordForm: credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT}}
	s = dial(t, grpcstore.Config{Address: serve(t, plain), Insecure: true})
	if got, err = s.SetPasswords(t.Context(), []credstore.Change{change(plaintext)}); err != nil || got[0].Outcome != credstore.Applied {
		t.Errorf("%v, %v", got, err)
	}
	if sent := plain.got.Load().GetChanges(); sent[0].GetPlaintext() != plaintext || sent[0].GetHash() != "" {
		t.Error("plaintext was not sent as such")
	}
	// Hashed before the backend began to ask for plaintext: the hash itself would become the password.
	for _, hashed := range []string{
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
		"$2b$10$" + strings.Repeat("a", 53),
	} {
		if got, err = s.SetPasswords(t.Context(), []credstore.Change{change(hashed), change("$ign of a good pass phrase")}); err != nil || got[0].Outcome != credstore.RetryItem || got[1].Outcome != credstore.Applied {
			t.Errorf("%v, %v", got, err)
		}
		if sent := plain.got.Load().GetChanges(); len(sent) != 1 {
			t.Errorf("%d changes sent", len(sent))
		}
	}
}

// Off loopback and without TLS a backend that asks for plaintext gets nothing. 127.0.0.1 is reached by a name that is
// not known to be loopback.
func TestPlaintextIsNotSentInTheClear(t *testing.T) {
	t.Parallel()
	b := &backend{describe: &credstorev1.DescribeResponse{PasswordForm: credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT}}
	_, port, _ := net.SplitHostPort(serve(t, b))
	s := dial(t, grpcstore.Config{Address: "passthrough:///0.0.0.0:" + port, Insecure: true})
	if _, err := s.Describe(t.Context()); !errors.Is(err, credstore.ErrConfig) {
		t.Error(err)
	}
	if _, err := s.SetPasswords(t.Context(), []credstore.Change{change("correct horse")}); !errors.Is(err, credstore.ErrConfig) {
		t.Error(err)
	}
	if b.asked.Load() != 0 {
		t.Error("a password was sent")
	}
}

// gRPC's own size limits share a code with an overloaded backend; waiting would not help, a smaller batch does.
func TestMessageTooLarge(t *testing.T) {
	t.Parallel()
	b := &backend{lookup: &credstorev1.LookupResponse{Results: []*credstorev1.LookupResult{{Accounts: []*credstorev1.Account{{Id: strings.Repeat("x", 70<<10)}}}}}}
	address := serve(t, b)
	s := dial(t, grpcstore.Config{Address: address, Insecure: true, MaxMessageBytes: 64 << 10})
	if _, err := s.Lookup(t.Context(), []string{"a"}, nil); err == nil || errors.Is(err, credstore.ErrOverloaded) {
		t.Errorf("received: %v", err)
	}
	if _, err := s.Lookup(t.Context(), []string{strings.Repeat("x", 70<<10)}, nil); err == nil || errors.Is(err, credstore.ErrOverloaded) {
		t.Errorf("sent: %v", err)
	}
	// The backend's limit is gRPC's default, 4 MiB.
	s = dial(t, grpcstore.Config{Address: address, Insecure: true})
	if _, err := s.Lookup(t.Context(), []string{strings.Repeat("x", 5<<20)}, nil); err == nil || errors.Is(err, credstore.ErrOverloaded) {
		t.Errorf("refused by the backend: %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b := &backend{lookup: &credstorev1.LookupResponse{Results: []*credstorev1.LookupResult{{}}}}
	address := serve(t, b, grpc.Creds(credentials.NewTLS(ca.serverConfig(t))))
	certFile, keyFile := ca.issue(t, "surgegate")
	for name, test := range map[string]struct {
		config grpcstore.Config
		ok     bool
	}{
		"mutual":         {grpcstore.Config{CAFile: ca.file, CertFile: certFile, KeyFile: keyFile}, true},
		"no certificate": {grpcstore.Config{CAFile: ca.file}, false},
		"other roots":    {grpcstore.Config{CertFile: certFile, KeyFile: keyFile}, false},
		"other name":     {grpcstore.Config{CAFile: ca.file, CertFile: certFile, KeyFile: keyFile, ServerName: "elsewhere.example.com"}, false},
		"no TLS":         {grpcstore.Config{Insecure: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.config.Address = address
			_, err := dial(t, test.config).Lookup(t.Context(), []string{"x"}, nil)
			if test.ok != (err == nil) || (err != nil && !errors.Is(err, credstore.ErrOverloaded)) {
				t.Error(err)
			}
		})
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]grpcstore.Config{
		"address":           {},
		"insecure":          {Address: "x:1", Insecure: true, CAFile: "y"},
		"cert_file":         {Address: "x:1", CertFile: "y"},
		"max_message_bytes": {Address: "x:1", MaxMessageBytes: 1},
		"call_timeout":      {Address: "x:1", CallTimeout: -1},
		"keepalive_time":    {Address: "x:1", KeepaliveTime: time.Second},
	} {
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, config := range []grpcstore.Config{{Address: "x:1", CAFile: "/does/not/exist"}, {Address: "x:1", CertFile: "/no", KeyFile: "/no"}} {
		if _, err := grpcstore.New(config); !errors.Is(err, credstore.ErrConfig) {
			t.Errorf("%+v: %v", config, err)
		}
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "dns:///localhost:1": true, "unix:/run/x": true, "ipv4:127.0.0.1:1": true,
		"ipv4:127.0.0.1:1,10.0.0.1:1": false, "0.0.0.0:1": false, "10.0.0.1:1": false, "backend:1": false, "localhost.example.com:1": false,
		"dns://127.0.0.1/backend:1": false, "localhost": false, "xds:///localhost:1": false, "": false,
	} {
		if got := grpcstore.Private(grpcstore.Config{Address: address, Insecure: true}); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if !grpcstore.Private(grpcstore.Config{Address: "backend:1"}) {
		t.Error("TLS is private")
	}
}
