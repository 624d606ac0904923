package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/surgegate/surgegate/pkg/breaker"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/dispatch/internal/mailbudget"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/pace"
	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
	"github.com/surgegate/surgegate/pkg/tracing"
)

// Config of the work side. Zero fields mean the defaults named here.
type Config struct {
	// StoreTimeout, MailTimeout, RevokeTimeout and HashTimeout are the deadlines of one call. Defaults 5 s (as long
	// as people wait for a sign-in), 30 s (SMTP servers greet slowly on purpose), 5 s, 30 s.
	StoreTimeout, MailTimeout, RevokeTimeout, HashTimeout time.Duration

	// LinkTTL is how long a mailed link is good, from its hand-off. Default 1 h.
	LinkTTL time.Duration
	// SignOut is what a completion that does not say ends of the account's sessions. Default SignOutEverywhere.
	SignOut reset.SignOut
	// MaxTries is how often a single job may fail by itself before it is parked. Default 8.
	MaxTries uint32
	// TryDelay is the first back-off after a used try, doubled with each, at most MaxDelay. Default 1 s.
	TryDelay time.Duration
	// OverloadDelay is the first back-off after an overload, doubled with each in a row to at most 5 s. Default 100 ms.
	OverloadDelay time.Duration
	// MaxDelay bounds every back-off. Default 60 s.
	MaxDelay time.Duration

	// Identifier, Account and Recipient bound the link mails. Defaults 5 an hour (burst 5), 10 a day, 10 a day.
	Identifier, Account, Recipient Budget

	// MailBudget bounds interactive and bulk mail, each by itself.
	MailBudget MailBudget

	// Weights are the shares of a downstream that lanes get while all of them have work for it. Defaults: apply 32, hash
	// 16, start 8, mail 4, revoke 2, campaign 1: each has twice the share of the next. An apply is what somebody has
	// done all he can for; a hash becomes one; a start lets the next one in. In a storm of both, applies and starts share
	// the store 4 to 1, so that, a look-up costing a quarter of a write, about one is let in for each who is done. Nobody waits for
	// a revocation, but sessions of a thief end with it: 1 in 29 at the worst.
	Weights map[reset.Lane]float64

	// Floors are the rates, in jobs a second, that are published before a lane has been measured. Default 20 for
	// hash, 100 for the others.
	Floors map[reset.Lane]float64

	// Promise is how soon a reset is to be done; the histogram of ages is dense around it. Default 5 min, as promise.Config.
	Promise time.Duration

	// DescribeEvery is how often the store is asked again what it needs. Default 60 s.
	DescribeEvery time.Duration
	// SweepEvery is how often expired passwords are looked for. Default 10 s.
	SweepEvery time.Duration
	// DrainGrace is how long calls under way may take once Run's context has ended. Default 30 s.
	DrainGrace time.Duration

	// LogDownstreamText logs what downstreams say with their failures. It may quote people's data. Default false.
	LogDownstreamText bool

	// Breaker is the template for the breakers of store, mail and revoker; its Name is set here.
	Breaker breaker.Config
}

// MailBudget bounds interactive and bulk mail, each by itself.
type MailBudget = mailbudget.Config

// MailRate is a bound in mails a second; zero is none.
type MailRate = mailbudget.Rate

// Budget is a number of link mails per time, Burst at once.
type Budget struct {
	Mails int
	Per   time.Duration
	Burst int
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	orDuration(&c.StoreTimeout, 5*time.Second)
	orDuration(&c.MailTimeout, 30*time.Second)
	orDuration(&c.RevokeTimeout, 5*time.Second)
	orDuration(&c.HashTimeout, 30*time.Second)
	orDuration(&c.LinkTTL, time.Hour)
	if c.SignOut == reset.SignOutDefault {
		c.SignOut = reset.SignOutEverywhere
	}
	if c.MaxTries == 0 {
		c.MaxTries = 8
	}
	orDuration(&c.TryDelay, time.Second)
	orDuration(&c.OverloadDelay, 100*time.Millisecond)
	orDuration(&c.MaxDelay, time.Minute)
	c.Identifier = c.Identifier.or(Budget{Mails: 5, Per: time.Hour, Burst: 5})
	c.Account = c.Account.or(Budget{Mails: 10, Per: 24 * time.Hour, Burst: 10})
	c.Recipient = c.Recipient.or(Budget{Mails: 10, Per: 24 * time.Hour, Burst: 10})
	floors := make(map[reset.Lane]float64, len(reset.Lanes()))
	for _, l := range workedLanes() {
		floors[l] = 100
		if l == reset.LaneHash {
			floors[l] = 20
		}
		if f := c.Floors[l]; f != 0 {
			floors[l] = f
		}
	}
	c.Floors = floors
	c.MailBudget = c.MailBudget.WithDefaults()
	weights := map[reset.Lane]float64{
		reset.LaneApply: 32, reset.LaneHash: 16, reset.LaneStart: 8, reset.LaneMail: 4, reset.LaneRevoke: 2, reset.LaneCampaign: 1,
	}
	for l, w := range c.Weights {
		if w != 0 {
			weights[l] = w
		}
	}
	c.Weights = weights
	orDuration(&c.Promise, 5*time.Minute)
	orDuration(&c.DescribeEvery, time.Minute)
	orDuration(&c.SweepEvery, 10*time.Second)
	orDuration(&c.DrainGrace, 30*time.Second)
	return c
}

func orDuration(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}

func (b Budget) or(def Budget) Budget {
	if b == (Budget{}) {
		return def
	}
	if b.Burst == 0 {
		b.Burst = b.Mails
	}
	return b
}

// Validate names the first field that cannot be worked with. Call it after WithDefaults.
func (c Config) Validate() error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"StoreTimeout", c.StoreTimeout}, {"MailTimeout", c.MailTimeout}, {"RevokeTimeout", c.RevokeTimeout},
		{"HashTimeout", c.HashTimeout}, {"LinkTTL", c.LinkTTL}, {"TryDelay", c.TryDelay},
		{"OverloadDelay", c.OverloadDelay}, {"MaxDelay", c.MaxDelay}, {"Promise", c.Promise}, {"DescribeEvery", c.DescribeEvery},
		{"SweepEvery", c.SweepEvery}, {"DrainGrace", c.DrainGrace},
	} {
		if f.value <= 0 {
			return fmt.Errorf("dispatch: %s must be positive, not %v", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name  string
		value Budget
	}{{"Identifier", c.Identifier}, {"Account", c.Account}, {"Recipient", c.Recipient}} {
		if f.value.Mails < 1 || f.value.Per <= 0 || f.value.Burst < 1 {
			return fmt.Errorf("dispatch: %s needs at least one mail per a positive time", f.name)
		}
	}
	for l, f := range c.Floors {
		if !(f > 0) {
			return fmt.Errorf("dispatch: Floors[%s] must be positive, not %v", l, f)
		}
	}
	for l, w := range c.Weights {
		if !(w > 0) || math.IsInf(w, 1) {
			return fmt.Errorf("dispatch: Weights[%s] must be a positive number, not %v", l, w)
		}
	}
	if err := c.MailBudget.Validate(); err != nil {
		return fmt.Errorf("dispatch: MailBudget.%w", err)
	}
	if c.SignOut > reset.SignOutEverywhere {
		return fmt.Errorf("dispatch: SignOut %d is unknown", c.SignOut)
	}
	return nil
}

// Queue is what dispatch needs of the queue.
type Queue interface {
	queue.Worker
	Get(ctx context.Context, kind queue.RecordKind, key string) (queue.Record, error)
	Put(ctx context.Context, w queue.RecordWrite) error
	Mark(ctx context.Context, account reset.Key) (uint64, error)
	Stats(ctx context.Context) (queue.Stats, error)
}

// Sealer seals follow-ups.
type Sealer interface {
	Seal(ctx context.Context, a seal.Audience, b seal.Binding, plaintext []byte) ([]byte, error)
}

// Opener opens what was sealed for the workers.
type Opener interface {
	Open(ctx context.Context, b seal.Binding, envelope []byte) ([]byte, error)
}

// Index makes the keyed hashes.
type Index interface {
	Identifier(identifier string) reset.Key
	Account(accountID string) reset.Key
	Recipient(address string) reset.Key
}

// Signer signs link tokens.
type Signer interface {
	Sign(c token.Claims) (string, error)
}

// Verifier verifies spent tokens again.
type Verifier interface {
	Verify(tok string, at time.Time) (token.Claims, error)
}

// Hasher is the bounded hash pool.
type Hasher interface {
	Hash(ctx context.Context, scheme string, password []byte) (string, error)
	Verify(ctx context.Context, phc string, password []byte) (bool, error)
	CanMake(scheme string) bool
	Slots() int
}

// Templates writes the mails.
type Templates interface {
	Link(id, to, locale, token string, expire time.Duration) mail.Message
	Confirmation(id, to, locale string, when time.Time) mail.Message
}

// Pacers are the capacity controllers, one a downstream. Revoker is nil where the revoker is the store itself, as a gRPC
// backend or a database is: its calls are then paced as the store's.
type Pacers struct {
	Store, Mail, Revoker, HashPool pace.Pacer
}

// Deps are what the work side works with.
type Deps struct {
	Queue     Queue
	Store     credstore.Store
	Revoker   credstore.Revoker // nil: nothing to revoke with
	Mailer    mail.Sender
	Templates Templates
	Tracer    *tracing.Tracer // nil: no traces
	Decisions *decision.Log   // why jobs were parked and what waited for its turn; nil: a log of the first
	Sealer    Sealer
	Opener    Opener
	Index     Index
	Signer    Signer
	Verifier  Verifier
	Hasher    Hasher
	Pacers    Pacers
	// Link is told of each link mail that was handed off, or refused for good: how long after its ask. nil: nobody is told.
	Link     func(age time.Duration, handedOff bool)
	Clock    clock.Clock // nil: clock.System
	Logger   *slog.Logger
	Register prometheus.Registerer
}

func (d Deps) validate() error {
	for _, f := range []struct {
		name string
		nil  bool
	}{
		{"Queue", d.Queue == nil}, {"Store", d.Store == nil}, {"Mailer", d.Mailer == nil},
		{"Templates", d.Templates == nil}, {"Sealer", d.Sealer == nil}, {"Opener", d.Opener == nil},
		{"Index", d.Index == nil}, {"Signer", d.Signer == nil}, {"Verifier", d.Verifier == nil},
		{"Hasher", d.Hasher == nil}, {"Pacers.Store", d.Pacers.Store == nil}, {"Pacers.Mail", d.Pacers.Mail == nil},
		{"Pacers.HashPool", d.Pacers.HashPool == nil},
		{"Logger", d.Logger == nil}, {"Register", d.Register == nil},
	} {
		if f.nil {
			return fmt.Errorf("dispatch: Deps.%s is missing", f.name)
		}
	}
	return nil
}
