package operator

import (
	"context"
	"fmt"
	"slices"

	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/humanize"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const kindLane Kind = "lane"

// LaneWork is the part of Work that concerns lanes.
type LaneWork interface {
	Lanes() []dispatch.LaneStatus
	PauseLane(lane reset.Lane, isPaused bool) error
	SetLaneWeight(lane reset.Lane, weight float64) error // 0: as configured
}

// LaneSetting are the fields of a Setting that concern a lane.
type LaneSetting struct {
	Weight float64 `json:"weight,omitempty"`
}

// The weight of a lane is between these.
const minWeight, maxWeight = .1, 1000

// laneTargets are what can be overridden of the lanes that are worked here.
func laneTargets(d Deps) (targets []Target) {
	for _, l := range d.Work.Lanes() {
		targets = append(targets, pauseTarget(l.Lane, d), weightTarget(l.Lane, d.Work))
	}
	return targets
}

func laneStatus(w Work, lane reset.Lane) dispatch.LaneStatus {
	lanes := w.Lanes()
	i := slices.IndexFunc(lanes, func(l dispatch.LaneStatus) bool { return l.Lane == lane })
	return lanes[max(0, i)] // the target exists because the lane does
}

func pauseTarget(lane reset.Lane, d Deps) Target {
	describe := func(isPaused bool) string {
		if isPaused {
			return "paused"
		}
		return "running"
	}
	return Target{
		Name: "lane/" + lane.String() + "/paused", Kind: kindLane, Action: "pause_lane",
		Check:      func(Setting, *reset.Violations) {},
		Describe:   func(Setting) string { return describe(true) },
		InForce:    func() string { return describe(!laneStatus(d.Work, lane).PausedSince.IsZero()) },
		Configured: func() string { return describe(false) },
		Notes:      func(Setting) []string { return pauseNotes(lane, d) },
		LiftNotes: func() []string {
			return []string{"what waits is worked at the pace that the downstream takes; it may be a while until the line is short"}
		},
		Apply:  func(Setting) error { return d.Work.PauseLane(lane, true) },
		Revert: func() error { return d.Work.PauseLane(lane, false) },
	}
}

func pauseNotes(lane reset.Lane, d Deps) []string {
	expires := fmt.Sprintf("sealed passwords expire after %s: what waits longer fails with EXPIRED, and the person starts again",
		humanize.Duration(d.MaxSealedWait))
	notes := map[reset.Lane][]string{
		reset.LaneStart: {
			"people who ask for a link wait for it: their asks are accepted, nobody is looked up",
			fmt.Sprintf("once the line is longer than %s at the pace last measured, further asks are refused with QUEUE_FULL",
				humanize.Duration(d.MaxStartWait)),
		},
		reset.LaneMail: {
			"links are not mailed: people who asked for one wait for it; a link's time begins when it is mailed, so none gets old in line",
		},
		reset.LaneHash:   {"people who set a password wait: it is not hashed, so it cannot be written", expires},
		reset.LaneApply:  {"people who set a password wait: nothing is written to the store", expires},
		reset.LaneRevoke: {"old sessions stay open, a thief's too; passwords are set all the same"},
	}[lane]
	return append(notes, fmt.Sprintf("%d jobs wait in the lane now; as the oldest gets older the brownout level rises by itself",
		waitingIn(lane, d.Queue)))
}

// waitingIn returns the number of jobs that wait in a lane; 0 if the queue does not say in time.
func waitingIn(lane reset.Lane, q Queue) (total uint64) {
	stats, err := q.Stats(context.Background())
	if err != nil {
		return 0
	}
	for _, n := range stats.Lanes[lane].Waiting {
		total += n
	}
	return total
}

func weightTarget(lane reset.Lane, w Work) Target {
	return Target{
		Name: "lane/" + lane.String() + "/weight", Kind: kindLane, Action: "set_lane_weight",
		Check: func(s Setting, bad *reset.Violations) {
			if !(s.Weight >= minWeight && s.Weight <= maxWeight) {
				bad.Add("weight", fmt.Sprintf("must be between %v and %d; the lane's is %v now", minWeight, maxWeight,
					laneStatus(w, lane).Weight))
			}
		},
		Describe:   func(s Setting) string { return fmt.Sprintf("weight %v", s.Weight) },
		InForce:    func() string { return fmt.Sprintf("weight %v", laneStatus(w, lane).Weight) },
		Configured: func() string { return fmt.Sprintf("weight %v", laneStatus(w, lane).Configured) },
		Notes: func(Setting) []string {
			return []string{"weights count only between lanes that wait for the same downstream; none is ever starved"}
		},
		Apply:  func(s Setting) error { return w.SetLaneWeight(lane, s.Weight) },
		Revert: func() error { return w.SetLaneWeight(lane, 0) },
	}
}

// PauseLane implements the call.
func (s *Service) PauseLane(ctx context.Context, r *operatorv1.PauseLaneRequest) (*operatorv1.PauseLaneResponse, error) {
	c, err := s.set(ctx, targetName{"lane", "lane/", r.GetLane(), "/paused"}, Setting{}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.PauseLaneResponse{Change: c}, nil
}

// SetLaneWeight implements the call.
func (s *Service) SetLaneWeight(ctx context.Context, r *operatorv1.SetLaneWeightRequest) (*operatorv1.SetLaneWeightResponse, error) {
	setting := Setting{LaneSetting: LaneSetting{Weight: r.GetWeight()}}
	c, err := s.set(ctx, targetName{"lane", "lane/", r.GetLane(), "/weight"}, setting, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.SetLaneWeightResponse{Change: c}, nil
}
