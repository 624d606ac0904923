package simulate

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/victim"
)

// together are so many people who come at the same moment.
type together struct{ n, of int }

func (a *together) Next() (model.Arrival, bool) {
	if a.n == a.of {
		return model.Arrival{}, false
	}
	a.n++
	return model.Arrival{At: time.Second, Person: uint64(a.n), Source: model.SourceMail}, true
}

// small is a storm of some thousand people, and what the store of `make demo` makes of it.
func small() Config {
	s := model.Plex2022()
	s.People, s.Mailing = 50_000, 10*time.Minute
	return Config{
		Scenario: s, Window: model.Window{Length: 30 * time.Minute}, Seed: 7, Headroom: -1, Store: StoreLike(victim.Config{}),
		Mail: Mail{Rate: 200},
	}
}

func run(t *testing.T, cfg Config, who arriving) Result {
	t.Helper()
	s, err := New(cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if who != nil {
		s.arrivals = who
	}
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What came is what ended, whatever happened.
func conserved(t *testing.T, r Result) {
	t.Helper()
	if r.People == 0 || r.People != r.Completed+r.GaveUp+r.StillWaiting {
		t.Errorf("%d came, %d completed, %d gave up, %d wait", r.People, r.Completed, r.GaveUp, r.StillWaiting)
	}
	if r.Name == ArmSurgegate && (r.Jobs != r.JobsEnded || r.Promised != r.Completed || r.Applied != r.Promised) {
		t.Errorf("%d jobs enqueued, %d ended; %d completions promised, %d applied, %d told", r.Jobs, r.JobsEnded, r.Promised, r.Applied, r.Completed)
	}
	if r.Samples[len(r.Samples)-1].Backlog != 0 {
		t.Errorf("somebody is still owed something: %+v", r.Samples[len(r.Samples)-1])
	}
}

func TestOnePersonAloneTakesTheSumOfTheKnownTimes(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.People.Resend = 1e-12
	r := run(t, cfg, &together{of: 1})
	// Look-up 1 ms and hand-off 50 ms (the answer to the start, 2 ms, comes meanwhile), CheckToken 2 ms, write 21 ms, and
	// the answer 2 ms.
	if want := int64(1 + 50 + 2 + 21 + 2); r.Completed != 1 || r.Waits.Max != want || r.MailWaits.Max != 51 {
		t.Errorf("completed %d, waited %d ms, want %d; the mail took %d ms, want 51", r.Completed, r.Waits.Max, want, r.MailWaits.Max)
	}
	conserved(t, r)
}

// With a hash lane it is 21 ms more.
func TestHashingTakesItsTime(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.People.Resend, cfg.Hash.Slots = 1e-12, 1
	if r := run(t, cfg, &together{of: 1}); r.Waits.Max != 76+21 {
		t.Errorf("waited %d ms, want %d", r.Waits.Max, 76+21)
	}
	// One core hashes 47.6 a second, far fewer than the store writes.
	const crowd = 5000
	cfg.Mail.Rate = 0
	r := run(t, cfg, &together{of: crowd})
	if want := crowd * .021; r.DrainS < want-stands.Seconds() || r.DrainS > want+15 { // people take some seconds to type
		t.Errorf("%d passwords were hashed after %.1f s, want about %.1f", crowd, r.DrainS, want)
	}
	conserved(t, r)
}

// Everybody at once: what there is to do, over four workers, is how long it takes, if the pacer keeps them busy.
func TestALineDrainsAsFastAsTheStoreWorks(t *testing.T) {
	t.Parallel()
	const crowd = 20_000
	cfg := small()
	cfg.Store.WriteTime, cfg.Store.MemoryBound = 40*time.Millisecond, 0
	cfg.Mail.Rate = 0
	cfg.People.Resend = 1e-12
	r := run(t, cfg, &together{of: crowd})
	// Two look-ups, the write, and for half of them a revocation.
	each := 40 + 2*1 + .5*.5
	want := crowd * each / 1000 / 4
	// People read and type for some seconds before there is anything to write.
	if r.JobsDoneS < want || r.JobsDoneS > 1.03*want+12 {
		t.Errorf("done after %.1f s, want %.1f, and 3 %% and 12 s more at the most", r.JobsDoneS, want)
	}
	if r.DrainS < .9*want {
		t.Errorf("the line stood for %.1f s of %.1f", r.DrainS, want)
	}
	conserved(t, r)
}

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Faults = []Fault{{At: 5 * time.Minute, For: time.Minute, What: StoreDark}}
	var results [3][]byte
	for i := range results {
		cfg.Seed = uint64(7 + i/2)
		js, err := run(t, cfg, nil).JSON()
		if err != nil {
			t.Fatal(err)
		}
		results[i] = js
	}
	if !bytes.Equal(results[0], results[1]) {
		t.Error("two runs of one seed differ")
	}
	if bytes.Equal(results[0], results[2]) {
		t.Error("two seeds give the same run")
	}
}

// Whatever breaks for a while, everybody who was accepted gets there, and nothing is lost.
func TestFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	for _, f := range []Fault{
		{At: 5 * time.Minute, For: 3 * time.Minute, What: StoreDark},
		{At: 5 * time.Minute, For: 3 * time.Minute, What: StoreCrash},
		{At: 5 * time.Minute, For: 5 * time.Minute, What: StoreSpeed, Factor: .1},
		{At: 5 * time.Minute, For: 5 * time.Minute, What: StoreWorkers, Factor: .25},
		{At: 5 * time.Minute, For: 3 * time.Minute, What: MailRefuses},
		{At: 5 * time.Minute, For: 5 * time.Minute, What: MailRate, Factor: .1},
		{At: 5 * time.Minute, For: 5 * time.Minute, What: MailSlow, Delay: time.Minute},
	} {
		t.Run(string(f.What), func(t *testing.T) {
			t.Parallel()
			cfg := small()
			cfg.Faults = []Fault{f}
			r, calm := run(t, cfg, nil), run(t, small(), nil)
			conserved(t, r)
			if r.Completed < r.People*999/1000 || r.People != calm.People {
				t.Errorf("%d of %d completed, %d refused", r.Completed, r.People, r.FailedCalls)
			}
			if r.Waits.P99 < calm.Waits.P99 || r.Waits.Max <= calm.Waits.Max {
				t.Errorf("99 %% waited %d ms, without the fault %d; the longest %d and %d", r.Waits.P99, calm.Waits.P99, r.Waits.Max, calm.Waits.Max)
			}
			dead := f.What == StoreDark || f.What == StoreCrash || f.What == MailRefuses
			if dead != (r.BreakerTrips > 0) {
				t.Errorf("the breakers opened %d times", r.BreakerTrips)
			}
			if bound := (f.For + 3*time.Minute).Milliseconds(); r.Waits.Max > bound {
				t.Errorf("somebody waited %d ms, more than the fault and three minutes", r.Waits.Max)
			}
		})
	}
}

// A link's life begins with the hand-off: a provider that is slower than that makes people ask again and again.
func TestMailsSlowerThanTheirLinksLive(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Work.LinkTTL, cfg.Mail.Delay = 10*time.Minute, 11*time.Minute
	r := run(t, cfg, nil)
	if r.Refused["TOKEN_EXPIRED"] < r.People/2 || r.GaveUp == 0 || r.Links < 2*r.People {
		t.Errorf("of %d people %d gave up; %d links, refused %v", r.People, r.GaveUp, r.Links, r.Refused)
	}
	conserved(t, r)
	cfg.Mail.Delay = 9 * time.Minute
	if r = run(t, cfg, nil); r.Completed < r.People*99/100 {
		t.Errorf("links that live longer than their mail's way: %d of %d completed", r.Completed, r.People)
	}
}

// Without a gateway and with a dead store every call fails, and people make as many as the model says; work that nobody
// waits for stays inside.
func TestADeadStoreIsAmplified(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Arm, cfg.Scenario.AttackShare, cfg.Scenario.SignOut = ArmDirect, 1e-9, false
	cfg.Faults = []Fault{{For: 90 * time.Minute, What: StoreCrash}}
	r := run(t, cfg, nil)
	got, want := float64(r.PeopleCalls)/float64(r.People), model.Amplification(1, 3, 5, .8)
	if r.Completed > 0 || math.Abs(got/want-1) > .05 {
		t.Errorf("%.2f calls a person, the model says %.2f; %d completed", got, want, r.Completed)
	}
	conserved(t, r)
}

// Straight at the demo's store, its storm kills it and most of those who come get nothing in time; through the gateway
// all do.
func TestTheDemosStorm(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Scenario: model.Plex2022(), Window: model.Window{From: -2 * time.Second, Length: 30 * time.Second, Thin: 16}, Seed: 2022,
		Store: StoreLike(victim.Config{}), Headroom: -1, Until: 2 * time.Minute, Mail: Mail{Latency: 2 * time.Millisecond},
	}
	through := run(t, cfg, nil)
	cfg.Arm = ArmDirect
	direct := run(t, cfg, nil)
	if direct.StoreCrashes == 0 || direct.Completed > direct.People*8/10 {
		t.Errorf("directly: %d crashes, %d of %d completed", direct.StoreCrashes, direct.Completed, direct.People)
	}
	if through.StoreCrashes > 0 || through.Completed != through.People || through.FailedCalls > 0 {
		t.Errorf("through the gateway: %d crashes, %d of %d completed, %d calls failed", through.StoreCrashes, through.Completed, through.People, through.FailedCalls)
	}
	// Common random numbers: the same people came.
	if direct.People != through.People || direct.Attackers != through.Attackers {
		t.Errorf("%d people and %d attackers came, through the gateway %d and %d", direct.People, direct.Attackers, through.People, through.Attackers)
	}
}

// The provider's rate is the gateway's to keep: not one mail is refused. The global bucket is admission's.
func TestRatesAreKept(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Mail.Rate = 20
	cfg.Admission.Global.Rate.Count, cfg.Admission.Global.Rate.Per, cfg.Admission.Global.Burst = 20, time.Second, 40
	r := run(t, cfg, nil)
	if r.MailRefusals > 0 || r.Refused["LIMIT_GLOBAL"] == 0 {
		t.Errorf("%d mails were refused; calls: %v", r.MailRefusals, r.Refused)
	}
	for i := 1; i < len(r.Samples); i++ {
		a, b := r.Samples[i-1], r.Samples[i]
		passed := b.Seconds - a.Seconds
		refused := b.FailedRate * passed
		if taken := b.OfferedRate*passed - refused; a.Came > 0 && taken > 2*(20*passed+40) { // reads cost nothing: half as many again at the most
			t.Fatalf("at %.0f s %.0f calls were let in within %.1f s", b.Seconds, taken, passed)
		}
	}
	conserved(t, r)
}

// What cannot be finished in time is not accepted.
func TestALineThatIsTooLongIsClosed(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Gate.MaxStartWait = time.Minute
	cfg.Mail.Rate = 2
	cfg.Scenario.SignOut = false
	r := run(t, cfg, nil)
	if r.Refused["QUEUE_FULL"] == 0 && r.Refused["SHED_LEVEL_3"] == 0 {
		t.Errorf("refused %v", r.Refused)
	}
	conserved(t, r)
}

func TestPeopleAreSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(record{}); size > 88 {
		t.Errorf("a person takes %d bytes; 13 million must fit into 2 GiB with their jobs and timers", size)
	}
	if size := unsafe.Sizeof(job{}); size > 12 {
		t.Errorf("a job takes %d bytes", size)
	}
}

func TestACancelledRunEnds(t *testing.T) {
	t.Parallel()
	s, err := New(small(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx); err == nil {
		t.Error("a cancelled run told no error")
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"Arm":           func(c *Config) { c.Arm = "both" },
		"Window.Length": func(c *Config) { c.Window.Length = -1 },
		"Until":         func(c *Config) { c.Until = time.Second },
		"Store":         func(c *Config) { c.Store.Workers = -1 },
		"Mail":          func(c *Config) { c.Mail.Rate = -1 },
		"Faults[0]":     func(c *Config) { c.Faults = []Fault{{For: 1, What: "rain"}} },
		"Headroom":      func(c *Config) { c.Headroom = 1 },
		"ComeBack":      func(c *Config) { c.People = people.Config{ComeBack: 2} },
	} {
		cfg := small()
		change(&cfg)
		if _, err := New(cfg, Deps{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error for a bad %s is %v", name, err)
		}
	}
}

func TestFaultsOfATimeline(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Fault{
		"store-dark at 1h for 30m":         {At: time.Hour, For: 30 * time.Minute, What: StoreDark},
		"mail-rate 0.1 at 0s for 2h":       {For: 2 * time.Hour, What: MailRate, Factor: .1},
		"store-capacity 0.5 at 5m for 10m": {At: 5 * time.Minute, For: 10 * time.Minute, What: StoreWorkers, Factor: .5},
		"store-crash at 5m":                {At: 5 * time.Minute, For: time.Second, What: StoreCrash},
		"mail-refuse at 1h for 1m":         {At: time.Hour, For: time.Minute, What: MailRefuses},
		"store-slow 0.25 at 1h for 1m":     {At: time.Hour, For: time.Minute, What: StoreSpeed, Factor: .25},
	} {
		f, err := model.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := FaultsOf([]model.Fault{f}); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, kind := range []model.FaultKind{model.GatewayKill, model.DiskFull} {
		if _, err := FaultsOf([]model.Fault{{Kind: kind}}); err == nil {
			t.Errorf("%s was simulated", kind)
		}
	}
}

// BenchmarkEvents tells what an event of a whole storm costs.
func BenchmarkEvents(b *testing.B) {
	cfg := small()
	cfg.Scenario.People = 500_000
	cfg.Store = StoreOf(800, 20*time.Millisecond)
	var events uint64
	for b.Loop() {
		s, err := New(cfg, Deps{})
		if err != nil {
			b.Fatal(err)
		}
		r, err := s.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		events += r.Events
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}
