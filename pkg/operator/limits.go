package operator

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/reset"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const kindLimit Kind = "limit"

// MailWork is the part of Work that concerns the budget of link mails.
type MailWork interface {
	IdentifierBudget() (inForce, configured dispatch.Budget)
	SetIdentifierBudget(dispatch.Budget) error // the zero Budget: as configured
	MailsWithheld() uint64
}

// LimitChange is what is changed of an admission rule. Zero fields keep what is configured.
type LimitChange struct {
	Rate      admission.Rate `json:"rate,omitzero"`
	Burst     int            `json:"burst,omitempty"`
	CountOnly *bool          `json:"count_only,omitempty"`
}

// The names of the limits.
const (
	limitGlobal     = "global"
	limitClient     = "client"
	limitIdentifier = "identifier" // the budget of link mails; the work side enforces it
	limitLevel      = "level"      // what the brownout level refuses; it has no rate
)

func limitNames() []string { return []string{limitGlobal, limitClient, limitIdentifier, limitLevel} }

func limitTargetName(limit string) string { return "limit/" + limit }

// limits change the rules of admission and the identifier's budget. They keep what is configured apart from what is in force, so
// that a reload under an override changes what comes back, and nothing that is in force.
type limits struct {
	admission *admission.Admission
	work      Work

	mu         sync.Mutex // one change at a time
	configured admission.Rules
}

func newLimits(a *admission.Admission, w Work) *limits {
	return &limits{admission: a, work: w, configured: a.Rules()}
}

func (l *limits) ruleInForce(name string) admission.Rule {
	budget, _ := l.work.IdentifierBudget()
	return pickRule(name, l.admission.Rules(), budget)
}

func (l *limits) configuredRule(name string) admission.Rule {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, budget := l.work.IdentifierBudget()
	return pickRule(name, l.configured, budget)
}

func pickRule(name string, r admission.Rules, b dispatch.Budget) admission.Rule {
	switch name {
	case limitGlobal:
		return r.Global
	case limitClient:
		return r.Client
	case limitIdentifier:
		return admission.Rule{Rate: admission.Rate{Count: b.Mails, Per: b.Per}, Burst: b.Burst}
	default:
		return admission.Rule{DryRun: r.ShedDryRun}
	}
}

func (l *limits) setRule(name string, r admission.Rule) error {
	if name == limitIdentifier {
		b := dispatch.Budget{Mails: r.Rate.Count, Per: r.Rate.Per, Burst: r.Burst}
		if _, configured := l.work.IdentifierBudget(); b == configured {
			b = dispatch.Budget{} // no override, so that it follows the next reload
		}
		return l.work.SetIdentifierBudget(b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	rules := l.admission.Rules()
	switch name {
	case limitGlobal:
		rules.Global = r
	case limitClient:
		rules.Client = r
	default:
		rules.ShedDryRun = r.DryRun
	}
	return l.admission.SetRules(rules)
}

// configure takes over the rules of another configuration. Those that are overridden stay in force as they are.
func (l *limits) configure(c admission.Config, isOverridden func(target string) bool) error {
	configured := c.WithDefaults().Rules()
	l.mu.Lock()
	defer l.mu.Unlock()
	rules, inForce := configured, l.admission.Rules()
	if isOverridden(limitTargetName(limitGlobal)) {
		rules.Global = inForce.Global
	}
	if isOverridden(limitTargetName(limitClient)) {
		rules.Client = inForce.Client
	}
	if isOverridden(limitTargetName(limitLevel)) {
		rules.ShedDryRun = inForce.ShedDryRun
	}
	if err := l.admission.SetRules(rules); err != nil {
		return err
	}
	l.configured = configured
	return nil
}

func limitTargets(l *limits) (targets []Target) {
	for _, name := range limitNames() {
		targets = append(targets, limitTarget(name, l))
	}
	return targets
}

func limitTarget(name string, l *limits) Target {
	changed := func(s Setting) admission.Rule { return changeRule(name, l.configuredRule(name), s.Limit) }
	return Target{
		Name: limitTargetName(name), Kind: kindLimit, Action: "set_limit",
		Check:      func(s Setting, bad *reset.Violations) { checkLimit(name, s.Limit, bad) },
		Describe:   func(s Setting) string { return describeRule(changed(s)) },
		InForce:    func() string { return describeRule(l.ruleInForce(name)) },
		Configured: func() string { return describeRule(l.configuredRule(name)) },
		Notes:      func(s Setting) []string { return limitNotes(name, changed(s)) },
		Apply:      func(s Setting) error { return l.setRule(name, changed(s)) },
		Revert:     func() error { return l.setRule(name, l.configuredRule(name)) },
	}
}

func checkLimit(name string, c LimitChange, bad *reset.Violations) {
	if c == (LimitChange{}) {
		bad.Add("rate", "nothing to change: give a rate, a burst or count_only; to go back lift the override")
	}
	if name == limitLevel && (c.Rate != (admission.Rate{}) || c.Burst != 0) {
		bad.Add("rate", "level has no rate and no burst: give count_only, or hold the level itself with the brownout override")
	}
	if c.Burst < 0 || c.Burst > admission.MaxBurst {
		bad.Add("burst", "must be how many may come at once, 1 or more; 0 keeps it")
	}
	if name == limitIdentifier && c.CountOnly != nil && *c.CountOnly {
		bad.Add("count_only", "the budget of an identifier cannot be counted only: it keeps mailboxes from being flooded; give a higher rate")
	}
}

// changeRule returns the configured rule with what c changes.
func changeRule(name string, r admission.Rule, c LimitChange) admission.Rule {
	if c.Rate != (admission.Rate{}) {
		r.Rate, r.Burst = c.Rate, c.Rate.Count
		if name == limitGlobal { // the default burst of this rule is twice the rate's count
			r.Burst *= 2
		}
	}
	if c.Burst != 0 {
		r.Burst = c.Burst
	}
	if c.CountOnly != nil {
		r.DryRun = *c.CountOnly
	}
	return r
}

func describeRule(r admission.Rule) string {
	mode := "enforced"
	if r.DryRun {
		mode = "counted only, refuses nothing"
	}
	if r.Rate == (admission.Rate{}) {
		return mode
	}
	return fmt.Sprintf("%s, burst %d, %s", r.Rate, r.Burst, mode)
}

func limitNotes(name string, r admission.Rule) []string {
	if r.DryRun {
		if name == limitLevel {
			return []string{"the brownout level refuses nobody: only the buckets and the queue's bounds still protect the gateway"}
		}
		return []string{"it refuses nobody while this stands: surgegate_admission_dry_run_total says whom it would"}
	}
	switch name {
	case limitGlobal:
		return []string{"of all callers together: who comes over it is told when to come back, the innocent too"}
	case limitClient:
		return []string{"of each address and each client id: an office behind one address shares it"}
	case limitIdentifier:
		return []string{"over it an ask gets a ticket and no mail, and nobody is told"}
	default:
		return []string{"what the brownout level refuses is refused"}
	}
}

// GetLimits implements the call.
func (s *Service) GetLimits(context.Context, *operatorv1.GetLimitsRequest) (*operatorv1.GetLimitsResponse, error) {
	resp := &operatorv1.GetLimitsResponse{}
	window := s.rates.span(s.d.Clock.Now())
	for _, name := range limitNames() {
		r := s.limits.ruleInForce(name)
		resp.Limits = append(resp.Limits, &operatorv1.Limit{
			Name: name, Rate: r.Rate.String(), Burst: uint32(min(max(0, r.Burst), math.MaxInt32)),
			CountOnly: r.DryRun, Overridden: s.overrides.IsSet(limitTargetName(name)), RefusedRate: window.refused(name),
		})
	}
	return resp, nil
}

// SetLimit implements the call.
func (s *Service) SetLimit(ctx context.Context, r *operatorv1.SetLimitRequest) (*operatorv1.SetLimitResponse, error) {
	limit := LimitChange{Burst: int(r.GetBurst()), CountOnly: r.CountOnly}
	if r.GetRate() != "" {
		if err := limit.Rate.UnmarshalText([]byte(r.GetRate())); err != nil {
			var bad reset.Violations
			bad.Add("rate", "must be a count and a unit of time, such as 20000/s, 20/m or 5/h; empty keeps it")
			return nil, bad
		}
	}
	c, err := s.set(ctx, targetName{"limit", limitTargetName(""), r.GetLimit(), ""}, Setting{Limit: limit}, r.GetSteering())
	if err != nil {
		return nil, err
	}
	return &operatorv1.SetLimitResponse{Change: c}, nil
}

// ListLimitedClients implements the call.
func (s *Service) ListLimitedClients(context.Context, *operatorv1.ListLimitedClientsRequest) (*operatorv1.ListLimitedClientsResponse,
	error) {
	return &operatorv1.ListLimitedClientsResponse{Clients: s.limitedClients()}, nil
}

func (s *Service) limitedClients() (out []*operatorv1.LimitedClient) {
	for _, c := range s.d.Admission.Limited() { // 20 at most
		out = append(out, &operatorv1.LimitedClient{Kind: c.Kind, Client: c.Client, Refused: c.Refused})
	}
	return out
}
