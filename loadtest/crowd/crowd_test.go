package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/testbed"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a PasswordReset server on loopback that mails at once.
type gateway struct {
	resetv1.UnimplementedPasswordResetServer
	start func(nth int) error // nil: accepted
	hold  time.Duration       // each start takes so long
	mails chan [2]string

	mu       sync.Mutex
	starts   []time.Time
	requests []*resetv1.StartResetRequest
	tokens   map[string]int // completions by token
}

func (g *gateway) StartReset(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	g.mu.Lock()
	g.starts = append(g.starts, time.Now())
	g.requests = append(g.requests, r)
	nth := len(g.starts)
	g.mu.Unlock()
	if g.hold > 0 {
		hold := time.NewTimer(g.hold)
		defer hold.Stop()
		select {
		case <-hold.C:
		case <-ctx.Done():
		}
	}
	if g.start != nil {
		if err := g.start(nth); err != nil {
			return nil, err
		}
	}
	g.mails <- [2]string{r.GetIdentifier(), "token-of-" + r.GetIdentifier()}
	return &resetv1.StartResetResponse{Ticket: &resetv1.Ticket{Id: "s"}}, nil
}

func (g *gateway) CheckToken(_ context.Context, r *resetv1.CheckTokenRequest) (*resetv1.CheckTokenResponse, error) {
	if r.GetToken() == madeUp || r.GetToken() == "" {
		return nil, status.Error(codes.FailedPrecondition, "no")
	}
	return &resetv1.CheckTokenResponse{}, nil
}

func (g *gateway) CompleteReset(_ context.Context, r *resetv1.CompleteResetRequest) (*resetv1.CompleteResetResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens[r.GetToken()]++
	return &resetv1.CompleteResetResponse{
		Ticket: &resetv1.Ticket{Id: "c-" + r.GetToken(), State: resetv1.State_STATE_ACCEPTED}, PollAfter: durationpb.New(time.Millisecond),
	}, nil
}

func (g *gateway) GetTicket(_ context.Context, r *resetv1.GetTicketRequest) (*resetv1.GetTicketResponse, error) {
	if len(r.GetTicketId()) < 3 || r.GetTicketId()[:2] != "c-" {
		return nil, status.Error(codes.NotFound, "no")
	}
	return &resetv1.GetTicketResponse{Ticket: &resetv1.Ticket{Id: r.GetTicketId(), State: resetv1.State_STATE_DONE}}, nil
}

// watch delivers what the gateway mails.
func (g *gateway) watch(ctx context.Context, deliver testbed.Deliverer) error {
	for {
		select {
		case m := <-g.mails:
			deliver(m[0], m[1])
		case <-ctx.Done():
			return nil
		}
	}
}

// quick people do everything in milliseconds.
var quick = people.Config{
	Seed: 1, Resend: 1e-12, Read: time.Millisecond, Type: time.Millisecond, Return: 5 * time.Millisecond, Backoff: time.Millisecond,
}

func identifier(n uint64) string { return fmt.Sprintf("p%d@x.example", n) }

// every lets n people come, one an interval.
func every(n int, interval time.Duration) Arrivals {
	all := make([]Arrival, n)
	for i := range all {
		all[i] = Arrival{At: time.Duration(i) * interval, Number: uint64(i)}
	}
	return &list{all}
}

type list struct{ left []Arrival }

func (l *list) Next() (Arrival, error) {
	if len(l.left) == 0 {
		return Arrival{}, io.EOF
	}
	a := l.left[0]
	l.left = l.left[1:]
	return a, nil
}

func serve(t *testing.T, g *gateway) Caller {
	t.Helper()
	g.mails, g.tokens = make(chan [2]string, 10_000), map[string]int{} // more than any test asks for
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	resetv1.RegisterPasswordResetServer(server, g)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client := dial(t, listener.Addr().String())
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

func run(t *testing.T, cfg Config, g *gateway, a Arrivals, recorder *measure.Recorder, mails func(context.Context, testbed.Deliverer) error) (Report, error) {
	t.Helper()
	if cfg.MaxLag == 0 {
		cfg.MaxLag = 10 * time.Second // the machine may be busy; tests of lag say their own
	}
	c, err := New(cfg, Deps{Arrivals: a, Caller: serve(t, g), Recorder: recorder, Identifier: identifier, Mails: mails})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return c.Run(ctx)
}

func TestEverybodyGetsThere(t *testing.T) {
	t.Parallel()
	const n = 300
	g, r := &gateway{}, measure.New(measure.Config{Keep: true})
	report, err := run(t, Config{People: quick}, g, every(n, time.Millisecond), r, g.watch)
	if err != nil {
		t.Fatal(err)
	}
	a := r.Arm("x", nil)
	if a.People != n || a.Completed != n || a.FailedCalls != 0 || report.Sent != n || report.Dropped != 0 || report.Cut {
		t.Errorf("%d came, %d completed, %d failed, report %+v", a.People, a.Completed, a.FailedCalls, report)
	}
	for i := range uint64(n) {
		if g.tokens["token-of-"+identifier(i)] != 1 {
			t.Errorf("person %d completed %d times", i, g.tokens["token-of-"+identifier(i)])
		}
	}
	if s := r.Sample(time.Hour, measure.Store{}); s.Backlog != 0 || s.OldestS != 0 {
		t.Errorf("%d still owed at the end, and somebody inside for %v s", s.Backlog, s.OldestS)
	}
}

// Fewer accounts than people: all who wait under one identifier find its mail.
func TestPeopleWhoShareAnAccount(t *testing.T) {
	t.Parallel()
	const n = 60
	g, r := &gateway{}, measure.New(measure.Config{})
	c, err := New(Config{People: quick, MaxLag: 10 * time.Second}, Deps{
		Arrivals: every(n, time.Millisecond), Caller: serve(t, g), Recorder: r, Mails: g.watch,
		Identifier: func(n uint64) string { return identifier(n % 3) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if a := r.Arm("x", nil); a.Completed != n || len(c.byMail) != 0 {
		t.Errorf("%d of %d completed, %d identifiers left", a.Completed, n, len(c.byMail))
	}
}

// A server that takes 400 ms a call does not slow the arrivals, and its slowness shows in full.
func TestASlowServerDoesNotSlowTheArrivals(t *testing.T) {
	t.Parallel()
	const n, interval, hold = 200, 2 * time.Millisecond, 400 * time.Millisecond
	g, r := &gateway{hold: hold}, measure.New(measure.Config{})
	report, err := run(t, Config{People: quick}, g, every(n, interval), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if took := g.starts[n-1].Sub(g.starts[0]); took > n*interval+5*hold/4 {
		t.Errorf("%d arrivals took %v, their schedule says %v", n, took, n*interval)
	}
	start := r.Arm("x", nil).Ops[0]
	if start.Calls != n || start.Latency.P50 < hold.Microseconds() {
		t.Errorf("start %+v", start)
	}
	if report.Intended != n || report.Sent != n {
		t.Errorf("report %+v", report)
	}
}

func TestCutOffIntendedIsSentAndDropped(t *testing.T) {
	t.Parallel()
	g, r := &gateway{hold: time.Minute}, measure.New(measure.Config{Keep: true})
	report, err := run(t, Config{People: quick, Limit: 300 * time.Millisecond}, g, every(100, 6*time.Millisecond), r, g.watch)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Sample(time.Minute, measure.Store{}); s.OldestS != 60 { // the first, who came at 0
		t.Errorf("the oldest is there for %v s", s.OldestS)
	}
	a := r.Arm("x", nil)
	if report.Intended != 100 || report.Sent+report.Dropped != 100 || report.Dropped == 0 || !report.Cut {
		t.Errorf("report %+v", report)
	}
	if int64(a.People) != report.Sent || a.StillWaiting != a.People || a.FailedCalls != 0 || len(r.Outcomes()) != a.People {
		t.Errorf("%d came, %d waiting, %d failed, %d outcomes", a.People, a.StillWaiting, a.FailedCalls, len(r.Outcomes()))
	}
}

// Who waits for a mail keeps the run going, also when nothing else is to happen; who waits in vain does not do so for ever.
func TestALateMailIsWaitedForALostOneIsNot(t *testing.T) {
	t.Parallel()
	g, r := &gateway{}, measure.New(measure.Config{Keep: true})
	late := func(ctx context.Context, deliver testbed.Deliverer) error {
		var held [][2]string
		for len(held) < 2 {
			select {
			case m := <-g.mails:
				held = append(held, m)
			case <-ctx.Done():
				return nil
			}
		}
		timer := time.NewTimer(700 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			deliver(held[0][0], held[0][1]) // the other is lost
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil
	}
	report, err := run(t, Config{People: quick, Patience: 1500 * time.Millisecond}, g, every(2, time.Millisecond), r, late)
	if err != nil {
		t.Fatal(err)
	}
	if a := r.Arm("x", nil); a.Completed != 1 || a.StillWaiting != 1 || !report.Idle || !report.Cut {
		t.Errorf("%d completed, %d still waiting, report %+v", a.Completed, a.StillWaiting, report)
	}
}

func TestWithoutMailsPeopleEndWhenALinkIsPromised(t *testing.T) {
	t.Parallel()
	cfg := quick
	cfg.Resend, cfg.ResendAt = 1, time.Millisecond
	g, r := &gateway{}, measure.New(measure.Config{Keep: true})
	if _, err := run(t, Config{People: cfg}, g, every(50, time.Millisecond), r, nil); err != nil {
		t.Fatal(err)
	}
	a := r.Arm("x", nil)
	if a.Accepted != 50 || a.Completed != 0 || a.GaveUp != 0 || len(g.starts) != 100 {
		t.Errorf("%d accepted of %d, %d completed, %d starts", a.Accepted, a.People, a.Completed, len(g.starts))
	}
}

func TestRefusalsAreWaitedForAndCounted(t *testing.T) {
	t.Parallel()
	const after = 150 * time.Millisecond
	refusal, err := status.New(codes.ResourceExhausted, "later").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(after)}, &errdetails.ErrorInfo{Reason: "SHED_LEVEL_3", Domain: "surgegate"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := quick
	cfg.Impatient = 1e-12
	g := &gateway{start: func(nth int) error {
		if nth == 1 {
			return refusal.Err()
		}
		return nil
	}}
	r := measure.New(measure.Config{})
	if _, err := run(t, Config{People: cfg}, g, every(1, 0), r, g.watch); err != nil {
		t.Fatal(err)
	}
	a := r.Arm("x", nil)
	if a.Completed != 1 || len(a.Reasons) != 1 || a.Reasons[0] != (measure.Reason{Reason: "SHED_LEVEL_3", Calls: 1}) || a.Ops[0].Refused != 1 {
		t.Errorf("arm %+v", a)
	}
	if gap := g.starts[1].Sub(g.starts[0]); gap < after {
		t.Errorf("the second attempt came after %v, the server asked for %v", gap, after)
	}
}

func TestAServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	r := measure.New(measure.Config{})
	c, err := New(Config{People: quick, MaxLag: time.Minute}, Deps{
		Arrivals: every(20, time.Millisecond), Caller: dial(t, address), Recorder: r, Identifier: identifier,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := r.Arm("x", nil)
	if a.GaveUp != 20 || a.Reasons[0].Reason != codes.Unavailable.String() {
		t.Errorf("%d gave up, reasons %+v", a.GaveUp, a.Reasons)
	}
}

func TestLoneCallsAndOffices(t *testing.T) {
	t.Parallel()
	g, r := &gateway{}, measure.New(measure.Config{})
	report, err := run(t, Config{People: quick}, g, &list{[]Arrival{
		{Number: 1, Who: Lone, Op: people.OpStart, Client: "refresher"},
		{Number: 1, Who: Lone, Op: people.OpStart, Client: "refresher"},
		{Number: 2, Who: Lone, Op: people.OpCheck},
		{Number: 3, Who: Attacker},
		{Number: 4, Office: 9},
		{Number: 5, Office: 9},
	}}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := r.Arm("x", nil)
	if a.People != 2 || report.Lone != 3 || report.Attackers != 1 || report.Sent != 6 || a.AttackerFails != 1 { // the made-up token
		t.Errorf("%d people, %d attackers' failures, report %+v", a.People, a.AttackerFails, report)
	}
	refreshers, offices := 0, map[string]int{}
	for _, q := range g.requests {
		if q.GetClient().GetId() == "refresher" && q.GetIdentifier() == identifier(1) {
			refreshers++
		}
		offices[q.GetClient().GetIp()]++
	}
	if refreshers != 2 || offices["12.0.0.9"] != 2 {
		t.Errorf("%d calls of the client in a loop, addresses %v", refreshers, offices)
	}
}

func TestFaultsOfTheToolEndTheRun(t *testing.T) {
	t.Parallel()
	broken := errors.New("the maildir is gone")
	g := &gateway{}
	_, err := run(t, Config{People: quick}, g, every(1000, 10*time.Millisecond), measure.New(measure.Config{}),
		func(context.Context, testbed.Deliverer) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("mails that cannot be read: %v", err)
	}
	_, err = run(t, Config{People: quick}, &gateway{}, &failing{every(3, time.Millisecond)}, measure.New(measure.Config{}), nil)
	if err == nil || err.Error() != "the trace ends in the middle" {
		t.Errorf("arrivals that cannot be read: %v", err)
	}
	if _, err := New(Config{}, Deps{}); err == nil {
		t.Error("a crowd without anything was made")
	}
	if _, err := New(Config{Limit: -1}, Deps{}); err == nil {
		t.Error("a negative Limit was taken")
	}
}

type failing struct{ Arrivals }

func (f *failing) Next() (Arrival, error) {
	a, err := f.Arrivals.Next()
	if errors.Is(err, io.EOF) {
		err = errors.New("the trace ends in the middle")
	}
	return a, err
}

var _ schedule.Source = (*Crowd)(nil)
