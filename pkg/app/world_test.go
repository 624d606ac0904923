package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// TestMain serves as surgegate itself when a test starts this binary as a child: what is killed is the real program.
func TestMain(m *testing.M) {
	path, ok := os.LookupEnv("SURGEGATE_TEST_SERVE")
	if !ok {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := config.Load(path, nil)
	if err == nil {
		err = app.Run(ctx, app.Options{Config: c, Output: os.Stderr, Record: os.Getenv("SURGEGATE_TEST_RECORD")})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "surgegate:", err)
		os.Exit(1) // the process ends: nothing to stop
	}
}

// gateway is a child process with its folders; it can be killed and started again.
type gateway struct {
	t                    *testing.T
	dir                  string
	grpc, operator, http string
	program              []string // what to run; this test binary by default
	record               string   // file for a trace; empty: none

	mu  sync.Mutex
	cmd *exec.Cmd
	log *bytes.Buffer // of all its lives
}

// lockedWriter lets a child's pipe and a test share the log.
type lockedWriter struct{ g *gateway }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	return w.g.log.Write(p)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// newGateway writes the configuration; store is YAML, extra are further keys.
func newGateway(t *testing.T, store, extra string) *gateway {
	t.Helper()
	if !strings.Contains(extra, "brownout:") {
		extra += "\nbrownout: {cpu_delay: " + neverStarved + "}\n"
	}
	g := &gateway{t: t, dir: t.TempDir(), grpc: freeAddress(t), operator: freeAddress(t), http: freeAddress(t), log: &bytes.Buffer{}}
	text := fmt.Sprintf(`
data_dir: %[1]s/data
keys_dir: %[1]s/keys
listen: {grpc: "%[2]s", operator: "%[3]s", http: "%[4]s"}
queue: {disk_reserve: 1MiB}
store: %[5]s
mail: {maildir: {path: %[1]s/mail}, base_url: "https://reset.example.com", account_per_day: 100000}
hash: {memory: 7MiB, time: 5}
%[6]s`, g.dir, g.grpc, g.operator, g.http, store, extra)
	if err := os.WriteFile(g.configFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.kill)
	return g
}

// neverStarved keeps the machine's other business, which may starve a test, out of the level.
const neverStarved = "[1h, 0s, 0s, 0s]"

// generous are limits that a test full of people behind one address needs.
const generous = `
admission:
  global: {rate: 1000000/s, burst: 1000000}
  client: {rate: 1000000/s, burst: 1000000}
  identifier: {rate: 100000/h, burst: 100000}
`

func (g *gateway) configFile() string { return filepath.Join(g.dir, "surgegate.yaml") }

func (g *gateway) start() {
	g.t.Helper()
	program := g.program
	if len(program) == 0 {
		program = []string{os.Args[0]}
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = append(os.Environ(), "SURGEGATE_TEST_SERVE="+g.configFile(), "SURGEGATE_TEST_RECORD="+g.record)
	cmd.Stderr, cmd.Stdout = lockedWriter{g}, lockedWriter{g}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.cmd = cmd
	g.mu.Unlock()
	g.await("the public port", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", g.grpc)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func (g *gateway) await(what string, condition func(context.Context) error) {
	g.t.Helper()
	await(g.t, what, g.output, condition)
}

// await asks again and again, with a pause, until the condition holds.
func await(t *testing.T, what string, output func() string, condition func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v\n%s", what, err, output())
		}
	}
}

func (g *gateway) kill() {
	g.mu.Lock()
	cmd := g.cmd
	g.cmd = nil
	g.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // SIGKILL; it may have ended by itself
		_ = cmd.Wait()
	}
}

// terminate sends SIGTERM and returns the exit code.
func (g *gateway) terminate() int {
	g.t.Helper()
	g.mu.Lock()
	cmd := g.cmd
	g.cmd = nil
	g.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.t.Fatal(err)
	}
	_ = cmd.Wait() // the code tells
	return cmd.ProcessState.ExitCode()
}

func (g *gateway) signal(s os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.cmd.Process.Signal(s)
}

func (g *gateway) output() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

func (g *gateway) dial(address string) *grpc.ClientConn {
	g.t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A gateway that was killed comes back within a second: do not wait longer for it.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (g *gateway) reset() resetv1.PasswordResetClient {
	return resetv1.NewPasswordResetClient(g.dial(g.grpc))
}

func (g *gateway) status(ctx context.Context) (*operatorv1.GetStatusResponse, error) {
	return operatorv1.NewOperatorClient(g.dial(g.operator)).GetStatus(ctx, &operatorv1.GetStatusRequest{})
}

// mails are what has been delivered: address to newest token, and how many mails without one.
type mails struct {
	dir    string
	mu     sync.Mutex
	seen   map[string]bool
	tokens map[string][]string
	others map[string]int
}

func (g *gateway) mails() *mails {
	return &mails{dir: filepath.Join(g.dir, "mail", "new"), seen: map[string]bool{}, tokens: map[string][]string{}, others: map[string]int{}}
}

// look reads what is new.
func (m *mails) look() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if m.seen[e.Name()] {
			continue
		}
		to, text, err := readMail(filepath.Join(m.dir, e.Name()))
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		m.seen[e.Name()] = true
		if match := regexp.MustCompile(`https://reset\.example\.com/complete#token=(\S+)`).FindStringSubmatch(text); match != nil {
			m.tokens[to] = append(m.tokens[to], match[1])
		} else {
			m.others[to]++
		}
	}
	return nil
}

// count tells how many links, and how many other mails, an address has got.
func (m *mails) count(to string) (links, others int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tokens[to]), m.others[to]
}

// take waits for the n-th token (from 0) of an address.
func (m *mails) take(ctx context.Context, to string, n int) (string, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := m.look(); err != nil {
			return "", err
		}
		m.mu.Lock()
		tokens := m.tokens[to]
		m.mu.Unlock()
		if len(tokens) > n {
			return tokens[n], nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("mail %d for %s: %w", n, to, ctx.Err())
		}
	}
}

func readMail(path string) (to, text string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = f.Close() }()
	m, err := netmail.ReadMessage(f)
	if err != nil {
		return "", "", err
	}
	address, err := netmail.ParseAddress(m.Header.Get("To"))
	if err != nil {
		return "", "", err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return "", "", err
	}
	part, err := multipart.NewReader(m.Body, params["boundary"]).NextPart() // decoded
	if err != nil {
		return "", "", err
	}
	body, err := io.ReadAll(part)
	return address.Address, string(body), err
}

// ledger is a store that records what it applied: SQLite behind the real gRPC contract, with plaintext or hashes.
type ledger struct {
	*sqlite.Store
	form  credstore.Form
	lag   func(found bool) time.Duration // of a look-up
	busy  atomic.Bool                    // it takes no passwords now
	mu    sync.Mutex
	bound map[string][]applied // by account
}

type applied struct {
	changeID, password string
	sequence           uint64
}

func newLedger(t *testing.T, form credstore.Form, people int) (*ledger, string) {
	t.Helper()
	s, err := sqlite.New(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{Store: s, form: form, bound: map[string][]applied{}}
	var accounts []sqlite.Account
	for i := range people {
		accounts = append(accounts, sqlite.Account{Account: credstore.Account{ID: accountID(i), Address: address(i)}, Login: address(i)})
	}
	if len(accounts) > 0 {
		if err := s.PutAccounts(t.Context(), accounts...); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	credstorev1.RegisterCredentialStoreServer(server, grpcstore.NewServer(l))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
		_ = s.Close()
	})
	return l, fmt.Sprintf("{grpc: {address: %q, insecure: true}}", listener.Addr())
}

func accountID(i int) string { return fmt.Sprintf("account-%06d", i) }
func address(i int) string   { return fmt.Sprintf("person-%06d@example.com", i) }

func (l *ledger) Describe(ctx context.Context) (credstore.Description, error) {
	d, err := l.Store.Describe(ctx)
	d.Form = l.form
	return d, err
}

func (l *ledger) Lookup(ctx context.Context, identifiers, ids []string) ([][]credstore.Account, error) {
	found, err := l.Store.Lookup(ctx, identifiers, ids)
	if l.lag == nil || err != nil {
		return found, err
	}
	// Hits take longer, each in its own time: the batch is held for the slowest of its own.
	var lag time.Duration
	for _, accounts := range found {
		lag = max(lag, l.lag(len(accounts) > 0))
	}
	if lag > 0 {
		timer := time.NewTimer(lag)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return found, nil
}

func (l *ledger) SetPasswords(ctx context.Context, changes []credstore.Change) ([]credstore.Result, error) {
	hashed := append([]credstore.Change(nil), changes...)
	for i := range hashed {
		if l.form == credstore.FormPlaintext { // SQLite keeps hashes; the ledger keeps what was sent
			hashed[i].Password = "$argon2id$v=19$m=7168,t=5,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		}
	}
	if l.busy.Load() {
		return nil, credstore.ErrOverloaded
	}
	results, err := l.Store.SetPasswords(ctx, hashed)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range results {
		if r.Outcome == credstore.Applied {
			c := changes[i]
			l.bound[c.AccountID] = append(l.bound[c.AccountID], applied{c.ChangeID, c.Password.Reveal(), c.Sequence})
		}
	}
	return results, err
}

// history is what was applied to an account, in order.
func (l *ledger) history(account string) []applied {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]applied(nil), l.bound[account]...)
}

// inFiles lists the files below the folders that contain any of the needles.
func inFiles(t *testing.T, needles []string, folders ...string) []string {
	t.Helper()
	var found []string
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, needle := range needles {
				if bytes.Contains(content, []byte(needle)) {
					found = append(found, fmt.Sprintf("%q in %s", needle, strings.TrimPrefix(path, folder)))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
