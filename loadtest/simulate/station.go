package simulate

import (
	"math"
	"slices"
	"time"
)

// never is the end of work given to a station that never works again.
const never = math.MaxInt64

// station is workers before one line. Work is given its worker and its end when it enters, so that nothing has to be told
// of what waits: first come, first served, so whoever is free first takes what came first.
type station struct {
	free  []int64 // when each worker is free, a heap: the first one is the earliest
	turns []turn  // of the speed, by time
	// Down is until when it refuses; Calls and Items are inside, those included that nobody waits for any more.
	Down         int64
	Calls, Items int
}

// turn is when the speed changes.
type turn struct {
	at    int64
	speed float64
}

// newStation returns an empty station. In the given spans it is slower or stands still.
func newStation(workers int, slow []span) *station {
	return &station{free: make([]int64, workers), turns: turns(slow)}
}

// span is a time with a factor on the speed.
type span struct {
	From, To int64
	Factor   float64
}

// turns multiplies spans that overlap.
func turns(spans []span) []turn {
	var times []int64
	for _, s := range spans {
		times = append(times, s.From, s.To)
	}
	slices.Sort(times)
	var list []turn
	for _, at := range slices.Compact(times) {
		speed := 1.0
		for _, s := range spans {
			if s.From <= at && at < s.To {
				speed *= s.Factor
			}
		}
		list = append(list, turn{at, speed})
	}
	return list
}

// Enter gives a call of so many pieces its end.
func (s *station) Enter(now int64, pieces int, each time.Duration) int64 {
	end := now
	for range pieces {
		begin := max(now, s.free[0])
		e := s.work(begin, float64(each))
		s.free[0] = e
		s.sink()
		end = max(end, e)
	}
	return end
}

// work is when so many ns of work are done that begin then.
func (s *station) work(at int64, left float64) int64 {
	if at == never {
		return never
	}
	if n := len(s.turns); n == 0 || at >= s.turns[n-1].at && s.turns[n-1].speed == 1 {
		return at + int64(left)
	}
	speed := 1.0
	for _, t := range s.turns {
		if t.at > at {
			if done := float64(t.at-at) * speed; done < left {
				left -= done
				at = t.at
			} else {
				return at + int64(left/speed)
			}
		}
		speed = t.speed
	}
	if speed == 0 || at == never {
		return never
	}
	return at + int64(left/speed)
}

// sink puts the first worker where it belongs.
func (s *station) sink() {
	h := s.free
	v := h[0]
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[child] >= v {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = v
}

// Resize gives it another number of workers. Those that go end what they have been given.
func (s *station) Resize(now int64, workers int) {
	slices.Sort(s.free)
	for len(s.free) < workers {
		s.free = slices.Insert(s.free, 0, now)
	}
	s.free = s.free[len(s.free)-workers:]
	slices.Sort(s.free) // a sorted list is a heap
}

// Die breaks all that is inside; it is back, and cold, after the restart.
func (s *station) Die(now int64, restart, cold time.Duration) {
	s.Down = max(s.Down, now+int64(restart))
	for i := range s.free {
		s.free[i] = s.Down
	}
	s.Calls, s.Items = 0, 0
	if cold > 0 {
		s.slow(span{s.Down, s.Down + int64(cold), .5})
	}
}

// slow adds a span in which it is slower. What has its end keeps it.
func (s *station) slow(by span) {
	at := func(t int64) float64 {
		speed := 1.0
		for _, turn := range s.turns {
			if turn.at <= t {
				speed = turn.speed
			}
		}
		return speed
	}
	times := []int64{by.From, by.To}
	for _, t := range s.turns {
		times = append(times, t.at)
	}
	slices.Sort(times)
	var list []turn
	for _, t := range slices.Compact(times) {
		speed := at(t)
		if by.From <= t && t < by.To {
			speed *= by.Factor
		}
		list = append(list, turn{t, speed})
	}
	s.turns = list
}

// provider takes mails at a rate, by the generic cell rate algorithm (ITU-T I.371) in whole ns: at most a tenth of a
// second's mails at once over it.
type provider struct {
	Each  int64 // ns a mail; 0: any number
	burst int64 // ns
	full  int64 // when all that was taken is paid for
}

// newProvider returns a provider that takes so many mails a second; 0: any number.
func newProvider(rate float64) *provider {
	p := &provider{}
	if rate > 0 {
		p.Each = int64(float64(time.Second) / rate)
		p.burst = max(p.Each, int64(time.Second)/10+p.Each)
	}
	return p
}

// Take reports whether the provider takes a mail now; each is what a mail costs, Each and what faults make of it.
func (p *provider) Take(now, each int64) bool {
	if p.Each == 0 {
		return true
	}
	full := max(p.full, now) + each
	if full-now > p.burst+each-p.Each {
		return false
	}
	p.full = full
	return true
}
