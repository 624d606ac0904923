package token

import (
	"fmt"
	"time"
)

// LongestTTL is the longest life of a token: Sign refuses a longer one. Links of campaigns live that long.
const LongestTTL = 72 * time.Hour

// Config says how keys rotate. Zero fields mean the defaults.
type Config struct {
	// Create lets OpenKeys and Maintain make keys, and delete those that are gone. Workers set it. Default false.
	Create bool
	// Period is how long a key signs before its successor does: at least twice Announce. Default 720h (30 days).
	Period time.Duration
	// Announce is how long a key is published before it signs, so that its public half can reach every front: at least 1s. Default 1h.
	Announce time.Duration
	// LongestWait is how long a sealed completion may wait. Default 24h.
	LongestWait time.Duration
}

// WithDefaults returns the config with zero fields replaced by their defaults.
func (c Config) WithDefaults() Config {
	setDefault(&c.Period, 30*24*time.Hour)
	setDefault(&c.Announce, time.Hour)
	setDefault(&c.LongestWait, 24*time.Hour)
	return c
}

// Validate checks the config with its defaults. The error names the first field that cannot work.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.Announce < time.Second:
		return fmt.Errorf("token: Announce is %v, want at least 1s", c.Announce)
	case c.Period < 2*c.Announce:
		return fmt.Errorf("token: Period is %v, want at least twice Announce (%v)", c.Period, c.Announce)
	case c.LongestWait < 0:
		return fmt.Errorf("token: LongestWait is %v, want at least 0", c.LongestWait)
	}
	return nil
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}
