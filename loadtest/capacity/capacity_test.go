package capacity

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*(1+math.Abs(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// looks makes points from what a store would tell, half a second apart.
func looks(told ...Point) (points []Point) {
	for i, p := range told {
		p.At = float64(i) / 2
		points = follow(points, p)
	}
	return points
}

func TestFollowCountsFromTheSameProcess(t *testing.T) {
	t.Parallel()
	points := looks(
		Point{Up: true, work: 100, callSeconds: 10, seconds: 50},
		Point{Up: true, work: 150, callSeconds: 12, seconds: 50.5},
		Point{Up: false},
		Point{Up: true, work: 5, callSeconds: .2, seconds: .2}, // a new process
		Point{Up: true, work: 15, callSeconds: .7, seconds: .7},
		Point{Up: true, work: 3, callSeconds: .1, seconds: .1}, // died and came back between two looks
	)
	for i, want := range []struct{ done, inside float64 }{{0, 0}, {100, 4}, {0, 0}, {10, 1}, {20, 1}, {6, 1}} {
		near(t, "done", points[i].Done, want.done)
		near(t, "inside", points[i].Inside, want.inside)
	}
}

// A look that a starved machine lost leaves no dent and no spike: the next covers the whole span.
func TestGoodputOverALostLook(t *testing.T) {
	t.Parallel()
	var points []Point
	for i := range 41 {
		if i == 13 || i == 14 || i == 15 {
			continue
		}
		points = follow(points, Point{Up: true, At: float64(i) / 2, work: 40 * float64(i), seconds: float64(i + 1), Best: 100})
	}
	near(t, "goodput", goodput(points, 2, 18), .8)
}

func TestGoodputAndHeldLeaveOutagesOut(t *testing.T) {
	t.Parallel()
	points := looks(
		Point{Up: true, Best: 100},
		Point{Up: true, Best: 100, work: 50, callSeconds: 4, seconds: .5},
		Point{},
		Point{},
		Point{Up: true, Best: 50, work: 10, callSeconds: 1, seconds: .5},
		Point{Up: true, Best: 100, work: 50, callSeconds: 5, seconds: 1},
	)
	near(t, "goodput", goodput(points, 0, 9), (50.+10+40)/(50+25+50))
	near(t, "held", held(points, 0, 9), (8.+2+8)/3)
	near(t, "of an empty window", goodput(points, 9, 10)+held(points, 9, 10), 0)
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	var points []Point
	work := 0.0
	for i := range 100 {
		at := float64(i) / 2
		best, rate := 400.0, 400.0
		switch {
		case at >= 10 && at < 20:
			best, rate = 0, 0
		case at >= 20 && at < 27:
			rate = 100
		}
		work += rate / 2
		points = follow(points, Point{Up: true, At: at, Best: best, work: work, seconds: at + 1})
	}
	// Its three seconds are right when their last 300 of 3600, of which a tenth and one error may be missing, are over.
	if got := recovery(points, 20); got < 6 || got > 7 {
		t.Errorf("recovered after %v s, want just under the 7 s of quarter speed", got)
	}
	near(t, "never", recovery(points[:50], 20), -1)
}

func TestWaits(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_700_000_000, 0)
	second := time.Second
	promises := map[uint64]told{
		1: {at: begin, low: 7 * second, high: 14 * second},                   // came after 10: inside, and 1 ÷ 99 off
		2: {at: begin, low: 7 * second, high: 14 * second},                   // after 20: outside
		3: {at: begin, low: second, high: 2 * second},                        // after 1.5: too short to be judged
		4: {at: begin, low: 10 * second, high: 20 * second},                  // not by the end, 60 s later: broken
		5: {at: begin.Add(55 * second), low: 10 * second, high: 20 * second}, // may still come
		6: {at: begin, low: 7 * second, high: 14 * second, phase: 1},         // of another phase
	}
	applied := map[string]time.Time{
		victim.AccountID(1): begin.Add(10 * second), victim.AccountID(2): begin.Add(20 * second),
		victim.AccountID(3): begin.Add(1500 * time.Millisecond), victim.AccountID(6): begin.Add(10 * second),
	}
	var w waits
	w.judge(promises, applied, begin.Add(60*second), func(phase int) bool { return phase == 0 })
	if w.Count != 3 || w.Inside != 1 || w.Unapplied != 2 {
		t.Errorf("%+v, want 3 judged, 1 inside, 2 not applied", w)
	}
	near(t, "share", w.share(), 1./3)
	near(t, "widest", w.WidestHigh, 2)
	near(t, "median error", w.MedianOff, (20-math.Sqrt(98))/20)
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, .5: 3, .8: 4, .99: 5, 1: 5} {
		near(t, "quantile", quantile(values, q), want)
	}
	near(t, "of nothing", quantile(nil, .5)+report.Median(nil), 0)
	near(t, "median of two", report.Median([]float64{1, 2}), 1.5)
	if !slices.Equal(values, []float64{5, 1, 4, 2, 3}) {
		t.Error("the values were sorted in place")
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	signed := 0
	items, err := arrivals([]phase{
		{until: 2 * time.Second, starts: 10, completions: 5},
		{from: 2 * time.Second, until: 4 * time.Second, starts: 3},
	}, 7, func(_ uint64, n int) ([]string, error) {
		signed += n
		return slices.Repeat([]string{"token"}, n), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	people := map[uint64]bool{}
	count := map[[2]int]int{}
	last := time.Duration(0)
	for _, item := range items {
		if item.At < last || item.At > 4*time.Second {
			t.Fatalf("at %v after %v", item.At, last)
		}
		last = item.At
		kind := starts
		if item.Value.token != "" {
			kind = completions
		}
		if inPhase := int(item.At / (2 * time.Second)); inPhase != item.Value.phase {
			t.Errorf("an offer of phase %d at %v", item.Value.phase, item.At)
		}
		count[[2]int{item.Value.phase, kind}]++
		if people[item.Value.person] || item.Value.person < 7 {
			t.Errorf("person %d comes twice, or is somebody else's", item.Value.person)
		}
		people[item.Value.person] = true
	}
	if count[[2]int{0, starts}] != 20 || count[[2]int{0, completions}] != 10 || count[[2]int{1, starts}] != 6 || signed != 10 {
		t.Errorf("%v, %d tokens", count, signed)
	}
	if _, err := arrivals([]phase{{until: time.Second, completions: 1}}, 0, func(uint64, int) ([]string, error) {
		return nil, errors.New("no key")
	}); err == nil {
		t.Error("a token that could not be signed went unnoticed")
	}
}

func TestParseMetric(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		name  string
		value float64
	}{
		`surgegate_brownout_level 3`: {"surgegate_brownout_level", 3},
		metricOpens + ` 1.5e+01`:     {metricOpens, 15},
		`# HELP surgegate_x Some 7`:  {"", 0},
		``:                           {"", 0},
		`surgegate_x not-a-number`:   {"", 0},
	} {
		if name, value := parseMetric(line); name != want.name || value != want.value {
			t.Errorf("%q: %q %v", line, name, value)
		}
	}
}

// front answers as told, and counts.
type front struct {
	resetv1.UnimplementedPasswordResetServer
	answers chan error
	calls   chan string
}

func (f *front) answer(ctx context.Context, what string) error {
	f.calls <- what
	err := <-f.answers
	if err != nil {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
	}
	return err
}

func (f *front) StartReset(ctx context.Context, r *resetv1.StartResetRequest) (*resetv1.StartResetResponse, error) {
	return &resetv1.StartResetResponse{}, f.answer(ctx, r.GetIdentifier())
}

func (f *front) CompleteReset(ctx context.Context, r *resetv1.CompleteResetRequest) (*resetv1.CompleteResetResponse, error) {
	return &resetv1.CompleteResetResponse{Ticket: &resetv1.Ticket{Eta: &resetv1.Eta{Low: durationpb.New(1), High: durationpb.New(2)}}}, f.answer(ctx, r.GetToken())
}

// An impatient client makes all its attempts, a patient one stops when it is told to; both are counted as what they are.
func TestClientsRetry(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{answers: make(chan error, 10), calls: make(chan string, 10)}
	server := grpc.NewServer()
	resetv1.RegisterPasswordResetServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	conn, err := dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := resetv1.NewPasswordResetClient(conn)
	c := newCaller(Options{Clock: clock.System{}}, &gateway{clients: slices.Repeat([]resetv1.PasswordResetClient{client}, connections)})
	person := func(wanted bool) uint64 {
		for n := uint64(0); ; n++ {
			if impatientPerson(c, n) == wanted {
				return n
			}
		}
	}
	refusal := status.Error(codes.ResourceExhausted, "later")
	for _, step := range []struct {
		offer   offer
		answers []error
		calls   int
	}{
		{offer{person: person(true)}, []error{refusal, refusal, refusal}, 3},
		{offer{person: person(true), token: "t"}, []error{refusal, nil}, 2},
		{offer{person: person(false)}, []error{refusal}, 1},
		{offer{person: person(false), phase: 1}, []error{status.Error(codes.InvalidArgument, "no")}, 1},
	} {
		for _, err := range step.answers {
			f.answers <- err
		}
		c.person(t.Context(), step.offer, time.Now().Add(-time.Second))
		if len(f.calls) != step.calls || len(f.answers) != 0 {
			t.Errorf("%+v made %d calls, want %d", step.offer, len(f.calls), step.calls)
		}
		for len(f.calls) > 0 {
			<-f.calls
		}
	}
	if late := c.late(0); late < time.Second || late > time.Minute {
		t.Errorf("made %v late, want a second and a little", late)
	}
	if s := c.tally(0, starts); s.offered != 2 || s.accepted != 0 || s.refused != 4 || s.calls != 4 || len(s.refuse) != 4 {
		t.Errorf("starts %+v", s)
	}
	if s := c.tally(0, completions); s.offered != 1 || s.accepted != 1 || s.refused != 1 || len(s.accept) != 1 {
		t.Errorf("completions %+v", s)
	}
	if s := c.tally(1, starts); s.failed != 1 || s.refused != 0 || c.failure == nil {
		t.Errorf("a call that failed otherwise: %+v", s)
	}
	if p := c.promises(); len(p) != 1 || p[person(true)].high != 2 {
		t.Errorf("promises %v", p)
	}
}

func TestPushback(t *testing.T) {
	t.Parallel()
	withInfo, err := status.New(codes.ResourceExhausted, "").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		err     error
		trailer string
		want    time.Duration
	}{
		{withInfo.Err(), "", 3 * time.Second},
		{withInfo.Err(), "4000", 4 * time.Second},
		{withInfo.Err(), "-1", -1},
		{errors.New("x"), "junk", -1},
		{errors.New("x"), "", 0},
	} {
		md := metadata.MD{}
		if step.trailer != "" {
			md.Set("grpc-retry-pushback-ms", step.trailer)
		}
		if got := pushback(step.err, md); got != step.want {
			t.Errorf("%v, trailer %q: %v, want %v", step.err, step.trailer, got, step.want)
		}
	}
}

func TestModelsJudged(t *testing.T) {
	t.Parallel()
	list := models()
	all := make([]*Result, len(list))
	for i, m := range list {
		if err := m.store.WithDefaults().Validate(); err != nil && !strings.Contains(err.Error(), "Address") {
			t.Errorf("%s: %v", m.name, err)
		}
		if c := m.store.Capacity(); c < 35 || c > 100 {
			t.Errorf("%s can set %v passwords a second: nine of them have to fit", m.name, c)
		}
		r := &Result{Name: m.name, Knee: m.store.Best(), Reference: 100}
		work := 0.0
		for j := range 190 {
			at := float64(j) / 2
			up := !(m.name == "crash" && at > 25 && at < 30)
			if up {
				work += 50
			}
			deaths := 0
			if m.name == "crash" && at >= 30 {
				deaths = 1
			}
			r.Points = follow(r.Points, Point{Up: up, At: at, Best: 100, work: work, callSeconds: at * r.Knee, seconds: at + 1, peak: 1, deaths: deaths})
		}
		r.Waits.judge(map[uint64]told{1: {at: time.Unix(0, 0), low: time.Minute, high: 100 * time.Second}},
			map[string]time.Time{victim.AccountID(1): time.Unix(77, 0)}, time.Unix(100, 0), func(int) bool { return true })
		r.judge(m)
		if m.name == "crash" && (r.Recovery < 0 || r.Recovery > 1 || r.Deaths != 0) {
			t.Errorf("a store that was at its best from its return on: back after %v s, %d deaths of its own", r.Recovery, r.Deaths)
		}
		all[i] = r
	}
	good := judgeModels(list, all)
	for _, row := range good {
		if !row.OK {
			t.Errorf("a perfect run missed %+v", row)
		}
	}
	for i, r := range all {
		r.Goodput, r.Holding, r.Peak, r.LateDeaths, r.Deaths, r.Recovery, r.Reopens = .5, 2, 3, 1, 2, -1, 1
		r.Waits.Inside, r.Waits.WidestHigh, r.Waits.errors = 0, 3, []float64{.5}
		if list[i].outage {
			r.Recovery = 31
		}
	}
	for _, row := range judgeModels(list, all) {
		if row.OK {
			t.Errorf("a bad run passed %+v", row)
		}
	}
}

// A store that died of its calls between two looks had them inside.
func TestDeathIsAPeak(t *testing.T) {
	t.Parallel()
	r := Result{Knee: 8, Points: looks(Point{Up: true, peak: 3, seconds: 1}, Point{}, Point{Up: true, peak: 2, seconds: .1, deaths: 1})}
	r.judge(storeModel{store: victim.Config{Knee: 8, MaxCalls: 12}})
	near(t, "peak", r.Peak, 13./8)
	if r.Deaths != 1 || r.LateDeaths != 0 {
		t.Errorf("%d deaths, %d late", r.Deaths, r.LateDeaths)
	}
}

func TestPageStandsAlone(t *testing.T) {
	t.Parallel()
	r := Report{
		Figures: []report.Figure{{Name: "goodput <script>", Value: .97, OK: true}, {Name: "crashes", Value: 3}},
		Results: []Result{{Name: "usl", About: "a store", Knee: 12, Recovery: -1, Points: looks(
			Point{Up: true, Best: 10}, Point{Up: true, Best: 10, work: 4, seconds: 1}, Point{})}, {Name: "empty"}},
	}
	html, err := page(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.97", "missed", "never", "usl", "<svg", "goodput &lt;script&gt;"} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, network := range []string{"http://", "https://", "src=", "@import", "url(", "<script", "NaN", "Inf"} {
		if bytes.Contains(html, []byte(network)) {
			t.Errorf("the page has %q", network)
		}
	}
}

func TestRunRefusesUnknownNames(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{Parts: []string{"nothing"}}, {Models: []string{"nothing"}}} {
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v ran", o)
		}
	}
}

func TestEveryModelHasAStore(t *testing.T) {
	t.Parallel()
	for _, m := range models() {
		if m.store.HashTime == 0 || m.about == "" || !m.store.Mute {
			t.Errorf("%s: about %q, store %+v", m.name, m.about, m.store)
		}
	}
}
