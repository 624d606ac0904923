package operator

import (
	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Setting is what an override sets. A target reads only its own fields. It is on disk as JSON.
type Setting struct {
	// Target names what is overridden: lane/NAME/paused, lane/NAME/weight, pace/NAME, breaker/NAME, brownout, limit/NAME.
	Target string `json:"target"`
	LaneSetting
	Pace    pace.Override `json:"pace,omitzero"`
	Breaker breaker.Force `json:"breaker,omitempty"`
	Level   int           `json:"level,omitempty"`
	Limit   LimitChange   `json:"limit,omitzero"`
}

// Kind is the kind of a target, for the metric.
type Kind string

// Target is one thing that can be overridden.
type Target struct {
	Name   string
	Kind   Kind
	Action string // Entry.What when it is set
	// Check adds what is wrong with a setting to bad, with the field names of the operator API.
	Check func(s Setting, bad *reset.Violations)
	// Describe puts a setting into words.
	Describe func(Setting) string
	// InForce describes what is in force, Configured what would be in force without an override.
	InForce, Configured func() string
	// Notes are sentences about what to expect of the setting. It may be nil.
	Notes func(Setting) []string
	// LiftNotes are sentences about what to expect when the override ends. It may be nil.
	LiftNotes func() []string
	// Apply puts the setting into force on top of the present configuration. Revert puts the configuration into force.
	Apply  func(Setting) error
	Revert func() error
}

func (t *Target) notes(s Setting) []string {
	if t.Notes == nil {
		return nil
	}
	return t.Notes(s)
}

func (t *Target) liftNotes() []string {
	if t.LiftNotes == nil {
		return nil
	}
	return t.LiftNotes()
}
