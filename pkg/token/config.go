package token

import (
	"fmt"
	"time"
)

// Config says how keys rotate. The zero value means the defaults; Create alone has none but false.
type Config struct {
	// Create lets OpenKeys and Maintain make keys and delete those that are gone. Workers set it.
	Create bool
	// Period is how long a key signs before its successor does; default 720h (30 days), at least twice Announce.
	Period time.Duration
	// Announce is how long a key is published before it signs, so that its public half can reach every front;
	// default 1h, at least 1s.
	Announce time.Duration
	// LongestTTL bounds the life of a token, and Sign refuses a longer one; default 72h, as campaigns use.
	LongestTTL time.Duration
	// LongestWait is how long a sealed completion may wait; default 24h.
	LongestWait time.Duration
}

// WithDefaults returns the config with zero fields replaced by their defaults.
func (c Config) WithDefaults() Config {
	setDefault(&c.Period, 30*24*time.Hour)
	setDefault(&c.Announce, time.Hour)
	setDefault(&c.LongestTTL, 72*time.Hour)
	setDefault(&c.LongestWait, 24*time.Hour)
	return c
}

// Validate names the first field that cannot work.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.Announce < time.Second:
		return fmt.Errorf("token: Announce is %v, want at least 1s", c.Announce)
	case c.Period < 2*c.Announce:
		return fmt.Errorf("token: Period is %v, want at least twice Announce (%v)", c.Period, c.Announce)
	case c.LongestTTL < time.Second:
		return fmt.Errorf("token: LongestTTL is %v, want at least 1s", c.LongestTTL)
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
