package seal

import (
	"fmt"
	"time"
)

// Config says how long keys live. Zero durations and numbers mean their defaults.
type Config struct {
	// Create lets OpenKeyring and Maintain make new keys and delete expired ones. Workers set it.
	Create bool
	// KeyPeriod is how long one password pair, and each data key under it, is used for sealing. Default 1h, at least 1m.
	KeyPeriod time.Duration
	// LongestWait is how long a sealed password may wait. The private half of a pair is deleted this long after its period.
	// Default 24h, at least 1m.
	LongestWait time.Duration
	// CachedDataKeys bounds the unwrapped data keys that an Opener holds. Default 1024 (about 1 MB), at least 1.
	CachedDataKeys int
}

// WithDefaults returns the config with its zero fields set to their defaults.
func (c Config) WithDefaults() Config {
	if c.KeyPeriod == 0 {
		c.KeyPeriod = time.Hour
	}
	if c.LongestWait == 0 {
		c.LongestWait = 24 * time.Hour
	}
	if c.CachedDataKeys == 0 {
		c.CachedDataKeys = 1024
	}
	return c
}

// Validate returns an error that names the first field with an impossible value. Zero fields are valid.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.KeyPeriod < time.Minute:
		return fmt.Errorf("seal: KeyPeriod is %v, want at least 1m", c.KeyPeriod)
	case c.LongestWait < time.Minute:
		return fmt.Errorf("seal: LongestWait is %v, want at least 1m", c.LongestWait)
	case c.CachedDataKeys < 1:
		return fmt.Errorf("seal: CachedDataKeys is %d, want at least 1", c.CachedDataKeys)
	}
	return nil
}
