package sqlite

import (
	"errors"
	"fmt"
	"time"
)

// Config says where the store is. The zero value of each field means the default that its comment names.
type Config struct {
	// Path of the database file; its folder must exist. Required.
	Path string
	// Sample adds a few accounts without a usable password when the file is created. Default false.
	Sample bool
	// BusyTimeout is how long to wait for a lock that another process holds. Default 2 s.
	BusyTimeout time.Duration
	// Readers is the number of connections that look accounts up. Default 4, at most 64.
	Readers int
	// MaxBatch is the most items of one call, of each kind. Default 256, at most 4096.
	MaxBatch int
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.BusyTimeout == 0 {
		c.BusyTimeout = 2 * time.Second
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 256
	}
	return c
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.Path == "":
		return errors.New("path: is required")
	case c.BusyTimeout < 0 || c.BusyTimeout > time.Minute:
		return fmt.Errorf("busy_timeout: %v is not between 0 and 1m", c.BusyTimeout)
	case c.Readers < 1 || c.Readers > 64:
		return fmt.Errorf("readers: %d is not between 1 and 64", c.Readers)
	case c.MaxBatch < 1 || c.MaxBatch > 4096:
		return fmt.Errorf("max_batch: %d is not between 1 and 4096", c.MaxBatch)
	}
	return nil
}
