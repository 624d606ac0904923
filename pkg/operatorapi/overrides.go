package operatorapi

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/steer"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// PauseLane implements the call.
func (s *Service) PauseLane(ctx context.Context, r *operatorv1.PauseLaneRequest) (*operatorv1.PauseLaneResponse, error) {
	c, err := s.set(ctx, named{"lane", "lane/", r.GetLane(), "/paused"}, steer.Setting{}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.PauseLaneResponse{Change: c}, nil
}

// SetLaneWeight implements the call.
func (s *Service) SetLaneWeight(ctx context.Context, r *operatorv1.SetLaneWeightRequest) (*operatorv1.SetLaneWeightResponse, error) {
	c, err := s.set(ctx, named{"lane", "lane/", r.GetLane(), "/weight"}, steer.Setting{Weight: r.GetWeight()}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.SetLaneWeightResponse{Change: c}, nil
}

// SetPace implements the call.
func (s *Service) SetPace(ctx context.Context, r *operatorv1.SetPaceRequest) (*operatorv1.SetPaceResponse, error) {
	var p steer.Pace
	switch x := r.GetPace().(type) {
	case *operatorv1.SetPaceRequest_Fixed:
		p = steer.Pace{Fixed: true, Concurrency: int(x.Fixed.GetConcurrency()), Rate: x.Fixed.GetRate(), Batch: int(x.Fixed.GetBatch())}
	case *operatorv1.SetPaceRequest_Bounds:
		p = steer.Pace{Min: int(x.Bounds.GetMinConcurrency()), Max: int(x.Bounds.GetMaxConcurrency()), Rate: x.Bounds.GetRate()}
	}
	c, err := s.set(ctx, named{"downstream", "pace/", r.GetDownstream(), ""}, steer.Setting{Pace: p}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.SetPaceResponse{Change: c}, nil
}

// ForceBreaker implements the call.
func (s *Service) ForceBreaker(ctx context.Context, r *operatorv1.ForceBreakerRequest) (*operatorv1.ForceBreakerResponse, error) {
	state := map[operatorv1.BreakerState]steer.Breaker{
		operatorv1.BreakerState_BREAKER_STATE_OPEN:   steer.BreakerOpen,
		operatorv1.BreakerState_BREAKER_STATE_CLOSED: steer.BreakerClosed,
	}[r.GetState()]
	c, err := s.set(ctx, named{"downstream", "breaker/", r.GetDownstream(), ""}, steer.Setting{Breaker: state}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.ForceBreakerResponse{Change: c}, nil
}

// ForceBrownout implements the call.
func (s *Service) ForceBrownout(ctx context.Context, r *operatorv1.ForceBrownoutRequest) (*operatorv1.ForceBrownoutResponse, error) {
	level := int(min(r.GetLevel(), 1000)) // what is over 4 is refused anyway
	c, err := s.set(ctx, named{"level", steer.BrownoutTarget, "", ""}, steer.Setting{Level: level}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.ForceBrownoutResponse{Change: c}, nil
}

// named is a target as a field of a request names it.
type named struct{ field, prefix, name, suffix string }

// set puts an override into force.
func (s *Service) set(ctx context.Context, n named, setting steer.Setting, st *operatorv1.Steering) (*operatorv1.Change, error) {
	setting.Target = n.prefix + n.name + n.suffix
	var bad reset.Violations
	if names := s.names(n); names != nil && !slices.Contains(names, n.name) {
		bad.Add(n.field, "must be one of "+strings.Join(names, ", "))
		return nil, bad
	}
	var d time.Duration
	if st.GetDuration() != nil {
		if d = st.GetDuration().AsDuration(); st.GetDuration().CheckValid() != nil || d == 0 {
			d = -1 // out of every bound: the book says what is right, beside what else is wrong
		}
	}
	c, err := s.d.Book.Set(ctx, steer.Request{Setting: setting, Duration: d, Reason: st.GetReason(), DryRun: st.GetDryRun(),
		By: steer.OperatorOf(ctx)})
	if err != nil {
		return nil, queueError(err)
	}
	s.diagnoseChange(ctx)
	return changeOf(c), nil
}

// names lists what the field can be; nil for a target without a name.
func (s *Service) names(n named) (names []string) {
	if n.prefix == steer.BrownoutTarget {
		return nil
	}
	for _, t := range s.d.Book.Targets() {
		if rest, ok := strings.CutPrefix(t, n.prefix); ok {
			if name, ok := strings.CutSuffix(rest, n.suffix); ok && !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
	}
	if names == nil {
		names = []string{"none: this process has nothing of the kind"}
	}
	return names
}

// ListOverrides implements the call.
func (s *Service) ListOverrides(context.Context, *operatorv1.ListOverridesRequest) (*operatorv1.ListOverridesResponse, error) {
	return &operatorv1.ListOverridesResponse{Overrides: overrides(s.d.Book.List())}, nil
}

// LiftOverride implements the call.
func (s *Service) LiftOverride(ctx context.Context, r *operatorv1.LiftOverrideRequest) (*operatorv1.LiftOverrideResponse, error) {
	changes, err := s.d.Book.Lift(ctx, r.GetTarget(), r.GetReason(), r.GetDryRun(), steer.OperatorOf(ctx))
	if err != nil {
		return nil, queueError(err)
	}
	resp := &operatorv1.LiftOverrideResponse{}
	for _, c := range changes {
		resp.Changes = append(resp.Changes, changeOf(c))
	}
	s.diagnoseChange(ctx)
	return resp, nil
}

func changeOf(c steer.Change) *operatorv1.Change {
	return &operatorv1.Change{
		Target: c.Target, Before: c.Before, After: c.After, ExpireTime: timestamp(c.ExpireTime), DryRun: c.DryRun, Notes: c.Notes,
	}
}

func overrides(list []steer.Override) (out []*operatorv1.Override) {
	for _, o := range list {
		out = append(out, &operatorv1.Override{
			Target: o.Target, Setting: o.Setting, Before: o.Before, Who: o.By.Who, Reason: o.Reason,
			SetTime: timestamppb.New(o.SetTime), ExpireTime: timestamppb.New(o.ExpireTime),
		})
	}
	return out
}

// Reload implements the call.
func (s *Service) Reload(ctx context.Context, r *operatorv1.ReloadRequest) (*operatorv1.ReloadResponse, error) {
	if s.d.Reload == nil {
		return nil, &reset.Error{Kind: reset.KindPrecondition, Detail: "this process cannot reload: restart it"}
	}
	changes, err := s.d.Reload(ctx, steer.OperatorOf(ctx), r.GetDryRun())
	if err != nil {
		return nil, queueError(err)
	}
	resp := &operatorv1.ReloadResponse{DryRun: r.GetDryRun()}
	for _, c := range changes {
		resp.Changes = append(resp.Changes, &operatorv1.ConfigChange{Key: c.Key, Before: c.Before, After: c.After})
	}
	return resp, nil
}

// ListAudit implements the call.
func (s *Service) ListAudit(ctx context.Context, r *operatorv1.ListAuditRequest) (*operatorv1.ListAuditResponse, error) {
	var bad reset.Violations
	size := checkPageSize(r.GetPageSize(), &bad)
	if token := r.GetPageToken(); len(token) > 128 || strings.ContainsFunc(token, func(c rune) bool { return !isKey(c) }) {
		bad.Add("page_token", "must be the next_page_token of the page before")
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	entries, next, err := s.d.Book.Trail(ctx, r.GetPageToken(), size)
	if err != nil {
		return nil, queueError(err)
	}
	resp := &operatorv1.ListAuditResponse{NextPageToken: next}
	for _, e := range entries {
		resp.Entries = append(resp.Entries, &operatorv1.AuditEntry{
			Time: timestamp(e.When), Who: e.Who, From: e.From, Action: e.What, Targets: e.Targets, Before: e.Before, After: e.After,
			Reason: e.Reason, ExpireTime: timestamp(e.ExpireTime),
		})
	}
	return resp, nil
}

// isKey tells what keys of audit records are made of.
func isKey(c rune) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-' }

// GetTicket implements the call.
func (s *Service) GetTicket(ctx context.Context, r *operatorv1.GetTicketRequest) (*operatorv1.GetTicketResponse, error) {
	var bad reset.Violations
	if id := r.GetTicketId(); id == "" {
		bad.Add("ticket_id", "required: as the person or the front end has it")
	} else if len(id) > maxTicketID {
		bad.Add("ticket_id", fmt.Sprintf("must be at most %d bytes", maxTicketID))
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if s.d.Inspect == nil {
		return nil, &reset.Error{Kind: reset.KindNotFound}
	}
	t, err := s.d.Inspect(ctx, r.GetTicketId())
	if err != nil {
		return nil, err
	}
	resp := &operatorv1.GetTicketResponse{
		State: strings.ToUpper(t.Ticket.State.String()), Position: t.Ticket.Position, Retrying: t.Retrying,
		AcceptTime: timestamp(t.Ticket.AcceptTime), UpdateTime: timestamp(t.Ticket.UpdateTime),
	}
	if t.Ticket.Reason != reset.ReasonNone {
		resp.Reason = strings.ToUpper(t.Ticket.Reason.String())
	}
	if t.Lane != 0 {
		resp.Lane = t.Lane.String()
	}
	if eta := t.Ticket.ETA; eta != nil {
		resp.EtaLow, resp.EtaHigh = duration(eta.Low), duration(eta.High)
	}
	return resp, nil
}

// maxTicketID is far over the length of a ticket's id.
const maxTicketID = 512

// GetLimits implements the call.
func (s *Service) GetLimits(context.Context, *operatorv1.GetLimitsRequest) (*operatorv1.GetLimitsResponse, error) {
	resp := &operatorv1.GetLimitsResponse{}
	if s.d.Limits == nil {
		return resp, nil
	}
	window := s.rates.span(s.d.Clock.Now())
	for _, name := range steer.LimitNames() {
		r := s.d.Limits.Rule(name)
		resp.Limits = append(resp.Limits, &operatorv1.Limit{
			Name: name, Rate: r.Rate.String(), Burst: uint32(min(max(0, r.Burst), math.MaxInt32)),
			CountOnly: r.CountOnly, Overridden: s.d.Book.Standing(steer.LimitTarget(name)), RefusedRate: window.refused(name),
		})
	}
	return resp, nil
}

// refused is what a rule refused a second, or would have refused.
func (w span) refused(rule string) float64 {
	if rule == steer.LimitIdentifier { // over it there is a ticket and no mail
		return w.sum(familyMails, func(s series) bool { return s.second == "withheld" })
	}
	prefix := map[string]string{steer.LimitGlobal: "limit_global", steer.LimitClient: "limit_client_", steer.LimitLevel: "shed_level_"}[rule]
	return w.sum(familyDecisions, func(s series) bool { return strings.HasPrefix(s.second, prefix) }) +
		w.sum(familyDryRuns, func(s series) bool { return strings.HasPrefix(s.first, prefix) })
}

// SetLimit implements the call.
func (s *Service) SetLimit(ctx context.Context, r *operatorv1.SetLimitRequest) (*operatorv1.SetLimitResponse, error) {
	limit := steer.Limit{Burst: int(r.GetBurst()), CountOnly: r.CountOnly}
	if r.GetRate() != "" {
		if err := limit.Rate.UnmarshalText([]byte(r.GetRate())); err != nil {
			var bad reset.Violations
			bad.Add("rate", "must be a count and a unit of time, such as 20000/s, 20/m or 5/h; empty keeps it")
			return nil, bad
		}
	}
	c, err := s.set(ctx, named{"limit", steer.LimitTarget(""), r.GetLimit(), ""}, steer.Setting{Limit: limit}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.SetLimitResponse{Change: c}, nil
}

// maxLimitedClients are told.
const maxLimitedClients = 20

// ListLimitedClients implements the call.
func (s *Service) ListLimitedClients(context.Context, *operatorv1.ListLimitedClientsRequest) (*operatorv1.ListLimitedClientsResponse,
	error) {
	return &operatorv1.ListLimitedClientsResponse{Clients: s.limitedClients()}, nil
}
