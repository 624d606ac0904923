package admission

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Rule is one kind of bucket.
type Rule struct {
	Rate Rate
	// Burst is how many calls may pass at once after a pause. Its default follows from Rate.
	Burst int
	// DryRun counts what the rule would refuse (surgegate_admission_dry_run_total) and refuses nothing.
	DryRun bool
}

// Rules are the part of Config that may change while an Admission runs. Zero rates and bursts mean the defaults.
type Rules struct {
	Global, Client Rule
	ShedDryRun     bool
}

// Rules returns the config's rules.
func (c Config) Rules() Rules {
	return Rules{Global: c.Global, Client: c.Client, ShedDryRun: c.ShedDryRun}
}

// Config is the configuration of an Admission. A zero value works.
type Config struct {
	// Global is the bucket of all calls except reads. Default 20000/s; its burst defaults to twice the rate's count.
	Global Rule
	// Client is the bucket of each client's ip (/32, or /64 of IPv6) and of each client id. Default 20/m, enough for an
	// office behind one address; its burst defaults to the rate's count.
	Client Rule
	// ShedDryRun counts what the brownout level would refuse and refuses nothing.
	ShedDryRun bool
	// ShedRetryAfter is the shortest RetryAfter of a call that the level sheds; jitter adds up to half of it. Default 30 s.
	ShedRetryAfter time.Duration
	// MaxKeys bounds the buckets for ips, and those for ids; a key takes at most KeyBytes of memory. Default 1<<19: with
	// the default rules a bucket lives 3 s after a single call and a minute after the last of many.
	MaxKeys int
}

// KeyBytes bounds the memory that one key costs, in bytes, map and slice included. Measured are 127 to 143.
const KeyBytes = 200

// WithDefaults returns the config with its zero fields set to their defaults.
func (c Config) WithDefaults() Config {
	if c.Global.Rate == (Rate{}) {
		c.Global.Rate = Rate{20_000, time.Second}
	}
	if c.Global.Burst == 0 {
		c.Global.Burst = 2 * c.Global.Rate.Count
	}
	if c.Client.Rate == (Rate{}) {
		c.Client.Rate = Rate{20, time.Minute}
	}
	if c.Client.Burst == 0 {
		c.Client.Burst = c.Client.Rate.Count
	}
	if c.ShedRetryAfter == 0 {
		c.ShedRetryAfter = 30 * time.Second
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1 << 19
	}
	return c
}

const (
	// MaxBurst bounds a burst. It keeps the float64 of a bucket exact to far below one token.
	MaxBurst = 2 * maxRateCount
	// maxMaxKeys fits the 32-bit position of a bucket.
	maxMaxKeys = 1 << 28
)

// Validate returns an error that names every wrong field. Zero fields are valid.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	for field, rule := range map[string]Rule{"global": c.Global, "client": c.Client} {
		if err := rule.Rate.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s.rate: %w", field, err))
		}
		if rule.Burst < 1 || rule.Burst > MaxBurst {
			errs = append(errs, fmt.Errorf("%s.burst: %d is not within 1 and %d", field, rule.Burst, MaxBurst))
		}
	}
	if c.ShedRetryAfter < time.Second || c.ShedRetryAfter > day {
		errs = append(errs, fmt.Errorf("shed_retry_after: %v is not within 1s and 24h", c.ShedRetryAfter))
	}
	if c.MaxKeys < 1 || c.MaxKeys > maxMaxKeys {
		errs = append(errs, fmt.Errorf("max_keys: %d is not within 1 and %d", c.MaxKeys, maxMaxKeys))
	}
	return errors.Join(errs...)
}

// Deps are the dependencies of an Admission. The zero value works.
type Deps struct {
	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil: no log
	// Clock must be the clock of the times given to Admit. It is read only for the gauge of tokens, when rules change, and by
	// Limited. nil: the system's.
	Clock clock.Clock
	// Random returns the jitter, in [0, 1). It is called concurrently. nil: math/rand/v2.
	Random func() float64
	// Explain gives refusals their Grounds as the Cause, for a log. It costs an allocation a refusal.
	Explain bool
}
