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
	config  Config // but for the rules
	log     *slog.Logger
	clock   clock.Clock
	random  func() float64
	metrics *metrics
	ips     *table
	ids     *table
	global  *clock.Limiter
	explain bool
	level   atomic.Pointer[brownout]

	setting sync.Mutex // one change of the rules at a time
	rules   atomic.Pointer[Rules]
}

type brownout struct {
	level int
	cause Cause
}

// New returns an Admission at level 0 whose buckets are full. Errors are those of Config.Validate, or of registering
// the metrics.
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

// SetRules puts other rules into force, for the next call. Buckets keep what they hold, up to the new burst, so that no
// change is a burst for free nor punishes anybody for what was in order. Errors are those of Config.Validate.
func (a *Admission) SetRules(r Rules) error {
	config := a.config
	config.Global, config.Client, config.ShedDryRun = r.Global, r.Client, r.ShedDryRun
	if err := config.Validate(); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	r = config.WithDefaults().Rules()
	a.setting.Lock()
	defer a.setting.Unlock()
	now, before := a.clock.Now(), a.rules.Load()
	if limits(r.Client) != limits(before.Client) {
		a.ips.set(now, r.Client)
		a.ids.set(now, r.Client)
	}
	if limits(r.Global) != limits(before.Global) {
		a.global.Set(now, rate.Limit(r.Global.Rate.PerSecond()), r.Global.Burst)
	}
	a.rules.Store(&r)
	return nil
}

// limits is the rule without what is not a bucket's.
func limits(r Rule) Rule {
	r.DryRun = false
	return r
}

// Rules returns the rules in force.
func (a *Admission) Rules() Rules { return *a.rules.Load() }

// Permit is what an admitted call holds. The zero Permit holds nothing.
type Permit struct {
	admission  *Admission
	op         Op
	hasID      bool
	ip, id     uint64
	clientID   string
	tookIP     took
	tookID     took
	tookGlobal bool
}

// took says from which of a key's buckets a token was taken.
type took uint8

const (
	tookNone took = iota
	tookOwn
	tookOverflow
)

// Admit lets the call in, or returns a *reset.Error of KindShed, KindLimitClient or KindLimitGlobal with a jittered
// RetryAfter. A call that is refused has taken nothing.
func (a *Admission) Admit(now time.Time, r Request) (Permit, error) {
	if r.Op == OpRead {
		return Permit{}, nil
	}
	if level := a.level.Load().level; level >= 2 && sheds(level, r) {
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

// GiveBack returns what Admit took. Call it once, and only for NOT_DURABLE, QUEUE_FULL, DRAINING and KEY_UNKNOWN:
// what a caller did wrong stays charged.
func (p Permit) GiveBack(now time.Time) {
	a := p.admission
	if a == nil {
		return
	}
	if p.tookIP != tookNone {
		a.ips.giveBack(now, p.ip, p.tookIP == tookOverflow)
	}
	if p.tookID != tookNone {
		a.ids.giveBack(now, p.id, p.tookID == tookOverflow)
	}
	if p.tookGlobal {
		a.global.GiveBack(now, 1)
	}
}

// Charge spends the client's buckets for a refused token or password. It returns a *reset.Error of KindLimitClient
// where they are empty: the answer then is that error, not what was wrong with the token, so that guessing is slowed.
// A call that has spent them already is not charged again.
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

// takeClient takes a token of each of the client's buckets, and for admission of the global one, or none at all. The
// client's shards stay locked meanwhile, so what they hold at the look is there at the take; the global bucket looks
// and takes in one step and comes last.
func (a *Admission) takeClient(now time.Time, p *Permit, admit bool) error {
	ip := a.ips.hold(now, p.ip)
	defer ip.release()
	ipHolds := ip.holds()
	idHolds := true
	var id held
	if p.hasID {
		id = a.ids.hold(now, p.id)
		defer id.release()
		idHolds = id.holds()
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

func (a *Admission) limitClient(ip, id *held, ipHolds, idHolds, admit bool) error {
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

// sheds says what a level from 2 on refuses.
func sheds(level int, r Request) bool {
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

// minRetryAfter is the least that is told: the global bucket has its next token within microseconds, but who comes
// back then meets everybody else who was refused.
const minRetryAfter = time.Second

// jitter spreads who is refused now over half as long again as they have to wait anyway.
func (a *Admission) jitter(wait time.Duration) time.Duration {
	wait = max(wait, minRetryAfter)
	return wait + time.Duration(a.random()*float64(wait)/2)
}

// SetLevel sets the brownout level, from 0 (normal) to 4 (closed), and its cause; outside it counts as the nearest. A
// change is logged and counted with its signal; that to level 0 with the one that was there before.
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

// ShowShares sets what the metrics show of the signals, as the ladder saw them last.
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
