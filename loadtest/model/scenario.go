package model

import (
	"fmt"
	"time"
)

// Scenario is a storm's arithmetic. Zero fields mean the defaults below; shares are between 0 and 1.
type Scenario struct {
	Name        string        `yaml:"name" json:"name"`
	People      float64       `yaml:"people" json:"people"`               // N, people mailed
	Mailing     time.Duration `yaml:"mailing" json:"mailing"`             // D, how long the mailing takes; default 1 h
	ResetShare  float64       `yaml:"reset_share" json:"reset_share"`     // p, of people, who open the mail and reset; default 0.46 (low 0.13)
	OpenMedian  time.Duration `yaml:"open_median" json:"open_median"`     // of F; default 4 h
	OpenSigma   float64       `yaml:"open_sigma" json:"open_sigma"`       // of F; default 2.0
	StartHour   float64       `yaml:"start_hour" json:"start_hour"`       // local time of day at t = 0, hours
	ScanShare   float64       `yaml:"scan_share" json:"scan_share"`       // s, of links, fetched by mail scanners; default 0.10
	SignOut     bool          `yaml:"sign_out" json:"sign_out"`           // whether all devices are signed out at t = 0
	SignOutBack float64       `yaml:"sign_out_back" json:"sign_out_back"` // φ, of people, who come back at once when signed out; default 0.03
	SignOutTau  time.Duration `yaml:"sign_out_tau" json:"sign_out_tau"`   // τ, how fast they come; default 60 s
	AttackShare float64       `yaml:"attack_share" json:"attack_share"`   // a, of requests; default 0.34 (Auth0, State of Secure Identity 2022)
	Usual       float64       `yaml:"usual" json:"usual"`                 // people a second who reset on any day, on average; default 0
	OfficeShare float64       `yaml:"office_share" json:"office_share"`   // of people, who sit in an office behind one address; default 0
	OfficeSize  int           `yaml:"office_size" json:"office_size"`     // people of one office who reset; default 2000
	Loop        Loop          `yaml:"loop" json:"loop"`                   // a client gone wrong; default none
	MailRate    float64       `yaml:"mail_rate" json:"mail_rate"`         // mails a second that the provider takes, for the simulator; default 0: any
	Faults      []Fault       `yaml:"faults" json:"faults,omitempty"`     // of the systems, since t = 0
}

// Loop is a client that asks for a link again and again, as after a bug in a web page's refresh.
type Loop struct {
	Calls int           `yaml:"calls" json:"calls"`
	Rate  float64       `yaml:"rate" json:"rate"` // calls a second
	From  time.Duration `yaml:"from" json:"from"` // since t = 0
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
	def(&s.OfficeSize, 2000)
	return s
}

// Validate names the field that makes no sense.
func (s Scenario) Validate() error {
	switch {
	case !(s.People >= 0 && s.People <= 1e10):
		return fmt.Errorf("model: people is %v; it must be from 0 to 10 billion", s.People)
	case s.Mailing < 0:
		return fmt.Errorf("model: mailing is %v; it must be above 0", s.Mailing)
	case s.OpenMedian < 0 || !(s.OpenSigma >= 0):
		return fmt.Errorf("model: open_median is %v and open_sigma %v; both must be above 0", s.OpenMedian, s.OpenSigma)
	case s.SignOutTau < 0:
		return fmt.Errorf("model: sign_out_tau is %v; it must be above 0", s.SignOutTau)
	case !(s.AttackShare >= 0 && s.AttackShare < 1):
		return fmt.Errorf("model: attack_share is %v; it must be at least 0 and below 1", s.AttackShare)
	case !(s.Usual >= 0) || !(s.MailRate >= 0):
		return fmt.Errorf("model: usual is %v and mail_rate %v; neither may be below 0", s.Usual, s.MailRate)
	case s.OfficeSize < 0:
		return fmt.Errorf("model: office_size is %d; it must be above 0", s.OfficeSize)
	case s.Loop.Calls < 0 || s.Loop.From < 0 || s.Loop.Calls > 0 && !(s.Loop.Rate > 0):
		return fmt.Errorf("model: loop makes %d calls at %v a second from %v; a loop needs a rate, and none may be below 0", s.Loop.Calls, s.Loop.Rate, s.Loop.From)
	}
	for _, share := range []struct {
		name  string
		value float64
	}{{"reset_share", s.ResetShare}, {"scan_share", s.ScanShare}, {"sign_out_back", s.SignOutBack}, {"office_share", s.OfficeShare}} {
		if !(share.value >= 0 && share.value <= 1) {
			return fmt.Errorf("model: %s is %v; it must be between 0 and 1", share.name, share.value)
		}
	}
	return ValidateFaults(s.Faults)
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
