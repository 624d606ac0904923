package operatortest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

func (o *Server) set(target, before, after string, s *operatorv1.Steering, notes ...string) (*operatorv1.Change, error) {
	d := s.GetDuration().AsDuration()
	if s.GetDuration() != nil && (d < time.Minute || d > 7*24*time.Hour) {
		return nil, invalid("steering.duration", "must be between 1 min and 7 days")
	}
	if d == 0 {
		d = time.Hour
	}
	now := time.Now() //nolint:forbidigo // a server beside the test's process, in real time
	c := &operatorv1.Change{
		Target: target, Before: before, After: after, ExpireTime: timestamppb.New(now.Add(d)), DryRun: s.GetDryRun(), Notes: notes,
	}
	if s.GetDryRun() {
		return c, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.overrides = slices.DeleteFunc(o.overrides, func(v *operatorv1.Override) bool { return v.GetTarget() == target })
	o.overrides = append(o.overrides, &operatorv1.Override{
		Target: target, Setting: after, Before: before, Who: "loopback", Reason: s.GetReason(), SetTime: timestamppb.New(now),
		ExpireTime: c.GetExpireTime(),
	})
	o.audit = append([]*operatorv1.AuditEntry{{
		Time: timestamppb.New(now), Who: "loopback", From: "127.0.0.1:1", Action: "set", Targets: []string{target}, Before: before, After: after,
		Reason: s.GetReason(), ExpireTime: c.GetExpireTime(),
	}}, o.audit...)
	return c, nil
}

func lane(name string) error {
	if !slices.Contains([]string{"start", "mail", "hash", "apply", "revoke", "campaign"}, name) {
		return invalid("lane", "must be start, mail, hash, apply, revoke or campaign")
	}
	return nil
}

func downstream(name string) error {
	if !slices.Contains([]string{"store", "mail", "revoker", "hash_pool"}, name) {
		return invalid("downstream", "must be store, mail, revoker or hash_pool")
	}
	return nil
}

// PauseLane implements the call.
func (o *Server) PauseLane(_ context.Context, r *operatorv1.PauseLaneRequest) (*operatorv1.PauseLaneResponse, error) {
	if err := lane(r.GetLane()); err != nil {
		return nil, err
	}
	c, err := o.set("lane/"+r.GetLane()+"/paused", "running", "paused", r.GetSteering(), "640 jobs wait in it now.")
	return &operatorv1.PauseLaneResponse{Change: c}, err
}

// SetLaneWeight implements the call.
func (o *Server) SetLaneWeight(_ context.Context, r *operatorv1.SetLaneWeightRequest) (*operatorv1.SetLaneWeightResponse, error) {
	if err := lane(r.GetLane()); err != nil {
		return nil, err
	}
	c, err := o.set("lane/"+r.GetLane()+"/weight", "8", fmt.Sprint(r.GetWeight()), r.GetSteering())
	return &operatorv1.SetLaneWeightResponse{Change: c}, err
}

// SetPace implements the call.
func (o *Server) SetPace(_ context.Context, r *operatorv1.SetPaceRequest) (*operatorv1.SetPaceResponse, error) {
	if err := downstream(r.GetDownstream()); err != nil {
		return nil, err
	}
	after := fmt.Sprintf("fixed: %d calls, rate %g, batch %d", r.GetFixed().GetConcurrency(), r.GetFixed().GetRate(), r.GetFixed().GetBatch())
	if b := r.GetBounds(); b != nil {
		after = fmt.Sprintf("bounded: %d to %d calls, rate %g", b.GetMinConcurrency(), b.GetMaxConcurrency(), b.GetRate())
	}
	c, err := o.set("pace/"+r.GetDownstream(), "auto", after, r.GetSteering())
	return &operatorv1.SetPaceResponse{Change: c}, err
}

// ForceBreaker implements the call.
func (o *Server) ForceBreaker(_ context.Context, r *operatorv1.ForceBreakerRequest) (*operatorv1.ForceBreakerResponse, error) {
	if err := downstream(r.GetDownstream()); err != nil {
		return nil, err
	}
	c, err := o.set("breaker/"+r.GetDownstream(), "closed", strings.ToLower(r.GetState().String()), r.GetSteering())
	return &operatorv1.ForceBreakerResponse{Change: c}, err
}

// ForceBrownout implements the call.
func (o *Server) ForceBrownout(_ context.Context, r *operatorv1.ForceBrownoutRequest) (*operatorv1.ForceBrownoutResponse, error) {
	if r.GetLevel() > 4 {
		return nil, invalid("level", "must be 0 to 4")
	}
	c, err := o.set("brownout", "auto", fmt.Sprint("level ", r.GetLevel()), r.GetSteering())
	return &operatorv1.ForceBrownoutResponse{Change: c}, err
}
