package operator

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/starvation"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// GetStatus implements the call.
func (s *Service) GetStatus(ctx context.Context, _ *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	return s.status(ctx)
}

// Bounds of WatchStatus.
const (
	shortestWatch = 250 * time.Millisecond
	longestWatch  = time.Minute
)

// WatchStatus implements the call.
func (s *Service) WatchStatus(r *operatorv1.WatchStatusRequest, stream grpc.ServerStreamingServer[operatorv1.WatchStatusResponse]) error {
	every := time.Second
	if i := r.GetInterval(); i != nil {
		every = i.AsDuration()
		if i.CheckValid() != nil || every < shortestWatch || every > longestWatch {
			var bad reset.Violations
			bad.Add("interval", "must be between 250ms and 1m; leave it out for 1s")
			return bad
		}
	}
	ctx := stream.Context()
	for {
		status, err := s.status(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&operatorv1.WatchStatusResponse{Status: status}); err != nil {
			return &reset.Error{Kind: reset.KindCanceled, Cause: err} // the only way that Send fails
		}
		if err := s.d.Clock.Sleep(ctx, every); err != nil {
			return &reset.Error{Kind: reset.KindCanceled, Cause: err}
		}
	}
}

func (s *Service) status(ctx context.Context) (*operatorv1.GetStatusResponse, error) {
	stats, err := s.stats.read(ctx)
	if err != nil {
		return nil, queueError(err)
	}
	resp := s.figures(s.d.Clock.Now(), stats)
	s.diagnosis.tell(resp, s.limitedClients)
	return resp, nil
}

// figures returns the present state, without the diagnosis.
func (s *Service) figures(now time.Time, stats queue.Stats) *operatorv1.GetStatusResponse {
	disk := s.d.Disk()
	level, asked, cause := s.level()
	window := s.rates.span(now)
	resp := &operatorv1.GetStatusResponse{
		Time:               timestamppb.New(now),
		BrownoutLevel:      uint32(level),
		BrownoutLevelAsked: uint32(asked),
		BrownoutCause:      cause,
		Draining:           s.d.IsDraining(),
		Queue:              queueStatus(stats),
		Lanes:              s.lanes(stats, window, now),
		Downstreams:        s.downstreams(window),
		Admission:          admissionStatus(window.intake()),
		Disk:               &operatorv1.DiskStatus{AvailableBytes: disk.Available, ReserveBytes: disk.Reserve},
		Process:            processStatus(s.d.Process()),
		Overrides:          overrideMessages(s.overrides.List()),
		Version:            s.d.Version,
		StartTime:          timestamppb.New(s.start),
	}
	return resp
}

// level returns the brownout level in force, the one that the signals ask for, and why.
func (s *Service) level() (inForce, asked int, cause string) {
	inForce, cause = s.d.Admission.Level()
	asked, signals := s.d.Level.Asked()
	if inForce != asked && signals != "" {
		cause += "; the signals: " + signals
	}
	return inForce, asked, cause
}

func queueStatus(stats queue.Stats) *operatorv1.QueueStatus {
	q := &operatorv1.QueueStatus{
		Enqueued: stats.Enqueued, Ended: stats.Ended, Held: stats.Held, Conservation: stats.Conservation(),
		Bytes: stats.Bytes, MaxBytes: stats.MaxBytes, Accepting: stats.NotAccepting == nil,
		CommitTime: durationpb.New(stats.CommitTime),
	}
	if stats.NotAccepting != nil {
		q.NotAcceptingCause = stats.NotAccepting.Error()
	}
	return q
}

// still is the rate, in jobs a second, below which a lane counts as not moving. It is less than one job in the window.
const still = .05

func (s *Service) lanes(stats queue.Stats, window span, now time.Time) (out []*operatorv1.LaneStatus) {
	set := map[reset.Lane]dispatch.LaneStatus{}
	for _, l := range s.d.Work.Lanes() {
		set[l.Lane] = l
	}
	for _, lane := range reset.Lanes() {
		l := stats.Lanes[lane]
		st := &operatorv1.LaneStatus{
			Lane: lane.String(), Leased: l.Leased, Retrying: l.Retrying, Parked: l.Parked,
			Paused: !set[lane].PausedSince.IsZero(), Weight: set[lane].Weight,
		}
		st.ArrivalRate, st.Rate = window.lane(lane)
		for _, n := range l.Waiting {
			st.Waiting += n
		}
		if oldest := l.Oldest(); !oldest.IsZero() {
			st.OldestWait = duration(now.Sub(oldest))
		}
		switch waiting := st.Waiting + st.Retrying; { // what was put back is waited for too
		case waiting == 0:
			st.DrainTime = duration(0)
		case st.Rate > still:
			// A time of more than a year is left out, as if the lane did not move.
			if seconds := float64(waiting) / st.Rate; seconds < (365 * 24 * time.Hour).Seconds() {
				st.DrainTime = duration(time.Duration(seconds * float64(time.Second)))
			}
		}
		out = append(out, st)
	}
	return out
}

func (s *Service) downstreams(window span) (out []*operatorv1.DownstreamStatus) {
	for _, d := range s.d.Work.Status() {
		c := window.calls(d.Name)
		st := &operatorv1.DownstreamStatus{
			Downstream:       d.Name,
			Kinds:            c.kinds,
			LastCallTime:     timestamp(d.Counts.LastCall),
			LastSuccessTime:  timestamp(d.Counts.LastSuccess),
			ConcurrencyLimit: uint32(max(0, d.Limits.Concurrency)),
			InFlight:         uint32(max(0, d.Limits.InFlight)),
			RateLimit:        d.Limits.Rate,
			Breaker:          d.Breaker,
			BreakerForced:    d.Forced != breaker.ForceNone,
			Ramp:             d.Limits.Ramp,
			PaceMode:         string(d.Mode),
			Batch:            uint32(max(0, d.Limits.Batch)),
			CallRate:         c.ok,
			FailureRate:      c.failed,
			ItemRate:         c.items,
			OutageStartTime:  timestamp(d.OutageSince),
			Misconfiguration: d.Misconfiguration,
		}
		for _, f := range d.Failures {
			st.Failures = append(st.Failures, &operatorv1.FailureStatus{
				Outcome: f.Outcome, Code: f.Code, Count: f.Items, LastTime: timestamp(f.Last), Meaning: f.Meaning,
			})
		}
		if c.mean > 0 {
			st.CallTime = duration(c.mean)
		}
		out = append(out, st)
	}
	return out
}

func processStatus(p starvation.Status) *operatorv1.ProcessStatus {
	return &operatorv1.ProcessStatus{
		CpuStarved: !p.Since.IsZero(), CpuStarvedSince: timestamp(p.Since), SchedulingDelay: duration(p.Delay),
		ThrottledShare: p.Throttled, CpuLimit: p.Limit, CpuUsed: p.Used,
	}
}

func admissionStatus(in intake) *operatorv1.AdmissionStatus {
	st := &operatorv1.AdmissionStatus{
		Offered: in.admitted + in.limited + in.shed, Admitted: in.admitted, Limited: in.limited, Shed: in.shed, Refused: in.refused,
		GlobalTokens: in.tokens,
	}
	for _, r := range in.reasons {
		st.Reasons = append(st.Reasons, &operatorv1.ReasonRate{Reason: r.reason, Rate: r.rate})
	}
	return st
}
