package arrivals

import (
	"math"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
)

// The same people come as in model.Arrivals, at the same moments but for the step.
func TestArrivalsAreTheModels(t *testing.T) {
	t.Parallel()
	s := model.Plex2022()
	w := model.Window{From: -2 * time.Second, Length: 30 * time.Second, Thin: 16}
	want, err := s.Arrivals(w, 7)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(s, w, 7)
	if err != nil {
		t.Fatal(err)
	}
	var last time.Duration
	for i, a := range want {
		got, ok := l.Next()
		if !ok || got.At < last {
			t.Fatalf("arrival %d of %d: %+v after %v", i, len(want), got, last)
		}
		last = got.At
		if d := got.At - a.At; d < -10*time.Millisecond || d > 10*time.Millisecond {
			t.Fatalf("arrival %d comes at %v, want %v", i, got.At, a.At)
		}
	}
	if a, ok := l.Next(); ok {
		t.Errorf("one too many: %+v", a)
	}
}

// Over two days as many come as the integral says, people and attackers each numbered from 0.
func TestArrivalsMatchTheIntegral(t *testing.T) {
	t.Parallel()
	s := model.Plex2022()
	w := model.Window{Length: 48 * time.Hour, Thin: 50}
	l, err := New(s, w, 3)
	if err != nil {
		t.Fatal(err)
	}
	var came, attacked, firstMinutes uint64
	for a, ok := l.Next(); ok; a, ok = l.Next() {
		n := &came
		if a.Source == model.SourceAttack {
			n = &attacked
		}
		if a.Person != *n {
			t.Fatalf("number %d comes as the %dth", a.Person, *n)
		}
		*n++
		if a.At < 3*time.Minute && a.Source == model.SourceRevoke {
			firstMinutes++
		}
	}
	var want float64
	for at := time.Duration(0); at < w.Length; at += 100 * time.Millisecond {
		want += s.At(at).People() / w.Thin / 10
	}
	if math.Abs(float64(came)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d people came, the integral is %.0f", came, want)
	}
	if want *= .34 / .66; math.Abs(float64(attacked)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d attackers came, want about %.0f", attacked, want)
	}
	if want := s.Mailed * s.SignOutBack * (1 - math.Exp(-3)) / w.Thin; math.Abs(float64(firstMinutes)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d came of the sign-out within 3 minutes, want about %.0f", firstMinutes, want)
	}
}
