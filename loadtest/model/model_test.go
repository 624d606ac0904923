package model

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestAmplificationAsPublished(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ f, want float64 }{{0, 1}, {0.1, 1.1}, {0.5, 1.9}, {1, 10.1}} {
		if got := Amplification(c.f, 3, 5, 0.8); math.Abs(got-c.want) > 0.05 {
			t.Errorf("A(%v) = %.3f, want %.1f", c.f, got, c.want)
		}
	}
}

func TestRatesFollowTheirFormulas(t *testing.T) {
	t.Parallel()
	blast := Scenario{People: 15e6, SignOut: true}.WithDefaults()
	start := blast.At(0)
	if math.Abs(start.Revoke-7500) > 1 { // 15 M · 3 % / 60 s
		t.Errorf("sign-out adds %.0f/s at t=0, want 7500", start.Revoke)
	}
	if got := blast.At(time.Minute).Revoke; math.Abs(got-7500/math.E) > 1 {
		t.Errorf("sign-out adds %.0f/s after tau, want %.0f", got, 7500/math.E)
	}
	if math.Abs(start.Scan-15e6*0.10/3600) > 1 {
		t.Errorf("scanners make %.0f/s, want %.0f", start.Scan, 15e6*0.10/3600)
	}
	if r := blast.At(30 * time.Minute); math.Abs(r.Attack/(r.Attack+r.People())-0.34) > 1e-9 {
		t.Errorf("the attack is %.3f of requests, want 0.34", r.Attack/(r.Attack+r.People()))
	}
	if r := blast.At(-time.Second); r != (Rate{}) {
		t.Errorf("somebody came before the storm: %+v", r)
	}
}

// The fit that F quotes: 24 % in 1 h, 58 % in 6 h, 82 % in 24 h.
func TestOpensAsFitted(t *testing.T) {
	t.Parallel()
	s := Plex2022()
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{time.Hour, 0.24}, {6 * time.Hour, 0.58}, {24 * time.Hour, 0.82}} {
		if got := s.opened(c.after); math.Abs(got-c.want) > 0.01 {
			t.Errorf("F(%v) = %.3f, want %.2f", c.after, got, c.want)
		}
	}
}

// Everybody who resets comes some time: ∫λ_mail = N·p·F(∞) when the time of day is averaged out over days.
func TestMailIntegratesToThePeopleWhoReset(t *testing.T) {
	t.Parallel()
	s := Scenario{People: 1e6, Mailing: 24 * time.Hour}.WithDefaults()
	var sum float64
	step := 10 * time.Minute
	for at := time.Duration(0); at < 200*24*time.Hour; at += step {
		sum += s.At(at).Mail * step.Seconds()
	}
	if want := 1e6 * 0.46; math.Abs(sum/want-1) > 0.03 {
		t.Errorf("%.0f people came, want about %.0f", sum, want)
	}
}

func TestPeakOfPlexIsTheSignOut(t *testing.T) {
	t.Parallel()
	if at := Plex2022().Peak(); at != 0 {
		t.Errorf("peak at %v, want 0s: the devices that were signed out at once", at)
	}
	paced := Plex2022()
	paced.SignOut = false
	if at := paced.Peak(); at <= 0 {
		t.Errorf("peak at %v without sign-out, want later", at)
	}
}

func TestArrivalsMatchTheIntegral(t *testing.T) {
	t.Parallel()
	s := Plex2022()
	w := Window{From: -2 * time.Second, Length: 30 * time.Second, Thin: 14}
	got, again := all(t, s, w, 7), all(t, s, w, 7)
	var people, attackers float64
	for i, a := range got {
		if a != again[i] {
			t.Fatalf("arrival %d differs between two runs of one seed", i)
		}
		if i > 0 && a.At < got[i-1].At {
			t.Fatalf("arrival %d comes before the one before it", i)
		}
		if a.Source == SourceAttack {
			attackers++
		} else if a.Source.Human() {
			if a.Person != uint64(people) {
				t.Fatalf("person %d came after %v others", a.Person, people)
			}
			people++
		}
	}
	if got[0].At < 2*time.Second {
		t.Errorf("somebody came %v into the window, before the storm", got[0].At)
	}
	var want float64
	for at := time.Duration(0); at < 28*time.Second; at += time.Millisecond {
		want += s.At(at).People() / 14 / 1000
	}
	if math.Abs(people-want) > 4*math.Sqrt(want) {
		t.Errorf("%.0f people, want %.0f within four standard deviations", people, want)
	}
	if wantAttack := want * 0.34 / 0.66; math.Abs(attackers-wantAttack) > 4*math.Sqrt(wantAttack) {
		t.Errorf("%.0f attackers, want about %.0f", attackers, wantAttack)
	}
}

func all(t *testing.T, s Scenario, w Window, seed uint64) (list []Arrival) {
	t.Helper()
	arrivals, err := s.Arrivals(w, seed)
	if err != nil {
		t.Fatal(err)
	}
	for {
		a, ok := arrivals.Next()
		if !ok {
			return list
		}
		list = append(list, a)
	}
}

// Every scenario's arrivals, thinned, are as many as the integral of its rate, hour by hour and source by source.
func TestEveryScenarioKeepsItsRates(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		s, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		thin := max(1, s.People/50_000)
		const hours = 12
		var got [hours][sources + 1]float64
		for _, a := range all(t, s, Window{Length: hours * time.Hour, Thin: thin}, 3) {
			got[int(a.At/time.Hour)][a.Source]++
		}
		for hour := range hours {
			var want [sources + 1]float64
			for at := time.Duration(hour) * time.Hour; at < time.Duration(hour+1)*time.Hour; at += 100 * time.Millisecond {
				for _, source := range []Source{SourceMail, SourceRevoke, SourceAttack, SourceScan, SourceUsual} {
					want[source] += s.of(source, at+50*time.Millisecond) / thin / 10
				}
			}
			for _, source := range []Source{SourceMail, SourceRevoke, SourceAttack, SourceScan, SourceUsual} {
				if math.Abs(got[hour][source]-want[source]) > 4.5*math.Sqrt(want[source])+1 {
					t.Errorf("%s, hour %d, %v: %.0f came, want about %.0f", name, hour, source, got[hour][source], want[source])
				}
			}
		}
	}
}

func TestWindowsThatBeginInTheMiddle(t *testing.T) {
	t.Parallel()
	s := Plex2022()
	w := Window{From: 90*time.Minute + 333*time.Millisecond, Length: 10*time.Second + 7*time.Millisecond, Thin: 1}
	list := all(t, s, w, 1)
	want := 0.
	for at := w.From; at < w.From+w.Length; at += time.Millisecond {
		want += s.At(at).People() / 1000
	}
	people := 0.
	for _, a := range list {
		if a.At < 0 || a.At >= w.Length {
			t.Fatalf("somebody came at %v of %v", a.At, w.Length)
		}
		if a.Source.Human() {
			people++
		}
	}
	if math.Abs(people-want) > 4.5*math.Sqrt(want) {
		t.Errorf("%v people, want about %v", people, want)
	}
}

func TestOfficesAreHalfTheirPeopleBehindAFewAddresses(t *testing.T) {
	t.Parallel()
	s, err := ByName("nat-office")
	if err != nil {
		t.Fatal(err)
	}
	inside, people := map[uint64]int{}, 0
	for _, a := range all(t, s, Window{Length: 2 * time.Hour, Thin: 4}, 1) {
		if a.Source.Human() {
			people++
			inside[a.Office]++
		}
	}
	if share := 1 - float64(inside[0])/float64(people); math.Abs(share-.5) > .02 {
		t.Errorf("%.3f of people sit in offices, want 0.5", share)
	}
	if len(inside) < 20 || len(inside) > 60 { // 1 M · 0.46 · 0.5 ÷ 2,000 ÷ 4, and who sits in none
		t.Errorf("%d offices", len(inside)-1)
	}
}

func TestTheLoopMakesItsCalls(t *testing.T) {
	t.Parallel()
	s, err := ByName("refresh-loop")
	if err != nil {
		t.Fatal(err)
	}
	calls, last := 0, time.Duration(0)
	for _, a := range all(t, s, Window{Length: 2 * time.Hour}, 1) {
		if a.Source == SourceLoop {
			calls, last = calls+1, a.At
		}
	}
	if calls != 450_000 || math.Abs((last-time.Hour).Seconds()) > 1 {
		t.Errorf("%d calls, the last after %v", calls, last)
	}
}

// 15 million people mailed within an hour: about 600 a second at the peak; over a day 6 times fewer, no more.
func TestPacingCutsThePeakSixTimes(t *testing.T) {
	t.Parallel()
	peak := func(name string) float64 {
		s, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		s.StartHour = 20 // the same time of day for both
		return s.At(s.Peak()).People()
	}
	blast, paced := peak("blast-1h"), peak("paced-24h")
	if blast < 550 || blast > 800 || blast/paced < 4 || blast/paced > 8 {
		t.Errorf("peaks of %.0f and %.0f a second", blast, paced)
	}
}

func TestNamesAndWhatIsNotOne(t *testing.T) {
	t.Parallel()
	if n := len(Names()); n != 10 {
		t.Errorf("%d scenarios", n)
	}
	if _, err := ByName("plex"); err == nil || !strings.Contains(err.Error(), "plex-2022") {
		t.Errorf("%v", err)
	}
}

func BenchmarkArrivals(b *testing.B) {
	s := Plex2022()
	arrivals, err := s.Arrivals(Window{Length: 1000 * time.Hour}, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := arrivals.Next(); !ok {
			b.Fatal("nobody comes any more")
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Scenario{
		"people":       {People: -1},
		"attack_share": {People: 1, AttackShare: 1},
		"reset_share":  {People: 1, ResetShare: 2},
		"sign_out_tau": {People: 1, SignOutTau: -1},
	} {
		err := s.Validate()
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error for a bad %s is %v", name, err)
		}
	}
	if _, err := Plex2022().Arrivals(Window{}, 1); err == nil {
		t.Error("an empty window was taken")
	}
}
