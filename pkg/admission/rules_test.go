package admission_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
)

func setRules(t testing.TB, a *admission.Admission, r admission.Rules) {
	t.Helper()
	if err := a.SetRules(r); err != nil {
		t.Fatal(err)
	}
}

// However the client's rule changes: its bucket holds what it held, up to the new burst, and refills at the rate of the time.
// One that is full may have been dropped: then it holds the new burst.
func TestBucketsKeepWhatTheyHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clk := clock.NewManual(epoch)
		r := admission.Rules{Global: rule(1e9, time.Second, 1e9), Client: rule(20, time.Second, 40)}
		a, err := admission.New(admission.Config{Global: r.Global, Client: r.Client}, admission.Deps{Clock: clk})
		if err != nil {
			t.Fatal(err)
		}
		least, most := float64(r.Client.Burst), float64(r.Client.Burst)
		call := admission.Request{IP: aliceIP}
		if rapid.Bool().Draw(t, "by id too") {
			call.ClientID = "web"
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d := time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond
			clk.Advance(d)
			refilled := r.Client.Rate.PerSecond() * d.Seconds()
			least = min(least+refilled, float64(r.Client.Burst))
			most = min(most+refilled, float64(r.Client.Burst))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				full := most >= float64(r.Client.Burst)-1e-6
				r.Client = rule(rapid.IntRange(1, 100).Draw(t, "rate"), time.Second, rapid.IntRange(1, 60).Draw(t, "burst"))
				if err := a.SetRules(r); err != nil {
					t.Fatal(err)
				}
				if got := a.Rules(); got != r {
					t.Fatalf("in force: %+v, want %+v", got, r)
				}
				least, most = min(least, float64(r.Client.Burst)), min(most, float64(r.Client.Burst))
				if full {
					most = float64(r.Client.Burst)
				}
			default:
				_, err := a.Admit(clk.Now(), call)
				switch {
				case err == nil && most < 1-1e-6:
					t.Fatalf("let in with %v tokens at most", most)
				case err != nil && least >= 1+1e-6:
					t.Fatalf("refused with %v tokens at least: %v", least, err)
				case err == nil:
					least, most = max(0, least-1), max(0, most-1)
				}
			}
		}
	})
}

// A burst that grows gives nobody more at once, and one that shrinks takes what is over it: of those who call and of all.
func TestRulesChangeWhileCallsCome(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	a := newAdmission(t, admission.Config{Global: rule(1, 24*time.Hour, 10), Client: rule(1, 24*time.Hour, 6)}, admission.Deps{Clock: clk})
	n := 0
	in := func() bool { // by another address each time
		n++
		_, err := a.Admit(clk.Now(), admission.Request{IP: ipOf(n)})
		return err == nil
	}
	drain := func() (passed int) {
		for in() {
			passed++
		}
		return passed
	}
	for range 4 {
		in()
	}
	setRules(t, a, admission.Rules{Global: rule(1, 24*time.Hour, 100), Client: rule(1, 24*time.Hour, 6)})
	if got := drain(); got != 6 {
		t.Errorf("a wider burst let %d pass, the bucket held 6", got)
	}
	clk.Advance(3 * 24 * time.Hour)
	setRules(t, a, admission.Rules{Global: rule(1, 24*time.Hour, 2), Client: rule(1, 24*time.Hour, 6)})
	if got := drain(); got != 2 {
		t.Errorf("a narrower burst let %d pass, not 2", got)
	}
	setRules(t, a, admission.Rules{Global: rule(1000, time.Second, 50), Client: rule(1, 24*time.Hour, 6)})
	if in() {
		t.Error("a change of the rate filled the bucket")
	}
	clk.Advance(20 * time.Millisecond)
	if got := drain(); got != 20 {
		t.Errorf("%d passed after 20 ms at 1000/s", got)
	}
}

func TestDryRunAndDefaultsChangeWhileItRuns(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	clk := clock.NewManual(epoch)
	a := newAdmission(t, admission.Config{}, admission.Deps{Clock: clk, Registerer: registry})
	limits := func(global, client string) {
		t.Helper()
		want := fmt.Sprintf(`
# HELP surgegate_admission_limit Tokens a second that the rule in force gives: to all together, or to each client.
# TYPE surgegate_admission_limit gauge
surgegate_admission_limit{rule="client"} %s
surgegate_admission_limit{rule="global"} %s
`, client, global)
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "surgegate_admission_limit"); err != nil {
			t.Error(err)
		}
	}
	limits("20000", "0.3333333333333333")
	call := admission.Request{IP: aliceIP}
	tight := admission.Rules{Client: rule(1, time.Hour, 1), Global: rule(3600, time.Hour, 2)}
	setRules(t, a, tight)
	limits("1", "0.0002777777777777778")
	if _, err := a.Admit(clk.Now(), call); err != nil {
		t.Fatal(err)
	}
	_, err := a.Admit(clk.Now(), call)
	wantKind(t, err, reset.KindLimitClient)
	counting := tight
	counting.Client.DryRun = true
	setRules(t, a, counting)
	if _, err = a.Admit(clk.Now(), call); err != nil {
		t.Fatal(err)
	}
	_, err = a.Admit(clk.Now(), call)
	wantKind(t, err, reset.KindLimitGlobal)
	counting.Global.DryRun, counting.ShedDryRun = true, true
	setRules(t, a, counting)
	a.SetLevel(4, admission.Cause{})
	if _, err = a.Admit(clk.Now(), call); err != nil {
		t.Error(err)
	}
	setRules(t, a, tight)
	_, err = a.Admit(clk.Now(), call)
	wantKind(t, err, reset.KindShed)
	setRules(t, a, admission.Rules{})
	limits("20000", "0.3333333333333333")
	if got, want := a.Rules(), (admission.Config{}).WithDefaults().Rules(); got != want {
		t.Errorf("%+v, want the defaults %+v", got, want)
	}
	for field, r := range map[string]admission.Rules{
		"global.burst": {Global: rule(1, time.Second, -1)}, "client.rate": {Client: rule(-1, time.Second, 1)},
	} {
		if err := a.SetRules(r); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
		if got := a.Rules(); got != (admission.Config{}).WithDefaults().Rules() {
			t.Errorf("%s: a refused rule is in force: %+v", field, got)
		}
	}
}

// Rules change under full load from many goroutines: what passes is never more than the widest rule of the time allows.
func TestRulesChangeUnderLoad(t *testing.T) {
	t.Parallel()
	a := newAdmission(t, admission.Config{Client: rule(1000, time.Second, 1000)}, admission.Deps{Clock: clock.NewManual(epoch)})
	var passed atomic.Int64
	var load sync.WaitGroup
	for i := range 4 {
		load.Go(func() {
			for j := range 5000 {
				if _, err := a.Admit(epoch, admission.Request{IP: ipOf(j % 3), ClientID: fmt.Sprint("id", i)}); err == nil {
					passed.Add(1)
				}
			}
		})
	}
	for i := range 200 {
		setRules(t, a, admission.Rules{Client: rule(1000, time.Second, 1000-i%10)})
		a.Limited()
	}
	load.Wait()
	if n := passed.Load(); n > 3*1000 {
		t.Errorf("%d passed, three addresses had 1000 each", n)
	}
}

func TestLimitedNamesWhoIsRefused(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	a := newAdmission(t, admission.Config{Client: rule(1, 24*time.Hour, 1), Global: rule(1e9, time.Second, 1e9)}, admission.Deps{Clock: clk})
	if got := a.Limited(); len(got) != 0 {
		t.Errorf("%+v before anything", got)
	}
	v6 := admission.Request{Op: admission.OpComplete, IP: netip.MustParseAddr("2001:db8:1:2:3:4:5:6")}
	refuse := func(n int, r admission.Request) {
		t.Helper()
		for range n {
			_, _ = a.Admit(clk.Now(), r)
		}
	}
	refuse(1+30, admission.Request{IP: aliceIP})
	refuse(1+20, admission.Request{IP: netip.MustParseAddr("2001:db8:1:2::9")})
	for range 5 { // a token that is guessed at is a refusal too
		p, err := a.Admit(clk.Now(), v6)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Charge(clk.Now()); err == nil {
			t.Fatal("the bucket is not empty")
		}
	}
	refuse(1+7, admission.Request{IP: bobIP, ClientID: "partner"})
	refuse(1+2, admission.Request{})
	a.SetLevel(4, admission.Cause{})
	refuse(50, admission.Request{IP: ipOf(7)}) // by the level: that is nobody's fault
	want := []admission.LimitedClient{
		{Kind: "ip", Client: "192.0.2.1", Refused: 30}, {Kind: "ip", Client: "2001:db8:1:2::/64", Refused: 25},
		{Kind: "id", Client: "partner", Refused: 7}, {Kind: "ip", Client: "192.0.2.2", Refused: 7}, {Kind: "ip", Client: "unknown", Refused: 2},
	}
	if got := a.Limited(); !slices.Equal(got, want) {
		t.Errorf("named %+v, want %+v", got, want)
	}
	a.SetLevel(0, admission.Cause{})
	clk.Advance(55 * time.Second)
	refuse(3, admission.Request{IP: aliceIP})
	if got := a.Limited(); got[0].Refused != 33 {
		t.Errorf("within a minute: %+v", got)
	}
	clk.Advance(20 * time.Second)
	if got := a.Limited(); len(got) != 1 || got[0].Refused != 3 {
		t.Errorf("a minute later: %+v", got)
	}
	clk.Advance(time.Minute)
	if got := a.Limited(); len(got) != 0 {
		t.Errorf("when all is over: %+v", got)
	}
}

// In a flood from everywhere the one who sends much is found, his count is not too low and not much too high, and none of the
// many is named for what is not his.
func TestLimitedFindsTheOneInAFlood(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	a := newAdmission(t, admission.Config{
		Client: rule(1, 24*time.Hour, 1), Global: rule(1e9, time.Second, 1e9), MaxKeys: 1 << 14, // so that newcomers are refused
	}, admission.Deps{Clock: clk})
	const rounds, many = 100, 2000
	for round := range rounds {
		for i := range many {
			_, _ = a.Admit(clk.Now(), admission.Request{IP: ipOf(1<<24 + round*many + i)})
			if i%40 == 0 {
				_, _ = a.Admit(clk.Now(), admission.Request{IP: aliceIP})
				_, _ = a.Admit(clk.Now(), admission.Request{IP: bobIP, ClientID: "partner"})
			}
		}
		if round%4 == 3 {
			clk.Advance(2 * time.Second)
		}
	}
	const refused = rounds*many/40 - 1 // 2.4 % of all each, in 50 s
	got := a.Limited()
	if len(got) != 3 {
		t.Fatalf("named %+v", got)
	}
	for _, c := range got {
		if c.Client != aliceIP.String() && c.Client != bobIP.String() && c.Client != "partner" {
			t.Errorf("named %+v", c)
		}
		if c.Refused < refused || c.Refused > refused*5/4 {
			t.Errorf("%s was refused %d times, it says %d", c.Client, refused, c.Refused)
		}
	}
}

// A rule that only counts tells whom it would refuse: that is what it is tried out for.
func TestLimitedNamesInADryRun(t *testing.T) {
	t.Parallel()
	clk := clock.NewManual(epoch)
	dry := rule(1, 24*time.Hour, 1)
	dry.DryRun = true
	a := newAdmission(t, admission.Config{Client: dry}, admission.Deps{Clock: clk})
	for range 4 {
		if _, err := a.Admit(clk.Now(), admission.Request{ClientID: strings.Repeat("x", 4096), IP: aliceIP}); err != nil {
			t.Fatal(err)
		}
	}
	got := a.Limited()
	if len(got) != 2 || got[0].Refused != 3 || got[0].Kind != "id" || len(got[0].Client) != 128 {
		t.Errorf("named %+v", got)
	}
}

func TestLadderIsConfiguredWhileItStands(t *testing.T) {
	t.Parallel()
	l := admission.NewLadder(admission.LadderConfig{})
	s := admission.Signals{QueueFill: .65}
	if level, _ := l.Step(epoch, s); level != 1 {
		t.Fatalf("level %d", level)
	}
	l.Configure(admission.LadderConfig{QueueFill: admission.Steps{.2, .3, .6, 0}})
	if level, cause := l.Step(epoch, s); level != 3 || cause.Signal != admission.SignalQueue {
		t.Errorf("level %d, %+v", level, cause)
	}
	l.Configure(admission.LadderConfig{Hold: time.Second})
	for i, want := range []int{3, 2, 1, 1} { // down by steps as ever, until what asks for 1
		if level, _ := l.Step(epoch.Add(time.Duration(i)*time.Second), s); level != want {
			t.Errorf("second %d: level %d, want %d", i, level, want)
		}
	}
}
