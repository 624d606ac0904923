package seal

import (
	"fmt"
	"time"
)

// Config says how long keys live. The zero value means the defaults; Create alone has none but false.
type Config struct {
	// Create lets OpenKeyring and Maintain make keys and delete those whose time is over. Workers set it.
	Create bool
	// KeyPeriod is how long one password pair, and each data key under it, seals; default 1h, at least 1m.
	KeyPeriod time.Duration
	// LongestWait is how long a sealed password may wait: a private half is deleted this long after its period;
	// default 24h, at least 1m.
	LongestWait time.Duration
	// CachedDataKeys bounds the unwrapped data keys that an Opener holds; default 1024 (about 1 MB), at least 1.
	CachedDataKeys int
}

// WithDefaults returns the config with zero fields replaced by their defaults.
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

// Validate names the first field that cannot work.
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
