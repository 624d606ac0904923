package gate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/gate"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/token"
)

const requestID = "123e4567-e89b-12d3-a456-426614174000"

func TestCompletionIsSealedForItsLane(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form credstore.Form
		lane reset.Lane
	}{{credstore.FormHash, reset.LaneHash}, {credstore.FormPlaintext, reset.LaneApply}} {
		t.Run(c.lane.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{form: c.form})
			tok := w.token("acc-1")
			r := w.completion(tok)
			r.NewPassword, r.SignOut, r.Client.Locale = "re\u0301sume\u0301 of otters", reset.SignOutEverywhere, "fr"
			a := w.complete(r)
			if a.Ticket.State != reset.StateAccepted || a.Ticket.ETA == nil || a.Replayed {
				t.Errorf("%+v", a)
			}
			leases := w.lease(c.lane, 0)
			if len(leases) != 1 {
				t.Fatalf("%d jobs in lane %s", len(leases), c.lane)
			}
			job := leases[0].Job
			var p reset.CompletionPayload
			w.open(job, &p)
			if p.AccountID != "acc-1" || p.Token != tok || p.Password != "r\u00e9sum\u00e9 of otters" || p.Hashed ||
				p.SignOut != reset.SignOutEverywhere || p.Locale != "fr" {
				t.Error("the payload is not what was asked")
			}
			if want := w.clock.Now().Add(24 * time.Hour); !job.ExpireTime.Equal(want) {
				t.Errorf("expires %v, want %v", job.ExpireTime, want)
			}
			if job.Key != w.index.Account("acc-1") || job.Account != job.Key || job.Sequence == 0 {
				t.Errorf("key %v, account %v, sequence %d", job.Key, job.Account, job.Sequence)
			}
			if strings.Contains(string(job.Payload), "otters") {
				t.Error("the password lies open in the queue")
			}
		})
	}
}

func TestOneOfManyCompletionsWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	tok := w.token("acc-1")
	errs := make([]error, 32)
	var done sync.WaitGroup
	for i := range errs {
		done.Go(func() {
			_, errs[i] = w.gate.CompleteReset(t.Context(), w.completion(tok))
		})
	}
	done.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantKind(t, err, reset.KindTokenUsed)
	}
	if won != 1 || w.held() != 1 {
		t.Errorf("%d won, %d jobs", won, w.held())
	}
	w.wantCount("complete", "token_used", 31)
}

func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	r := w.completion(w.token("acc-1"))
	r.RequestID = requestID
	first := w.complete(r)
	same := func(when string) {
		t.Helper()
		again := w.complete(r)
		if !again.Replayed || again.Ticket.ID != first.Ticket.ID {
			t.Errorf("%s: replayed %v, ticket %q, want %q", when, again.Replayed, again.Ticket.ID, first.Ticket.ID)
		}
	}
	same("at once")
	r.RequestID = strings.ToUpper(requestID)
	same("spelt in capitals")
	r.NewPassword = "weak" // the ticket's password is that of the first call; this one is not judged
	same("with another password")
	r.NewPassword = goodPassword
	w.pace(reset.Pace{Lane: reset.LaneApply, Rate: 1, OutageSince: w.clock.Now().Add(-20 * time.Hour)})
	w.refresh()
	same("when nothing new is accepted")
	w.mend()
	w.finish(queue.Finish{Lease: w.lease(reset.LaneHash, 0)[0], State: reset.StateDone})
	same("after it ended")
	w.advance(2 * time.Hour)
	same("with the token expired meanwhile")
	if n := w.held(); n != 0 {
		t.Errorf("replays left %d jobs", n)
	}
	other := r
	other.RequestID = "00000000-0000-0000-0000-000000000001"
	_, err := w.gate.CompleteReset(t.Context(), other)
	wantKind(t, err, reset.KindTokenExpired)
	other.RequestID = ""
	_, err = w.gate.CompleteReset(t.Context(), other)
	wantKind(t, err, reset.KindTokenExpired)

	// A later completion takes the mark over.
	w.complete(w.completion(w.token("acc-1")))
	_, err = w.gate.CompleteReset(t.Context(), r)
	wantKind(t, err, reset.KindTokenExpired)
	w.wantCount("complete", "replayed", 6)
}

// The longest token of a worker whose clock is ahead outlives the longest TTL; its mark must outlive it.
func TestMarkOutlivesEveryToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	issued := w.clock.Now().Add(10 * time.Minute)
	c := token.Claims{Purpose: token.PurposeReset, AccountID: "acc-1", IssueTime: issued, ExpireTime: issued.Add(72 * time.Hour), Nonce: [16]byte{1}}
	tok, err := w.tokens.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	w.complete(w.completion(tok))
	w.advance(72*time.Hour + 5*time.Minute)
	if _, err := w.gate.CompleteReset(t.Context(), w.completion(tok)); reset.KindOf(err) != reset.KindTokenUsed || err == nil {
		t.Errorf("the second use of a token: %v", err)
	}
}

// A mark that is dropped between the look and the enqueue makes the replay a new completion. It carries no password, so
// nothing may ever be applied of it, whatever the token is still worth.
func TestReplayOfADroppedMarkAppliesNothing(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]time.Duration{"token good": 0, "token expired": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{})
			r := w.completion(w.token("acc-1"))
			r.RequestID = requestID
			w.advance(age)
			w.faults.mu.Lock()
			w.faults.mark = 7 // seen, and gone when the queue looks
			w.faults.mu.Unlock()
			_, err := w.gate.CompleteReset(t.Context(), r)
			if want := map[bool]reset.Kind{true: reset.KindTokenUsed, false: reset.KindTokenExpired}[age == 0]; reset.KindOf(err) != want {
				t.Errorf("%v", err)
			}
			leases := w.lease(reset.LaneHash, 0)
			if len(leases) != 1 {
				t.Fatalf("%d jobs", len(leases))
			}
			job := leases[0].Job
			var p reset.CompletionPayload
			w.open(job, &p)
			// Workers whose clocks are a little behind must see it as over, too.
			if p.Password != "" || w.clock.Now().Sub(job.ExpireTime) < time.Hour {
				t.Errorf("a job that expires at %v, %v from now", job.ExpireTime, job.ExpireTime.Sub(w.clock.Now()))
			}
		})
	}
}

func TestReplayIsNoWayAroundExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	fresh, marked := w.completion(w.token("never")), w.completion(w.token("once"))
	w.complete(w.completion(w.token("once")))
	unspent := w.completion(w.token("once")) // holds the present mark
	w.advance(2 * time.Hour)
	for name, r := range map[string]gate.CompleteRequest{"no mark": fresh, "mark moved": marked, "mark of the token": unspent} {
		r.RequestID = requestID
		_, err := w.gate.CompleteReset(t.Context(), r)
		if reset.KindOf(err) != reset.KindTokenExpired {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.held(); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

func TestBcryptStoresTake72Bytes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("lively otter ", 6) // 78 bytes
	for _, c := range []struct {
		schemes []string
		form    credstore.Form
		refused bool
	}{
		{[]string{"2b"}, credstore.FormHash, true},
		{[]string{"scrypt", "2b", "argon2id"}, credstore.FormHash, true},
		{[]string{"argon2id", "2b"}, credstore.FormHash, false},
		{[]string{"2b"}, credstore.FormPlaintext, false},
	} {
		t.Run(fmt.Sprint(c.schemes, c.form), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{schemes: c.schemes, form: c.form})
			r := w.completion(w.token("acc-1"))
			r.NewPassword = long
			_, err := w.gate.CompleteReset(t.Context(), r)
			if c.refused {
				wantKind(t, err, reset.KindWeakPassword)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompletionNeedsADescribedStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{noStore: true})
	r := w.completion(w.token("acc-1"))
	_, err := w.gate.CompleteReset(t.Context(), r)
	wantKind(t, err, reset.KindStoreUnknown)
	w.start(gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1")})
	w.describe(0, nil)
	w.complete(r) // without waiting for the next look
}

func TestCompletionRefusals(t *testing.T) {
	t.Parallel()
	outage := func(lane reset.Lane, since time.Duration) func(*world) {
		return func(w *world) {
			w.pace(reset.Pace{Lane: lane, Rate: 100, OutageSince: w.clock.Now().Add(-since)})
			w.refresh()
		}
	}
	const (
		nothing   = iota // the client's buckets are left alone
		charged          // the client's buckets are spent
		givenBack        // and the global one is given back
	)
	for _, c := range []struct {
		name    string
		spoil   func(w *world)
		request func(r *gate.CompleteRequest)
		kind    reset.Kind
		cost    int
	}{
		{name: "draining", spoil: func(w *world) { w.gate.Drain() }, kind: reset.KindDraining, cost: givenBack},
		{name: "known not durable", spoil: func(w *world) { w.faults.notAccepting(queue.ErrNotDurable); w.refresh() },
			kind: reset.KindNotDurable, cost: givenBack},
		{name: "not durable", spoil: func(w *world) { w.faults.enqueue(queue.ErrNotDurable) }, kind: reset.KindNotDurable, cost: givenBack},
		{name: "full", spoil: func(w *world) { w.faults.enqueue(queue.ErrFull) }, kind: reset.KindQueueFull, cost: givenBack},
		{name: "store dark for long", spoil: outage(reset.LaneApply, 9*time.Hour), kind: reset.KindQueueFull, cost: givenBack},
		{name: "hash pool stuck for long", spoil: outage(reset.LaneHash, 9*time.Hour), kind: reset.KindQueueFull, cost: givenBack},
		{name: "level 4", spoil: func(w *world) { w.admission.SetLevel(4, admission.Cause{Words: "test"}) }, kind: reset.KindShed, cost: givenBack},
		{name: "data key not durable", spoil: func(w *world) { w.keys.fault.Store(&queue.ErrNotDurable) }, kind: reset.KindNotDurable, cost: givenBack},
		{name: "key not here yet", kind: reset.KindKeyUnknown, cost: givenBack},
		{name: "garbage token", request: func(r *gate.CompleteRequest) { r.Token = "garbage" }, kind: reset.KindTokenInvalid, cost: charged},
		{name: "forged token", request: func(r *gate.CompleteRequest) { r.Token = flip(r.Token) }, kind: reset.KindTokenInvalid, cost: charged},
		{name: "expired token", spoil: func(w *world) { w.advance(time.Hour) }, kind: reset.KindTokenExpired, cost: charged},
		{name: "short password", request: func(r *gate.CompleteRequest) { r.NewPassword = "short" }, kind: reset.KindWeakPassword, cost: charged},
		{name: "bad UTF-8", request: func(r *gate.CompleteRequest) { r.NewPassword = "seven lively \xff otters" }, kind: reset.KindInvalid, cost: charged},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{clientBurst: 1})
			r := w.completion(w.token("acc-1"))
			if c.request != nil {
				c.request(&r)
			}
			if c.spoil != nil {
				c.spoil(w)
			}
			if c.kind == reset.KindKeyUnknown {
				r.Token = w.sign(w.foreign, "acc-1")
			}
			_, err := w.gate.CompleteReset(t.Context(), r)
			wantKind(t, err, c.kind)
			var e *reset.Error
			if errors.As(err, &e) && (c.cost == givenBack) != (e.RetryAfter > 0) {
				t.Errorf("retry after %v", e.RetryAfter)
			}
			if n := w.held(); n != 0 {
				t.Errorf("%d jobs in the queue after a refusal", n)
			}
			if c.name == "draining" {
				return // for good
			}
			w.mend()
			// A start shows whether the client's bucket, of one, was spent.
			_, err = w.gate.StartReset(t.Context(), gate.StartRequest{Identifier: "ada", Client: r.Client})
			switch {
			case c.cost == charged:
				wantKind(t, err, reset.KindLimitClient)
			case err != nil:
				t.Errorf("the client paid: %v", err)
			}
			// And a good token is never refused for it.
			w.complete(w.completion(w.token("acc-2")))
		})
	}
}

// What nobody is to blame for costs the global bucket nothing, nor does a bad field: it is refused first. The rest stays spent.
func TestGlobalBucket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		spoil     func(w *world, r *gate.CompleteRequest)
		givenBack bool
	}{
		{"not durable", func(w *world, _ *gate.CompleteRequest) { w.faults.enqueue(queue.ErrNotDurable) }, true},
		{"full", func(w *world, _ *gate.CompleteRequest) { w.faults.enqueue(queue.ErrFull) }, true},
		{"closed", func(w *world, _ *gate.CompleteRequest) { w.faults.enqueue(queue.ErrClosed) }, true},
		{"key unknown", func(w *world, r *gate.CompleteRequest) { r.Token = w.sign(w.foreign, "acc-1") }, true},
		{"engine fault", func(w *world, _ *gate.CompleteRequest) { w.faults.enqueue(errors.New("disk on fire")) }, false},
		{"bad token", func(_ *world, r *gate.CompleteRequest) { r.Token = "garbage" }, false},
		{"weak password", func(_ *world, r *gate.CompleteRequest) { r.NewPassword = "weak" }, false},
		{"bad field", func(_ *world, r *gate.CompleteRequest) { r.RequestID = "1" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{globalBurst: 1})
			r := w.completion(w.token("acc-1"))
			c.spoil(w, &r)
			if _, err := w.gate.CompleteReset(t.Context(), r); err == nil {
				t.Fatal("accepted")
			}
			w.mend()
			_, err := w.gate.CompleteReset(t.Context(), w.completion(w.token("acc-2")))
			if c.givenBack && err != nil {
				t.Errorf("not given back: %v", err)
			}
			if !c.givenBack {
				wantKind(t, err, reset.KindLimitGlobal)
			}
		})
	}
}

func TestEmptyBucketsSayNothingOfTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{clientBurst: 1})
	used := w.token("acc-1")
	w.complete(w.completion(used))
	_, err := w.gate.CheckToken(t.Context(), used, w.client("192.0.2.1"))
	wantKind(t, err, reset.KindTokenUsed)
	_, err = w.gate.CheckToken(t.Context(), used, w.client("192.0.2.1"))
	wantKind(t, err, reset.KindLimitClient)
	_, err = w.gate.CompleteReset(t.Context(), w.completion("garbage"))
	wantKind(t, err, reset.KindLimitClient)
}

func TestCheckTokenConsumesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{clientBurst: 1, noStore: true})
	tok := w.token("acc-1")
	w.gate.Drain() // is no new work
	for range 3 {
		expire, err := w.gate.CheckToken(t.Context(), tok, w.client("192.0.2.1"))
		if err != nil || !expire.Equal(w.clock.Now().Add(time.Hour)) {
			t.Fatalf("%v, %v", expire, err)
		}
	}
	w.advance(time.Hour)
	_, err := w.gate.CheckToken(t.Context(), tok, w.client("192.0.2.1"))
	wantKind(t, err, reset.KindTokenExpired)
	w.wantCount("check_token", "ok", 3)
	w.wantCount("check_token", "token_expired", 1)
}

func TestAskingAgainKeepsEarlierLinksGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	first, second := w.token("acc-1"), w.token("acc-1")
	w.complete(w.completion(first))
	for _, tok := range []string{first, second} {
		_, err := w.gate.CheckToken(t.Context(), tok, w.client("192.0.2.1"))
		wantKind(t, err, reset.KindTokenUsed)
	}
	third := w.token("acc-1")
	if _, err := w.gate.CheckToken(t.Context(), third, w.client("192.0.2.1")); err != nil {
		t.Error(err)
	}
}

func TestCompletionWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	r := w.completion(w.token("acc-1"))
	r.Wait = 30 * time.Second
	answered := make(chan gate.Answer)
	go func() { answered <- w.complete(r) }()
	w.blockUntilTimers(1)
	w.finish(queue.Finish{Lease: w.lease(reset.LaneHash, 0)[0], State: reset.StateRejected, Reason: reset.ReasonPasswordReused})
	a := <-answered
	if a.Ticket.State != reset.StateRejected || a.Ticket.Reason != reset.ReasonPasswordReused || a.PollAfter != 0 || a.Ticket.ETA != nil {
		t.Errorf("%+v", a)
	}
}

// The answer leaves before the caller gives up on it.
func TestWaitLeavesTheDeadlineAMargin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{system: true})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	a, err := w.gate.StartReset(ctx, gate.StartRequest{Identifier: "ada", Client: w.client("192.0.2.1"), Wait: 10 * time.Second})
	if err != nil || ctx.Err() != nil || a.Ticket.State != reset.StateAccepted {
		t.Errorf("%+v, %v, %v", a, err, ctx.Err())
	}
}

func TestRequestsRedactThemselves(t *testing.T) {
	t.Parallel()
	r := gate.CompleteRequest{Token: "canary-token", NewPassword: "canary-password"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "request", r)
	for _, s := range []string{fmt.Sprint(r), fmt.Sprintf("%+v", r), fmt.Sprintf("%#v", r), log.String()} {
		if strings.Contains(s, "canary") {
			t.Error(s)
		}
	}
}

func flip(tok string) string {
	b := []byte(tok)
	i := len(b) / 2
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
