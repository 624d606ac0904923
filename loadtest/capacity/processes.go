package capacity

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/token"
	credstorev1 "github.com/surgegate/surgegate/proto/surgegate/credstore/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// manyAccounts is more than any run has people.
const manyAccounts = 1 << 30

// store is a victim and its supervisor.
type store struct {
	cfg     victim.Config
	clock   clock.Clock
	keeper  *victim.Supervisor
	http    http.Client
	end     context.CancelFunc
	ended   chan error
	once    sync.Once
	failure error         // of the supervisor, once stopped
	next    atomic.Uint64 // accounts of the reference, from the end of the range
}

const restartDelay = 5 * time.Second

func startStore(ctx context.Context, o Options, dir string, cfg victim.Config) (*store, error) {
	var err error
	if cfg.Address, err = testbed.FreeAddress(); err != nil {
		return nil, err
	}
	if cfg.Control, err = testbed.FreeAddress(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	cfg.Ledger, cfg.Accounts = filepath.Join(dir, "ledger.jsonl"), manyAccounts
	s, err := victim.NewSupervisor(victim.SupervisorConfig{
		Command: []string{o.Self, "victim", "--child"}, Victim: cfg, RestartDelay: restartDelay,
	}, victim.SupervisorDeps{Clock: o.Clock, Stderr: os.Stderr})
	if err != nil {
		return nil, err
	}
	running, end := context.WithCancel(ctx)
	st := &store{cfg: cfg, clock: o.Clock, keeper: s, http: http.Client{Timeout: time.Second}, end: end, ended: make(chan error, 1)}
	go func() { st.ended <- s.Run(running) }()
	select {
	case <-s.Ready():
		return st, nil
	case err := <-st.ended:
		end()
		return nil, fmt.Errorf("capacity: the store did not come up: %w", err)
	}
}

// stop ends it, the first time it is called.
func (s *store) stop() error {
	s.once.Do(func() {
		s.end()
		s.failure = <-s.ended
	})
	return s.failure
}

// status is what goes on inside, not Up while the process is dead. False: it does not answer, though it lives, which on
// a machine that is short of processor says nothing of the store.
func (s *store) status() (v victim.Status, ok bool) {
	r, err := s.http.Get("http://" + s.cfg.Control + "/status") //nolint:noctx // the client has a deadline
	if err == nil {
		defer func() { _ = r.Body.Close() }()
		err = json.NewDecoder(r.Body).Decode(&v)
	}
	if err != nil {
		known := s.keeper.Status()
		return victim.Status{Crashes: known.Crashes}, !known.Up
	}
	return v, true
}

func (s *store) post(path string, body any) error {
	js, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := s.http.Post("http://"+s.cfg.Control+path, "application/json", bytes.NewReader(js)) //nolint:noctx // the client has a deadline
	if err != nil {
		return err
	}
	if err := r.Body.Close(); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("capacity: %s %s: %s", path, js, r.Status)
	}
	return nil
}

// crash kills the victim's process; that its answer does not come is the point.
func (s *store) crash() { _ = s.post("/crash", nil) }

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// reference is how many passwords a second the store sets for a plain closed loop at its best number of calls.
func (s *store) reference(ctx context.Context, warmUp, length time.Duration) (float64, error) {
	conn, err := dial(s.cfg.Address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	client := credstorev1.NewCredentialStoreClient(conn)
	batch := 1
	if s.cfg.Batched {
		batch = s.cfg.MaxSetBatch
	}
	begin := s.clock.Now()
	from, until := begin.Add(warmUp), begin.Add(warmUp+length)
	var done atomic.Int64
	var failure atomic.Pointer[error]
	var group sync.WaitGroup
	for range int(s.cfg.Best() + .5) {
		group.Go(func() {
			for ctx.Err() == nil && s.clock.Now().Before(until) {
				err := s.set(ctx, client, batch)
				if now := s.clock.Now(); err == nil && now.After(from) && now.Before(until) {
					done.Add(int64(batch))
				} else if err != nil && s.cfg.Noise == 0 && ctx.Err() == nil {
					failure.Store(&err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := failure.Load(); err != nil {
		return 0, fmt.Errorf("capacity: reference: %w", *err)
	}
	return float64(done.Load()) / length.Seconds(), ctx.Err()
}

// set sets the passwords of accounts that nobody else uses.
func (s *store) set(ctx context.Context, client credstorev1.CredentialStoreClient, batch int) error {
	request := &credstorev1.SetPasswordsRequest{}
	for range batch {
		n := manyAccounts - s.next.Add(1)
		request.Changes = append(request.Changes, &credstorev1.PasswordChange{
			AccountId: victim.AccountID(n), ChangeId: fmt.Sprintf("reference-%d", n), Sequence: 1,
			Password: &credstorev1.PasswordChange_Plaintext{Plaintext: password}, AcceptTime: timestamppb.New(s.clock.Now()),
		})
	}
	_, err := client.SetPasswords(ctx, request)
	return err
}

// worth is what a look-up is worth of a password, by its cost.
func (s *store) worth() float64 {
	c := s.cfg.WithDefaults()
	work := c.HashTime.Seconds()
	if c.Batched {
		work = c.BatchTime.Seconds()/float64(c.MaxSetBatch) + c.HashTime.Seconds()
	}
	return c.LookupTime.Seconds() / work
}

// gateway is the surgegate binary as a process, with no capacity configured.
type gateway struct {
	*testbed.Process
	metricsURL string
	keys       string
	http       http.Client
	conns      []*grpc.ClientConn
	clients    []resetv1.PasswordResetClient
}

// connections spread the calls: one would serialise on its HTTP/2 writer.
const connections = 4

// startGateway starts it with a store as given in YAML, and rest as further top-level keys.
func startGateway(ctx context.Context, o Options, dir, store, rest string) (*gateway, error) {
	running, err := testbed.StartGateway(ctx, o.Clock, testbed.GatewayConfig{
		Program: o.Surgegate, Dir: dir, Store: store, Core: testbed.AnyCore,
		Rest: `admission:
  global: {rate: 1000000/s, burst: 1000000}
  client: {rate: 1000000/s, burst: 1000000}
reset: {sign_out: keep}
` + rest,
	})
	if err != nil {
		return nil, err
	}
	g := &gateway{
		Process: running.Process, keys: running.Keys, metricsURL: "http://" + running.HTTP + "/metrics", http: http.Client{Timeout: 2 * time.Second},
	}
	for range connections {
		conn, err := dial(g.Address)
		if err != nil {
			g.stop()
			return nil, err
		}
		g.conns = append(g.conns, conn)
		g.clients = append(g.clients, resetv1.NewPasswordResetClient(conn))
	}
	return g, nil
}

// stop kills it: a drain of what a storm has left in line would take minutes, and nothing is asked of it any more.
func (g *gateway) stop() {
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.Kill()
}

// tokens signs links for people from first on, with the gateway's own keys.
func (g *gateway) tokens(o Options, first uint64, n int) ([]string, error) {
	keys, err := token.OpenKeys(g.keys, token.Config{}, o.Clock)
	if err != nil {
		return nil, err
	}
	signer, err := token.NewSigner(keys)
	if err != nil {
		return nil, err
	}
	now := o.Clock.Now().Truncate(time.Microsecond)
	list := make([]string, n)
	for i := range list {
		c := token.Claims{
			Purpose: token.PurposeReset, AccountID: victim.AccountID(first + uint64(i)),
			IssueTime: now, ExpireTime: now.Add(time.Hour),
		}
		_, _ = rand.Read(c.Nonce[:]) // never fails
		if list[i], err = signer.Sign(c); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// metrics are the series of the gateway, by name with labels as they are told. Empty when it does not answer.
func (g *gateway) metrics() map[string]float64 {
	all := map[string]float64{}
	r, err := g.http.Get(g.metricsURL) //nolint:noctx // the client has a deadline
	if err != nil {
		return all
	}
	defer func() { _ = r.Body.Close() }()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		name, value := parseMetric(lines.Text())
		if name != "" {
			all[name] = value
		}
	}
	return all
}

// parseMetric takes a line of the text format apart; an empty name where it is none of a series.
func parseMetric(line string) (name string, value float64) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 || line[0] == '#' {
		return "", 0
	}
	value, err := strconv.ParseFloat(line[at+1:], 64)
	if err != nil {
		return "", 0
	}
	return line[:at], value
}

const (
	metricOpens  = `surgegate_breaker_transitions_total{downstream="store",state="open"}`
	metricClosed = `surgegate_breaker_state{downstream="store",state="closed"}`
	metricLimit  = `surgegate_downstream_concurrency_limit{downstream="store"}`
	metricLevel  = `surgegate_brownout_level`
)
