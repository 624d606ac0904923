package bench

import (
	"context"
	"net"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/loadtest/testbed"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func (s *suite) start(ctx context.Context, address, name string, args ...string) (*testbed.Process, error) {
	return testbed.Start(ctx, s.Clock, address, name, args...)
}

// gateway starts surgegate with its store as given, in YAML, and further arguments.
func (s *suite) gateway(ctx context.Context, name, store, rest string, args ...string) (*testbed.Process, error) {
	gateway, err := s.program(ctx, name, store, rest, args...)
	return gateway.Process, err
}

// program is gateway that also tells the addresses of the other listeners.
func (s *suite) program(ctx context.Context, name, store, rest string, args ...string) (testbed.Gateway, error) {
	return testbed.StartGateway(ctx, s.Clock, testbed.GatewayConfig{
		Program: s.Surgegate, Dir: filepath.Join(s.dir, name), Store: store, Core: testbed.AnyCore, Args: args,
		Rest: `queue: {disk_reserve: 100MiB}
admission:
  global: {rate: 1000000/s, burst: 1000000}
  client: {rate: 1000000/s, burst: 1000000}
` + rest,
	})
}

// ServeEcho answers StartReset with a ticket of the usual size and does nothing else: the ceiling of any gRPC front.
func ServeEcho(ctx context.Context, address string) error {
	return serve(ctx, address, func(g *grpc.Server) { resetv1.RegisterPasswordResetServer(g, echo{}) })
}

type echo struct {
	resetv1.UnimplementedPasswordResetServer
}

func (echo) StartReset(_ context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	return &resetv1.StartResetResponse{Ticket: &resetv1.Ticket{Id: r.GetIdentifier() + strings.Repeat("x", 48), State: resetv1.State_STATE_ACCEPTED}}, nil
}

// ServeStore is a store with plaintext passwords and no work to do: what is added to its time is the gateway's.
func ServeStore(ctx context.Context, address string) error {
	return serve(ctx, address, func(g *grpc.Server) { credstorev1.RegisterCredentialStoreServer(g, plainStore{}) })
}

type plainStore struct {
	credstorev1.UnimplementedCredentialStoreServer
}

func (plainStore) Describe(context.Context, *credstorev1.DescribeRequest) (*credstorev1.DescribeResponse, error) {
	return &credstorev1.DescribeResponse{PasswordForm: credstorev1.PasswordForm_PASSWORD_FORM_PLAINTEXT, MaxLookupBatch: 256, MaxSetBatch: 256}, nil
}

func (plainStore) Lookup(_ context.Context, r *credstorev1.LookupRequest) (*credstorev1.LookupResponse, error) {
	resp := &credstorev1.LookupResponse{}
	for _, id := range append(append([]string{}, r.GetIdentifiers()...), r.GetAccountIds()...) {
		resp.Results = append(resp.Results, &credstorev1.LookupResult{Accounts: []*credstorev1.Account{{Id: id, Address: id}}})
	}
	return resp, nil
}

func (plainStore) SetPasswords(_ context.Context, r *credstorev1.SetPasswordsRequest) (*credstorev1.SetPasswordsResponse, error) {
	resp := &credstorev1.SetPasswordsResponse{}
	for range r.GetChanges() {
		resp.Results = append(resp.Results, &credstorev1.SetPasswordResult{Outcome: credstorev1.SetPasswordOutcome_SET_PASSWORD_OUTCOME_APPLIED})
	}
	return resp, nil
}

func serve(ctx context.Context, address string, register func(*grpc.Server)) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	register(g)
	defer context.AfterFunc(ctx, g.Stop)()
	return g.Serve(l)
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
