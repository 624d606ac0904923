package admission_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var (
	aliceIP = netip.MustParseAddr("192.0.2.1")
	bobIP   = netip.MustParseAddr("192.0.2.2")
)

func ExampleNew() {
	a, err := admission.New(admission.Config{
		Client: admission.Rule{Rate: admission.Rate{Count: 1, Per: time.Minute}},
	}, admission.Deps{Random: func() float64 { return 0 }})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(0, 0)
	call := admission.Request{Op: admission.OpStart, IP: netip.MustParseAddr("192.0.2.1")}
	for range 2 {
		_, err = a.Admit(now, call)
		fmt.Println(err)
	}
	a.SetLevel(3, admission.Cause{Words: "the queue is 90 % full"})
	_, err = a.Admit(now.Add(time.Hour), call)
	fmt.Println(err)
	// Output:
	// <nil>
	// LIMIT_CLIENT: Too many calls from this client; come back after the time given.
	// SHED_LEVEL_3: Not taking calls of this kind at the moment; come back after the time given.
}

func rule(count int, per time.Duration, burst int) admission.Rule {
	return admission.Rule{Rate: admission.Rate{Count: count, Per: per}, Burst: burst}
}

func newAdmission(t testing.TB, config admission.Config, deps admission.Deps) *admission.Admission {
	t.Helper()
	a, err := admission.New(config, deps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantKind(t testing.TB, err error, kind reset.Kind) reset.Error {
	t.Helper()
	var e *reset.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v, want kind %v", err, kind)
	}
	if e.RetryAfter < time.Second || e.Detail == "" {
		t.Fatalf("a refusal that does not say when to come back, or what to do: %+v", e)
	}
	return *e
}

func TestLevels(t *testing.T) {
	t.Parallel()
	a := newAdmission(t, admission.Config{ShedRetryAfter: time.Minute}, admission.Deps{})
	calls := []admission.Request{
		{Op: admission.OpStart}, {Op: admission.OpStart, Suspect: true},
		{Op: admission.OpCheckToken}, {Op: admission.OpComplete, Suspect: true}, {Op: admission.OpRead, Suspect: true},
	}
	for level, admitted := range []string{"yyyyy", "yyyyy", "ynyyy", "nnyyy", "nnnny"} {
		a.SetLevel(level, admission.Cause{Words: "a test"})
		for i, call := range calls {
			_, err := a.Admit(epoch, call)
			if (err == nil) != (admitted[i] == 'y') {
				t.Errorf("level %d, %+v: %v", level, call, err)
			}
			if err == nil {
				continue
			}
			e := wantKind(t, err, reset.KindShed)
			if e.Level != level {
				t.Errorf("level %d is told as %d", level, e.Level)
			}
			if e.RetryAfter < time.Minute || e.RetryAfter > 90*time.Second {
				t.Errorf("told to come back in %v", e.RetryAfter)
			}
		}
		if got, cause := a.Level(); got != level || cause != "a test" {
			t.Errorf("Level says %d, %q", got, cause)
		}
	}
	a.SetLevel(-5, admission.Cause{})
	if level, _ := a.Level(); level != 0 {
		t.Errorf("level %d", level)
	}
	a.SetLevel(99, admission.Cause{})
	if level, _ := a.Level(); level != admission.MaxLevel {
		t.Errorf("level %d", level)
	}
}

func TestWhoIsOneClient(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		a, b string
		same bool
	}{
		"one IPv4 address":            {"192.0.2.1", "192.0.2.1", true},
		"two IPv4 addresses":          {"192.0.2.1", "192.0.2.2", false},
		"mapped into IPv6":            {"192.0.2.1", "::ffff:192.0.2.1", true},
		"one IPv6 /64":                {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
		"two IPv6 /64":                {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		"a zone is not the address's": {"fe80::1%eth0", "fe80::1%eth1", true},
		"IPv4 is no IPv6":             {"0.0.0.0", "::", false},
		"a number is not an address":  {"0.0.0.5", "0:0:0:5::", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAdmission(t, admission.Config{Client: rule(1, time.Hour, 1)}, admission.Deps{})
			if _, err := a.Admit(epoch, admission.Request{IP: netip.MustParseAddr(tc.a)}); err != nil {
				t.Fatal(err)
			}
			_, err := a.Admit(epoch, admission.Request{IP: netip.MustParseAddr(tc.b)})
			if (err != nil) != tc.same {
				t.Fatalf("second call: %v", err)
			}
		})
	}
	a := newAdmission(t, admission.Config{Client: rule(1, time.Hour, 1)}, admission.Deps{})
	if _, err := a.Admit(epoch, admission.Request{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Admit(epoch, admission.Request{ClientID: "web"}); err == nil {
		t.Fatal("calls without an address pass without a bucket")
	}
	if _, err := a.Admit(epoch, admission.Request{IP: aliceIP, ClientID: "web"}); err != nil {
		t.Fatalf("the refused call spent the id's bucket: %v", err)
	}
	_, err := a.Admit(epoch, admission.Request{IP: bobIP, ClientID: "web"})
	wantKind(t, err, reset.KindLimitClient)
	if _, err = a.Admit(epoch, admission.Request{IP: bobIP, ClientID: "app"}); err != nil {
		t.Fatalf("the refused call spent the address's bucket: %v", err)
	}
}

func TestARefusedClientDrainsNothing(t *testing.T) {
	t.Parallel()
	a := newAdmission(t, admission.Config{
		Global: rule(1, time.Hour, 10), Client: rule(1, time.Hour, 2),
	}, admission.Deps{})
	for range 1000 {
		_, _ = a.Admit(epoch, admission.Request{IP: aliceIP, ClientID: "alice"})
	}
	for i := range 8 { // alice has spent 2 of 10
		ip := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		if _, err := a.Admit(epoch, admission.Request{IP: ip}); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	_, err := a.Admit(epoch, admission.Request{IP: bobIP})
	wantKind(t, err, reset.KindLimitGlobal)
	// What the global bucket refused has not spent bob's.
	later := epoch.Add(time.Hour)
	if _, err := a.Admit(later, admission.Request{IP: bobIP}); err != nil {
		t.Fatal(err)
	}
}

func TestReadsAreFree(t *testing.T) {
	t.Parallel()
	a := newAdmission(t, admission.Config{Global: rule(1, time.Hour, 1), Client: rule(1, time.Hour, 1)}, admission.Deps{})
	for range 100 {
		p, err := a.Admit(epoch, admission.Request{Op: admission.OpRead, IP: aliceIP})
		if err != nil || p.Charge(epoch) != nil {
			t.Fatal("a read was refused")
		}
		p.GiveBack(epoch)
	}
	if _, err := a.Admit(epoch, admission.Request{IP: aliceIP}); err != nil {
		t.Fatalf("reads have spent something: %v", err)
	}
}

func TestCharge(t *testing.T) {
	t.Parallel()
	a := newAdmission(t, admission.Config{Client: rule(1, time.Hour, 3)}, admission.Deps{})
	check := admission.Request{Op: admission.OpCheckToken, IP: aliceIP, ClientID: "web"}
	for range 50 { // good tokens spend nothing of the client's
		if _, err := a.Admit(epoch, check); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		p, err := a.Admit(epoch, check)
		if err != nil {
			t.Fatalf("try %d: a token was refused before it was looked at: %v", i, err)
		}
		err = p.Charge(epoch)
		if i < 3 && err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
		if i >= 3 {
			wantKind(t, err, reset.KindLimitClient)
		}
	}
	_, err := a.Admit(epoch, admission.Request{Op: admission.OpStart, IP: aliceIP})
	wantKind(t, err, reset.KindLimitClient)
	if _, err = a.Admit(epoch, admission.Request{Op: admission.OpComplete, IP: aliceIP, ClientID: "web"}); err != nil {
		t.Fatalf("a good completion was refused for its client's bucket: %v", err)
	}
	start, err := a.Admit(epoch, admission.Request{Op: admission.OpStart, IP: bobIP})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := start.Charge(epoch); err != nil {
			t.Fatalf("a start was charged twice: %v", err)
		}
	}
}

func TestGiveBack(t *testing.T) {
	t.Parallel()
	config := admission.Config{Global: rule(1, time.Hour, 2), Client: rule(1, time.Hour, 1)}
	for name, op := range map[string]admission.Op{"start": admission.OpStart, "complete": admission.OpComplete} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAdmission(t, config, admission.Deps{})
			r := admission.Request{Op: op, IP: aliceIP, ClientID: "web"}
			for i := range 100 {
				p, err := a.Admit(epoch, r)
				if err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
				p.GiveBack(epoch.Add(time.Duration(i%3-1) * time.Second))
			}
		})
	}
	a := newAdmission(t, config, admission.Deps{})
	admission.Permit{}.GiveBack(epoch)
	p, err := a.Admit(epoch, admission.Request{IP: aliceIP})
	if err != nil {
		t.Fatal(err)
	}
	// Long after, when the bucket has refilled and may have been dropped, nothing is gained.
	later := epoch.Add(24 * time.Hour)
	p.GiveBack(later)
	if _, err := a.Admit(later, admission.Request{IP: aliceIP}); err != nil {
		t.Fatal(err)
	}
	_, err = a.Admit(later, admission.Request{IP: aliceIP})
	wantKind(t, err, reset.KindLimitClient)
}

func TestRetryAfterIsTheRefill(t *testing.T) {
	t.Parallel()
	for _, random := range []float64{0, .5, .999} {
		a := newAdmission(t, admission.Config{Client: rule(6, time.Minute, 2)},
			admission.Deps{Random: func() float64 { return random }})
		now := epoch
		for range 2 {
			if _, err := a.Admit(now, admission.Request{IP: aliceIP, ClientID: "web"}); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(4 * time.Second)
		_, err := a.Admit(now, admission.Request{IP: aliceIP, ClientID: "web"})
		e := wantKind(t, err, reset.KindLimitClient)
		want := 6*time.Second + time.Duration(random*3*float64(time.Second))
		if diff := (e.RetryAfter - want).Abs(); diff > time.Millisecond {
			t.Fatalf("told to come back in %v, want %v", e.RetryAfter, want)
		}
		if _, err := a.Admit(now.Add(e.RetryAfter+time.Microsecond), admission.Request{IP: aliceIP, ClientID: "web"}); err != nil {
			t.Fatalf("came back when told: %v", err)
		}
	}
	// The global bucket has its next token at once; those refused together are spread all the same.
	a := newAdmission(t, admission.Config{Global: rule(1000, time.Second, 1)}, admission.Deps{})
	var soonest, latest time.Duration
	for i := range 1000 {
		_, err := a.Admit(epoch, admission.Request{Op: admission.OpCheckToken})
		if i == 0 {
			continue
		}
		e := wantKind(t, err, reset.KindLimitGlobal)
		if soonest == 0 || e.RetryAfter < soonest {
			soonest = e.RetryAfter
		}
		latest = max(latest, e.RetryAfter)
	}
	if latest-soonest < 400*time.Millisecond {
		t.Fatalf("999 refusals are told to come back within %v", latest-soonest)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	config := admission.Config{Global: rule(1, time.Hour, 2), Client: rule(1, time.Hour, 1), ShedDryRun: true}
	config.Global.DryRun, config.Client.DryRun = true, true
	a := newAdmission(t, config, admission.Deps{Registerer: registry})
	for range 5 {
		if _, err := a.Admit(epoch, admission.Request{IP: aliceIP, ClientID: "web"}); err != nil {
			t.Fatal(err)
		}
	}
	// The id's bucket is empty as well, but this call fails by it alone.
	if _, err := a.Admit(epoch, admission.Request{IP: bobIP, ClientID: "web"}); err != nil {
		t.Fatal(err)
	}
	p, err := a.Admit(epoch, admission.Request{Op: admission.OpComplete, IP: aliceIP})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Charge(epoch); err != nil {
		t.Fatal(err)
	}
	a.SetLevel(4, admission.Cause{Words: "a test"})
	if _, err := a.Admit(epoch, admission.Request{IP: netip.MustParseAddr("192.0.2.3")}); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP surgegate_admission_dry_run_total Calls that a rule in dry run would have refused.
# TYPE surgegate_admission_dry_run_total counter
surgegate_admission_dry_run_total{reason="limit_client_id"} 1
surgegate_admission_dry_run_total{reason="limit_client_ip"} 5
surgegate_admission_dry_run_total{reason="limit_global"} 6
surgegate_admission_dry_run_total{reason="shed_level_2"} 0
surgegate_admission_dry_run_total{reason="shed_level_3"} 0
surgegate_admission_dry_run_total{reason="shed_level_4"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "surgegate_admission_dry_run_total"); err != nil {
		t.Error(err)
	}
}

// Against a plain model: one limiter a key, none ever dropped, no shards. The same calls are let in, so dropping
// refilled buckets is not to be seen, and nothing is taken by a call that is refused.
func TestAgreesWithAPlainModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		config := admission.Config{
			Global: rule(rapid.IntRange(1, 20).Draw(t, "global"), time.Second, rapid.IntRange(1, 20).Draw(t, "global burst")),
			Client: rule(rapid.IntRange(1, 20).Draw(t, "client"), time.Minute, rapid.IntRange(1, 5).Draw(t, "client burst")),
		}
		a, err := admission.New(config, admission.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		global := clock.NewLimiter(limitOf(config.Global), config.Global.Burst)
		clients := make(map[string]*clock.Limiter)
		client := func(key string) *clock.Limiter {
			if clients[key] == nil {
				clients[key] = clock.NewLimiter(limitOf(config.Client), config.Client.Burst)
			}
			return clients[key]
		}
		now := epoch
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 30_000).Draw(t, "ms")*rapid.IntRange(0, 1).Draw(t, "pass")) * time.Millisecond)
			ip := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}).Draw(t, "ip")
			id := rapid.SampledFrom([]string{"", "web", "app"}).Draw(t, "id")
			op := rapid.SampledFrom([]admission.Op{admission.OpStart, admission.OpComplete}).Draw(t, "op")
			var keys []string
			if keys = append(keys, ip); id != "" {
				keys = append(keys, id)
			}
			want := reset.Kind(0)
			for _, key := range keys {
				if op == admission.OpStart && client(key).TokensAt(now) < 1 {
					want = reset.KindLimitClient
				}
			}
			if want == 0 && !global.AllowN(now, 1) {
				want = reset.KindLimitGlobal
			}
			p, err := a.Admit(now, admission.Request{Op: op, IP: netip.MustParseAddr(ip), ClientID: id})
			if got := kindOf(err); got != want {
				t.Fatalf("kind %v, the model says %v", got, want)
			}
			if err != nil {
				continue
			}
			if op == admission.OpStart {
				for _, key := range keys {
					client(key).AllowN(now, 1)
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "give back") == 0 {
				p.GiveBack(now)
				global.GiveBack(now, 1)
				for _, key := range keys {
					if op == admission.OpStart {
						client(key).GiveBack(now, 1)
					}
				}
			}
		}
	})
}

func kindOf(err error) reset.Kind {
	if err == nil {
		return 0
	}
	return reset.KindOf(err)
}

// Many goroutines, times out of order, few clients: neither a client's nor the global rate is exceeded by more than 1 %.
func TestRatesHoldUnderRace(t *testing.T) {
	t.Parallel()
	const (
		calls   = 100_000
		span    = 10 * time.Second
		clients = 8
	)
	a := newAdmission(t, admission.Config{
		Global: rule(2000, time.Second, 100), Client: rule(60_000, time.Minute, 50), // 8 x 1000/s against 2000/s
	}, admission.Deps{})
	var (
		wg       sync.WaitGroup
		next     atomic.Int64
		admitted [clients]atomic.Int64
	)
	for worker := range uint64(8) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(worker, 1))
			for i := next.Add(1); i <= calls; i = next.Add(1) {
				now := epoch.Add(span*time.Duration(i)/calls - time.Duration(random.IntN(int(100*time.Millisecond))))
				// Half of the calls are one client's.
				client := max(random.IntN(2*clients)-clients, 0)
				ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(client)})
				if _, err := a.Admit(now, admission.Request{IP: ip}); err == nil {
					admitted[client].Add(1)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for i := range admitted {
		n := admitted[i].Load()
		total += n
		if bound := int64(1000*10.1*1.01) + 50; n > bound {
			t.Errorf("client %d: %d admitted, at most %d allowed", i, n, bound)
		}
	}
	if bound := int64(2000*10.1*1.01) + 100; total > bound || total < bound*8/10 {
		t.Errorf("%d admitted, about %d allowed", total, bound)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]admission.Config{
		"global.rate":      {Global: rule(1, time.Millisecond, 1)},
		"global.burst":     {Global: rule(1, time.Second, -1)},
		"client.rate":      {Client: rule(-1, time.Second, 1)},
		"client.burst":     {Client: rule(1, time.Second, 1<<40)},
		"shed_retry_after": {ShedRetryAfter: time.Millisecond},
		"max_keys":         {MaxKeys: -1},
	} {
		if _, err := admission.New(config, admission.Deps{}); err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("error %v does not name %q", err, field)
		}
	}
	got := admission.Config{}.WithDefaults()
	want := admission.Config{
		Global: rule(20_000, time.Second, 40_000), Client: rule(20, time.Minute, 20),
		ShedRetryAfter: 30 * time.Second, MaxKeys: 1 << 19,
	}
	if got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}
