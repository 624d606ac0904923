package grpcapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func operatorClient(t *testing.T, f *fixture, opts ...grpc.DialOption) operatorv1.OperatorClient {
	t.Helper()
	return operatorv1.NewOperatorClient(dial(t, f.Addrs().Operator.String(), opts...))
}

// park fills the lot with n jobs of the apply lane and returns their ids.
func (p *parkingLot) park(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for range n {
		j := queue.ParkedJob{Job: reset.Job{ID: reset.NewID(), Lane: reset.LaneApply, Attempts: 5, AcceptTime: time.Unix(1, 0)},
			ParkTime: time.Unix(2, 0), Cause: "the store refuses it"}
		p.jobs = append(p.jobs, j)
		ids = append(ids, j.Job.ID.String())
	}
	return ids
}

func (p *parkingLot) audits(t *testing.T) []AuditEntry {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var entries []AuditEntry
	for _, r := range p.records {
		if r.Kind != queue.RecordAudit || len(r.Key) > 128 || len(r.Value) > 64<<10 || !r.ExpireTime.IsZero() {
			t.Errorf("record %s %q of %d bytes", r.Kind, r.Key, len(r.Value))
		}
		var e AuditEntry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Error(err)
		}
		entries = append(entries, e)
	}
	if !slices.IsSortedFunc(p.records, func(a, b queue.RecordWrite) int { return strings.Compare(a.Key[:20], b.Key[:20]) }) {
		t.Error("key order is not time order")
	}
	return entries
}

func TestRequeueLeavesAnAuditRecord(t *testing.T) {
	t.Parallel()
	now := clock.NewManual(time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC))
	f := serve(t, &stubGate{}, Config{}, func(d *Deps) { d.Clock = now })
	client := operatorClient(t, f)
	ids := f.queue.park(3)
	unknown := reset.NewID().String()

	dry, err := client.RequeueParked(testContext(t), &operatorv1.RequeueParkedRequest{JobIds: []string{ids[0], unknown}, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if !dry.GetResults()[0].GetFound() || dry.GetResults()[1].GetFound() || len(f.queue.requeued) != 0 || len(f.queue.records) != 0 {
		t.Errorf("dry run: %v, %d requeued, %d records", dry, len(f.queue.requeued), len(f.queue.records))
	}
	resp, err := client.RequeueParked(testContext(t), &operatorv1.RequeueParkedRequest{JobIds: []string{ids[0], unknown, ids[2], ids[0]}})
	if err != nil {
		t.Fatal(err)
	}
	var found []bool
	for _, r := range resp.GetResults() {
		found = append(found, r.GetFound())
	}
	if !slices.Equal(found, []bool{true, false, true, true}) {
		t.Errorf("found %v", found)
	}
	audits := f.queue.audits(t)
	if len(audits) != 1 {
		t.Fatalf("%d audit records", len(audits))
	}
	a := audits[0]
	if a.Who != "loopback" || a.What != "requeue_parked" || a.Before != "parked" || a.After != "waiting" ||
		!a.When.Equal(now.Now()) || !strings.HasPrefix(a.From, "127.0.0.1:") || !slices.Equal(a.Targets, []string{ids[0], ids[2]}) {
		t.Errorf("audit %+v", a)
	}
}

func TestGiveUpOfAThousand(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	ids := f.queue.park(2500)
	resp, err := operatorClient(t, f).GiveUpParked(testContext(t), &operatorv1.GiveUpParkedRequest{JobIds: ids[1500:]})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resp.GetResults() {
		if !r.GetFound() {
			t.Fatalf("%s not found", r.GetJobId())
		}
	}
	if a := f.queue.audits(t); len(a) != 1 || a[0].What != "give_up_parked" || a[0].After != "failed" || len(a[0].Targets) != 1000 {
		t.Errorf("audit %v", a)
	}
}

func TestNoAuditNoChange(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	ids := f.queue.park(1)
	f.queue.auditErr = queue.ErrNotDurable
	_, err := operatorClient(t, f).GiveUpParked(testContext(t), &operatorv1.GiveUpParkedRequest{JobIds: ids})
	if status.Code(err) != codes.Unavailable || len(f.queue.givenUp) != 0 {
		t.Errorf("%v, %d given up", err, len(f.queue.givenUp))
	}
}

func TestARaceIsAuditedAsSuch(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	ids := f.queue.park(2)
	raced, err := reset.ParseID(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	f.queue.raced = map[reset.ID]bool{raced: true}
	resp, err := operatorClient(t, f).RequeueParked(testContext(t), &operatorv1.RequeueParkedRequest{JobIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	if !resp.GetResults()[0].GetFound() || resp.GetResults()[1].GetFound() {
		t.Errorf("%v", resp)
	}
	a := f.queue.audits(t)
	if len(a) != 2 || a[1].What != "requeue_parked_undone" || !slices.Equal(a[1].Targets, ids[1:]) || a[1].After != "not changed" {
		t.Errorf("audit %+v", a)
	}
}

func TestListParked(t *testing.T) {
	t.Parallel()
	f := serve(t, &stubGate{}, Config{}, nil)
	client := operatorClient(t, f)
	ids := f.queue.park(250)
	var got []string
	token, pages := "", 0
	for {
		page, err := client.ListParked(testContext(t), &operatorv1.ListParkedRequest{Lane: "apply", PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, j := range page.GetJobs() {
			got = append(got, j.GetJobId())
			if j.GetLane() != "apply" || j.GetAttempts() != 5 || j.GetCause() == "" || j.GetExpireTime() != nil {
				t.Fatalf("job %v", j)
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(got, ids) || pages != 3 {
		t.Errorf("%d jobs on %d pages", len(got), pages)
	}
	for want, r := range map[string]*operatorv1.ListParkedRequest{
		"lane":       {Lane: "nowhere"},
		"page_size":  {PageSize: 1001},
		"page_token": {PageToken: "x"},
	} {
		if _, err := client.ListParked(testContext(t), r); status.Code(err) != codes.InvalidArgument || !slices.Equal(violatedFields(err), []string{want}) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, bad := range [][]string{nil, {"x"}, make([]string, 1001)} {
		if _, err := client.GiveUpParked(testContext(t), &operatorv1.GiveUpParkedRequest{JobIds: bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d bad ids: %v", len(bad), err)
		}
	}
}

func TestGetStatus(t *testing.T) {
	t.Parallel()
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	now := clock.NewManual(begin)
	f := serve(t, &stubGate{}, Config{}, func(d *Deps) {
		d.Clock = now
		d.Level = func() (int, string) { return 2, "queue filling" }
		d.Downstreams = func() []Downstream {
			return []Downstream{{Name: "store", Concurrency: 8, InFlight: 3, Rate: 120, Breaker: "half_open", Ramp: .5}}
		}
	})
	now.BlockUntil(1) // the ticker has taken its first sample
	f.queue.mu.Lock()
	f.queue.stats = queue.Stats{Enqueued: 10, Ended: 4, Held: 6, Bytes: 600, MaxBytes: 1000, NotAccepting: queue.ErrNotDurable,
		Lanes: map[reset.Lane]queue.LaneStats{reset.LaneApply: {Waiting: [3]uint64{1, 2, 3}, Leased: 4, Retrying: 5, Parked: 6,
			OldestAccept: begin, OldestRetry: begin.Add(-time.Minute), Ended: 500}}}
	f.queue.mu.Unlock()
	now.Advance(time.Second)
	now.BlockUntil(1)
	s, err := operatorClient(t, f).GetStatus(testContext(t), &operatorv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if s.GetBrownoutLevel() != 2 || s.GetBrownoutCause() != "queue filling" || s.GetDraining() || !s.GetTime().AsTime().Equal(begin.Add(time.Second)) {
		t.Errorf("status %v", s)
	}
	q := s.GetQueue()
	if q.GetEnqueued() != 10 || q.GetHeld() != 6 || q.GetConservation() != 0 || q.GetAccepting() || q.GetNotAcceptingCause() == "" {
		t.Errorf("queue %v", q)
	}
	if len(s.GetLanes()) != len(reset.Lanes()) {
		t.Fatalf("%d lanes", len(s.GetLanes()))
	}
	apply := s.GetLanes()[3]
	if apply.GetLane() != "apply" || apply.GetWaiting() != 6 || apply.GetLeased() != 4 || apply.GetRetrying() != 5 || apply.GetParked() != 6 ||
		apply.GetOldestWait().AsDuration() != 61*time.Second || apply.GetRate() != 500 {
		t.Errorf("apply %v", apply)
	}
	if d := s.GetDownstreams()[0]; d.GetDownstream() != "store" || d.GetConcurrencyLimit() != 8 || d.GetInFlight() != 3 || d.GetRateLimit() != 120 ||
		d.GetBreaker() != "half_open" || d.GetRamp() != .5 {
		t.Errorf("downstream %v", d)
	}
	f.queue.mu.Lock()
	f.queue.statsErr = errors.New("pebble: /var/secret/000001.sst is corrupt")
	f.queue.mu.Unlock()
	_, err = operatorClient(t, f).GetStatus(testContext(t), &operatorv1.GetStatusRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("driver text: %v", err)
	}
	if !strings.Contains(f.log.String(), "000001.sst") {
		t.Error("and it is not in the log")
	}
}

// bearer is a token sent over a connection without TLS too.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return false }

func TestOperatorTokens(t *testing.T) {
	t.Parallel()
	const ada, bob = "ada-0123456789-0123456789-0123456789", "bob-0123456789-0123456789-0123456789"
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# operators\n\nada: " + ada + "\n")
	now := clock.NewManual(time.Now())
	f := serve(t, &stubGate{}, Config{OperatorTokensFile: file}, func(d *Deps) { d.Clock = now })
	ids := f.queue.park(1)
	try := func(token string) codes.Code {
		var opts []grpc.DialOption
		if token != "" {
			opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
		}
		_, err := operatorClient(t, f, opts...).GetStatus(testContext(t), &operatorv1.GetStatusRequest{})
		return status.Code(err)
	}
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, ada: codes.OK, ada + "x": codes.Unauthenticated, bob: codes.Unauthenticated} {
		if got := try(token); got != want {
			t.Errorf("token %q: %s, want %s", token, got, want)
		}
	}
	st, err := reflectionv1.NewServerReflectionClient(dial(t, f.Addrs().Operator.String())).ServerReflectionInfo(testContext(t))
	if err == nil {
		_, err = st.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("reflection without a token: %v", err)
	}
	if _, err := operatorClient(t, f, grpc.WithPerRPCCredentials(bearer(ada))).GiveUpParked(testContext(t), &operatorv1.GiveUpParkedRequest{JobIds: ids}); err != nil {
		t.Fatal(err)
	}
	if a := f.queue.audits(t); len(a) != 1 || a[0].Who != "ada" {
		t.Errorf("audit %+v", a)
	}
	write("bob:" + bob + "\n")
	now.Advance(2 * time.Second)
	if try(ada) != codes.Unauthenticated || try(bob) != codes.OK {
		t.Error("a changed file is not read again")
	}
	write("carl:short\n")
	now.Advance(2 * time.Second)
	if try(bob) != codes.OK {
		t.Error("a broken file locks everybody out")
	}
	write("# bob has left\n")
	now.Advance(2 * time.Second)
	if try(bob) != codes.Unauthenticated {
		t.Error("the last operator cannot be taken out")
	}
	reg := prometheus.NewRegistry()
	_, err = New(Config{OperatorTokensFile: file}, Deps{Queue: f.queue, Registerer: reg, Gatherer: reg, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "names no operator") {
		t.Errorf("starting with nobody in the file: %v", err)
	}
	for _, token := range []string{ada, bob} {
		if strings.Contains(f.log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

func TestOperatorCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server := ca.issue(t, "server", "server.example", 2)
	server.ClientCAFile = ca.file
	ada := ca.issue(t, "ada", "spiffe://example/ada", 3)
	f := serve(t, &stubGate{}, Config{Operator: Listener{TLS: server}}, nil)
	ids := f.queue.park(1)
	with := func(pair *TLS) operatorv1.OperatorClient {
		return operatorClient(t, f, grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, pair))))
	}
	if _, err := with(nil).GetStatus(testContext(t), &operatorv1.GetStatusRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	if _, err := with(&ada).GiveUpParked(testContext(t), &operatorv1.GiveUpParkedRequest{JobIds: ids}); err != nil {
		t.Fatal(err)
	}
	if a := f.queue.audits(t); len(a) != 1 || a[0].Who != "spiffe://example/ada" {
		t.Errorf("audit %+v", a)
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("ada:0123456789012345678901234567890123456789\n"))
	f.Add([]byte(":\n#\n"))
	f.Add([]byte(" ")) // names nobody, which is no error: then nobody is let in
	f.Fuzz(func(t *testing.T, b []byte) {
		tokens, err := parseTokens([][]byte{b})
		if err != nil {
			return
		}
		if n, err := CountOperators(b); err != nil || n != len(tokens) || n > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d operators, counted %d, %v", len(tokens), n, err)
		}
		for _, tok := range tokens {
			if tok.name == "" {
				t.Fatal("an operator without a name")
			}
		}
	})
}
