package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// Each batch that works for a traced call is linked to that call, through every lane that it leads to; batches of others have
// no span. The mail of an ask is another's: only an ask of somebody who has an account leads to one.
func TestBatchesAreLinkedToTheCallThatTheyWorkFor(t *testing.T) {
	t.Parallel()
	want := reset.Trace{TraceID: [16]byte{1: 2}, SpanID: [8]byte{3: 4}, Flags: 1}
	for name, c := range map[string]struct {
		call  func(*world)
		names []string
		ages  []string // lanes whose histograms have the trace
	}{
		"start": {func(w *world) {
			j := w.startJob("ada@example.com")
			j.Trace = want
			w.enqueue(j, nil)
		}, []string{"batch start"}, []string{"start"}},
		"completion": {func(w *world) {
			w.complete("1", password, func(j *reset.Job, _ *reset.CompletionPayload) { j.Trace = want })
		}, []string{"batch apply", "batch hash", "batch mail", "batch revoke", "batch start"}, []string{"apply", "revoke"}},
		"not traced": {func(w *world) { w.complete("1", password) }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spans := tracetest.NewInMemoryExporter()
			w := newWorld(t, options{tracer: tracing.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))})
			c.call(w)
			w.drained()
			w.stop() // the last batch has ended
			if names := linkedTo(t, spans, want); !slices.Equal(names, c.names) {
				t.Errorf("worked for by %v", names)
			}
			if n := len(spans.GetSpans()); c.names == nil && n > 0 {
				t.Errorf("%d spans", n)
			}
			if got := ageExemplar(t, w, "mail"); name == "start" && got != "" {
				t.Errorf("the age of the mail tells that the ask of trace %s was somebody's", got)
			}
			for _, lane := range c.ages {
				if got := ageExemplar(t, w, lane); got != "00020000000000000000000000000000" {
					t.Errorf("the age of %s has the exemplar %q", lane, got)
				}
			}
		})
	}
}

// linkedTo are the names of the batches linked to the trace; each must have one call to a downstream in it, and a trace of its
// own.
func linkedTo(t *testing.T, all *tracetest.InMemoryExporter, want reset.Trace) (names []string) {
	t.Helper()
	calls := make(map[[8]byte]int)
	for _, s := range all.GetSpans() {
		if strings.HasPrefix(s.Name, "call ") {
			calls[s.Parent.SpanID()]++
		}
	}
	for _, s := range all.GetSpans() {
		if !strings.HasPrefix(s.Name, "batch ") {
			continue
		}
		if s.Parent.IsValid() || s.SpanContext.TraceID() == want.TraceID || calls[s.SpanContext.SpanID()] == 0 {
			t.Errorf("%s: parent %v, trace %v, %d calls", s.Name, s.Parent, s.SpanContext.TraceID(), calls[s.SpanContext.SpanID()])
		}
		if len(s.Links) == 1 && s.Links[0].SpanContext.TraceID() == want.TraceID && s.Links[0].SpanContext.SpanID() == want.SpanID {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

func ageExemplar(t *testing.T, w *world, lane string) string {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []*dto.Exemplar
	for _, f := range families {
		if f.GetName() != "surgegate_ticket_age_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if labelled(m, []string{lane}) {
				found = append(found, m.GetHistogram().GetExemplars()...)
				for _, b := range m.GetHistogram().GetBucket() {
					found = append(found, b.GetExemplar())
				}
			}
		}
	}
	for _, e := range found {
		for _, l := range e.GetLabel() {
			if l.GetName() == "trace_id" {
				return l.GetValue()
			}
		}
	}
	return ""
}

// lockedBuffer is a log that many write to and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

// line is the first of the reason.
func (b *lockedBuffer) line(t *testing.T, reason string) map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for text := range strings.Lines(b.all.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["reason"] == reason {
			return line
		}
	}
	t.Fatalf("no line for %s in:\n%s", reason, b.all.String())
	return nil
}

func decisions(t *testing.T, out *lockedBuffer, reasons ...decision.Reason) *decision.Log {
	t.Helper()
	log, err := decision.New(decision.Config{Reasons: reasons}, decision.Deps{Logger: slog.New(slog.NewJSONHandler(out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestWhoWaitsForItsTurnIsTold(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	w := newWorld(t, options{idle: true, store: pace.Config{Concurrency: 1, Rate: 20, Batch: 1}, decisions: decisions(t, &out, decision.Paced)})
	for i := range 8 { // the bucket holds 2
		w.start("nobody" + strconv.Itoa(i) + "@example.com")
	}
	w.run()
	w.drained()
	w.stop()
	line := out.line(t, "paced")
	if line["cause"] != "start" || line["waits_for"] != "store" || line["concurrency"] != 1. || line["rate"] != 20. || line["breaker"] != "closed" {
		t.Errorf("%v", line)
	}
	if waited, ok := line["waited"].(float64); !ok || waited < float64(10*time.Millisecond) {
		t.Errorf("waited %v", line["waited"])
	}
	if strings.Contains(out.all.String(), "nobody") {
		t.Error("it names somebody")
	}
}

// Parking is always told, and why.
func TestAParkedJobIsTold(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	w := newWorld(t, options{config: dispatch.Config{MaxTries: 1}, decisions: decisions(t, &out)})
	w.store.on(func(s *store) {
		s.set = func(context.Context, []credstore.Change) error { return errPoison }
	})
	w.complete("1", "a new password of hers")
	w.until("the job is parked", func() bool { return w.stats().Lanes[reset.LaneApply].Parked == 1 })
	w.stop()
	line := out.line(t, "parked")
	if line["level"] != "WARN" || line["cause"] != "apply" || line["why"] != "out of tries: the store failed to apply it" {
		t.Errorf("%v", line)
	}
}
