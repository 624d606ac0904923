package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/pace"
)

// Config is what all replicas must agree on. The zero value works.
type Config struct {
	// Patience is how long silence is taken for lag. Default 5 s: about what an election
	// takes, and ten times a lag of half a second. At least 10 ms.
	Patience time.Duration
	// Period of Reports and Orders. Default Patience/20.
	Period time.Duration
}

// WithDefaults returns the config with its zero fields filled in.
func (c Config) WithDefaults() Config {
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Period == 0 {
		c.Period = c.Patience / 20
	}
	return c
}

// Validate names the field that is wrong. Zero fields are right.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	if c.Patience < 10*time.Millisecond {
		errs = append(errs, fmt.Errorf("patience: %v is under 10ms", c.Patience))
	}
	if c.Period <= 0 || c.Period > c.Patience/2 {
		errs = append(errs, fmt.Errorf("period: %v is not over 0 and at most half of the patience of %v", c.Period, c.Patience))
	}
	return errors.Join(errs...)
}

// Order is what the Leader tells one Member.
type Order struct {
	Term uint64 // of the Leader
	Look uint64 // grows within a term
	// Cut is the look at which speed was last cut: what calls from before it come to is no news.
	Cut    uint64
	Share  int // calls at once
	Batch  int // items a call
	Settle time.Duration
}

// after tells whether it is newer than the one of a term and look.
func (o Order) after(term, look uint64) bool { return o.Term > term || o.Term == term && o.Look > look }

// Report is what a Member tells the Leader. Sums only grow while the Member lives, so the last Report says all.
type Report struct {
	Member string // unique, also after a restart
	Number uint64 // grows with each Report
	// Leaving: it is the last one for now.
	Leaving bool
	// Term and Look are the Order that it follows; 0: it has heard none, or none for too long.
	Term, Look uint64
	Share      int // of the last Order that it heard, whosever; 0: none yet
	InFlight   int

	// Of all calls that ended, but failures that began before the last cut.
	Good                        [pace.MaxKinds]pace.Tally
	Errors, Overloads, Timeouts int
	// Resumed counts what Resume was called for; ResumedAt is the Look of the last one.
	Resumed, ResumedAt uint64

	// Counted at this Look since it had settled: for how long, ∫ in flight dt in s, and what ended well.
	Seconds, Area   float64
	Counted         [pace.MaxKinds]pace.Tally
	Wanting, Bigger bool
}

// less is what a has more than b.
func less(a, b [pace.MaxKinds]pace.Tally) [pace.MaxKinds]pace.Tally {
	for i := range a {
		a[i].Calls -= b[i].Calls
		a[i].Items -= b[i].Items
		a[i].Latency -= b[i].Latency
		a[i].Square -= b[i].Square
	}
	return a
}
