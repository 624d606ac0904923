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
	blast := Scenario{Mailed: 15e6, SignOut: true}.WithDefaults()
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
	s := Scenario{Mailed: 1e6, Mailing: 24 * time.Hour}.WithDefaults()
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
	got, err := s.Arrivals(w, 7)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Arrivals(w, 7)
	if err != nil {
		t.Fatal(err)
	}
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
		} else {
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

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Scenario{
		"Mailed":      {},
		"AttackShare": {Mailed: 1, AttackShare: 1},
		"ResetShare":  {Mailed: 1, ResetShare: 2},
		"SignOutTau":  {Mailed: 1, SignOutTau: -1},
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
