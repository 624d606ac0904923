package app_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/tracing/otlp/otlptest"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// traced is the configuration of a gateway that sends its spans to the collector.
func traced(c *otlptest.Collector, sample float64) string {
	return fmt.Sprintf("trace: {endpoint: %q, insecure: true, sample: %v}\n", c.Address(), sample)
}

// A front end's trace, as its calls carry it.
const (
	frontTrace = "0af7651916cd43dd8448eb211c80319c"
	frontSpan  = "b7ad6b7169203331"
)

// fromFront is a call within the front end's trace, with baggage and state that are nobody's business.
func fromFront(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+frontTrace+"-"+frontSpan+"-01",
		"tracestate", "vendor=a-secret-state", "baggage", "user=a-secret-passenger")
}

func named(spans []otlptest.Span, name string) *otlptest.Span {
	for _, s := range spans {
		if s.GetName() == name {
			return &s
		}
	}
	return nil
}

// worked is the batch that took a call to the downstream that was answered.
func worked(spans []otlptest.Span, name string) *otlptest.Span {
	for _, call := range spans {
		if !strings.HasPrefix(call.GetName(), "call ") || call.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR {
			continue
		}
		for _, s := range spans {
			if s.GetName() == name && string(s.GetSpanId()) == string(call.GetParentSpanId()) {
				return &s
			}
		}
	}
	return nil
}

// A completion is accepted while the store is overloaded, the gateway ends, and another process applies it: that batch is linked
// to the call, which is part of the front end's trace. Only that trace is kept: the gateway by itself keeps none here.
func TestAResetIsFollowedThroughTheQueueAndARestart(t *testing.T) {
	t.Parallel()
	store, yaml := newLedger(t, credstore.FormPlaintext, 1)
	collector := otlptest.New(t, nil)
	g := newGateway(t, yaml, generous+traced(collector, 0)+"log: {level: debug}\n")
	g.start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	token := ask(t, g, g.mails(), address(0)) // in no trace
	store.busy.Store(true)
	_, err := g.reset().CompleteReset(fromFront(ctx), &resetv1.CompleteResetRequest{
		Token: token, NewPassword: "a long enough passphrase", Client: person, SignOut: resetv1.SignOut_SIGN_OUT_KEEP,
	})
	if err != nil {
		t.Fatal(err)
	}
	spans, ok := collector.Await(ctx, func(spans []otlptest.Span) bool { return named(spans, "batch apply") != nil })
	if !ok {
		t.Fatalf("the store was not tried: %d spans\n%s", len(spans), g.output())
	}
	openMetrics := scrapeOpenMetrics(t, g)
	if code := g.terminate(); code != 0 {
		t.Fatalf("exit %d\n%s", code, g.output())
	}
	store.busy.Store(false)
	g.start()
	spans, ok = collector.Await(ctx, func(spans []otlptest.Span) bool { return worked(spans, "batch apply") != nil })
	if !ok {
		t.Fatalf("the completion was not applied: %d spans\n%s", len(spans), g.output())
	}
	call, enqueue := named(spans, "surgegate.reset.v1.PasswordReset/CompleteReset"), named(spans, "enqueue")
	batch := worked(spans, "batch apply")
	if call == nil || enqueue == nil {
		t.Fatalf("the call or its enqueue is missing among %d spans", len(spans))
	}
	if hex.EncodeToString(call.GetTraceId()) != frontTrace || hex.EncodeToString(call.GetParentSpanId()) != frontSpan ||
		call.GetTraceState() != "" {
		t.Errorf("the call is not the front end's: %v", call)
	}
	if string(enqueue.GetParentSpanId()) != string(call.GetSpanId()) {
		t.Errorf("the enqueue is not the call's: %v", enqueue)
	}
	if links := batch.GetLinks(); len(links) != 1 || string(links[0].GetSpanId()) != string(call.GetSpanId()) ||
		string(links[0].GetTraceId()) != string(call.GetTraceId()) {
		t.Errorf("the batch is linked to %v, not to the call", links)
	}
	if len(batch.GetParentSpanId()) != 0 || string(batch.GetTraceId()) == string(call.GetTraceId()) {
		t.Errorf("the batch is in the call's trace: hours may lie between the two")
	}
	if batch.Instance == call.Instance || batch.Instance == "" {
		t.Errorf("call and batch are of the instances %q and %q", call.Instance, batch.Instance)
	}
	if named(spans, "surgegate.reset.v1.PasswordReset/StartReset") != nil {
		t.Error("a call in nobody's trace was kept, at a sample of 0")
	}
	if strings.Contains(collector.Text(), "a-secret") {
		t.Error("tracestate or baggage went on to the collector")
	}
	// What the store's overload was logged with leads to the batch that met it.
	first := named(spans, "batch apply")
	if want := "trace_id=" + hex.EncodeToString(first.GetTraceId()); !strings.Contains(g.output(), want) {
		t.Errorf("no line of the log has %s", want)
	}
	openMetrics += scrapeOpenMetrics(t, g)
	for series, trace := range map[string]string{
		`surgegate_gate_request_seconds_bucket{call="complete"`: frontTrace,
		`surgegate_ticket_age_seconds_bucket{lane="apply"`:      frontTrace,
		`grpc_server_handling_seconds_bucket{grpc_method="Comp`: frontTrace,
	} {
		if !exemplified(openMetrics, series, trace) {
			t.Errorf("%s… has no exemplar of trace %s", series, trace)
		}
	}
	if exemplified(openMetrics, `surgegate_gate_request_seconds_bucket{call="start"`, "") {
		t.Error("a call that is not kept has an exemplar: it leads nowhere")
	}
}

// exemplified tells whether a line of the series has the trace as its exemplar.
func exemplified(metrics, series, trace string) bool {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, series) && strings.Contains(line, `# {trace_id="`+trace) {
			return true
		}
	}
	return false
}

func scrapeOpenMetrics(t *testing.T, g *gateway) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.http+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Who is not trusted neither puts his call into another's trace nor decides whether it is kept; a method that is not there has
// no span, whose name he would choose.
func TestAStrangersTraceIsNotBelieved(t *testing.T) {
	t.Parallel()
	_, yaml := newLedger(t, credstore.FormPlaintext, 1)
	collector := otlptest.New(t, nil)
	g := newGateway(t, yaml, generous+traced(collector, 1)+"trust: {callers: [\"198.51.100.0/24\"]}\n")
	g.start()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	err := g.dial(g.grpc).Invoke(fromFront(ctx), "/person-000000@example.com/Method", &resetv1.GetTicketRequest{}, &resetv1.GetTicketResponse{})
	if err == nil {
		t.Error("a method that is not there answers")
	}
	if _, err := g.reset().StartReset(fromFront(ctx), &resetv1.StartResetRequest{Identifier: address(0)}); err != nil {
		t.Fatal(err)
	}
	spans, ok := collector.Await(ctx, func(spans []otlptest.Span) bool { return worked(spans, "batch start") != nil })
	if !ok {
		t.Fatalf("%d spans\n%s", len(spans), g.output())
	}
	call := named(spans, "surgegate.reset.v1.PasswordReset/StartReset")
	if call == nil || len(call.GetParentSpanId()) != 0 || hex.EncodeToString(call.GetTraceId()) == frontTrace {
		t.Errorf("the call is in the trace that a stranger named: %v", call)
	}
	for _, s := range spans {
		if strings.Contains(s.GetName(), "person") {
			t.Errorf("a stranger named the span %q", s.GetName())
		}
	}
}

// Without its collector a gateway works as with it, says so once, counts what is lost, and ends in time.
func TestADeadCollectorCostsNothing(t *testing.T) {
	t.Parallel()
	_, yaml := newLedger(t, credstore.FormPlaintext, 1)
	g := newGateway(t, yaml, generous+fmt.Sprintf("trace: {endpoint: %q, insecure: true, sample: 1}\n", freeAddress(t)))
	g.start()
	token := ask(t, g, g.mails(), address(0))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done, err := g.reset().CompleteReset(ctx, &resetv1.CompleteResetRequest{
		Token: token, NewPassword: "a long enough passphrase", Client: person, Wait: wait(20 * time.Second),
	})
	if err != nil || done.GetTicket().GetState() != resetv1.State_STATE_DONE {
		t.Fatalf("%v, %v", done, err)
	}
	g.await("the loss is counted", func(context.Context) error {
		for line := range strings.Lines(scrape(t, g)) {
			if n, ok := strings.CutPrefix(line, "surgegate_trace_dropped_total "); ok && strings.TrimSpace(n) != "0" {
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
	begin := time.Now()
	if code := g.terminate(); code != 0 {
		t.Errorf("exit %d\n%s", code, g.output())
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("ending took %v", took)
	}
	if n := strings.Count(g.output(), "takes no spans"); n != 1 {
		t.Errorf("told %d times:\n%s", n, g.output())
	}
}

// Only what is asked for is logged, and that with the numbers of the real program.
func TestDecisionsAreLoggedWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		log  string
		want int
	}{
		"wanted":     {"log: {decisions: [limited], format: json}\n", 1},
		"not wanted": {"log: {decisions: [shed, refused, paced], format: json}\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, yaml := newLedger(t, credstore.FormPlaintext, 1)
			g := newGateway(t, yaml, "admission: {client: {rate: 1/h, burst: 1}}\n"+c.log)
			g.start()
			api := g.reset()
			refused := 0
			for range 20 {
				if _, err := api.StartReset(t.Context(), &resetv1.StartResetRequest{Identifier: address(0), Client: person}); err != nil {
					refused++
				}
			}
			if refused != 19 {
				t.Fatalf("%d of 20 were refused", refused)
			}
			if code := g.terminate(); code != 0 {
				t.Errorf("exit %d", code)
			}
			lines := strings.Count(g.output(), `"msg":"decision: limited","reason":"limited","cause":"limit_client","call":"start"`)
			if lines < c.want || c.want == 0 && lines > 0 || lines > 5 { // 19 refusals in a moment
				t.Errorf("%d lines:\n%s", lines, g.output())
			}
			if c.want > 0 && !strings.Contains(g.output(), `"rule":"limit_client_ip","tokens":0,"per_second":0,"burst":1`) {
				t.Errorf("the numbers are missing:\n%s", g.output())
			}
		})
	}
}
