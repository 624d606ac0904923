package operator

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// targetName is the name of a target, made from a field of a request: prefix + name + suffix.
type targetName struct{ field, prefix, name, suffix string }

// set puts an override into force.
func (s *Service) set(ctx context.Context, n targetName, setting Setting, st *operatorv1.Steering) (*operatorv1.Change, error) {
	setting.Target = n.prefix + n.name + n.suffix
	var bad reset.Violations
	if names := s.names(n); names != nil && !slices.Contains(names, n.name) {
		bad.Add(n.field, "must be one of "+strings.Join(names, ", "))
		return nil, bad
	}
	var d time.Duration
	if st.GetDuration() != nil {
		if d = st.GetDuration().AsDuration(); st.GetDuration().CheckValid() != nil || d == 0 {
			d = -1 // Overrides refuses it, and says what else is wrong
		}
	}
	c, err := s.overrides.Set(ctx, Request{Setting: setting, Duration: d, Reason: st.GetReason(), DryRun: st.GetDryRun(),
		By: CallerOf(ctx)})
	if err != nil {
		return nil, queueError(err)
	}
	s.diagnoseChange(ctx)
	return changeMessage(c), nil
}

// names returns what the field may be; nil for a target without a name.
func (s *Service) names(n targetName) (names []string) {
	if n.prefix == brownoutTargetName {
		return nil
	}
	for _, t := range s.overrides.TargetNames() {
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
	return &operatorv1.ListOverridesResponse{Overrides: overrideMessages(s.overrides.List())}, nil
}

// LiftOverride implements the call.
func (s *Service) LiftOverride(ctx context.Context, r *operatorv1.LiftOverrideRequest) (*operatorv1.LiftOverrideResponse, error) {
	changes, err := s.overrides.Lift(ctx, r.GetTarget(), r.GetReason(), r.GetDryRun(), CallerOf(ctx))
	if err != nil {
		return nil, queueError(err)
	}
	resp := &operatorv1.LiftOverrideResponse{}
	for _, c := range changes {
		resp.Changes = append(resp.Changes, changeMessage(c))
	}
	s.diagnoseChange(ctx)
	return resp, nil
}

func changeMessage(c Change) *operatorv1.Change {
	return &operatorv1.Change{
		Target: c.Target, Before: c.Before, After: c.After, ExpireTime: timestamp(c.ExpireTime), DryRun: c.DryRun, Notes: c.Notes,
	}
}

func overrideMessages(list []Override) (out []*operatorv1.Override) {
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
	changes, err := s.d.Reload(ctx, CallerOf(ctx), r.GetDryRun())
	if err != nil {
		return nil, queueError(err)
	}
	return &operatorv1.ReloadResponse{Changes: changes, DryRun: r.GetDryRun()}, nil
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
	entries, next, err := s.overrides.Trail(ctx, r.GetPageToken(), size)
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

// isKey tells whether the keys of audit records have this character.
func isKey(c rune) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-' }
