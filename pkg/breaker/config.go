package breaker

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is the configuration of a Breaker. All fields but Name have defaults.
type Config struct {
	// Name is the downstream: a value of the metric label, from a closed set.
	Name string
	// Consecutive failures trip it. Default 10.
	Consecutive int
	// FailureShare of the results within Window trips it, if they are at least MinVolume. Defaults 0.5 and 20: with
	// few samples one error is already 5 %.
	FailureShare float64
	MinVolume    int
	// Window is how far back results count for the share, from the call's begin. It should be twice the deadline of the
	// calls: one that lasts longer counts for nothing in it. Default 10 s.
	Window time.Duration
	// OpenWait is the first wait before a probe, doubled with every failed one up to MaxOpenWait, ± 20 %.
	// Defaults 1 s and 2 s: one call in 2 s costs no store anything, and a store that is back is found by then.
	OpenWait    time.Duration
	MaxOpenWait time.Duration
	// Probes is how many successes in a row close it. Default 3.
	Probes int
	// ProbeTimeout is when a probe that has not reported counts as failed. It should be the deadline of the calls.
	// Default 10 s.
	ProbeTimeout time.Duration
	// Calm is how long it must have been closed for the next opening to wait OpenWait again. Default 10 s.
	Calm time.Duration
}

// WithDefaults returns the config with its zero fields filled in.
func (c Config) WithDefaults() Config {
	def(&c.Consecutive, 10)
	def(&c.FailureShare, .5)
	def(&c.MinVolume, 20)
	def(&c.Window, 10*time.Second)
	def(&c.OpenWait, time.Second)
	def(&c.MaxOpenWait, max(2*time.Second, c.OpenWait))
	def(&c.Probes, 3)
	def(&c.ProbeTimeout, 10*time.Second)
	def(&c.Calm, 10*time.Second)
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxCount keeps gobreaker's 32-bit counters out of reach.
const maxCount = 1 << 20

// Validate names the fields that are wrong. Zero fields but Name are right.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	check := func(ok bool, field, value, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s is not %s", field, value, want))
		}
	}
	share := func(x float64) bool { return x > 0 && x <= 1 }
	count := func(n int) bool { return n >= 1 && n <= maxCount }
	check(c.Name != "", "name", `""`, "the name of a downstream")
	check(count(c.Consecutive), "consecutive", fmt.Sprint(c.Consecutive), "a count from 1 to 1048576")
	check(share(c.FailureShare), "failure_share", fmt.Sprint(c.FailureShare), "over 0 and at most 1")
	check(count(c.MinVolume), "min_volume", fmt.Sprint(c.MinVolume), "a count from 1 to 1048576")
	check(c.Window >= buckets*time.Millisecond, "window", fmt.Sprint(c.Window), "at least 10ms")
	check(c.OpenWait > 0, "open_wait", fmt.Sprint(c.OpenWait), "over 0")
	check(c.MaxOpenWait >= c.OpenWait, "max_open_wait", fmt.Sprint(c.MaxOpenWait), "at least open_wait")
	check(count(c.Probes), "probes", fmt.Sprint(c.Probes), "a count from 1 to 1048576")
	check(c.ProbeTimeout > 0, "probe_timeout", fmt.Sprint(c.ProbeTimeout), "over 0")
	check(c.Calm > 0, "calm", fmt.Sprint(c.Calm), "over 0")
	return errors.Join(errs...)
}

// Deps is what a Breaker needs. The zero value works.
type Deps struct {
	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil: no log
	// OnChange is called after every change of state, outside the breaker's lock.
	OnChange func(from, to State)
	// Cause returns what to add to the log line that says that it opened, as keys and values: which failures opened it. It is
	// called from within Allow and done, and must not call the breaker. nil: nothing is added.
	Cause func() []any
	// Random gives the jitter, in [0, 1), from any goroutine. Default: math/rand/v2.
	Random func() float64
}
