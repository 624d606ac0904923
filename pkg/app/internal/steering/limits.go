package steering

import (
	"sync"

	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/operatorapi"
	"github.com/surgegate/surgegate/pkg/steer"
)

// Limits are the rules of admission and the identifier's budget. Make it with NewLimits.
type Limits struct {
	admission *admission.Admission
	dispatch  *dispatch.Dispatch

	mu         sync.Mutex // one change at a time
	configured admission.Rules
}

var _ steer.Limits = (*Limits)(nil)

// NewLimits returns those of a process that has just been configured.
func NewLimits(a *admission.Admission, d *dispatch.Dispatch) *Limits {
	return &Limits{admission: a, dispatch: d, configured: a.Rules()}
}

// Rule implements steer.Limits.
func (l *Limits) Rule(name string) steer.Rule {
	budget, _ := l.dispatch.IdentifierBudget()
	return pick(name, l.admission.Rules(), budget)
}

// Configured implements steer.Limits.
func (l *Limits) Configured(name string) steer.Rule {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, budget := l.dispatch.IdentifierBudget()
	return pick(name, l.configured, budget)
}

func pick(name string, r admission.Rules, b dispatch.Budget) steer.Rule {
	of := func(r admission.Rule) steer.Rule {
		return steer.Rule{Rate: r.Rate, Burst: r.Burst, CountOnly: r.DryRun}
	}
	switch name {
	case steer.LimitGlobal:
		return of(r.Global)
	case steer.LimitClient:
		return of(r.Client)
	case steer.LimitIdentifier:
		return steer.Rule{Rate: admission.Rate{Count: b.Mails, Per: b.Per}, Burst: b.Burst}
	default:
		return steer.Rule{CountOnly: r.ShedDryRun}
	}
}

// SetRule implements steer.Limits.
func (l *Limits) SetRule(name string, r steer.Rule) error {
	if name == steer.LimitIdentifier {
		b := dispatch.Budget{Mails: r.Rate.Count, Per: r.Rate.Per, Burst: r.Burst}
		if _, configured := l.dispatch.IdentifierBudget(); b == configured {
			b = dispatch.Budget{} // no override: it follows the next reload
		}
		return l.dispatch.SetIdentifierBudget(b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	rules := l.admission.Rules()
	rule := admission.Rule{Rate: r.Rate, Burst: r.Burst, DryRun: r.CountOnly}
	switch name {
	case steer.LimitGlobal:
		rules.Global = rule
	case steer.LimitClient:
		rules.Client = rule
	default:
		rules.ShedDryRun = r.CountOnly
	}
	return l.admission.SetRules(rules)
}

// Configure takes other rules over. Those on which an override stands are in force as they were.
func (l *Limits) Configure(c admission.Config, overridden func(name string) bool) error {
	c = c.WithDefaults()
	l.mu.Lock()
	defer l.mu.Unlock()
	configured := admission.Rules{Global: c.Global, Client: c.Client, ShedDryRun: c.ShedDryRun}
	rules, now := configured, l.admission.Rules()
	if overridden(steer.LimitGlobal) {
		rules.Global = now.Global
	}
	if overridden(steer.LimitClient) {
		rules.Client = now.Client
	}
	if overridden(steer.LimitLevel) {
		rules.ShedDryRun = now.ShedDryRun
	}
	if err := l.admission.SetRules(rules); err != nil {
		return err
	}
	l.configured = configured
	return nil
}

// Clients names those that were refused most.
func (l *Limits) Clients() (out []operatorapi.LimitedClient) {
	for _, c := range l.admission.Limited() {
		out = append(out, operatorapi.LimitedClient{Kind: c.Kind, Client: c.Client, Refused: c.Refused})
	}
	return out
}
