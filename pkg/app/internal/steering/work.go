package steering

import (
	"context"
	"slices"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/config"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/operatorapi"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/steer"
)

// Work is the work side as operators turn it. Make it with NewWork.
type Work struct {
	dispatch *dispatch.Dispatch
	queue    queue.Producer
	bounds   steer.WorkConfig
}

var _ steer.Work = (*Work)(nil)

// NewWork returns that of a process that has just been configured.
func NewWork(c config.Config, d *dispatch.Dispatch, q queue.Producer) *Work {
	return &Work{dispatch: d, queue: q, bounds: steer.WorkConfig{
		MaxStartWait: c.Queue.MaxStartWait.Std(), MaxSealedWait: c.Queue.MaxSealedWait.Std(),
	}}
}

// Config is what words about the work side need to know.
func (w *Work) Config() steer.WorkConfig {
	s := w.bounds
	for _, l := range w.dispatch.Lanes() {
		s.Lanes = append(s.Lanes, l.Lane)
	}
	for _, d := range w.dispatch.Status() {
		if d.Name != "revoker" { // the revoker of today is the store: it has the store's pace
			s.Paced = append(s.Paced, d.Name)
		}
		if d.Breaker != "none" {
			s.Broken = append(s.Broken, d.Name)
		}
	}
	return s
}

// Lanes tells how lanes are steered.
func (w *Work) Lanes() (out []operatorapi.Lane) {
	for _, l := range w.dispatch.Lanes() {
		out = append(out, operatorapi.Lane{Lane: l.Lane, Paused: !l.PausedSince.IsZero(), Weight: l.Weight})
	}
	return out
}

// Downstreams tells how downstreams fare.
func (w *Work) Downstreams() (out []operatorapi.Downstream) {
	for _, d := range w.dispatch.Status() {
		out = append(out, operatorapi.Downstream{
			Counts: d.Counts,
			Name:   d.Name, Concurrency: d.Limits.Concurrency, InFlight: d.Limits.InFlight, Rate: d.Limits.Rate, Breaker: d.Breaker,
			Forced: d.Forced != breaker.ForceNone, Ramp: d.Limits.Ramp, Mode: string(d.Mode), Batch: d.Limits.Batch, OutageSince: d.OutageSince,
			Failures: failures(d.Failures), Misconfiguration: d.Misconfiguration,
		})
	}
	return out
}

func failures(all []dispatch.Failure) (out []operatorapi.Failure) {
	for _, f := range all {
		out = append(out, operatorapi.Failure{Outcome: f.Outcome, Code: f.Code, Items: f.Items, Last: f.Last, Meaning: f.Meaning})
	}
	return out
}

// PauseLane implements steer.Work.
func (w *Work) PauseLane(lane reset.Lane, paused bool) error {
	return w.dispatch.PauseLane(lane, paused)
}

// SetLaneWeight implements steer.Work.
func (w *Work) SetLaneWeight(lane reset.Lane, weight float64) error {
	return w.dispatch.SetLaneWeight(lane, weight)
}

// SetPace implements steer.Work.
func (w *Work) SetPace(downstream string, p steer.Pace) error {
	return w.dispatch.SetPace(downstream, pace.Override{
		Fixed: p.Fixed, Concurrency: p.Concurrency, Min: p.Min, Max: p.Max, Rate: p.Rate, Batch: p.Batch,
	})
}

// ForceBreaker implements steer.Work.
func (w *Work) ForceBreaker(downstream string, b steer.Breaker) error {
	force := map[steer.Breaker]breaker.Force{
		steer.BreakerAuto: breaker.ForceNone, steer.BreakerOpen: breaker.ForceOpen, steer.BreakerClosed: breaker.ForceClosed,
	}[b]
	return w.dispatch.ForceBreaker(downstream, force)
}

// Lane implements steer.Work.
func (w *Work) Lane(lane reset.Lane) (s steer.LaneState) {
	lanes := w.dispatch.Lanes()
	if i := slices.IndexFunc(lanes, func(l dispatch.LaneStatus) bool { return l.Lane == lane }); i >= 0 {
		s = steer.LaneState{Paused: !lanes[i].PausedSince.IsZero(), Weight: lanes[i].Weight, Configured: lanes[i].Configured}
	}
	// Its words are as good without a number.
	if stats, err := w.queue.Stats(context.Background()); err == nil {
		for _, n := range stats.Lanes[lane].Waiting {
			s.Waiting += n
		}
	}
	return s
}

// Downstream implements steer.Work.
func (w *Work) Downstream(name string) (s steer.DownstreamState) {
	all := w.dispatch.Status()
	i := slices.IndexFunc(all, func(d dispatch.Downstream) bool { return d.Name == name })
	if i < 0 {
		return s
	}
	d := all[i]
	s.Mode, s.Concurrency, s.Rate, s.Batch = string(d.Mode), d.Limits.Concurrency, d.Limits.Rate, d.Limits.Batch
	s.Breaker, s.Forced = d.Breaker, d.Forced != breaker.ForceNone
	s.Configured, s.Constant = paceOf(d.Configured).String(), d.Configured.Fixed
	return s
}

func paceOf(o pace.Override) steer.Pace {
	p := steer.Pace{Fixed: o.Fixed, Concurrency: o.Concurrency, Max: o.Max, Rate: o.Rate, Batch: o.Batch}
	if o.Min > 1 { // one is no bound
		p.Min = o.Min
	}
	return p
}

// Configure takes another configuration over; overrides stay in force. With an error nothing has changed, or what has is
// taken back by configuring as before.
func (w *Work) Configure(c config.Config) error {
	if err := w.dispatch.CanReconfigure(c.Work()); err != nil {
		return err
	}
	store, err := c.StorePacer()
	if err != nil {
		return err
	}
	mail, err := c.MailPacer()
	if err != nil {
		return err
	}
	if err := w.dispatch.ReconfigurePacers(dispatch.Pacers{Store: store, Mail: mail}); err != nil {
		return err
	}
	return w.dispatch.Reconfigure(c.Work())
}
