package model

import (
	"fmt"
	"time"
)

// Scenario is a storm's arithmetic. Zero fields mean the defaults below; shares are between 0 and 1.
type Scenario struct {
	Name        string
	Mailed      float64       // N, people mailed
	Mailing     time.Duration // D, how long the mailing takes; default 1 h
	ResetShare  float64       // p, share of people who open the mail and reset; default 0.46 (low 0.13)
	OpenMedian  time.Duration // of F; default 4 h
	OpenSigma   float64       // of F; default 2.0
	StartHour   float64       // local time of day at t = 0, hours
	ScanShare   float64       // s, share of links fetched by mail scanners; default 0.10
	SignOut     bool          // whether all devices are signed out at t = 0
	SignOutBack float64       // φ, share of people who come back at once when signed out; default 0.03
	SignOutTau  time.Duration // τ, how fast they come; default 60 s
	AttackShare float64       // a, share of requests that are an attack; default 0.34 (Auth0, State of Secure Identity 2022)
}

// WithDefaults fills zero fields.
func (s Scenario) WithDefaults() Scenario {
	def(&s.Mailing, time.Hour)
	def(&s.ResetShare, 0.46)
	def(&s.OpenMedian, 4*time.Hour)
	def(&s.OpenSigma, 2)
	def(&s.ScanShare, 0.10)
	def(&s.SignOutBack, 0.03)
	def(&s.SignOutTau, time.Minute)
	def(&s.AttackShare, 0.34)
	return s
}

// Validate names the field that makes no sense.
func (s Scenario) Validate() error {
	switch {
	case s.Mailed <= 0:
		return fmt.Errorf("model: Mailed is %v people; it must be above 0", s.Mailed)
	case s.Mailing < 0:
		return fmt.Errorf("model: Mailing is %v; it must be above 0", s.Mailing)
	case s.OpenMedian < 0:
		return fmt.Errorf("model: OpenMedian is %v; it must be above 0", s.OpenMedian)
	case s.SignOutTau < 0:
		return fmt.Errorf("model: SignOutTau is %v; it must be above 0", s.SignOutTau)
	case s.AttackShare < 0 || s.AttackShare >= 1:
		return fmt.Errorf("model: AttackShare is %v; it must be at least 0 and below 1", s.AttackShare)
	}
	for _, share := range []struct {
		name  string
		value float64
	}{{"ResetShare", s.ResetShare}, {"ScanShare", s.ScanShare}, {"SignOutBack", s.SignOutBack}} {
		if share.value < 0 || share.value > 1 {
			return fmt.Errorf("model: %s is %v; it must be between 0 and 1", share.name, share.value)
		}
	}
	return nil
}

// Plex2022 is 24 August 2022: 15 of 30 million people mailed overnight, with "sign out connected devices" ticked. The
// mailing's 8 hours are our reading of "overnight"; the counts are Plex's.
func Plex2022() Scenario {
	return Scenario{
		Name: "plex-2022", Mailed: 15e6, Mailing: 8 * time.Hour, StartHour: 22, SignOut: true,
	}.WithDefaults()
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
