package simulate

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// slowly is a line before workers in so many words: each piece goes to whoever is free first, and is worked ms by ms.
type slowly struct {
	free  []int64
	speed func(ms int64) float64
}

func (s *slowly) enter(now int64, each float64) int64 {
	who := 0
	for i, at := range s.free {
		if at < s.free[who] {
			who = i
		}
	}
	at := max(now, s.free[who])
	for left := each; left > 1e-9; at++ {
		left -= s.speed(at)
	}
	s.free[who] = at
	return at
}

const ms = int64(time.Millisecond)

func TestTheEndIsKnownWhenWorkEnters(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 5).Draw(t, "workers")
		var spans []span
		for range rapid.IntRange(0, 3).Draw(t, "spans") {
			from := rapid.Int64Range(0, 200).Draw(t, "from")
			spans = append(spans, span{
				From: from * ms, To: (from + rapid.Int64Range(1, 100).Draw(t, "for")) * ms,
				Factor: rapid.SampledFrom([]float64{0, .5, 2}).Draw(t, "factor"),
			})
		}
		s := newStation(workers, spans)
		want := slowly{free: make([]int64, workers), speed: func(at int64) float64 {
			speed := 1.0
			for _, p := range spans {
				if p.From <= at*ms && at*ms < p.To {
					speed *= p.Factor
				}
			}
			return speed
		}}
		now := int64(0)
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += rapid.Int64Range(0, 20).Draw(t, "pause")
			each := rapid.Int64Range(1, 5).Draw(t, "each") * 16 // whole ms also at half or twice the speed, but for its turns
			got := s.Enter(now*ms, 1, time.Duration(each*ms))
			end := want.enter(now, float64(each))
			// The reference works whole ms, so each turn of the speed may cost it one.
			if d := end*ms - got; d < -8*ms || d > 8*ms {
				t.Fatalf("step %d: done at %v, want %v", step, time.Duration(got), time.Duration(end*ms))
			}
		}
	})
}

func TestADeterministicLineIsArithmetic(t *testing.T) {
	t.Parallel()
	s := newStation(4, nil)
	var end int64
	for range 1001 {
		end = s.Enter(0, 1, 21*time.Millisecond)
	}
	if want := int64(251) * 21 * ms; end != want { // ⌈1001 ÷ 4⌉ services
		t.Errorf("the last is done at %v, want %v", time.Duration(end), time.Duration(want))
	}
	if end = newStation(4, nil).Enter(0, 10, 21*time.Millisecond); end != 3*21*ms {
		t.Errorf("a batch of ten over four workers takes %v", time.Duration(end))
	}
}

func TestDeathAndResize(t *testing.T) {
	t.Parallel()
	s := newStation(2, nil)
	s.Enter(0, 20, time.Second)
	s.Calls, s.Items = 1, 20
	s.Die(ms, 5*time.Second, 10*time.Second)
	if s.Down != 5001*ms || s.Items != 0 {
		t.Fatalf("down until %v with %d inside", time.Duration(s.Down), s.Items)
	}
	if end := s.Enter(s.Down, 1, time.Second); end != 7001*ms {
		t.Errorf("cold, a second's work is done at %v, want two seconds after 5.001 s", time.Duration(end))
	}
	s.Resize(30_000*ms, 4)
	if end := s.Enter(30_000*ms, 4, time.Second); end != 31_000*ms {
		t.Errorf("four workers do four at once by %v", time.Duration(end))
	}
	s.Resize(30_000*ms, 1)
	if end := s.Enter(40_000*ms, 2, time.Second); end != 42_000*ms {
		t.Errorf("one worker does two by %v", time.Duration(end))
	}
	if newStation(1, []span{{0, never, 0}}).Enter(0, 1, 1) != never {
		t.Error("work is done by who stands still")
	}
}

// However mails come, no span of time has more than its rate and the burst.
func TestTheProvidersRateIsNeverExceeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(1, 5000).Draw(t, "rate")
		p := newProvider(rate)
		var taken []int64
		now, refused := int64(0), 0
		for range rapid.IntRange(1, 400).Draw(t, "mails") {
			now += rapid.SampledFrom([]int64{0, 1, 1000, 100_000, 10 * ms, 100 * ms, 3000 * ms}).Draw(t, "pause")
			if p.Take(now, p.Each) {
				taken = append(taken, now)
			} else {
				refused++
			}
		}
		for i, from := range taken {
			to := slices.Max(taken[i:])
			for j := i; j < len(taken); j++ {
				if most := rate*time.Duration(taken[j]-from).Seconds() + max(1, rate/10) + 2; float64(j-i+1) > most*1.001 {
					t.Fatalf("%d mails from %v to %v, at %.1f/s", j-i+1, time.Duration(from), time.Duration(to), rate)
				}
			}
		}
		if len(taken) == 0 {
			t.Fatalf("of %d mails none was taken", refused)
		}
	})
}
