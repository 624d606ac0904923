package people

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/draw"
	"github.com/surgegate/surgegate/loadtest/model"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// front is a PasswordReset in memory: each call asks fail first.
type front struct {
	resetv1.PasswordResetClient
	mail     *mail
	fail     func(op Op, n int) error
	pushback string
	polls    int // GetTicket answers until a ticket is done

	mu    sync.Mutex
	calls map[Op]int
	ids   []string // request ids seen
}

func (f *front) called(op Op, opts []grpc.CallOption) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[Op]int{}
	}
	f.calls[op]++
	if f.fail == nil {
		return nil
	}
	err := f.fail(op, f.calls[op])
	if err != nil && f.pushback != "" {
		for _, o := range opts {
			if trailer, ok := o.(grpc.TrailerCallOption); ok {
				*trailer.TrailerAddr = metadata.Pairs("grpc-retry-pushback-ms", f.pushback)
			}
		}
	}
	return err
}

func (f *front) count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *front) StartReset(_ context.Context, req *resetv1.StartResetRequest, opts ...grpc.CallOption) (*resetv1.StartResetResponse, error) {
	if err := f.called(OpStart, opts); err != nil {
		return nil, err
	}
	f.mail.send(req.GetIdentifier(), "token")
	return &resetv1.StartResetResponse{}, nil
}

func (f *front) CheckToken(_ context.Context, _ *resetv1.CheckTokenRequest, opts ...grpc.CallOption) (*resetv1.CheckTokenResponse, error) {
	return &resetv1.CheckTokenResponse{}, f.called(OpCheck, opts)
}

func (f *front) CompleteReset(_ context.Context, req *resetv1.CompleteResetRequest, opts ...grpc.CallOption) (*resetv1.CompleteResetResponse, error) {
	f.mu.Lock()
	f.ids = append(f.ids, req.GetRequestId())
	f.mu.Unlock()
	if err := f.called(OpComplete, opts); err != nil {
		return nil, err
	}
	state := resetv1.State_STATE_ACCEPTED
	if f.polls == 0 {
		state = resetv1.State_STATE_DONE
	}
	return &resetv1.CompleteResetResponse{Ticket: &resetv1.Ticket{Id: "t", State: state}, PollAfter: durationpb.New(10 * time.Second)}, nil
}

func (f *front) GetTicket(_ context.Context, _ *resetv1.GetTicketRequest, opts ...grpc.CallOption) (*resetv1.GetTicketResponse, error) {
	if err := f.called(OpTicket, opts); err != nil {
		return nil, err
	}
	state := resetv1.State_STATE_RUNNING
	if f.count(OpTicket) >= f.polls {
		state = resetv1.State_STATE_DONE
	}
	return &resetv1.GetTicketResponse{Ticket: &resetv1.Ticket{Id: "t", State: state}, PollAfter: durationpb.New(10 * time.Second)}, nil
}

type mail struct {
	mu    sync.Mutex
	boxes map[string]chan string
	deaf  bool // mails get lost
}

func (m *mail) Open(address string) <-chan string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.boxes == nil {
		m.boxes = map[string]chan string{}
	}
	m.boxes[address] = make(chan string, 1)
	return m.boxes[address]
}

func (m *mail) Close(string) {}

func (m *mail) send(address, token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.boxes[address] != nil && !m.deaf && len(m.boxes[address]) == 0 {
		m.boxes[address] <- token
	}
}

type tally struct{ sent, called, owed atomic.Int64 }

func (t *tally) Sent(Op, bool) { t.sent.Add(1) }
func (t *tally) Called(Call)   { t.called.Add(1) }
func (t *tally) Owes(n int)    { t.owed.Add(int64(n)) }

func newCrowd(t *testing.T, cfg Config, f *front) (*Crowd, *tally) {
	t.Helper()
	if f.mail == nil {
		f.mail = &mail{}
	}
	counts := &tally{}
	c, err := New(cfg, Deps{
		Client: func() resetv1.PasswordResetClient { return f }, Mailbox: f.mail, Observer: counts,
		Identifier: func(p uint64) string { return fmt.Sprintf("p%d@x.example", p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, counts
}

func TestTheWholeWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &front{polls: 3}
		c, counts := newCrowd(t, Config{Seed: 1}, f)
		out := c.Person(t.Context(), 5, time.Now())
		if !out.Accepted || !out.Promised || !out.Completed || out.GaveUp || out.Failures != 0 {
			t.Errorf("outcome %+v", out)
		}
		if out.Wait != 30*time.Second { // three polls of ten seconds; reading and typing do not count
			t.Errorf("wait %v, want 30s", out.Wait)
		}
		if counts.owed.Load() != 0 || counts.sent.Load() != counts.called.Load() || counts.sent.Load() != 6 {
			t.Errorf("owed %d, sent %d, called %d", counts.owed.Load(), counts.sent.Load(), counts.called.Load())
		}
	})
}

// Calls per call wanted, when a share f of them fails, is what the model says.
func TestAmplificationIsTheModels(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{0.1, 0.5, 0.9, 1} {
		synctest.Test(t, func(t *testing.T) {
			const crowd = 4000
			coin := draw.New(99)
			var n atomic.Uint64
			f := &front{fail: func(Op, int) error {
				if coin.Uniform(n.Add(1), draw.Number{}) < share {
					return status.Error(codes.Unavailable, "no")
				}
				return nil
			}}
			c, _ := newCrowd(t, Config{Seed: 3, Resend: 1e-12}, f)
			f.mail.deaf = true // only the first step is looked at
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			var all sync.WaitGroup
			for p := range uint64(crowd) {
				all.Go(func() { c.Person(ctx, p, time.Now()) })
			}
			all.Wait()
			got, want := float64(f.count(OpStart))/crowd, model.Amplification(share, 3, 5, 0.8)
			if math.Abs(got/want-1) > 0.05 {
				t.Errorf("at %v: %.2f calls a person, the model says %.2f", share, got, want)
			}
		})
	}
}

func TestPatienceAndPushback(t *testing.T) {
	t.Parallel()
	slow, err := status.New(codes.ResourceExhausted, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(20 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	// The first call fails; when is the second made?
	for name, c := range map[string]struct {
		impatient float64
		err       error
		pushback  string
		from, to  time.Duration
	}{
		"patient client backs off":       {1e-12, status.Error(codes.Unavailable, ""), "", 1, time.Second},
		"impatient client does not":      {1, status.Error(codes.Unavailable, ""), "", 0, 0},
		"RetryInfo is waited for":        {1e-12, slow.Err(), "", 20 * time.Second, 20 * time.Second},
		"pushback is waited for":         {1e-12, status.Error(codes.Unavailable, ""), "7000", 7 * time.Second, 7 * time.Second},
		"pushback -1: the person's turn": {1e-12, slow.Err(), "-1", 20 * time.Second, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var second time.Duration
			f := &front{pushback: c.pushback, fail: func(op Op, n int) error {
				if op == OpStart && n == 1 {
					return c.err
				}
				if op == OpStart && n == 2 {
					second = time.Since(start)
				}
				return nil
			}}
			crowd, _ := newCrowd(t, Config{Seed: 1, Impatient: c.impatient, ComeBack: 1}, f)
			if out := crowd.Person(t.Context(), 1, start); !out.Completed {
				t.Errorf("%s: %+v", name, out)
			}
			if second < c.from || second > c.to {
				t.Errorf("%s: the second attempt came after %v, want %v to %v", name, second, c.from, c.to)
			}
		})
	}
}

func TestARepeatedCompletionKeepsItsRequestID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &front{fail: func(op Op, n int) error {
			if op == OpComplete && n < 5 {
				return status.Error(codes.DeadlineExceeded, "")
			}
			return nil
		}}
		c, _ := newCrowd(t, Config{Seed: 1, ComeBack: 1}, f)
		if out := c.Person(t.Context(), 1, time.Now()); !out.Completed || out.Failures != 1 {
			t.Errorf("outcome %+v", out)
		}
		for _, id := range f.ids {
			if id != f.ids[0] || len(id) != 36 {
				t.Errorf("request ids %v", f.ids)
			}
		}
	})
}

func TestARefusedLinkSendsThePersonBackToTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &front{fail: func(op Op, n int) error {
			if op == OpCheck {
				return status.Error(codes.FailedPrecondition, "TOKEN_EXPIRED")
			}
			return nil
		}}
		c, counts := newCrowd(t, Config{Seed: 1}, f)
		out := c.Person(t.Context(), 1, time.Now())
		if !out.GaveUp || out.Completed || f.count(OpStart) != 5 || f.count(OpCheck) != 5 {
			t.Errorf("outcome %+v after %d starts", out, f.count(OpStart))
		}
		if counts.owed.Load() != 0 {
			t.Errorf("%d still owed", counts.owed.Load())
		}
	})
}

func TestResendsAreOnePersonInThree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const crowd = 2000
		f := &front{}
		c, _ := newCrowd(t, Config{Seed: 4}, f)
		f.mail.deaf = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var all sync.WaitGroup
		for p := range uint64(crowd) {
			all.Go(func() { c.Person(ctx, p, time.Now()) })
		}
		all.Wait()
		if resends := float64(f.count(OpStart))/crowd - 1; math.Abs(resends-0.3) > 0.04 {
			t.Errorf("%.3f resends a person, want 0.3", resends)
		}
	})
}

func TestPasswordsAndAddressesAreDistinct(t *testing.T) {
	t.Parallel()
	c, _ := newCrowd(t, Config{Seed: 1}, &front{})
	passwords, addresses := map[string]bool{}, map[string]bool{}
	for p := range uint64(70_000) {
		passwords[c.Password(p)], addresses[address(10, p)] = true, true
	}
	if len(passwords) != 70_000 || len(addresses) != 70_000 || len(c.Password(1)) < 15 {
		t.Errorf("%d passwords, %d addresses", len(passwords), len(addresses))
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{ComeBack: 2}, Deps{}); err == nil {
		t.Error("ComeBack of 2 was taken")
	}
	if _, err := New(Config{Backoff: -1}, Deps{}); err == nil {
		t.Error("a negative Backoff was taken")
	}
}
