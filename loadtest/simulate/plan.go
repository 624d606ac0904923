package simulate

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Question asks how slowly people must be mailed so that nobody waits longer than a bound.
type Question struct {
	Config  Config // with the scenario's defaults
	MaxWait time.Duration
	// Sample is how many people a thinned run has. Default 200,000.
	Sample float64
}

// Answer is the mailing that was found, and the waits with it.
type Answer struct {
	MaxWaitS float64 `json:"max_wait_s"`
	Measure  string  `json:"measure"`
	Found    bool    `json:"found"`
	// MailingS is the duration of the mailing, MailsPerS what that is a second.
	MailingS  float64 `json:"mailing_s"`
	MailsPerS float64 `json:"mails_per_s"`
	// WithoutSignOut: the answer presumes that devices are not all signed out at once; SignOutWaitMS is what that alone
	// would cost.
	WithoutSignOut bool  `json:"without_sign_out"`
	SignOutWaitMS  int64 `json:"sign_out_wait_ms"` // −1: more than 1 in 1000 never got there
	P999MS         int64 `json:"p999_ms"`          // of the run that confirmed it
	MaxMS          int64 `json:"max_ms"`
	Runs           int   `json:"runs"`
}

const (
	measure = "99.9 % of all who came, less their own reading and typing"
	// slowest and fastest bound the mailing.
	slowest, fastest = 14 * 24 * time.Hour, 10 * time.Minute
	precision        = 1.03
	// tail is how long the run goes on after the mailing: by then fewer come than at its end.
	tail = 6 * time.Hour
)

// Mailing searches the shortest mailing at which 99.9 % of all who come wait at most as long as asked; people who gave up count as
// waiting for ever. It first asks whether the sign-out at once alone makes people wait longer: then no mailing helps, and the answer is
// for a storm without it. It searches with thinned runs (one person in so many, before a store, a provider, a hash pool and buckets of
// as much less): it doubles or halves the mailing until the bound lies between two, then bisects to 3 %. One run of everybody confirms
// it; if somebody waits longer after all, the mailing gets a tenth slower, at most twice. It calls told after every run.
func Mailing(ctx context.Context, q Question, told func(string)) (Answer, error) {
	if q.Sample == 0 {
		q.Sample = 200_000
	}
	q.Config = q.Config.WithDefaults()
	s := search{ctx: ctx, q: q, told: told}
	a := Answer{MaxWaitS: q.MaxWait.Seconds(), Measure: measure}
	s.thin = thinning(q)
	if q.Config.Scenario.SignOut {
		ok, r, err := s.try(slowest, s.thin, tail)
		if err != nil {
			return a, err
		}
		if a.SignOutWaitMS = r.EverybodyP999MS; !ok {
			a.WithoutSignOut = true
			s.q.Config.Scenario.SignOut = false
		}
	}
	mailing, found, err := s.find()
	for tries := 0; err == nil && found && tries < 3; tries++ {
		var ok bool
		var r Result
		if ok, r, err = s.try(mailing, 1, 0); err == nil && ok {
			a.Found, a.MailingS, a.MailsPerS = true, mailing.Seconds(), q.Config.Scenario.People/mailing.Seconds()
			a.P999MS, a.MaxMS = r.EverybodyP999MS, r.Waits.Max
			break
		}
		mailing = time.Duration(1.1 * float64(mailing))
	}
	a.Runs = s.runs
	return a, err
}

type search struct {
	ctx  context.Context
	q    Question
	told func(string)
	thin float64
	runs int
}

// least is the shortest mailing: the notices go through the same provider.
func (s *search) least() time.Duration {
	if rate := s.q.Config.Mail.Rate; rate > 0 {
		return max(fastest, time.Duration(s.q.Config.Scenario.People/rate*float64(time.Second)))
	}
	return fastest
}

// find returns the shortest mailing that will do; false: none does.
func (s *search) find() (time.Duration, bool, error) {
	least := s.least()
	good, bad := time.Duration(0), time.Duration(0)
	for d := max(least, s.q.Config.Scenario.Mailing); good == 0 || bad == 0; {
		ok, _, err := s.try(d, s.thin, 0)
		if err != nil {
			return 0, false, err
		}
		if ok {
			if good = d; good == least {
				return good, true, nil
			}
			d = max(least, d/2)
		} else {
			if bad = d; bad == slowest {
				return 0, false, nil
			}
			d = min(slowest, 2*d)
		}
	}
	for float64(good)/float64(bad) > precision {
		d := time.Duration(math.Sqrt(float64(good) * float64(bad)))
		ok, _, err := s.try(d, s.thin, 0)
		if err != nil {
			return 0, false, err
		}
		if ok {
			good = d
		} else {
			bad = d
		}
	}
	return good.Round(time.Minute), true, nil
}

// try simulates a mailing of that duration; only is how much of it, 0: all.
func (s *search) try(mailing time.Duration, thin float64, only time.Duration) (ok bool, r Result, err error) {
	c := Thin(s.q.Config, thin)
	c.Scenario.Mailing = mailing
	c.Window.Length = mailing + tail
	if only > 0 {
		c.Window.Length = only
	}
	c.Until = 0
	sim, err := New(c, Deps{})
	if err != nil {
		return false, r, err
	}
	if r, err = sim.Run(s.ctx); err != nil {
		return false, r, err
	}
	s.runs++
	ok = r.EverybodyP999MS >= 0 && r.EverybodyP999MS <= s.q.MaxWait.Milliseconds()
	s.told(fmt.Sprintf("mailing over %v, 1 in %.3g: 99.9 %% wait at most %s", mailing.Round(time.Minute), thin*s.q.Config.Window.Thin, duration(r.EverybodyP999MS)))
	return ok, r, nil
}

const (
	// leastWorkers: of fewer, a headroom of a fifth is none or a half, and the pacer has no room to look around.
	leastWorkers = 8
	// slowestWrite bounds how slow a thinned store's workers become: the pacer learns from calls, and finds its way within
	// seconds as long as there are some of them.
	slowestWrite = 250 * time.Millisecond
)

// thinning keeps runs at the question's sample, as far as the store can be thinned.
func thinning(q Question) float64 {
	store := q.Config.Store
	people := q.Config.Scenario.People * q.Config.Scenario.ResetShare / q.Config.Window.Thin
	slower := max(1, slowestWrite.Seconds()/store.WriteTime.Seconds())
	return max(1, math.Floor(min(people/q.Sample, float64(store.Workers)/float64(min(store.Workers, leastWorkers))*slower)))
}

// Thin returns the same storm with one person in so many, before everything of as much less capacity.
func Thin(c Config, k float64) Config {
	if k == 1 {
		return c
	}
	c = c.WithDefaults()
	c.Window.Thin *= k
	whole := c.Store.Workers
	c.Store.Workers = max(min(whole, leastWorkers), int(math.Round(float64(whole)/k)))
	slower := float64(c.Store.Workers) * k / float64(whole)
	for _, t := range []*time.Duration{&c.Store.WriteTime, &c.Store.LookupTime, &c.Store.RevokeTime, &c.Store.BatchTime} {
		*t = time.Duration(float64(*t) * slower)
	}
	c.Store.MemoryBound = int(float64(c.Store.MemoryBound) / k)
	if c.Hash.Slots > 0 {
		slots := max(1, int(math.Round(float64(c.Hash.Slots)/k)))
		c.Hash.Time = time.Duration(float64(c.Hash.Time) * float64(slots) * k / float64(c.Hash.Slots))
		c.Hash.Slots = slots
	}
	c.Mail.Rate /= k
	c.Mail.Connections = max(1, int(math.Ceil(float64(c.Mail.Connections)/k)))
	c.Admission.Global.Rate.Count = max(1, int(math.Round(float64(c.Admission.Global.Rate.Count)/k)))
	c.Admission.Global.Burst = max(1, int(math.Round(float64(c.Admission.Global.Burst)/k)))
	c.QueueBytes = max(1, int64(float64(c.QueueBytes)/k))
	return c
}
