package simulate

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
)

// storm is one that its store can only take slowly: 300,000 people mailed within an hour, 16 passwords a second.
func storm(signOut bool) Config {
	s := model.Plex2022()
	s.People, s.Mailing, s.SignOut = 300_000, time.Hour, signOut
	return Config{
		Scenario: s, Window: model.Window{Length: 12 * time.Hour}, Seed: 3, Headroom: -1, Store: StoreOf(16, 125*time.Millisecond),
	}
}

// No mailing is slow enough where the sign-out alone is too much: the answer says so, and is for a storm without it.
func TestTheMailingIsAsSlowAsItMustBe(t *testing.T) {
	t.Parallel()
	const bound = 3 * time.Minute
	q := Question{Config: storm(true), MaxWait: bound, Sample: 65_000}
	runs := 0
	a, err := Mailing(t.Context(), q, func(string) { runs++ })
	if err != nil {
		t.Fatal(err)
	}
	if !a.Found || a.P999MS > bound.Milliseconds() || a.Runs != runs {
		t.Fatalf("%+v after %d runs", a, runs)
	}
	if !a.WithoutSignOut || a.SignOutWaitMS >= 0 && a.SignOutWaitMS < bound.Milliseconds() {
		t.Errorf("what the sign-out alone costs: %+v", a)
	}
	if math.Abs(a.MailsPerS*a.MailingS-300_000) > 1 {
		t.Errorf("%v mails a second over %v s", a.MailsPerS, a.MailingS)
	}
	// Much faster is too fast.
	c := storm(false)
	c.Scenario.Mailing = time.Duration(.7 * a.MailingS * float64(time.Second))
	c.Window.Length = 3 * time.Hour
	sim, err := New(c, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.Run(t.Context())
	if err != nil || r.EverybodyP999MS >= 0 && r.EverybodyP999MS <= bound.Milliseconds() {
		t.Errorf("mailed over %v they wait %d ms: %v", c.Scenario.Mailing, r.EverybodyP999MS, err)
	}
	text := strings.Join(Words(storm(true), r, &a), "\n")
	for _, want := range []string{
		"300 k mailed within 1h0m0s and all devices signed out at once", "in line at the most", "GB at the most", "nobody waits for more than 5 s",
		"Without it: mail over at least",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no word of %q in:\n%s", want, text)
		}
	}
}

// A thinned storm has the same line, in time.
func TestAThinnedStormIsTheSameStorm(t *testing.T) {
	t.Parallel()
	c := storm(true)
	c.Scenario.People = 500_000
	c.Window.Length = 2 * time.Hour
	c.Store, c.Mail.Rate = StoreOf(80, 200*time.Millisecond), 150
	var drains, waits []float64
	for _, k := range []float64{1, 4} {
		sim, err := New(Thin(c, k), Deps{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := sim.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(r.People) * r.Thin / 500_000; got < .1 || got > .3 {
			t.Errorf("1 in %v: %d people", k, r.People)
		}
		drains, waits = append(drains, r.DrainS), append(waits, float64(r.Waits.P99))
	}
	if math.Abs(drains[1]/drains[0]-1) > .1 || math.Abs(waits[1]/waits[0]-1) > .1 {
		t.Errorf("drained after %v s, 99 %% waited %v ms", drains, waits)
	}
}
