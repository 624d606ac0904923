package steer

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Setting is what an override sets. Of the fields behind Target only those of its kind are looked at.
type Setting struct {
	// Target is what is overridden: lane/NAME/paused, lane/NAME/weight, pace/NAME, breaker/NAME, brownout, limit/NAME.
	Target  string  `json:"target"`
	Weight  float64 `json:"weight,omitempty"`
	Pace    Pace    `json:"pace,omitzero"`
	Breaker Breaker `json:"breaker,omitempty"`
	Level   int     `json:"level,omitempty"`
	Limit   Limit   `json:"limit,omitzero"`
}

// Pace is how fast a downstream is fed. The zero Pace is as configured.
type Pace struct {
	// Fixed: Concurrency, Rate and Batch are constant, nothing is measured. Else Min, Max and Rate bound what measuring
	// may find; 0 is what is configured.
	Fixed       bool    `json:"fixed,omitempty"`
	Concurrency int     `json:"concurrency,omitempty"`
	Min         int     `json:"min,omitempty"`
	Max         int     `json:"max,omitempty"`
	Rate        float64 `json:"rate,omitempty"`
	Batch       int     `json:"batch,omitempty"`
}

// Breaker is what a breaker is held at.
type Breaker string

// The states.
const (
	BreakerAuto   Breaker = ""
	BreakerOpen   Breaker = "open"
	BreakerClosed Breaker = "closed"
)

// Limit is what is changed of an admission rule; zero fields keep what is configured.
type Limit struct {
	Rate      admission.Rate `json:"rate,omitzero"`
	Burst     int            `json:"burst,omitempty"`
	CountOnly *bool          `json:"count_only,omitempty"`
}

// Knob is one thing that can be overridden.
type Knob struct {
	Target string
	Kind   Kind
	Action string // of the audit trail
	// Check says what is wrong with a setting.
	Check func(s Setting, bad *reset.Violations)
	// Words tells a setting in words, InForce what is in force, Configured what would be without an override.
	Words               func(Setting) string
	InForce, Configured func() string
	// Notes are what to expect of the setting, a sentence each; nil: nothing to say.
	Notes func(Setting) []string
	// LiftNotes are what to expect of the override's end; nil: nothing to say.
	LiftNotes func() []string
	// Apply puts the setting into force, on top of what is configured now. Revert puts that back.
	Apply  func(Setting) error
	Revert func() error
}

func (k *Knob) notes(s Setting) []string {
	if k.Notes == nil {
		return nil
	}
	return k.Notes(s)
}

func (k *Knob) liftNotes() []string {
	if k.LiftNotes == nil {
		return nil
	}
	return k.LiftNotes()
}

func checkReason(field, reason string, bad *reset.Violations) {
	switch {
	case utf8.RuneCountInString(reason) > MaxReason:
		bad.Add(field, fmt.Sprintf("must be at most %d characters", MaxReason))
	case strings.ContainsFunc(reason, unicode.IsControl):
		bad.Add(field, "must be one line without control characters")
	}
}

// days writes whole days as such: a week of hours is read twice.
func days(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return short(d)
}

// short writes 12h, not 12h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
