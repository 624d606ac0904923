package model

import (
	"math"
	"time"
)

// Rate is people (and attackers) a second at one moment.
type Rate struct {
	Mail, Revoke, Usual, Attack, Scan float64
}

// People is the rate of those who really want a new password.
func (r Rate) People() float64 { return r.Mail + r.Revoke + r.Usual }

// At returns λ at t after the mailing's first mail. The Scenario must have its defaults.
func (s Scenario) At(t time.Duration) Rate {
	if t < 0 {
		return Rate{}
	}
	var r Rate
	day := s.timeOfDay(t)
	r.Usual = s.Usual * day
	if s.People > 0 {
		d := s.Mailing.Seconds()
		r.Mail = s.People * s.ResetShare * day * (s.opened(t) - s.opened(t-s.Mailing)) / d
		if t < s.Mailing {
			r.Scan = s.ScanShare * s.People / d
		}
		if s.SignOut {
			tau := s.SignOutTau.Seconds()
			r.Revoke = s.People * s.SignOutBack * math.Exp(-t.Seconds()/tau) / tau
		}
	}
	r.Attack = s.AttackShare / (1 - s.AttackShare) * r.People()
	return r
}

// Peak returns the moment with the most people a second, looked for every 10 s over the first two days.
func (s Scenario) Peak() time.Duration {
	var at time.Duration
	var most float64
	for t := time.Duration(0); t < 48*time.Hour; t += 10 * time.Second {
		if people := s.At(t).People(); people > most {
			at, most = t, people
		}
	}
	return at
}

// opened is F: the share of mails opened t after they were sent, of those that ever are.
func (s Scenario) opened(t time.Duration) float64 {
	if t <= 0 {
		return 0
	}
	return 0.5 * math.Erfc(-math.Log(t.Seconds()/s.OpenMedian.Seconds())/(s.OpenSigma*math.Sqrt2))
}

func (s Scenario) timeOfDay(t time.Duration) float64 {
	return 1 + 0.6*math.Cos(2*math.Pi*(s.StartHour+t.Hours()-20)/24)
}

// Amplification is A(f): calls made for each call wanted when a share f of all calls fails, with 3 attempts a client and
// up to 5 tries a person who comes back with probability 0.8: 1.1 at 10 %, 1.9 at 50 %, 10.1 at 100 %.
func Amplification(f float64, attempts, tries int, comeBack float64) float64 {
	var client, person float64
	for i := range attempts {
		client += math.Pow(f, float64(i))
	}
	again := comeBack * math.Pow(f, float64(attempts))
	for k := range tries {
		person += math.Pow(again, float64(k))
	}
	return client * person
}
