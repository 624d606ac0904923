package policy

import "fmt"

// Bounds that no configuration can leave.
const (
	minCharsAlone        = 15  // NIST SP 800-63B-4, section 3.1.1.2: the password is the only factor
	minCharsSecondFactor = 8   // the same: it is one of two
	minMaxChars          = 64  // the same: at least 64 must be allowed
	maxMaxChars          = 256 // what a sealed job is sized for
)

// Config is the policy. Zero fields mean the defaults.
type Config struct {
	// SecondFactor says that the site enforces a second factor, so that shorter passwords are enough. Default false.
	SecondFactor bool
	// MinChars is the fewest characters: at least 15, with SecondFactor 8. Default: the least.
	MinChars int
	// MaxChars is the most characters: 64 to 256. Default 256.
	MaxChars int
	// BlocklistFile is the site's own list in UTF-8, one entry a line. Default: none.
	BlocklistFile string
	// BreachedFile is a sorted file of SHA-1 hashes. Default: none.
	BreachedFile string
}

// WithDefaults returns the config with zero fields replaced by their defaults.
func (c Config) WithDefaults() Config {
	if c.MinChars == 0 {
		c.MinChars = c.leastMinChars()
	}
	if c.MaxChars == 0 {
		c.MaxChars = maxMaxChars
	}
	return c
}

// Validate checks the config with its defaults. The error names the first field that cannot work.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.MaxChars < minMaxChars || c.MaxChars > maxMaxChars:
		return fmt.Errorf("policy: MaxChars is %d, want %d to %d", c.MaxChars, minMaxChars, maxMaxChars)
	case c.MinChars < c.leastMinChars() || c.MinChars > c.MaxChars:
		return fmt.Errorf("policy: MinChars is %d, want %d (8 with SecondFactor) to MaxChars (%d)", c.MinChars, c.leastMinChars(), c.MaxChars)
	}
	return nil
}

func (c Config) leastMinChars() int {
	if c.SecondFactor {
		return minCharsSecondFactor
	}
	return minCharsAlone
}
