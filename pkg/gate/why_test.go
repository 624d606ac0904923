package gate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// A job carries the trace of its call if that is kept, and so does the call's observation; else neither.
func TestAJobAndAnObservationCarryAKeptTrace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sampler sdktrace.Sampler
		kept    bool
	}{"kept": {sdktrace.AlwaysSample(), true}, "not kept": {sdktrace.NeverSample(), false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edge, tracer := tracers(c.sampler)
			w := newWorld(t, options{tracer: tracer})
			ctx, span := edge.Start(t.Context(), "call")
			if _, err := w.gate.StartReset(ctx, gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")}); err != nil {
				t.Fatal(err)
			}
			r := w.completion(w.token("acc-1"))
			if _, err := w.gate.CompleteReset(ctx, r); err != nil {
				t.Fatal(err)
			}
			want := reset.Trace{}
			if c.kept {
				want = reset.Trace{TraceID: span.SpanContext().TraceID(), SpanID: span.SpanContext().SpanID(), Flags: 1}
			}
			for _, lane := range []reset.Lane{reset.LaneStart, reset.LaneHash} {
				if l := w.lease(lane, time.Second); len(l) != 1 || l[0].Job.Trace != want {
					t.Errorf("%s: %d jobs, the first with %x, want %x", lane, len(l), l[0].Job.Trace, want)
				}
			}
			if got := exemplar(t, w, "start"); (got == span.SpanContext().TraceID().String()) != c.kept {
				t.Errorf("exemplar %q of trace %s", got, span.SpanContext().TraceID())
			}
		})
	}
}

// exemplar is the trace id on the call's histogram, if there is one.
func exemplar(t *testing.T, w *world, call string) string {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "surgegate_gate_request_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() != call {
				continue
			}
			for _, b := range append(m.GetHistogram().GetBucket(), &dto.Bucket{Exemplar: first(m.GetHistogram().GetExemplars())}) {
				if e := b.GetExemplar(); e != nil {
					return e.GetLabel()[0].GetValue()
				}
			}
		}
	}
	return ""
}

func first(all []*dto.Exemplar) *dto.Exemplar {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// Each kind of refusal that a gateway's state brings about has its line, with the numbers; none names who was refused.
func TestRefusalsAreLoggedWithTheirNumbers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options options
		refuse  func(*world)
		complete,
		unwanted bool
		reason decision.Reason
		want   map[string]any
	}{
		"shed": {reason: decision.Shed, refuse: func(w *world) {
			w.admission.SetLevel(3, admission.Cause{Signal: admission.SignalQueue, Words: "the queue is full"})
		}, want: map[string]any{"cause": "shed", "rule": "shed_level_3", "level": 3., "signal": "queue", "why": "the queue is full", "call": "start"}},
		"client": {reason: decision.Limited, options: options{clientBurst: 1}, refuse: func(w *world) {
			w.start(gate.StartRequest{Identifier: "other", Client: w.client("192.0.2.1")})
		}, want: map[string]any{"cause": "limit_client", "rule": "limit_client_ip", "tokens": 0., "burst": 1., "wait": "3s"}},
		"global": {reason: decision.Limited, options: options{globalBurst: 1}, refuse: func(w *world) {
			w.start(gate.StartRequest{Identifier: "other", Client: w.client("192.0.2.1")})
		}, want: map[string]any{"cause": "limit_global", "rule": "limit_global", "tokens": 0., "burst": 1., "wait": "24h0m0s"}},
		"over the time bound": {reason: decision.Refused, refuse: func(w *world) {
			w.pace(reset.Pace{Lane: reset.LaneStart, Rate: 1, Service: time.Second, OutageSince: w.clock.Now().Add(-24 * time.Hour)})
			w.refresh()
		}, want: map[string]any{"cause": "queue_full", "lane": "start", "bound": "12h0m0s", "jobs_held": 0.}},
		"a completion over its bound": {reason: decision.Refused, complete: true, refuse: func(w *world) {
			w.pace(reset.Pace{Lane: reset.LaneApply, Rate: 1, Service: time.Second, OutageSince: w.clock.Now().Add(-24 * time.Hour)})
			w.refresh()
		}, want: map[string]any{"cause": "queue_full", "lane": "hash", "bound": "12h0m0s", "call": "complete"}},
		"full": {reason: decision.Refused, refuse: func(w *world) { w.faults.enqueue(queue.ErrFull) },
			want: map[string]any{"cause": "queue_full"}},
		"not durable": {reason: decision.Refused, refuse: func(w *world) {
			w.faults.notAccepting(fmt.Errorf("%w: free disk below the reserve", queue.ErrNotDurable))
			w.refresh()
		}, want: map[string]any{"cause": "not_durable", "why": "queue: cannot write durably now: free disk below the reserve"}},
		"nobody wants to know": {reason: decision.Paced, unwanted: true, refuse: func(w *world) { w.faults.enqueue(queue.ErrFull) }},
		"the caller's own fault": {reason: decision.Refused, unwanted: true, complete: true, refuse: func(w *world) {
			w.complete(w.completion(w.token("acc-1")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log, err := decision.New(decision.Config{Reasons: []decision.Reason{c.reason}},
				decision.Deps{Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: durations})), Clock: clock.NewManual(time.Unix(1e9, 0))})
			if err != nil {
				t.Fatal(err)
			}
			c.options.decisions = log
			w := newWorld(t, c.options)
			tok := w.token("acc-1")
			c.refuse(w)
			if c.complete {
				_, err = w.gate.CompleteReset(t.Context(), w.completion(tok))
			} else {
				_, err = w.gate.StartReset(t.Context(), gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")})
			}
			if err == nil {
				t.Fatal("not refused")
			}
			if c.unwanted {
				if out.Len() > 0 {
					t.Errorf("logged: %s", out.String())
				}
				return
			}
			var line map[string]any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatalf("%v in %q", err, out.String())
			}
			for k, v := range c.want {
				if line[k] != v {
					t.Errorf("%s is %v, want %v in %s", k, line[k], v, out.String())
				}
			}
			if line["reason"] != string(c.reason) || line["msg"] != "decision: "+string(c.reason) {
				t.Errorf("%s", out.String())
			}
			var e *reset.Error
			if !errors.As(err, &e) || e.RetryAfter == 0 || line["retry_after"] == "0s" {
				t.Errorf("no time to come back in %s", out.String())
			}
			for _, secret := range []string{"ada", "192.0.2.1", "acc-1", tok[:20], goodPassword} {
				if strings.Contains(out.String(), secret) {
					t.Errorf("%q is in %s", secret, out.String())
				}
			}
		})
	}
}

// durations makes JSON tell durations as text does.
func durations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
