package operator

import (
	"context"
	"fmt"
	"sync"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const kindBrownout Kind = "brownout"

const brownoutTargetName = "brownout"

// Level passes on the brownout level that the ladder asks for, or the one that an override holds:
//
//	signals ─► ladder ─► Level ──held?──► admission and the work side
//	                       ▲ no: what the ladder asks for; yes: what is held
//	                Force, Release
//
// The ladder goes on while a level is held, so that operators see what it asks for. Make a Level with NewLevel. It is safe for
// concurrent use.
type Level struct {
	receivers []func(level int, cause admission.Cause)

	mu     sync.Mutex // held while passing on, so that the receivers end up with the last level
	asked  int
	cause  admission.Cause
	isHeld bool
	level  int // in force
}

// NewLevel returns a Level at 0 that passes levels on to the receivers.
func NewLevel(receivers ...func(level int, cause admission.Cause)) *Level {
	return &Level{receivers: receivers}
}

// Set takes the level that the ladder asks for.
func (l *Level) Set(level int, cause admission.Cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked, l.cause = level, cause
	if !l.isHeld {
		l.pass(level, cause)
	}
}

// Force holds the level.
func (l *Level) Force(level int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isHeld = true
	l.pass(level, admission.Cause{Words: "held by an operator's override"})
}

// Release puts the level that the ladder asks for into force.
func (l *Level) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isHeld = false
	l.pass(l.asked, l.cause)
}

func (l *Level) pass(level int, cause admission.Cause) {
	l.level = level
	for _, receive := range l.receivers {
		receive(level, cause)
	}
}

// InForce returns the level in force and whether an override holds it.
func (l *Level) InForce() (level int, isHeld bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.level, l.isHeld
}

// Asked returns the level that the ladder asks for, and its cause in words.
func (l *Level) Asked() (level int, cause string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked, l.cause.Words
}

func describeLevel(level int) string {
	if level < 0 || level > admission.MaxLevel {
		return fmt.Sprint(level)
	}
	return fmt.Sprintf("%d (%s)", level, [...]string{
		"normal", "extras wait", "bulk is refused", "only completions are taken", "closed",
	}[level])
}

func brownoutTarget(l *Level) Target {
	return Target{
		Name: brownoutTargetName, Kind: kindBrownout, Action: "force_brownout",
		Check: func(s Setting, bad *reset.Violations) {
			if s.Level < 0 || s.Level > admission.MaxLevel {
				bad.Add("level", "must be 0 (normal), 1 (extras wait), 2 (bulk is refused), 3 (only completions are taken) or 4 (closed)")
			}
		},
		Describe: func(s Setting) string { return "held at " + describeLevel(s.Level) },
		InForce: func() string {
			level, isHeld := l.InForce()
			if isHeld {
				return "held at " + describeLevel(level)
			}
			return "by the signals, " + describeLevel(level) + " now"
		},
		Configured: func() string {
			level, _ := l.Asked()
			return "by the signals, which ask for " + describeLevel(level) + " now"
		},
		Notes: func(s Setting) []string { return levelNotes(s.Level, l) },
		LiftNotes: func() []string {
			return []string{"the level follows the signals again: up at once, down by one step after ten calm seconds each"}
		},
		Apply:  func(s Setting) error { l.Force(s.Level); return nil },
		Revert: func() error { l.Release(); return nil },
	}
}

func levelNotes(level int, l *Level) []string {
	notes := []string{[...]string{
		"everybody is let in, and extras are done at once",
		"revocations and confirmations wait; answers are tickets at once",
		"as 1, and asks of suspected machines are refused",
		"as 2, and every new ask is refused; people who have a link can set their password",
		"everybody is refused but those who look where their ticket stands",
	}[level]}
	if asked, cause := l.Asked(); asked > level {
		notes = append(notes, fmt.Sprintf("the signals ask for %s: %s; holding the level lower takes that protection away",
			describeLevel(asked), cause))
	} else if asked < level {
		notes = append(notes, "the signals ask for "+describeLevel(asked)+" only: people are turned away until it ends")
	}
	return notes
}

// ForceBrownout implements the call.
func (s *Service) ForceBrownout(ctx context.Context, r *operatorv1.ForceBrownoutRequest) (*operatorv1.ForceBrownoutResponse, error) {
	level := int(min(r.GetLevel(), admission.MaxLevel+1)) // the target refuses what is greater than MaxLevel
	c, err := s.set(ctx, targetName{"level", brownoutTargetName, "", ""}, Setting{Level: level}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.ForceBrownoutResponse{Change: c}, nil
}
