package admission

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"golang.org/x/time/rate"
)

// Op is what a call asks for.
type Op uint8

// The operations.
const (
	OpStart      Op = iota // StartReset: spends the client's buckets and the global one
	OpCheckToken           // CheckToken: spends the global one; a refused token is charged
	OpComplete             // CompleteReset: spends the global one; a refused token or password is charged
	OpRead                 // GetTicket, WatchTicket: spends nothing, is never refused and not counted
)

// Request is one call.
type Request struct {
	Op       Op
	IP       netip.Addr // not valid: such calls share one bucket
	ClientID string     // empty: no bucket by id
	Suspect  bool       // the front end's verdict
}

// Admission lets calls in or refuses them. Make it with New; it is safe for concurrent use.
type Admission struct {
	config  Config // its rules are those of New; rules has the current ones
	log     *slog.Logger
	clock   clock.Clock
	random  func() float64
	metrics *metrics
	ips     *table
	ids     *table
	global  *clock.Limiter
	explain bool
	level   atomic.Pointer[brownout]

	setRulesMu sync.Mutex // held by SetRules
	rules      atomic.Pointer[Rules]
}

type brownout struct {
	level int
	cause Cause
}

// New returns an Admission at level 0 whose buckets are full. It fails when the config is not valid or the metrics cannot be
// registered.
func New(config Config, deps Deps) (*Admission, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	config = config.WithDefaults()
	a := &Admission{config: config, log: deps.Logger, random: deps.Random, metrics: newMetrics(), explain: deps.Explain}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.random == nil {
		a.random = rand.Float64
	}
	if a.clock = deps.Clock; a.clock == nil {
		a.clock = clock.System{}
	}
	rules := config.Rules()
	a.rules.Store(&rules)
	a.ips = newTable(config.Client, config.MaxKeys, a.metrics.overflow[kindIP])
	a.ids = newTable(config.Client, config.MaxKeys, a.metrics.overflow[kindID])
	a.global = clock.NewLimiter(rate.Limit(config.Global.Rate.PerSecond()), config.Global.Burst)
	a.level.Store(&brownout{})
	if deps.Registerer != nil {
		if err := a.metrics.register(deps.Registerer, a); err != nil {
			return nil, fmt.Errorf("admission: register metrics: %w", err)
		}
	}
	return a, nil
}

// SetRules replaces the rules, for the next call on. Buckets keep their tokens, up to the new burst: a change gives nobody an
// extra burst and takes only what exceeds the new one. It returns the errors of Config.Validate.
func (a *Admission) SetRules(r Rules) error {
	config := a.config
	config.Global, config.Client, config.ShedDryRun = r.Global, r.Client, r.ShedDryRun
	if err := config.Validate(); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	r = config.WithDefaults().Rules()
	a.setRulesMu.Lock()
	defer a.setRulesMu.Unlock()
	now, before := a.clock.Now(), a.rules.Load()
	if bucketRule(r.Client) != bucketRule(before.Client) {
		a.ips.setRule(now, r.Client)
		a.ids.setRule(now, r.Client)
	}
	if bucketRule(r.Global) != bucketRule(before.Global) {
		a.global.Set(now, rate.Limit(r.Global.Rate.PerSecond()), r.Global.Burst)
	}
	a.rules.Store(&r)
	return nil
}

// bucketRule returns the part of a rule that concerns buckets.
func bucketRule(r Rule) Rule {
	r.DryRun = false
	return r
}

// Rules returns the current rules.
func (a *Admission) Rules() Rules { return *a.rules.Load() }

// Permit records what an admitted call has taken. The zero Permit has taken nothing.
type Permit struct {
	admission  *Admission
	op         Op
	hasID      bool
	ip, id     uint64
	clientID   string
	tookIP     tokenSource
	tookID     tokenSource
	tookGlobal bool
}

// tokenSource says from which bucket of a key a token was taken.
type tokenSource uint8

const (
	sourceNone tokenSource = iota
	sourceOwn
	sourceOverflow
)

// Admit lets the call in, or returns a *reset.Error of KindShed, KindLimitClient or KindLimitGlobal with a jittered
// RetryAfter. A refused call has taken no token.
func (a *Admission) Admit(now time.Time, r Request) (Permit, error) {
	if r.Op == OpRead {
		return Permit{}, nil
	}
	if level := a.level.Load().level; level >= 2 && isShed(level, r) {
		if err := a.shed(level); err != nil {
			return Permit{}, err
		}
	}
	p := Permit{admission: a, op: r.Op, ip: ipKey(r.IP), hasID: r.ClientID != "", clientID: r.ClientID}
	if p.hasID {
		p.id = a.ids.idKey(r.ClientID)
	}
	var err error
	if r.Op == OpStart {
		err = a.takeClient(now, &p, true)
	} else {
		p.tookGlobal, err = a.takeGlobal(now)
	}
	if err != nil {
		return Permit{}, err
	}
	a.metrics.decisions[reasonNone].Add(1)
	return p, nil
}

// GiveBack returns the tokens that Admit took. Call it at most once, and only for NOT_DURABLE, QUEUE_FULL, DRAINING and
// KEY_UNKNOWN: for a caller's own mistake the tokens stay taken.
func (p Permit) GiveBack(now time.Time) {
	a := p.admission
	if a == nil {
		return
	}
	if p.tookIP != sourceNone {
		a.ips.giveBack(now, p.ip, p.tookIP == sourceOverflow)
	}
	if p.tookID != sourceNone {
		a.ids.giveBack(now, p.id, p.tookID == sourceOverflow)
	}
	if p.tookGlobal {
		a.global.GiveBack(now, 1)
	}
}

// Charge takes a token of each of the client's buckets for a refused reset token or password. If one of them is empty it
// returns a *reset.Error of KindLimitClient. The caller must answer with that error and not say what was wrong with the
// token: so guessing is slowed down. A start has paid in Admit already, and Charge does nothing.
func (p Permit) Charge(now time.Time) error {
	a := p.admission
	if a == nil || p.op == OpStart {
		return nil
	}
	if err := a.takeClient(now, &p, false); err != nil {
		a.metrics.charges[chargeRefused].Inc()
		return err
	}
	a.metrics.charges[chargeSpent].Inc()
	return nil
}

// takeClient takes a token of each of the client's buckets and, with admit, of the global one, or none at all. The shards
// of the client's buckets stay locked from the check until the take, so the tokens are still there. The global bucket checks
// and takes in one step, so it comes last.
func (a *Admission) takeClient(now time.Time, p *Permit, admit bool) error {
	ip := a.ips.lockBucket(now, p.ip)
	defer ip.unlock()
	ipHolds := ip.hasToken()
	idHolds := true
	var id lockedBucket
	if p.hasID {
		id = a.ids.lockBucket(now, p.id)
		defer id.unlock()
		idHolds = id.hasToken()
	}
	if !ipHolds || !idHolds {
		if !ipHolds {
			ip.refuse("")
		}
		if !idHolds {
			id.refuse(p.clientID)
		}
		if err := a.limitClient(&ip, &id, ipHolds, idHolds, admit); err != nil {
			return err
		}
	}
	if admit {
		var err error
		if p.tookGlobal, err = a.takeGlobal(now); err != nil {
			return err
		}
	}
	if ipHolds {
		p.tookIP = ip.take()
	}
	if p.hasID && idHolds {
		p.tookID = id.take()
	}
	return nil
}

// limitClient returns the refusal of a client with an empty bucket, or nil when the rule is in dry run. ipHolds and idHolds
// say which of the two buckets had a token.
func (a *Admission) limitClient(ip, id *lockedBucket, ipHolds, idHolds, admit bool) error {
	var wait time.Duration
	reason, empty := reasonClientIP, ip
	if !ipHolds {
		wait = ip.wait()
	} else {
		reason, empty = reasonClientID, id
	}
	if !idHolds {
		wait = max(wait, id.wait())
	}
	if a.rules.Load().Client.DryRun {
		a.metrics.dryRuns[reason].Add(1)
		return nil
	}
	if admit {
		a.metrics.decisions[reason].Add(1)
	}
	return &reset.Error{
		Kind: reset.KindLimitClient, RetryAfter: a.jitter(wait),
		Detail: "Too many calls from this client; come back after the time given.",
		Cause:  a.clientGrounds(reason, empty, wait),
	}
}

func (a *Admission) takeGlobal(now time.Time) (took bool, err error) {
	if a.global.AllowN(now, 1) {
		return true, nil
	}
	if a.rules.Load().Global.DryRun {
		a.metrics.dryRuns[reasonGlobal].Add(1)
		return false, nil
	}
	a.metrics.decisions[reasonGlobal].Add(1)
	wait := a.global.WaitFor(now, 1)
	return false, &reset.Error{
		Kind: reset.KindLimitGlobal, RetryAfter: a.jitter(wait),
		Detail: "Too many calls at the moment; come back after the time given.",
		Cause:  a.globalGrounds(now, wait),
	}
}

// isShed reports whether a level of 2 or higher refuses the call.
func isShed(level int, r Request) bool {
	switch {
	case level >= 4:
		return true
	case level == 3:
		return r.Op == OpStart
	default:
		return r.Op == OpStart && r.Suspect
	}
}

func (a *Admission) shed(level int) error {
	reason := reasonShed2 + reason(level-2)
	if a.rules.Load().ShedDryRun {
		a.metrics.dryRuns[reason].Add(1)
		return nil
	}
	a.metrics.decisions[reason].Add(1)
	return &reset.Error{
		Kind: reset.KindShed, Level: level, RetryAfter: a.jitter(a.config.ShedRetryAfter),
		Detail: "Not taking calls of this kind at the moment; come back after the time given.",
		Cause:  a.shedGrounds(reason),
	}
}

// minRetryAfter is the shortest RetryAfter. The global bucket has its next token within microseconds, but a client that came
// back then would meet all the others that were refused.
const minRetryAfter = time.Second

// jitter adds 0 to 50 % to the wait, so that clients refused together do not return together.
func (a *Admission) jitter(wait time.Duration) time.Duration {
	wait = max(wait, minRetryAfter)
	return wait + time.Duration(a.random()*float64(wait)/2)
}

// SetLevel sets the brownout level, from 0 (normal) to 4 (closed), and its cause. A level outside counts as the nearest. A
// change is logged and counted with its signal; a change to level 0 with the signal of the level before.
func (a *Admission) SetLevel(level int, cause Cause) {
	level = min(max(level, 0), MaxLevel)
	if cause.Signal >= signals {
		cause.Signal = SignalNone
	}
	before := a.level.Swap(&brownout{level, cause})
	if before.level == level {
		return
	}
	if level == 0 {
		cause = before.cause
	}
	a.metrics.changes[level][cause.Signal].Inc()
	a.log.Warn("brownout level changed", "reason", "levelled", "from", before.level, "to", level,
		"signal", cause.Signal.String(), "cause", cause.Words)
}

// ShowShares sets the gauges of the signals.
func (a *Admission) ShowShares(s Shares) {
	for signal := SignalNone + 1; signal < signals; signal++ {
		a.metrics.shares[signal].Set(s[signal])
	}
}

// Level returns the brownout level and its cause in words.
func (a *Admission) Level() (level int, cause string) {
	b := a.level.Load()
	return b.level, b.cause.Words
}
