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

// Rules are what may change while an Admission runs. Zero rates and bursts mean the defaults of Config.
type Rules struct {
	Global, Client Rule
	ShedDryRun     bool
}

// Rules returns those of the config.
func (c Config) Rules() Rules {
	return Rules{Global: c.Global, Client: c.Client, ShedDryRun: c.ShedDryRun}
}

// Config is the configuration of an Admission. A zero value works.
type Config struct {
	// Global is the bucket of all calls but reads. Default 20000/s; its burst defaults to twice the rate's count.
	Global Rule
	// Client is the bucket of each client's ip (/32, or /64 of IPv6) and of each client id. Default 20/m, wide enough
	// for an office behind one address; its burst defaults to the rate's count.
	Client Rule
	// ShedDryRun counts what the brownout level would refuse and refuses nothing.
	ShedDryRun bool
	// ShedRetryAfter is the least delay told to a call that is shed by level; it is jittered up to 1.5 times that.
	// Default 30 s.
	ShedRetryAfter time.Duration
	// MaxKeys bounds the buckets kept for ips, and for ids: that many each, at most KeyBytes of memory a key. Default
	// 1<<19: at the default rules a bucket lives 3 s after one call and a minute after the last of many.
	MaxKeys int
}

// KeyBytes is the bound of what one key costs in memory, map and slice included; measured: 127 to 143 bytes.
const KeyBytes = 200

// WithDefaults returns the config with its zero fields filled in.
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

// Validate names the fields that are wrong. Zero fields are right.
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

// Deps is what an Admission needs. The zero value works.
type Deps struct {
	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil: no log
	// Clock is that of the times given to Admit; it is read for the gauge of tokens, when rules change and for Limited only.
	// Default: the system's.
	Clock clock.Clock
	// Random gives the jitter, in [0, 1), from any goroutine. Default: math/rand/v2.
	Random func() float64
	// Explain makes refusals carry their Grounds as the Cause, for a log. It costs an allocation a refusal.
	Explain bool
}
