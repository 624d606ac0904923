package rehearse

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// Run's verdicts.
var (
	// ErrInvalid is returned when the load generator was too late for the run to say anything.
	ErrInvalid = errors.New("rehearse: INVALID: the load was not generated on time")
	// ErrThreshold is returned when a threshold is broken.
	ErrThreshold = errors.New("rehearse: a threshold is broken")
)

// Config of a rehearsal. Zero fields mean the defaults.
type Config struct {
	Targets     []string    // host:port, required
	TLS         *tls.Config // nil: plaintext
	Connections int         // to each target; default 8
	Storm       Storm
	People      people.Config // its Seed is Storm's
	Limit       time.Duration // of the whole run; default 0: until everybody has ended
	MaxLag      time.Duration // of arrivals at p99; default 50 ms
	Identifier  string        // with %d for the person's number; default that of `storm victim`
	Accounts    uint64        // numbers go up to here; default that of `storm victim`
	Maildir     string        // that the system delivers to
	SMTP        string        // host:port to be the system's mail server at; instead of Maildir
	Control     string        // host:port of a storm victim's control
	Faults      []model.Fault
	Thresholds  []measure.Threshold
	Out         string // folder of report, result and histograms; default build/storm
}

// Storm is what is replayed.
type Storm struct {
	Name  string // of the scenario or the trace, for the report
	Shape Shape  // that Open gives it, for the report
	Seed  uint64
	// Open begins at the first arrival.
	Open func() (Stream, error)
	// Notes tells, after the run, what a reader of the report must know. Nil: nothing.
	Notes func() []string
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.Connections == 0 {
		c.Connections = 8
	}
	if c.MaxLag == 0 {
		c.MaxLag = 50 * time.Millisecond
	}
	if c.Identifier == "" {
		c.Identifier = victim.IdentifierFormat
	}
	if c.Accounts == 0 {
		c.Accounts = uint64(victim.Config{}.WithDefaults().Accounts)
	}
	if c.Out == "" {
		c.Out = "build/storm"
	}
	c.People = c.People.WithDefaults()
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	switch {
	case len(c.Targets) == 0:
		return errors.New("rehearse: Targets is missing")
	case c.Storm.Open == nil:
		return errors.New("rehearse: Storm is missing")
	case strings.Count(c.Identifier, "%") != 1 || !strings.Contains(c.Identifier, "%d"):
		return fmt.Errorf(`rehearse: Identifier is %q; it must have one %%d for the person's number, as "user-%%d@example.com" has`, c.Identifier)
	case c.Maildir != "" && c.SMTP != "":
		return errors.New("rehearse: Maildir and SMTP are both set; the system mails to one of them")
	case c.Limit < 0 || c.MaxLag < 0:
		return fmt.Errorf("rehearse: Limit is %v and MaxLag %v; neither may be below 0", c.Limit, c.MaxLag)
	}
	return errors.Join(model.ValidateFaults(c.Faults), c.People.Validate())
}

// Deps of a rehearsal.
type Deps struct {
	Clock    clock.Clock
	Out      io.Writer // for the live view and the summary
	Terminal func() (width int, ok bool)
}
