package operator

import (
	"context"
	"fmt"
	"slices"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	kindPace    Kind = "pace"
	kindBreaker Kind = "breaker"
)

// DownstreamWork is the part of Work that concerns downstreams.
type DownstreamWork interface {
	Status() []dispatch.Downstream
	SetPace(downstream string, o pace.Override) error // the zero Override: as configured
	ForceBreaker(downstream string, f breaker.Force) error
}

// withoutBreaker is dispatch.Downstream.Breaker of a downstream that has none.
const withoutBreaker = "none"

// downstreamTargets are what can be overridden of the downstreams: the pace of those that have one of their own, and the breaker
// of those that have one.
func downstreamTargets(w Work) (targets []Target) {
	for _, d := range w.Status() {
		if d.Name != "revoker" { // every store revokes too, so the revoker has the store's pace
			targets = append(targets, paceTarget(d.Name, w))
		}
		if d.Breaker != withoutBreaker {
			targets = append(targets, breakerTarget(d.Name, w))
		}
	}
	return targets
}

func downstreamStatus(w Work, name string) dispatch.Downstream {
	all := w.Status()
	i := slices.IndexFunc(all, func(d dispatch.Downstream) bool { return d.Name == name })
	return all[max(0, i)] // the target exists because the downstream does
}

func paceTarget(name string, w Work) Target {
	return Target{
		Name: "pace/" + name, Kind: kindPace, Action: "set_pace",
		Check: func(s Setting, bad *reset.Violations) {
			if s.Pace == (pace.Override{}) {
				bad.Add("pace", "must be fixed or bounds, with at least one bound; to go back to measuring lift the override")
			}
			*bad = append(*bad, s.Pace.Violations()...)
		},
		Describe: func(s Setting) string { return describePace(s.Pace, downstreamStatus(w, name).Configured.Fixed) },
		InForce:  func() string { return describePaceInForce(downstreamStatus(w, name)) },
		Configured: func() string {
			c := downstreamStatus(w, name).Configured
			if c.Min == 1 { // one is no bound
				c.Min = 0
			}
			return describePace(c, false)
		},
		Notes: func(s Setting) []string { return paceNotes(downstreamStatus(w, name), s.Pace) },
		LiftNotes: func() []string {
			if downstreamStatus(w, name).Configured.Fixed {
				return nil
			}
			return []string{"measuring goes on from a low pace and climbs; give it a minute"}
		},
		Apply:  func(s Setting) error { return w.SetPace(name, s.Pace) },
		Revert: func() error { return w.SetPace(name, pace.Override{}) },
	}
}

// paceNotes do not speak of a measurement or a breaker where there is none, as of the hash pool.
func paceNotes(d dispatch.Downstream, p pace.Override) (notes []string) {
	isConstant := d.Configured.Fixed
	switch {
	case p.Fixed && !isConstant:
		notes = append(notes, "nothing is measured while it stands: if "+d.Name+" gets slower, or can take more, this does not follow")
	case isConstant && !p.Fixed:
		notes = append(notes, "the pace of "+d.Name+" is constant by configuration: nothing is measured, it is held within these bounds")
	case !p.Fixed:
		notes = append(notes, "the pace is still found by measuring, within these bounds")
	}
	if p.Fixed && d.Breaker != withoutBreaker {
		notes = append(notes, "only the breaker still protects "+d.Name+": watch its errors and times")
	}
	return notes
}

// describePace puts a pace into words. isConstant says that a pace that is not fixed by p is constant by configuration.
func describePace(p pace.Override, isConstant bool) string {
	s := "measured"
	if isConstant {
		s = "constant"
	}
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
	s += describeRate(p.Rate)
	if p.Batch > 0 {
		s += fmt.Sprintf(", at most %d in a call", p.Batch)
	}
	return s
}

func describePaceInForce(d dispatch.Downstream) string {
	s := map[pace.Mode]string{
		pace.ModeAuto: "measured", pace.ModeBounded: "measured within bounds", pace.ModeFixed: "fixed",
	}[d.Mode]
	if d.Limits.Concurrency > 0 {
		s += fmt.Sprintf(": %d calls at once now", d.Limits.Concurrency)
	} else {
		s += ": no bound of calls at once now"
	}
	return s + describeRate(d.Limits.Rate)
}

func describeRate(perSecond float64) string {
	if perSecond == 0 {
		return ""
	}
	return fmt.Sprintf(", at most %.4g items a second", perSecond)
}

func breakerTarget(name string, w Work) Target {
	return Target{
		Name: "breaker/" + name, Kind: kindBreaker, Action: "force_breaker",
		Check: func(s Setting, bad *reset.Violations) {
			if s.Breaker != breaker.ForceOpen && s.Breaker != breaker.ForceClosed {
				bad.Add("state", "must be BREAKER_STATE_OPEN (send nothing) or BREAKER_STATE_CLOSED (never trip)")
			}
		},
		Describe: func(s Setting) string { return "held " + s.Breaker.String() },
		InForce: func() string {
			d := downstreamStatus(w, name)
			if d.Forced != breaker.ForceNone {
				return "held " + d.Breaker
			}
			return "auto, " + d.Breaker + " now"
		},
		Configured: func() string { return "auto" },
		Notes: func(s Setting) []string {
			if s.Breaker == breaker.ForceOpen {
				return []string{
					"nothing is sent to " + name + ": what needs it waits in line, durably, and no tries are used up",
					"when it ends, calls come back by a ramp, not all at once",
				}
			}
			return []string{"if " + name + " fails, it is called all the same, and failing calls use up tries: watch for parked jobs"}
		},
		Apply:  func(s Setting) error { return w.ForceBreaker(name, s.Breaker) },
		Revert: func() error { return w.ForceBreaker(name, breaker.ForceNone) },
	}
}

// SetPace implements the call.
func (s *Service) SetPace(ctx context.Context, r *operatorv1.SetPaceRequest) (*operatorv1.SetPaceResponse, error) {
	var p pace.Override
	switch x := r.GetPace().(type) {
	case *operatorv1.SetPaceRequest_Fixed:
		p = pace.Override{Fixed: true, Concurrency: int(x.Fixed.GetConcurrency()), Rate: x.Fixed.GetRate(), Batch: int(x.Fixed.GetBatch())}
	case *operatorv1.SetPaceRequest_Bounds:
		p = pace.Override{Min: int(x.Bounds.GetMinConcurrency()), Max: int(x.Bounds.GetMaxConcurrency()), Rate: x.Bounds.GetRate()}
	}
	c, err := s.set(ctx, targetName{"downstream", "pace/", r.GetDownstream(), ""}, Setting{Pace: p}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.SetPaceResponse{Change: c}, nil
}

// ForceBreaker implements the call.
func (s *Service) ForceBreaker(ctx context.Context, r *operatorv1.ForceBreakerRequest) (*operatorv1.ForceBreakerResponse, error) {
	force := map[operatorv1.BreakerState]breaker.Force{
		operatorv1.BreakerState_BREAKER_STATE_OPEN:   breaker.ForceOpen,
		operatorv1.BreakerState_BREAKER_STATE_CLOSED: breaker.ForceClosed,
	}[r.GetState()]
	c, err := s.set(ctx, targetName{"downstream", "breaker/", r.GetDownstream(), ""}, Setting{Breaker: force}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.ForceBreakerResponse{Change: c}, nil
}
