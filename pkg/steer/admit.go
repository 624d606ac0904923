package steer

import (
	"fmt"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Brownout is the brownout level as far as it can be held.
type Brownout interface {
	// Force holds the level; Release lets the signals have it.
	Force(level int)
	Release()
	// Level is the level in force, Asked what the signals ask for, with its cause.
	Level() (level int, forced bool)
	Asked() (level int, cause string)
}

// LevelWords is a brownout level in words.
func LevelWords(level int) string {
	if level < 0 || level > admission.MaxLevel {
		return fmt.Sprint(level)
	}
	return fmt.Sprintf("%d (%s)", level, [...]string{
		"normal", "extras wait", "bulk is refused", "only completions are taken", "closed",
	}[level])
}

// BrownoutTarget is the level's.
const BrownoutTarget = "brownout"

// BrownoutKnob holds the brownout level.
func BrownoutKnob(b Brownout) Knob {
	return Knob{
		Target: BrownoutTarget, Kind: KindBrownout, Action: ActionBrownout,
		Check: func(s Setting, bad *reset.Violations) {
			if s.Level < 0 || s.Level > admission.MaxLevel {
				bad.Add("level", "must be 0 (normal), 1 (extras wait), 2 (bulk is refused), 3 (only completions are taken) or 4 (closed)")
			}
		},
		Words: func(s Setting) string { return "held at " + LevelWords(s.Level) },
		InForce: func() string {
			level, forced := b.Level()
			if forced {
				return "held at " + LevelWords(level)
			}
			return "by the signals, " + LevelWords(level) + " now"
		},
		Configured: func() string {
			level, _ := b.Asked()
			return "by the signals, which ask for " + LevelWords(level) + " now"
		},
		Notes: func(s Setting) []string { return levelNotes(s.Level, b) },
		LiftNotes: func() []string {
			return []string{"the level follows the signals again: up at once, down by one step after ten calm seconds each"}
		},
		Apply:  func(s Setting) error { b.Force(s.Level); return nil },
		Revert: func() error { b.Release(); return nil },
	}
}

func levelNotes(level int, b Brownout) []string {
	notes := []string{[...]string{
		"everybody is let in, and extras are done at once",
		"revocations and confirmations wait; answers are tickets at once",
		"as 1, and asks of suspected machines are refused",
		"as 2, and every new ask is refused; people who have a link can set their password",
		"everybody is refused but those who look where their ticket stands",
	}[level]}
	if asked, cause := b.Asked(); asked > level {
		notes = append(notes, fmt.Sprintf("the signals ask for %s: %s; holding the level lower takes that protection away", LevelWords(asked),
			cause))
	} else if asked < level {
		notes = append(notes, "the signals ask for "+LevelWords(asked)+" only: people are turned away until it ends")
	}
	return notes
}

// Rule is an admission rule, whole.
type Rule struct {
	Rate      admission.Rate // zero for a rule that has none
	Burst     int
	CountOnly bool
}

// Limits are the admission rules as far as they can be changed.
type Limits interface {
	Rule(name string) Rule       // in force
	Configured(name string) Rule // without an override
	SetRule(name string, r Rule) error
}

// The rules.
const (
	LimitGlobal     = "global"
	LimitClient     = "client"
	LimitIdentifier = "identifier"
	LimitLevel      = "level"
)

// LimitNames lists the rules as GetLimits does.
func LimitNames() []string { return []string{LimitGlobal, LimitClient, LimitIdentifier, LimitLevel} }

// LimitTarget is a rule's.
func LimitTarget(name string) string { return "limit/" + name }

// maxLimitBurst is what admission takes.
const maxLimitBurst = 2_000_000_000

// LimitKnobs are those of the admission rules.
func LimitKnobs(l Limits) []Knob {
	var knobs []Knob
	for _, name := range LimitNames() {
		knobs = append(knobs, limitKnob(name, l))
	}
	return knobs
}

func limitKnob(name string, l Limits) Knob {
	onTop := func(s Setting) Rule { return l.Configured(name).with(name, s.Limit) }
	return Knob{
		Target: LimitTarget(name), Kind: KindLimit, Action: ActionLimit,
		Check:      func(s Setting, bad *reset.Violations) { checkLimit(name, s.Limit, bad) },
		Words:      func(s Setting) string { return onTop(s).String() },
		InForce:    func() string { return l.Rule(name).String() },
		Configured: func() string { return l.Configured(name).String() },
		Notes:      func(s Setting) []string { return limitNotes(name, onTop(s)) },
		Apply:      func(s Setting) error { return l.SetRule(name, onTop(s)) },
		Revert:     func() error { return l.SetRule(name, l.Configured(name)) },
	}
}

func checkLimit(name string, c Limit, bad *reset.Violations) {
	if c == (Limit{}) {
		bad.Add("rate", "nothing to change: give a rate, a burst or count_only; to go back lift the override")
	}
	if name == LimitLevel && (c.Rate != (admission.Rate{}) || c.Burst != 0) {
		bad.Add("rate", "level has no rate and no burst: give count_only, or hold the level itself with the brownout override")
	}
	if c.Burst < 0 || c.Burst > maxLimitBurst {
		bad.Add("burst", "must be how many may come at once, 1 or more; 0 keeps it")
	}
	if name == LimitIdentifier && c.CountOnly != nil && *c.CountOnly {
		bad.Add("count_only", "the budget of an identifier cannot be counted only: it keeps mailboxes from being flooded; give a higher rate")
	}
}

func (r Rule) with(name string, c Limit) Rule {
	if c.Rate != (admission.Rate{}) {
		r.Rate, r.Burst = c.Rate, c.Rate.Count
		if name == LimitGlobal { // as its default follows from its rate
			r.Burst *= 2
		}
	}
	if c.Burst != 0 {
		r.Burst = c.Burst
	}
	if c.CountOnly != nil {
		r.CountOnly = *c.CountOnly
	}
	return r
}

// String tells it in words.
func (r Rule) String() string {
	mode := "enforced"
	if r.CountOnly {
		mode = "counted only, refuses nothing"
	}
	if r.Rate == (admission.Rate{}) {
		return mode
	}
	return fmt.Sprintf("%s, burst %d, %s", r.Rate, r.Burst, mode)
}

func limitNotes(name string, r Rule) []string {
	if r.CountOnly {
		if name == LimitLevel {
			return []string{"the brownout level refuses nobody: only the buckets and the queue's bounds still protect the gateway"}
		}
		return []string{"it refuses nobody while this stands: surgegate_admission_dry_run_total says whom it would"}
	}
	switch name {
	case LimitGlobal:
		return []string{"of all callers together: who comes over it is told when to come back, the innocent too"}
	case LimitClient:
		return []string{"of each address and each client id: an office behind one address shares it"}
	case LimitIdentifier:
		return []string{"over it an ask gets a ticket and no mail, and nobody is told"}
	default:
		return []string{"what the brownout level refuses is refused"}
	}
}
