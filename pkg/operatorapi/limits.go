package operatorapi

import (
	"context"
	"math"
	"strings"

	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/steer"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

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
			Name: name, Rate: r.Rate.String(), Burst: uint32(min(max(0, r.Burst), math.MaxInt32)), //nolint:gosec // bounded
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
	resp := &operatorv1.ListLimitedClientsResponse{}
	clients := s.d.LimitedClients()
	for _, c := range clients[:min(len(clients), maxLimitedClients)] {
		resp.Clients = append(resp.Clients, &operatorv1.LimitedClient{Kind: c.Kind, Client: c.Client, Refused: c.Refused})
	}
	return resp, nil
}
