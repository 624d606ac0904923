package steer

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Work is the work side as far as it can be steered.
type Work interface {
	PauseLane(lane reset.Lane, paused bool) error
	SetLaneWeight(lane reset.Lane, weight float64) error // 0: as configured
	SetPace(downstream string, p Pace) error             // zero: as configured
	ForceBreaker(downstream string, b Breaker) error
	Lane(lane reset.Lane) LaneState
	Downstream(name string) DownstreamState
}

// LaneState is how a lane stands now.
type LaneState struct {
	Paused             bool
	Weight, Configured float64 // its share as it is, and as it is without an override
	Waiting            uint64
}

// DownstreamState is how a downstream stands now.
type DownstreamState struct {
	Mode        string // auto, bounded, fixed
	Concurrency int    // calls at once; 0: unbounded
	Rate        float64
	Batch       int
	Breaker     string // closed, half_open, open, none
	Forced      bool
	// Configured is the pace without an override, in words; Constant tells that it is not measured.
	Configured string
	Constant   bool
}

// WorkConfig is what the words about the work side need to know.
type WorkConfig struct {
	// Lanes are those that are worked, Paced the downstreams with a pace of their own, Broken those with a breaker.
	Lanes         []reset.Lane
	Paced, Broken []string
	// MaxStartWait and MaxSealedWait are how long an ask, and a sealed password, may wait.
	MaxStartWait, MaxSealedWait time.Duration
}

// Weights of lanes, and calls at once, are taken within these.
const (
	minWeight, maxWeight = .1, 1000
	maxConcurrency       = 10_000
	maxItemRate          = 1e9
	maxBatch             = 4096
)

// WorkKnobs are those of lanes, paces and breakers.
func WorkKnobs(cfg WorkConfig, w Work) []Knob {
	var knobs []Knob
	for _, l := range cfg.Lanes {
		knobs = append(knobs, cfg.pauseKnob(l, w), weightKnob(l, w))
	}
	for _, d := range cfg.Paced {
		knobs = append(knobs, paceKnob(d, w))
	}
	for _, d := range cfg.Broken {
		knobs = append(knobs, breakerKnob(d, w))
	}
	return knobs
}

func (c WorkConfig) pauseKnob(l reset.Lane, w Work) Knob {
	words := func(paused bool) string {
		if paused {
			return "paused"
		}
		return "running"
	}
	return Knob{
		Target: "lane/" + l.String() + "/paused", Kind: KindLane, Action: ActionPauseLane,
		Check:      func(Setting, *reset.Violations) {},
		Words:      func(Setting) string { return words(true) },
		InForce:    func() string { return words(w.Lane(l).Paused) },
		Configured: func() string { return words(false) },
		Notes:      func(Setting) []string { return c.pauseNotes(l, w.Lane(l).Waiting) },
		LiftNotes: func() []string {
			return []string{"what waits is worked at the pace that the downstream takes; it may be a while until the line is short"}
		},
		Apply:  func(Setting) error { return w.PauseLane(l, true) },
		Revert: func() error { return w.PauseLane(l, false) },
	}
}

func (c WorkConfig) pauseNotes(l reset.Lane, waiting uint64) []string {
	sealed := fmt.Sprintf("sealed passwords expire after %s: what waits longer fails with EXPIRED, and the person starts again",
		short(c.MaxSealedWait))
	notes := map[reset.Lane][]string{
		reset.LaneStart: {
			"people who ask for a link wait for it: their asks are accepted, nobody is looked up",
			fmt.Sprintf("once the line is longer than %s at the pace last measured, further asks are refused with QUEUE_FULL",
				short(c.MaxStartWait)),
		},
		reset.LaneMail: {
			"links are not mailed: people who asked for one wait for it; a link's time begins when it is mailed, so none gets old in line",
		},
		reset.LaneHash:   {"people who set a password wait: it is not hashed, so it cannot be written", sealed},
		reset.LaneApply:  {"people who set a password wait: nothing is written to the store", sealed},
		reset.LaneRevoke: {"old sessions stay open, a thief's too; passwords are set all the same"},
	}[l]
	notes = append(notes, fmt.Sprintf("%d jobs wait in the lane now; as the oldest gets older the brownout level rises by itself", waiting))
	return notes
}

func weightKnob(l reset.Lane, w Work) Knob {
	return Knob{
		Target: "lane/" + l.String() + "/weight", Kind: KindLane, Action: ActionLaneWeight,
		Check: func(s Setting, bad *reset.Violations) {
			if !(s.Weight >= minWeight && s.Weight <= maxWeight) {
				bad.Add("weight", fmt.Sprintf("must be between %v and %d; the lane's is %v now", minWeight, maxWeight, w.Lane(l).Weight))
			}
		},
		Words:      func(s Setting) string { return fmt.Sprintf("weight %v", s.Weight) },
		InForce:    func() string { return fmt.Sprintf("weight %v", w.Lane(l).Weight) },
		Configured: func() string { return fmt.Sprintf("weight %v", w.Lane(l).Configured) },
		Notes: func(Setting) []string {
			return []string{"weights count only between lanes that wait for the same downstream; none is ever starved"}
		},
		Apply:  func(s Setting) error { return w.SetLaneWeight(l, s.Weight) },
		Revert: func() error { return w.SetLaneWeight(l, 0) },
	}
}

func paceKnob(d string, w Work) Knob {
	return Knob{
		Target: "pace/" + d, Kind: KindPace, Action: ActionPace,
		Check: func(s Setting, bad *reset.Violations) { checkPace(s.Pace, bad) },
		Words: func(s Setting) string {
			words := s.Pace.String()
			if w.Downstream(d).Constant {
				words = strings.Replace(words, "measured", "constant", 1)
			}
			return words
		},
		InForce: func() string { return w.Downstream(d).pace() },
		Configured: func() string {
			return w.Downstream(d).Configured
		},
		Notes: func(s Setting) []string {
			return paceNotes(d, w.Downstream(d), s.Pace)
		},
		LiftNotes: func() []string {
			if w.Downstream(d).Constant {
				return nil
			}
			return []string{"measuring goes on from a low pace and climbs; give it a minute"}
		},
		Apply:  func(s Setting) error { return w.SetPace(d, s.Pace) },
		Revert: func() error { return w.SetPace(d, Pace{}) },
	}
}

// paceNotes do not speak of a measurement or a breaker where there is none, as of the hash pool.
func paceNotes(name string, d DownstreamState, p Pace) (notes []string) {
	switch {
	case p.Fixed && !d.Constant:
		notes = append(notes, "nothing is measured while it stands: if "+name+" gets slower, or can take more, this does not follow")
	case d.Constant && !p.Fixed:
		notes = append(notes, "the pace of "+name+" is constant by configuration: nothing is measured, it is held within these bounds")
	case !p.Fixed:
		notes = append(notes, "the pace is still found by measuring, within these bounds")
	}
	if p.Fixed && d.Breaker != "none" {
		notes = append(notes, "only the breaker still protects "+name+": watch its errors and times")
	}
	return notes
}

func checkPace(p Pace, bad *reset.Violations) {
	rate := func(field string) {
		if !(p.Rate >= 0 && p.Rate <= maxItemRate) || math.IsInf(p.Rate, 0) {
			bad.Add(field, "must be items a second, 0 or more; 0 for no bound")
		}
	}
	if p.Fixed {
		if p.Concurrency < 1 || p.Concurrency > maxConcurrency {
			bad.Add("fixed.concurrency", fmt.Sprintf("must be calls at once, 1 to %d", maxConcurrency))
		}
		if p.Batch < 0 || p.Batch > maxBatch {
			bad.Add("fixed.batch", fmt.Sprintf("must be items in a call, 1 to %d; 0 for as many as the downstream takes", maxBatch))
		}
		rate("fixed.rate")
		return
	}
	if p == (Pace{}) {
		bad.Add("pace", "must be fixed or bounds, with at least one bound; to go back to measuring lift the override")
	}
	if p.Min < 0 || p.Min > maxConcurrency {
		bad.Add("bounds.min_concurrency", fmt.Sprintf("must be calls at once, 1 to %d; 0 for the configured", maxConcurrency))
	}
	if p.Max < 0 || p.Max > maxConcurrency {
		bad.Add("bounds.max_concurrency", fmt.Sprintf("must be calls at once, 1 to %d; 0 for the configured", maxConcurrency))
	} else if p.Max > 0 && p.Max < p.Min {
		bad.Add("bounds.max_concurrency", "must not be under min_concurrency")
	}
	rate("bounds.rate")
}

// String tells it in words.
func (p Pace) String() string {
	s := "measured"
	switch {
	case p.Fixed:
		s = fmt.Sprintf("fixed at %d calls at once", p.Concurrency)
	case p.Min > 0 && p.Max > 0:
		s += fmt.Sprintf(", %d to %d calls at once", p.Min, p.Max)
	case p.Min > 0:
		s += fmt.Sprintf(", at least %d calls at once", p.Min)
	case p.Max > 0:
		s += fmt.Sprintf(", at most %d calls at once", p.Max)
	}
	if p.Rate > 0 {
		s += fmt.Sprintf(", at most %.4g items a second", p.Rate)
	}
	if p.Batch > 0 {
		s += fmt.Sprintf(", at most %d in a call", p.Batch)
	}
	return s
}

func (d DownstreamState) pace() string {
	mode := map[string]string{"auto": "measured", "bounded": "measured within bounds", "fixed": "fixed"}[d.Mode]
	s := mode + ": no bound of calls at once now"
	if d.Concurrency > 0 {
		s = fmt.Sprintf("%s: %d calls at once now", mode, d.Concurrency)
	}
	if d.Rate > 0 {
		s += fmt.Sprintf(", at most %.4g items a second", d.Rate)
	}
	return s
}

func breakerKnob(d string, w Work) Knob {
	return Knob{
		Target: "breaker/" + d, Kind: KindBreaker, Action: ActionBreaker,
		Check: func(s Setting, bad *reset.Violations) {
			if s.Breaker != BreakerOpen && s.Breaker != BreakerClosed {
				bad.Add("state", "must be BREAKER_STATE_OPEN (send nothing) or BREAKER_STATE_CLOSED (never trip)")
			}
		},
		Words: func(s Setting) string { return "held " + string(s.Breaker) },
		InForce: func() string {
			st := w.Downstream(d)
			if st.Forced {
				return "held " + st.Breaker
			}
			return "auto, " + st.Breaker + " now"
		},
		Configured: func() string { return "auto" },
		Notes: func(s Setting) []string {
			if s.Breaker == BreakerOpen {
				return []string{
					"nothing is sent to " + d + ": what needs it waits in line, durably, and no tries are used up",
					"when it ends, calls come back by a ramp, not all at once",
				}
			}
			return []string{"if " + d + " fails, it is called all the same, and failing calls use up tries: watch for parked jobs"}
		},
		Apply:  func(s Setting) error { return w.ForceBreaker(d, s.Breaker) },
		Revert: func() error { return w.ForceBreaker(d, BreakerAuto) },
	}
}
