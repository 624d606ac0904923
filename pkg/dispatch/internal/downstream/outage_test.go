package downstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// bench is a store whose calls a test makes one by one.
type bench struct {
	*testing.T
	*Downstream
	log bytes.Buffer
}

func newBench(t *testing.T, text bool, codes ...string) *bench {
	t.Helper()
	r := newRegistry(t)
	b := &bench{T: t}
	var err error
	b.Downstream, err = New(Spec{
		Name: "store", Timeout: 5 * time.Second, Pacer: fixed(t, pace.Config{Concurrency: 10, Batch: 10}),
		Breaker: &breaker.Config{}, Codes: codes,
	}, Deps{
		Clock: clock.System{}, Metrics: r.metrics, Register: r.register, Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
		LogText: func() bool { return text },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// call makes a call of one item for the job with the number.
func (b *bench) call(job byte, err error) Class { return b.calls(KindMain, job, 1, err) }

func (b *bench) calls(kind pace.Kind, job byte, items int, err error) Class {
	b.Helper()
	p := mustAcquire(b.T, b.Downstream, Ask{Lane: reset.LaneApply, Kind: kind, Items: items})
	return p.DoFor(b.Context(), reset.ID{job}, items, answers(err))
}

func (b *bench) is(want Class, got Class, what string) {
	b.Helper()
	if got != want {
		b.Fatalf("%s: %s (%d), want %s (%d)\n%s", what, got, got, want, want, &b.log)
	}
}

func (b *bench) lines(message string) (found []string) {
	for line := range strings.Lines(b.log.String()) {
		if strings.Contains(line, `msg="`+message) {
			found = append(found, line)
		}
	}
	return found
}

func unknown(text string) error {
	return &failure.Error{Code: "UNKNOWN", Text: text, Err: errors.New("grpcstore: SetPasswords: Unknown")}
}

func TestNothingSucceedsIsAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		b.is(OK, b.call(9, nil), "a good one")
		b.is(Error, b.call(1, unknown("")), "the first job")
		b.is(Error, b.call(1, unknown("")), "the first job again")
		b.is(Error, b.calls(KindMain, 1, 4, unknown("")), "a batch, of which nobody knows whose fault it is")
		b.is(Error, b.call(2, unknown("")), "the second job")
		if !b.OutOf(KindMain).IsZero() {
			t.Fatal("two jobs are no outage")
		}
		b.is(Outage, b.call(3, unknown("")), "the third job")
		if b.OutOf(KindMain).IsZero() || !b.OutOf(KindLookup).IsZero() {
			t.Fatalf("writes are out since %v, look-ups since %v", b.OutOf(KindMain), b.OutOf(KindLookup))
		}
		b.is(OK, b.calls(KindLookup, 4, 8, nil), "a look-up of a batch")
		probe := mustAcquire(t, b.Downstream, Ask{Lane: reset.LaneApply, Items: 8})
		if probe.Items() != 1 {
			t.Errorf("a probe for %d items", probe.Items())
		}
		second := make(chan struct{})
		go func() {
			defer close(second)
			b.is(OK, b.call(6, nil), "the next probe")
		}()
		synctest.Wait()
		select {
		case <-second:
			t.Fatal("two probes at once")
		default:
		}
		began := time.Now()
		b.is(Outage, probe.DoFor(t.Context(), reset.ID{5}, 1, answers(unknown(""))), "a probe that fails")
		<-second
		if wait := time.Since(began); wait < 200*time.Millisecond || wait > 2*time.Second {
			t.Errorf("the next probe waited %v", wait)
		}
		if !b.OutOf(KindMain).IsZero() {
			t.Error("out after a probe that succeeded")
		}
		if n := len(b.lines("nothing succeeds")) + len(b.lines("calls succeed again")); n != 2 {
			t.Errorf("%d lines of begin and end in\n%s", n, &b.log)
		}
	})
}

// A job that has failed while others succeeded is poisonous, not a sign of an outage, however often it comes back.
func TestPoisonousJobsFakeNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		for job := range byte(2) {
			b.is(Error, b.call(job+1, unknown("")), "a poisonous job")
		}
		b.is(OK, b.call(100, nil), "a good one")
		for job := range byte(2) {
			b.is(Error, b.call(job+3, unknown("")), "another poisonous job")
		}
		b.is(OK, b.call(101, nil), "a good one")
		for range 3 {
			for job := range byte(4) {
				b.is(Error, b.call(job+1, unknown("")), "a poisonous job that is tried again")
			}
		}
		if !b.Out().IsZero() {
			t.Error("out")
		}
	})
}

// A flickering backend makes suspects of all jobs in line. If then nothing succeeds any more, that is an outage all the same.
func TestAnOutageOfSuspects(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		for job := byte(1); job <= 60; job++ {
			b.is(Error, b.call(job, unknown("")), "flickers")
			if job%2 == 0 {
				b.is(OK, b.call(200, nil), "a good one")
			}
		}
		used := 0
		for range 8 {
			for job := byte(1); job <= 60; job++ {
				if b.call(job, unknown("")) == Error {
					used++
				}
			}
			pass(30 * time.Second) // as long as a job waits for its next try
		}
		if used > 200 || b.OutOf(KindMain).IsZero() {
			t.Errorf("%d tries used of 60 jobs while nothing succeeded; out since %v", used, b.OutOf(KindMain))
		}
	})
}

func TestConfigurationFaultsUseNoTry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		denied := &failure.Error{Scope: failure.Downstream, Class: failure.Config, Code: "PERMISSION_DENIED", Err: credstore.ErrConfig}
		for range 30 { // of several backends behind one address one refuses: no outage
			b.is(Outage, b.call(1, denied), "refused")
			for range 3 {
				b.is(OK, b.call(2, nil), "answered")
			}
		}
		if !b.OutOf(KindMain).IsZero() || len(b.lines("nothing succeeds")) != 0 {
			t.Errorf("out since %v\n%s", b.OutOf(KindMain), &b.log)
		}
		b.is(Outage, b.call(1, denied), "refused")
		if m := b.Status().Misconfiguration; m != "" {
			t.Errorf("one refusal between good calls is a misconfiguration: %q", m)
		}
		for range 9 {
			b.is(Outage, b.call(1, denied), "refused")
		}
		if b.OutOf(KindMain).IsZero() {
			t.Error("ten refusals in a row are no outage")
		}
		if m := b.Status().Misconfiguration; !strings.Contains(m, "Grant surgegate's identity") {
			t.Errorf("misconfiguration %q", m)
		}
		pass(3 * time.Second)
		b.is(OK, b.call(1, nil), "a probe")
		if s := b.Status(); s.Misconfiguration != "" || !s.OutageSince.IsZero() && s.Breaker == "closed" {
			t.Errorf("after it was mended: %+v", s)
		}
	})
}

func TestRefusedMails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		refusal := func(scope failure.Scope, code string) error {
			return &failure.Error{Scope: scope, Code: code, Err: fmt.Errorf("smtp: %w", mail.ErrRefused)}
		}
		for job := range byte(20) {
			b.is(Item, b.call(job+1, refusal(failure.Item, "SMTP 550 5.1.1")), "a dead mailbox")
		}
		for job := range byte(4) {
			b.is(Error, b.call(job+31, refusal(failure.Call, "SMTP 550")), "a refusal of anything")
		}
		b.is(Error, b.call(40, refusal(failure.Call, "SMTP 552 5.3.4")), "a refusal of another kind")
		b.is(Outage, b.call(41, refusal(failure.Call, "SMTP 550")), "the fifth that is refused alike")
		b.is(Outage, b.call(42, refusal(failure.Call, "SMTP 550")), "a probe")
		b.is(Item, b.call(43, refusal(failure.Item, "SMTP 550 5.1.1")), "a probe to a dead mailbox")
		if b.OutOf(KindMain).IsZero() {
			t.Error("a dead mailbox ended the outage")
		}
		b.is(OK, b.call(44, nil), "a mail that goes out")
		b.is(Item, b.call(41, refusal(failure.Call, "SMTP 550")), "refused after that")
	})
}

// With nobody in line there is no probe: the outage must not refuse those who would be the next ones.
func TestAnOutageThatNobodyWaitsForIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		for job := range byte(3) {
			b.call(job+1, unknown(""))
		}
		pass(4 * time.Minute)
		if b.OutOf(KindMain).IsZero() {
			t.Error("forgotten after 4 minutes")
		}
		pass(2 * time.Minute)
		if s := b.Status(); !b.OutOf(KindMain).IsZero() || !s.OutageSince.IsZero() {
			t.Errorf("still out: %+v", s)
		}
		b.is(Outage, b.call(4, unknown("")), "the next job that fails")
		pass(time.Second)
		b.is(OK, b.call(5, nil), "one that succeeds")
	})
}

// An operator who holds the breaker closed wants everything to be sent.
func TestAHeldBreakerOpensTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		for job := range byte(3) {
			b.call(job+1, unknown(""))
		}
		mustAcquire(t, b.Downstream, Ask{Lane: reset.LaneApply, Items: 8}) // the probe, which does not end
		waits := &queue{t: t, d: b.Downstream}
		waits.join(t.Context(), Ask{Lane: reset.LaneApply, Items: 8})
		if n := len(waits.holds()); n != 0 {
			t.Fatalf("%d permits beside the probe", n)
		}
		if err := b.ForceBreaker(breaker.ForceClosed); err != nil {
			t.Fatal(err)
		}
		if got := waits.holds(); len(got) != 1 {
			t.Fatalf("%d permits while it is held closed", len(got))
		}
		waits.done.Wait()
	})
}

func TestFailuresAreLoggedOnceAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const foreign = "ada@example.com has password hunter2"
		b := newBench(t, false, "UNKNOWN")
		fail := func() {
			b.call(1, unknown(foreign))
			b.call(2, nil)
		}
		for range 50 {
			fail()
			pass(time.Second)
		}
		lines := b.lines("calls of a downstream failed")
		if len(lines) != 1 || !strings.Contains(lines[0], "call=write outcome=error code=UNKNOWN failures=1 items=1 ") {
			t.Fatalf("after 50 s: %q", lines)
		}
		b.LogFailures(t.Context())
		pass(15 * time.Second)
		b.LogFailures(t.Context())
		b.LogFailures(t.Context())
		lines = b.lines("calls of a downstream failed")
		if len(lines) != 2 || !strings.Contains(lines[1], "failures=49 items=49") {
			t.Fatalf("after a minute: %q", lines)
		}
		pass(2 * time.Minute)
		b.LogFailures(t.Context()) // nothing has failed since
		if n := len(b.lines("calls of a downstream failed")); n != 2 {
			t.Errorf("%d lines", n)
		}
		if strings.Contains(b.log.String(), "ada@") {
			t.Errorf("foreign text in the log:\n%s", &b.log)
		}
		s := b.Status().Failures
		if len(s) != 1 || s[0].Code != "UNKNOWN" || s[0].Items != 50 || s[0].Outcome != "error" || s[0].Meaning == "" {
			t.Errorf("status %+v", s)
		}
		if n := testutil.ToFloat64(b.failures.codes["UNKNOWN"]); n != 50 {
			t.Errorf("%v counted", n)
		}
		pass(5 * time.Minute)
		if s := b.Status().Failures; len(s) != 0 {
			t.Errorf("status after 5 minutes %+v", s)
		}
	})
}

func TestDownstreamsTextIsLoggedWhereAsked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, true)
		b.call(1, unknown(strings.Repeat("relation accounts is locked ", 50)))
		lines := b.lines("calls of a downstream failed")
		if len(lines) != 1 || !strings.Contains(lines[0], `text="relation accounts is locked`) || len(lines[0]) > 1000 {
			t.Errorf("%q", lines)
		}
	})
}

// What surgegate knows to change says more than what the code means in general.
func TestAdviceIsToldBeforeTheCodesMeaning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const advice = "Add the column that store.postgres.accounts.hash names."
		b := newBench(t, false)
		for job := range byte(3) {
			b.call(job+1, &failure.Error{Code: "SCHEMA", Advice: advice})
		}
		for _, message := range []string{"calls of a downstream failed", "nothing succeeds"} {
			if lines := b.lines(message); len(lines) != 1 || !strings.Contains(lines[0], advice) {
				t.Errorf("%s: %q", message, lines)
			}
		}
		if s := b.Status().Failures; len(s) != 1 || s[0].Meaning != advice {
			t.Errorf("status %+v", s)
		}
	})
}

// A server that makes codes up must cost neither memory nor series.
func TestManyCodesBecomeOther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false, "SMTP 5")
		for i := range 200 {
			b.failures.record(context.Background(), time.Now(), "mail", Item, failure.Error{Code: fmt.Sprintf("SMTP 5%02d", i%100)}, 1)
			b.failures.record(context.Background(), time.Now(), "mail", Item, failure.Error{Code: fmt.Sprintf("X %d", i)}, 1)
		}
		if n := len(b.failures.classes); n > mostClasses+1 {
			t.Errorf("%d classes", n)
		}
		if n := testutil.ToFloat64(b.failures.codes["SMTP 5"]); n != 200 {
			t.Errorf("%v under the beginning of the code", n)
		}
		if n := testutil.ToFloat64(b.failures.codes[failure.Other]); n != 200 {
			t.Errorf("%v other", n)
		}
		total := uint64(0)
		for _, f := range b.Status().Failures {
			total += f.Items
		}
		if total != 400 {
			t.Errorf("%d in the status", total)
		}
	})
}

func TestTheOpenedBreakerNamesItsCause(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, false)
		gone := &failure.Error{Scope: failure.Downstream, Class: failure.Overload, Code: "ECONNREFUSED", Err: credstore.ErrOverloaded}
		b.call(1, unknown(""))
		for range 10 {
			b.is(Overload, b.call(1, gone), "refused")
		}
		lines := b.lines("breaker changed")
		if len(lines) != 1 || !strings.Contains(lines[0], "to=open") || !strings.Contains(lines[0], "outcome=overload code=ECONNREFUSED failures=10") {
			t.Errorf("%q", lines)
		}
	})
}
