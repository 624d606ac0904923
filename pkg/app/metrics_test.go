package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// The formats that a scraper may ask for.
const (
	formatText        = "text/plain;version=0.0.4"
	formatOpenMetrics = "application/openmetrics-text;version=1.0.0"
	formatProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// exposition is /metrics as it goes over the wire, uncompressed.
func exposition(ctx context.Context, t *testing.T, g *gateway, format string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.http+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", format)
	request.Header.Set("Accept-Encoding", "identity")
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v", r.StatusCode, err)
	}
	return body
}

func families(ctx context.Context, t *testing.T, g *gateway) map[string]*dto.MetricFamily {
	t.Helper()
	all := map[string]*dto.MetricFamily{}
	in := bufio.NewReader(strings.NewReader(string(exposition(ctx, t, g, formatProtobuf))))
	for {
		var f dto.MetricFamily
		err := protodelim.UnmarshalFrom(in, &f)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[f.GetName()] = &f
	}
}

// seriesOf lists what a scraper that takes classic histograms would store.
func seriesOf(all map[string]*dto.MetricFamily) map[string]bool {
	series := map[string]bool{}
	for name, f := range all {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			id := name + "{" + strings.Join(labels, ",") + "}"
			series[id] = true
			for _, b := range m.GetHistogram().GetBucket() {
				series[fmt.Sprintf("%s le=%v", id, b.GetUpperBound())] = true
			}
			for _, q := range m.GetSummary().GetQuantile() {
				series[fmt.Sprintf("%s quantile=%v", id, q.GetQuantile())] = true
			}
		}
	}
	return series
}

// drive makes every call there is, well and badly, and takes jobs through every lane. Answers that are not looked at do not
// matter here: what they leave in the metrics does.
func drive(t *testing.T, g *gateway, store *sqlite.Store) {
	t.Helper()
	ctx := t.Context()
	api := g.reset()
	m := g.mails()
	const passphrase = "a long enough passphrase"
	if err := store.BeginSession(ctx, "old", accountID(1), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	token := ask(t, g, m, address(1))
	_, _ = api.StartReset(ctx, &resetv1.StartResetRequest{Identifier: "nobody@example.com", Client: person})
	_, _ = api.StartReset(ctx, &resetv1.StartResetRequest{Identifier: "\x00"})
	for _, tok := range []string{token, "no token"} {
		_, _ = api.CheckToken(ctx, &resetv1.CheckTokenRequest{Token: tok, Client: person})
		_, _ = api.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: tok, NewPassword: "short", Client: person})
	}
	complete := func(token string) *resetv1.Ticket {
		done, err := api.CompleteReset(ctx, &resetv1.CompleteResetRequest{
			Token: token, NewPassword: passphrase, Client: person, Wait: wait(20 * time.Second), SignOut: resetv1.SignOut_SIGN_OUT_EVERYWHERE,
		})
		if err != nil {
			t.Fatal(err)
		}
		return done.GetTicket()
	}
	if s := complete(token).GetState(); s != resetv1.State_STATE_DONE {
		t.Fatalf("ended %v", s)
	}
	_, _ = api.CompleteReset(ctx, &resetv1.CompleteResetRequest{Token: token, NewPassword: passphrase, Client: person}) // used
	again := complete(ask(t, g, m, address(1)))
	if again.GetState() != resetv1.State_STATE_REJECTED { // in the hash lane, and a replacement link is mailed
		t.Fatalf("the same password again ended %v", again.GetState())
	}
	for _, id := range []string{again.GetId(), "none"} {
		_, _ = api.GetTicket(ctx, &resetv1.GetTicketRequest{TicketId: id})
		if stream, err := api.WatchTicket(ctx, &resetv1.WatchTicketRequest{TicketId: id}); err == nil {
			for err == nil {
				_, err = stream.Recv()
			}
		}
	}
	for _, address := range []string{g.grpc, g.operator} {
		conn := g.dial(address)
		_, _ = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		if stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx); err == nil {
			_ = stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
			_ = stream.CloseSend()
			for err == nil {
				_, err = stream.Recv()
			}
		}
	}
	driveOperator(t, g.dial(g.operator))
	for _, path := range []string{"/healthz", "/readyz", "/nothing"} {
		if r, err := http.Get("http://" + g.http + path); err == nil { // a test's own server
			_ = r.Body.Close()
		}
	}
}

// driveOperator makes every call of an operator with an empty request, which is refused where something must be said.
func driveOperator(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	for _, method := range operatorv1.Operator_ServiceDesc.Methods {
		_ = conn.Invoke(t.Context(), "/"+operatorv1.Operator_ServiceDesc.ServiceName+"/"+method.MethodName, &emptypb.Empty{}, &emptypb.Empty{})
	}
	for _, stream := range operatorv1.Operator_ServiceDesc.Streams {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+operatorv1.Operator_ServiceDesc.ServiceName+"/"+stream.StreamName)
		if err == nil {
			_ = s.SendMsg(&emptypb.Empty{})
			_ = s.CloseSend()
			_ = s.RecvMsg(&emptypb.Empty{}) // the first, or why there is none
		}
		cancel()
	}
}

// storm asks for n links from many callers at once and scrapes when half of them are answered.
func storm(t *testing.T, g *gateway, n int, scrape func()) {
	t.Helper()
	api := g.reset()
	next, half := make(chan int), make(chan struct{})
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for i := range next {
				_, _ = api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(i), Client: person})
			}
		})
	}
	var scraping sync.WaitGroup
	scraping.Go(func() { <-half; scrape() })
	for i := range n {
		next <- i
		if i == n/2 {
			close(half)
		}
	}
	close(next)
	callers.Wait()
	scraping.Wait()
}

// maxMetrics is what /metrics may have uncompressed, in any format.
const maxMetrics = 100_000

// Every series is there before anything has happened, and nothing that can happen to a gateway brings a new one: an alert
// on a rate sees the first error of a storm, and a scrape has the same size on the worst day.
func TestNoSeriesAppearsAndMetricsStaySmall(t *testing.T) {
	t.Parallel()
	store, yaml := sqliteStore(t, 1)
	g := newGateway(t, yaml, generous)
	g.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before := seriesOf(families(ctx, t, g))

	drive(t, g, store)
	storm(t, g, 1500, func() {
		for _, format := range []string{formatText, formatOpenMetrics, formatProtobuf} {
			if n := len(exposition(ctx, t, g, format)); n > maxMetrics {
				t.Errorf("%s has %d bytes in a storm, more than %d", format, n, maxMetrics)
			}
		}
	})
	all := families(ctx, t, g)
	after := seriesOf(all)
	for _, series := range slices.Sorted(maps.Keys(after)) {
		if !before[series] {
			t.Errorf("%s is new", series)
		}
	}
	for series := range before {
		if !after[series] {
			t.Errorf("%s is gone", series)
		}
	}
	if text := exposition(ctx, t, g, formatText); len(text) > maxMetrics {
		t.Errorf("%d bytes after a storm", len(text))
	} else {
		t.Logf("%d series, %d bytes of text", len(after), len(text))
	}

	var own []*dto.MetricFamily // Go's own has its runtime's names and units
	for name, f := range all {
		if !strings.HasPrefix(name, "go_") {
			own = append(own, f)
		}
		if help := f.GetHelp(); strings.HasPrefix(name, "surgegate_") && strings.HasSuffix(name, "_seconds") && !strings.HasPrefix(help, "Seconds ") {
			t.Errorf("%s does not say that it is seconds: %s", name, help)
		}
	}
	if problems, err := promlint.NewWithMetricFamilies(own).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	for _, name := range []string{"surgegate_ticket_age_seconds", "surgegate_downstream_call_seconds", "surgegate_gate_request_seconds",
		"surgegate_queue_fsync_seconds", "surgegate_queue_commit_seconds", "surgegate_queue_commit_requests", "surgegate_hashpool_seconds",
		"surgegate_gate_eta_seconds", "surgegate_downstream_batch_items", "grpc_server_handling_seconds"} {
		native := false
		for _, m := range all[name].GetMetric() {
			h := m.GetHistogram()
			native = native || len(h.GetPositiveSpan()) > 0 && h.GetSampleCount() > 0
			if h.Schema == nil || len(h.GetBucket()) < 5 {
				t.Errorf("%s %v: schema %v, %d classic bounds", name, m.GetLabel(), h.Schema, len(h.GetBucket()))
			}
		}
		if !native {
			t.Errorf("%s has nothing in its native histograms", name)
		}
	}
}

// The promise counts what people asked for, each once: two links (the replacement was not asked for), and two completions.
func TestThePromiseCountsWhatPeopleAskedFor(t *testing.T) {
	t.Parallel()
	store, yaml := sqliteStore(t, 1)
	g := newGateway(t, yaml, generous+"reset: {promise: 90s}\n")
	g.start()
	drive(t, g, store)
	for _, want := range []string{
		"surgegate_promise_seconds 90", `surgegate_ticket_age_seconds_bucket{lane="apply",state="done",le="90"} 1`,
		`surgegate_promise_resets_total{outcome="kept",part="link"} 2`, `surgegate_promise_resets_total{outcome="broken",part="link"} 0`,
		`surgegate_promise_resets_total{outcome="kept",part="password"} 2`, `surgegate_promise_resets_total{outcome="broken",part="password"} 0`,
	} {
		g.await(want, func(ctx context.Context) error {
			if text := string(exposition(ctx, t, g, formatText)); !strings.Contains(text, want+"\n") {
				return errors.New("not there")
			}
			return nil
		})
	}
}

func sqliteStore(t *testing.T, people int) (*sqlite.Store, string) {
	t.Helper()
	database := t.TempDir() + "/store.db"
	store, err := sqlite.New(t.Context(), sqlite.Config{Path: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	for i := range people {
		account := sqlite.Account{Login: address(i + 1), Account: credstore.Account{ID: accountID(i + 1), Address: address(i + 1)}}
		if err := store.PutAccounts(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	return store, fmt.Sprintf("{sqlite: {path: %q}}", database)
}
