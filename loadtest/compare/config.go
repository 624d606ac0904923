package compare

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// What an arm's front is.
const (
	Direct    = "direct"    // calls the store inside its handler
	Surgegate = "surgegate" // the gateway
)

// Arm is one way to take the storm.
type Arm struct {
	Name  string
	Front string // Direct or Surgegate
	// Overlay is a file with settings of the gateway that differ from those that every arm has. Empty: none.
	Overlay string
}

// ParseArm reads "direct", "surgegate", or "NAME=FILE": surgegate with the settings of a file laid over.
func ParseArm(s string) (Arm, error) {
	name, overlay, named := strings.Cut(s, "=")
	switch {
	case named && name != "" && overlay != "" && !strings.ContainsAny(name, `/\. `):
		return Arm{Name: name, Front: Surgegate, Overlay: overlay}, nil
	case !named && (name == Direct || name == Surgegate):
		return Arm{Name: name, Front: name}, nil
	default:
		return Arm{}, fmt.Errorf("compare: %q is no arm; there are %s, %s, and NAME=FILE for surgegate with other settings", s, Direct, Surgegate)
	}
}

// Config of a comparison. Zero fields mean the defaults, which are the demo's.
type Config struct {
	Storm     string         // this program, to start victim and direct from; required
	Surgegate string         // the gateway's program; required for its arms
	Out       string         // folder for report, result and everything the arms write; default build/demo
	Arms      []Arm          // the others are compared with the first; default direct, surgegate
	Seed      uint64         // default 2022
	Rounds    int            // with seeds Seed, Seed+1, …; default 1
	Thin      float64        // one person in Thin; default 16
	Scenario  model.Scenario // default plex-2022
	Length    time.Duration  // of the storm; default 30 s
	Lead      time.Duration  // how much of it comes before the peak; default 2 s
	People    people.Config
	Victim    victim.Config
	// ArmLimit is when an arm is cut off; default 80 s for direct, and 120 s for the gateway: later, so that a slow machine
	// shows late people, not lost ones.
	ArmLimit, PatientLimit time.Duration
	Faults                 []model.Fault       // since the window's beginning; besides the scenario's own
	Thresholds             []measure.Threshold // that every gateway's arm is held to
}

// Deps of a comparison.
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
		c.Arms = []Arm{{Name: Direct, Front: Direct}, {Name: Surgegate, Front: Surgegate}}
	}
	if c.Scenario.Name == "" {
		c.Scenario = model.Plex2022()
	}
	def(&c.Seed, 2022)
	def(&c.Rounds, 1)
	def(&c.Thin, 16)
	def(&c.Length, 30*time.Second)
	def(&c.Lead, 2*time.Second)
	def(&c.ArmLimit, 80*time.Second)
	def(&c.PatientLimit, 120*time.Second)
	c.Victim = c.Victim.WithDefaults()
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	if c.Storm == "" {
		return errors.New("compare: Storm is missing")
	}
	if c.ArmLimit < c.Length || c.PatientLimit < c.Length {
		return fmt.Errorf("compare: ArmLimit is %v and PatientLimit %v; both must be at least the storm's %v", c.ArmLimit, c.PatientLimit, c.Length)
	}
	if c.Rounds < 1 {
		return fmt.Errorf("compare: Rounds is %d; it must be at least 1", c.Rounds)
	}
	if err := model.ValidateFaults(c.Faults); err != nil {
		return err
	}
	for i, arm := range c.Arms {
		switch {
		case arm.Front != Direct && arm.Front != Surgegate:
			return fmt.Errorf("compare: Arms has the front %q; it knows %s and %s", arm.Front, Direct, Surgegate)
		case slices.ContainsFunc(c.Arms[:i], func(other Arm) bool { return other.Name == arm.Name }):
			return fmt.Errorf("compare: Arms has %q twice", arm.Name)
		case arm.Front == Surgegate && c.Surgegate == "":
			return errors.New("compare: Surgegate is missing")
		}
		if arm.Overlay == "" {
			continue
		}
		if _, err := os.Stat(arm.Overlay); err != nil {
			return fmt.Errorf("compare: the settings of arm %s: %w", arm.Name, err)
		}
	}
	return nil
}

// limit is when an arm is cut off.
func (c Config) limit(arm Arm) time.Duration {
	if arm.Front == Surgegate {
		return c.PatientLimit
	}
	return c.ArmLimit
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
