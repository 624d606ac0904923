package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// process is a server started for a measurement.
type process struct {
	cmd     *exec.Cmd
	address string
	log     *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startTimeout bounds the start of a server.
const startTimeout = 30 * time.Second

func (s *suite) start(ctx context.Context, address, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), address: address, log: &buffer{}} //nolint:gosec // our own binaries
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	deadline := s.Clock.Now().Add(startTimeout)
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			return p, conn.Close()
		}
		if s.Clock.Now().After(deadline) || s.Clock.Sleep(ctx, 20*time.Millisecond) != nil {
			p.stop()
			return nil, fmt.Errorf("%s does not listen on %s: %s", name, address, p.log)
		}
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = p.cmd.Wait()
}

// processorTime is what the process has used so far, from /proc; 0 where there is none.
func (p *process) processorTime() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// Fields 14 and 15, utime and stime in ticks of 1/100 s (proc(5)); the name in field 2 ends with ")".
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for i := 11; i <= 12 && i < len(fields); i++ {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// gateway starts surgegate with its store as given, in YAML.
func (s *suite) gateway(ctx context.Context, name, store, rest string) (*process, error) {
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	cfg := strings.NewReplacer("DIR", dir, "GRPC", addresses[0], "OPERATOR", addresses[1], "HTTP", addresses[2], "STORE", store).Replace(`
data_dir: DIR/data
keys_dir: DIR/keys
listen: {grpc: "GRPC", operator: "OPERATOR", http: "HTTP"}
queue: {disk_reserve: 100MiB}
store: STORE
mail: {maildir: {path: DIR/mail}, base_url: "http://127.0.0.1:8080"}
admission:
  global: {rate: 1000000/s, burst: 1000000}
  client: {rate: 1000000/s, burst: 1000000}
`) + rest
	path := filepath.Join(dir, "surgegate.yaml")
	if err := os.WriteFile(path, []byte(cfg), 0o600); err != nil {
		return nil, err
	}
	return s.start(ctx, addresses[0], s.Surgegate, "serve", "--config", path)
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
