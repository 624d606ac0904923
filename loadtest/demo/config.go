package demo

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// The arms.
const (
	ArmDirect    = "direct"
	ArmSurgegate = "surgegate"
)

// Config of a demo. Zero fields mean the defaults.
type Config struct {
	Storm     string   // this program, to start victim and direct from; required
	Surgegate string   // the gateway's program; required for its arm
	Out       string   // folder for report, result and everything the arms write; default build/demo
	Arms      []string // default direct, surgegate
	Seed      uint64
	Thin      float64        // one person in Thin; default 16
	Scenario  model.Scenario // default plex-2022
	Length    time.Duration  // of the storm; default 30 s
	Lead      time.Duration  // how much of it comes before the peak; default 2 s
	People    people.Config
	Victim    victim.Config
	ArmLimit  time.Duration // when the direct arm is cut off; default 80 s
	// PatientLimit is when surgegate's arm is cut off: later, so that a slow machine shows late people, not lost ones; default 120 s.
	PatientLimit time.Duration
}

// Deps of a demo.
type Deps struct {
	Clock    clock.Clock
	Out      io.Writer // for the live view and the comparison
	Terminal func() (width int, ok bool)
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	if c.Out == "" {
		c.Out = filepath.Join("build", "demo")
	}
	if c.Arms == nil {
		c.Arms = []string{ArmDirect, ArmSurgegate}
	}
	if c.Seed == 0 {
		c.Seed = 2022
	}
	if c.Thin == 0 {
		c.Thin = 16
	}
	if c.Scenario.Name == "" {
		c.Scenario = model.Plex2022()
	}
	if c.Length == 0 {
		c.Length = 30 * time.Second
	}
	if c.Lead == 0 {
		c.Lead = 2 * time.Second
	}
	if c.ArmLimit == 0 {
		c.ArmLimit = 80 * time.Second
	}
	if c.PatientLimit == 0 {
		c.PatientLimit = 120 * time.Second
	}
	c.People.Seed = c.Seed
	c.Victim = c.Victim.WithDefaults()
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Storm == "" {
		return errors.New("demo: Storm is missing")
	}
	if c.ArmLimit < c.Length || c.PatientLimit < c.Length {
		return fmt.Errorf("demo: ArmLimit is %v and PatientLimit %v; both must be at least the storm's %v", c.ArmLimit, c.PatientLimit, c.Length)
	}
	for _, arm := range c.Arms {
		if arm != ArmDirect && arm != ArmSurgegate {
			return fmt.Errorf("demo: Arms has %q; it knows %s and %s", arm, ArmDirect, ArmSurgegate)
		}
		if arm == ArmSurgegate && c.Surgegate == "" {
			return errors.New("demo: Surgegate is missing")
		}
	}
	return nil
}

// Limit is when an arm is cut off.
func (c Config) limit(arm string) time.Duration {
	if arm == ArmSurgegate {
		return c.PatientLimit
	}
	return c.ArmLimit
}
